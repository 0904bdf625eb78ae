"""Synthetic embeddings, the same for the same seed: like those of real encoders, and a worst case.

`Realistic` pictures lie in thousands of topics of unequal size and width, along axes of falling variance. Its
`text` queries are captions that tell half of what sets a picture apart, and vary along axes of their own; their
statistics were fitted to pairs of CLIP (texts .50 alike, pairs .27, a gap of .87 between the means). Its `alike`
queries have little of their own: of such texts a few pictures are near to all. `Worst` pictures differ by noise
in all directions alike, which nothing real does, and its texts are farther off.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

DIM = 512
BLOCK = 50_000
_SEED = 20261123


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows at unit length, float32."""
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


class Embeddings(Protocol):
    """Pictures and queries that belong together."""

    name: str
    queries: tuple[str, ...]
    """Kinds of queries by words."""

    def gallery(self, n: int) -> Iterator[np.ndarray]:
        """Yield blocks of unit vectors float32, n together."""

    def pictures(self, n: int, seed: int = 0) -> np.ndarray:
        """Return new pictures, drawn as the gallery is from other random numbers."""

    def texts(self, kind: str, n: int, seed: int = 0) -> np.ndarray:
        """Return texts of a kind."""


class Realistic:
    """Topics by a power law, each with its own width and its own order of axes."""

    name = "realistic"
    queries = ("text", "alike")
    _N_TOPICS = 3000
    _N_SHARED = 96  # axes that topics order in their own way among themselves

    def __init__(self, seed: int = _SEED) -> None:
        rng = np.random.default_rng(seed)
        self._seed = seed
        self._axes = np.linalg.qr(rng.standard_normal((DIM, DIM)))[0].T.astype(np.float32)
        falling = np.arange(1, DIM + 1) ** -0.5
        self._spread = (falling / np.linalg.norm(falling)).astype(np.float32)
        self._topics = (rng.standard_normal((self._N_TOPICS, DIM)) * self._spread).astype(np.float32)
        shares = 1 / (np.arange(self._N_TOPICS) + 10.0)
        self._shares = shares / shares.sum()
        self._widths = np.exp(rng.normal(-0.15, 0.35, self._N_TOPICS)).astype(np.float32)
        orders = [
            np.concatenate(
                [rng.permutation(self._N_SHARED), self._N_SHARED + rng.permutation(DIM - self._N_SHARED)]
            )
            for _ in range(self._N_TOPICS)
        ]
        self._orders = np.argsort(np.stack(orders), axis=1)
        self._of_pictures = unit(rng.standard_normal((1, DIM)))
        across = rng.standard_normal((1, DIM))
        across -= (across @ self._of_pictures.T) * self._of_pictures
        self._of_texts = 0.25 * self._of_pictures + np.sqrt(1 - 0.25**2) * unit(across)
        self._axes_of_texts = np.linalg.qr(rng.standard_normal((DIM, DIM)))[0].T.astype(np.float32)

    def gallery(self, n: int) -> Iterator[np.ndarray]:
        """Yield blocks of unit vectors float32, n together; the first are the same for every n."""
        for number, start in enumerate(range(0, n, BLOCK)):
            topics, steps = self._drawn(np.random.default_rng([self._seed, 1, number]), BLOCK)
            yield self._shown(topics + steps)[: n - start]

    def pictures(self, n: int, seed: int = 0) -> np.ndarray:
        """Return new pictures float32 (n, dim)."""
        topics, steps = self._drawn(np.random.default_rng([self._seed, 2, seed]), n)
        return self._shown(topics + steps)

    def texts(self, kind: str, n: int, seed: int = 0) -> np.ndarray:
        """Return texts float32 (n, dim): `text` as those of CLIP, or `alike`."""
        rng = np.random.default_rng([self._seed, 3, seed, self.queries.index(kind)])
        topics, steps = self._drawn(rng, n)
        like = (rng.standard_normal((n, DIM), dtype=np.float32) * self._spread) @ self._axes
        if kind == "alike":
            return unit(self._of_texts + 0.2 * (topics + steps) @ self._axes + 0.2 * like)
        apart = (rng.standard_normal((n, DIM), dtype=np.float32) * self._spread) @ self._axes_of_texts
        meant = (topics + 0.5 * steps) @ self._axes
        return unit(self._of_texts + 0.55 * meant + 0.8 * np.sqrt(0.5) * (apart + like))

    def _drawn(self, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the centre of the topic of each of n vectors, and its step from it."""
        topics = rng.choice(self._N_TOPICS, n, p=self._shares)
        steps = rng.standard_normal((n, DIM), dtype=np.float32) * self._spread
        steps = np.take_along_axis(steps, self._orders[topics], axis=1)
        return self._topics[topics], self._widths[topics, None] * steps

    def _shown(self, latent: np.ndarray) -> np.ndarray:
        return unit(latent @ self._axes + 1.35 * self._of_pictures)


class Worst:
    """Centres inside a narrow cone, and noise of about the same length that no projection can leave out."""

    name = "worst"
    queries = ("worst",)
    _N_CENTRES = 2000

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self._seed = seed
        axis = unit(rng.standard_normal((1, DIM)))
        self._centres = unit(axis + unit(rng.standard_normal((self._N_CENTRES, DIM))))
        self._cone = unit(np.random.default_rng(seed + 299).standard_normal((1, DIM)))

    def gallery(self, n: int) -> Iterator[np.ndarray]:
        """Yield blocks of unit vectors float32, n together; the first are the same for every n."""
        for number, start in enumerate(range(0, n, BLOCK)):
            yield self._near(np.random.default_rng([self._seed, 1, number]), BLOCK)[: n - start]

    def pictures(self, n: int, seed: int = 0) -> np.ndarray:
        """Return new pictures float32 (n, dim)."""
        return self._near(np.random.default_rng([self._seed, 2, seed]), n)

    def texts(self, kind: str, n: int, seed: int = 0) -> np.ndarray:
        """Return texts float32 (n, dim) about a mixture of two centres, in a cone of their own."""
        rng = np.random.default_rng([self._seed, 3, seed])
        drawn = rng.integers(0, self._N_CENTRES, (2, n))
        about = unit(self._centres[drawn[0]] + self._centres[drawn[1]])
        return unit(1.2 * self._cone + 0.35 * about + 0.5 * unit(rng.standard_normal((n, DIM))))

    def _near(self, rng: np.random.Generator, n: int) -> np.ndarray:
        centres = self._centres[rng.integers(0, self._N_CENTRES, n)]
        return unit(centres + 0.7 * unit(rng.standard_normal((n, DIM))))
