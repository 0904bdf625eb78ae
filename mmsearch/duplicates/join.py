"""JOIN: the grids of light of all pictures in, the pairs of those that look alike however turned or mirrored out.

A bound on the cosine in a few dimensions passes over nearly all pairs: most of a grid is in the coarse coefficients
of its cosine transform, among which turns and mirrors stay, and by Cauchy and Schwarz the others add at most the
product of their lengths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.records import Matrix
from mmsearch.system import n_cores
from mmsearch.vectors import l2_normalize

N_TURNS = 8
"""Ways in which a square lies: number 2 k + m is mirrored left to right if m is 1, then turned k quarters."""
_COARSE = 8  # a coefficient is coarse if its two frequencies add up to less
_ROWS, _COLUMNS = 512, 4096  # of one product
_SLACK = 1e-4  # of bounds, for rounding

Places = NDArray[np.int64]


@dataclass(frozen=True)
class Pairs:
    """Pairs of rows, the first before the second, with their cosines; `turns` bring the second to the first."""

    first: Places
    second: Places
    cosines: Matrix
    turns: Places

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.first)

    def where(self, chosen: NDArray[Any]) -> Pairs:
        """Return some of the pairs, by their places or as a mask."""
        return Pairs(self.first[chosen], self.second[chosen], self.cosines[chosen], self.turns[chosen])

    def and_those(self, others: Pairs) -> Pairs:
        """Return these pairs and then others."""
        return Pairs(
            np.concatenate([self.first, others.first]),
            np.concatenate([self.second, others.second]),
            np.concatenate([self.cosines, others.cosines]),
            np.concatenate([self.turns, others.turns]),
        )

    def columns(self) -> tuple[list[int], list[int], list[float], list[int]]:
        """Return all as lists."""
        return self.first.tolist(), self.second.tolist(), self.cosines.tolist(), self.turns.tolist()


def turned(grids: NDArray[Any], number: int) -> NDArray[Any]:
    """Return square grids (..., side, side) mirrored and turned anticlockwise as `N_TURNS` says."""
    return np.rot90(grids[..., ::-1] if number % 2 else grids, number // 2, axes=(-2, -1))


def unit_rows(grids: NDArray[Any]) -> Matrix:
    """Return grids (n, side, side) as unit vectors float32 (n, side * side)."""
    n, height, width = grids.shape
    return l2_normalize(np.ascontiguousarray(grids, dtype=np.float32).reshape(n, height * width))


def near_pairs(
    grids: NDArray[np.int8],
    least: float,
    *,
    is_open: NDArray[np.bool_],
    n_known: int = 0,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[Pairs]:
    """Yield the pairs of grids whose cosine is at least so much, each once, in order of the first.

    The first `n_known` grids are not compared with one another.

    Parameters
    ----------
    grids : int8 array, shape (n, side, side)
    least : float
        In (0, 1].
    is_open : bool array, shape (n,)
        Others have no pairs. Rows that the caller closes after a yield have none from then on.
    on_progress : callable
        Given (rows done, rows); what it raises ends the join.
    """
    n = len(grids)
    if n_known == n:
        return
    coarse = [_coarse(grids, number) for number in range(N_TURNS)]

    def of_turn(rows: Places, number: int) -> list[Pairs]:
        pairs = []
        for start in range(max(int(rows[0]), n_known), n, _COLUMNS):
            columns = coarse[number][start : start + _COLUMNS]
            near = np.flatnonzero(coarse[0][rows] @ columns.T >= least - _SLACK)
            first, second = rows[near // len(columns)], start + near % len(columns)
            is_wanted = (first < second) & is_open[second]
            pairs.append(_exact(grids, first[is_wanted], second[is_wanted], number, least))
        return pairs

    with ThreadPoolExecutor(n_cores()) as threads:
        for start in range(0, n, _ROWS):
            on_progress(start, n)
            rows = start + np.flatnonzero(is_open[start : start + _ROWS])
            if len(rows):
                of_turns = threads.map(lambda number, rows=rows: of_turn(rows, number), range(N_TURNS))
                yield best_turns([pairs for of_number in of_turns for pairs in of_number])
    on_progress(n, n)


def best_turns(parts: list[Pairs]) -> Pairs:
    """Return pairs of which each comes once, with the turn of the highest cosine, in order of the first."""
    first, second, cosines, turns = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("first", "second", "cosines", "turns")
    )
    order = np.lexsort((turns, -cosines, second, first))
    first, second = first[order], second[order]
    is_best = np.ones(len(first), dtype=bool)
    is_best[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    return Pairs(first[is_best], second[is_best], cosines[order][is_best], turns[order][is_best])


def best_cosines(grids: NDArray[np.int8], first: Places, second: Places) -> Pairs:
    """Return given pairs, in their order, with their cosines in the turn in which these are highest."""
    cosines = np.zeros((N_TURNS, len(first)), np.float32)
    for start in range(0, len(first), _COLUMNS):
        block = slice(start, start + _COLUMNS)
        units, others = unit_rows(grids[first[block]]), grids[second[block]]
        for number in range(N_TURNS):
            cosines[number, block] = np.einsum("ij,ij->i", units, unit_rows(turned(others, number)))
    turns = cosines.argmax(axis=0)
    return Pairs(first, second, np.take_along_axis(cosines, turns[None], axis=0)[0], turns)


def cosines_as_they_lie(grids: NDArray[np.int8], pairs: Pairs) -> Pairs:
    """Return pairs in no turn, with their cosines in that."""
    return _exact(grids, pairs.first, pairs.second, 0, -2.0)


def _exact(grids: NDArray[np.int8], first: Places, second: Places, number: int, least: float) -> Pairs:
    """Return those of some pairs whose cosine in one turn is at least so much."""
    cosines = np.einsum("ij,ij->i", unit_rows(grids[first]), unit_rows(turned(grids[second], number)))
    is_near = cosines >= least
    turns = np.full(int(is_near.sum()), number)
    return Pairs(first[is_near], second[is_near], cosines[is_near], turns)


def _coarse(grids: NDArray[np.int8], number: int) -> Matrix:
    """Return the coarse coefficients of grids in one turn, and last the length of all others, float32 (n, m)."""
    transform = _cosine_transform(grids.shape[1])
    is_coarse = np.add.outer(np.arange(grids.shape[1]), np.arange(grids.shape[1])) < _COARSE
    parts = [np.zeros((0, int(is_coarse.sum()) + 1), np.float32)]
    for start in range(0, len(grids), _COLUMNS):
        block = turned(grids[start : start + _COLUMNS], number)
        units = unit_rows(block).reshape(block.shape)
        coefficients = (transform @ units @ transform.T)[:, is_coarse]
        rest = np.sqrt(np.maximum(0, 1 - (coefficients**2).sum(axis=1, keepdims=True)))
        parts.append(np.concatenate([coefficients, rest], axis=1))
    return np.concatenate(parts)


@cache
def _cosine_transform(side: int) -> Matrix:
    """Return the orthonormal cosine transform (DCT-II) of so many values."""
    angles = np.outer(np.arange(side), np.arange(side) + 0.5) * np.pi / side
    rows = np.cos(angles) * np.sqrt(2 / side)
    rows[0] /= np.sqrt(2)
    transform: Matrix = rows.astype(np.float32)
    return transform
