"""IDENTIFY: which of known individuals a picture shows, or that it shows none of them.

Descriptors in, with what local features verified; an identity or none out. Neither files nor encoders are known
here: any descriptor whose cosine says how alike two pictures are, or two regions of pictures, may be given, as each
gallery learns its own threshold.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import exp, expm1, pi, sqrt
from typing import ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmsearch.arguments import FALSE_RATE
from mmsearch.errors import QueryError
from mmsearch.records import Matrix
from mmsearch.vectors import inner_products, l2_normalize

MARGIN = 2.0
"""Of the lead over the second identity beside the score of the first."""
# Chosen, as was that an identity has the score of its nearest picture, not the mean of more, on the ORL faces, half
# of whom were removed (10 times), and on covers 001-050 of SMVS: of these faces 0.6 % pass at 1 %, 5.0 % at 5 %.
MIN_PLACES = 9
"""Verified places by which an identity is known: in large galleries a few agree by chance."""
# Chosen on covers 001-050 of SMVS among 241 others, half of them removed (3 times): of photographs of removed ones
# 1.3 % and not 2.3 % are given an identity, of the others 98.3 % and not 98.7 % their own.
MIN_STRANGERS = 10
"""Pictures with another identity beside their own that a threshold is learned from, at least."""
_MOST_STRANGERS = 512
_TOGETHER = 64  # of them at a time
_EULER = 0.5772156649015329  # mean of Gumbel's law of location 0 and scale 1

Rows: TypeAlias = NDArray[np.int64]
Scores: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Strangers:
    """How strong the best identity of a picture is that shows none: the largest of many, so Gumbel's law.

    E. Gumbel, Statistics of Extremes, 1958; location and scale by the method of moments.
    """

    location: float
    scale: float

    @classmethod
    def of(cls, strengths: Scores) -> Strangers:
        """Return the law of strengths (n,), n > 1, of which two differ."""
        scale = float(strengths.std(ddof=1)) * sqrt(6) / pi
        return cls(float(strengths.mean()) - _EULER * scale, scale)

    def chance(self, strength: float) -> float:
        """Return the share of strangers, 0 to 1, that are at least as strong.

        >>> round(Strangers(0.0, 1.0).chance(0.0), 4)
        0.6321
        """
        return -expm1(-exp(min((self.location - strength) / self.scale, 700.0)))


@dataclass(frozen=True)
class Guess:
    """The best identity of a picture or region, by its position, and what speaks for it.

    `score` is the cosine of its nearest picture, -1 without one; `n_inliers` counts the places that local features
    verified on its pictures; `chance` is the share of strangers that would be as strong by descriptors, None where
    the gallery is too small to learn it; `is_known` whether this is believed.
    """

    identity: int
    score: float
    n_inliers: int
    chance: float | None
    is_known: bool


class Gallery:
    """Descriptors of pictures, or of regions of pictures, of known identities. Immutable.

    Parameters
    ----------
    vectors : float16 or float32 array, shape (n, dim)
        One descriptor a row; lengths do not matter. Not modified.
    labels : int64 array, shape (n,)
        The position of each one's identity in `names`, each of which has one at least.
    names : sequence of str
        The identities.

    Raises
    ------
    QueryError
        If there are fewer than two identities.

    Notes
    -----
    Holds 4 * n * dim bytes.
    """

    margin: ClassVar[float] = MARGIN

    def __init__(
        self,
        vectors: NDArray[np.float16] | Matrix,
        labels: Iterable[int],
        names: Sequence[str],
        *,
        at_least: int = 2,
    ) -> None:
        if len(names) < at_least:
            there = f"one identity, {names[0]!r}" if names else "no identity"
            raise QueryError(
                f"the gallery has {there}; expected two or more: a folder of pictures for each, or one picture each"
            )
        self.labels: Rows = np.asarray(labels, dtype=np.int64)
        self.names = tuple(names)
        self._order = np.argsort(self.labels, kind="stable")
        self._starts = np.searchsorted(self.labels[self._order], np.arange(len(self.names)))
        self._vectors = self._compared(vectors.astype(np.float32))

    def _compared(self, vectors: Matrix) -> Matrix:
        """Return vectors as `cosines` wants them."""
        return l2_normalize(vectors)

    def cosines(self, queries: Matrix) -> Matrix:
        """Return the cosines float32 (n_queries, n) of unit vectors (n_queries, dim) to the gallery."""
        return inner_products(queries, self._vectors)

    def pooled(self, cosines: Matrix) -> Matrix:
        """Return the score float32 (n_queries, n_identities) of each identity: that of its nearest picture.

        A cosine of minus infinity leaves a picture out, and of all its pictures the identity.
        """
        best: Matrix = np.maximum.reduceat(cosines[:, self._order], self._starts, axis=1)
        return best

    @cached_property
    def strangers(self) -> Strangers | None:
        """What a picture of none of the identities looks like, learned by leaving out that of each picture.

        None where fewer than `MIN_STRANGERS` pictures have two identities beside their own, or all are as strong.
        """
        known = self._strengths_of_strangers()
        return Strangers.of(known) if len(known) >= MIN_STRANGERS and np.ptp(known) > 0 else None

    def _strengths_of_strangers(self) -> Scores:
        """Return how strong the best identity is of pictures without their own, where two others are left."""
        strengths = [np.zeros(0)]
        for asked in self._parts() if len(self.names) > 2 else ():
            scores = self.pooled(self.cosines(self._vectors[asked]))
            scores[np.arange(len(asked)), self.labels[asked]] = -np.inf
            strengths.append(strength(scores, self.margin))
        return np.concatenate(strengths)

    def _parts(self) -> Iterator[Rows]:
        """Yield rows of the gallery to be looked at together, spread over all."""
        n = len(self.labels)
        rows = np.unique(np.linspace(0, n - 1, min(n, _MOST_STRANGERS)).round().astype(np.int64))
        for start in range(0, len(rows), _TOGETHER):
            yield rows[start : start + _TOGETHER]

    def guesses(
        self,
        cosines: Matrix,
        inliers: Sequence[Mapping[int, int]],
        firsts: Sequence[int | None] = (),
        *,
        false_rate: float = FALSE_RATE,
    ) -> list[Guess]:
        """Return the best identity of each picture, or of each region of pictures.

        Parameters
        ----------
        cosines : float32 array, shape (n_queries, n)
            To every row of the gallery; minus infinity for rows that do not count, such as the picture itself.
        inliers : sequence of mapping
            For every query the rows of the gallery that local features verified in its middle, with the number of
            places that agree.
        firsts : sequence of int or None
            For every query the row that comes first by more than its cosine, such as by visual words too; it goes
            before others that are not verified. None, or no sequence, takes the greatest cosine.
        false_rate : float
            In (0, 1): share of strangers that may be taken for known ones by their descriptors.

        Notes
        -----
        Identities with verified pictures go first, by the places that agree on all of them, and are known from
        `MIN_PLACES` on. All others go by the score of their nearest picture. An identity is also known if no more
        than `false_rate` of strangers are as strong by descriptors; see `strength`.
        """
        scores = self.pooled(cosines)
        return [
            self._guess(
                scores[query], float(stronger), inliers[query], firsts[query] if firsts else None, false_rate
            )
            for query, stronger in enumerate(strength(scores, self.margin))
        ]

    def _guess(
        self, scores: Matrix, strong: float, verified: Mapping[int, int], first: int | None, false_rate: float
    ) -> Guess:
        counts = np.zeros(len(self.names), dtype=np.int64)
        for row, n in verified.items():
            counts[self.labels[row]] += n
        nearest = int(scores.argmax())
        chance = self.strangers.chance(strong) if self.strangers is not None and np.isfinite(strong) else None
        is_near = chance is not None and chance <= false_rate
        if verified:
            identity = int(np.lexsort((-scores, -counts))[0])
        else:
            identity = nearest if is_near or first is None else int(self.labels[first])
        n_inliers = int(counts[identity])
        return Guess(
            identity,
            max(float(scores[identity]), -1.0),
            n_inliers,
            chance if identity == nearest else None,
            n_inliers >= MIN_PLACES or (is_near and identity == nearest),
        )


def strength(scores: Matrix, margin: float = MARGIN) -> Scores:
    """Return how much speaks for the best of identities: its score, and the margin times its lead over the second.

    Parameters
    ----------
    scores : float32 array, shape (n_queries, n_identities)
        Minus infinity for an identity that does not count. Not modified.
    margin : float
        See `MARGIN`.

    Returns
    -------
    float64 array, shape (n_queries,)
        Higher is stronger; a lead over nothing is none.

    Examples
    --------
    >>> strength(np.float32([[0.25, 0.75, 0.5], [-np.inf, 0.5, -np.inf]]))
    array([1.25, 0.5 ])
    """
    ordered = np.sort(scores.astype(np.float64), axis=1)
    best, second = ordered[:, -1], ordered[:, -2] if ordered.shape[1] > 1 else np.full(len(ordered), -np.inf)
    lead = np.subtract(best, second, out=np.zeros_like(best), where=np.isfinite(second))
    stronger: Scores = best + margin * lead
    return stronger
