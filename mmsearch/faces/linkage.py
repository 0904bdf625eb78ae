"""LINKAGE: groups of vectors in, those joined that are near on average out.

Agglomerative clustering with average linkage: of all groups the two that are nearest are joined, as long as the
mean squared distance of their vectors is below a bound (R. Sokal and C. Michener, A statistical method for
evaluating systematic relationships, 1958). That mean follows from what is kept of each group: the mean of its
vectors, and that of their squared lengths. Groups that are each other's nearest may be joined at any time with the
same result (F. Murtagh, A survey of recent advances in hierarchical clustering algorithms, 1983): all such pairs
are, round by round. Joining brings no two groups nearer than one of their parts were, so each knows its nearest for
many rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmsearch.records import Matrix
from mmsearch.system import n_cores

_NEAREST = 24  # groups of which each knows how far they are
_ROWS, _COLUMNS = 1024, 2048  # of one product

Numbers: TypeAlias = NDArray[np.int64]
OnProgress: TypeAlias = Callable[[int, int], None]


@dataclass
class Forbidden:
    """Which of n groups are never joined: any two of those that are `closed`, and `pairs` (m, 2) in both orders."""

    is_closed: NDArray[np.bool_]
    pairs: Numbers

    @classmethod
    def of(cls, n: int, closed: Sequence[int], pairs: Sequence[tuple[int, int]]) -> Forbidden:
        """Return what is given by numbers of groups."""
        is_closed = np.zeros(n, dtype=bool)
        is_closed[list(closed)] = True
        both = [*pairs, *((other, group) for group, other in pairs)]
        return cls(is_closed, np.array(both, dtype=np.int64).reshape(-1, 2))

    def among(self, groups: Numbers, others: Numbers) -> NDArray[np.bool_]:
        """Return which groups and others, of shapes that broadcast, are never joined."""
        is_forbidden: NDArray[np.bool_] = self.is_closed[groups] & self.is_closed[others]
        if len(self.pairs):
            n = len(self.is_closed)
            is_forbidden |= np.isin(groups * n + others, self.pairs[:, 0] * n + self.pairs[:, 1])
        return is_forbidden

    def join(self, first: Numbers, second: Numbers, heirs: Numbers) -> None:
        """Take groups that were joined as one; `heirs` (n,) has those that they go on in."""
        self.is_closed[first] |= self.is_closed[second]
        self.pairs = heirs[self.pairs]


class Linkage:
    """Groups and the nearest that each knows.

    Parameters
    ----------
    vectors : float32 array, shape (n, dim)
        Finite. Not modified.
    groups : int64 array, shape (n,)
        Where each begins, from 0 to the number of groups less 1.
    distance : float
        Root of the mean squared distance from which on groups are not joined.
    forbidden : Forbidden
        Is changed.

    Notes
    -----
    A group that was joined to another goes on in that of the lower number. `_near` (n, 24) are others, nearest
    first, -1 for none, `_far` their squared distances, and no other group is nearer than `_bound`.
    """

    def __init__(self, vectors: Matrix, groups: Numbers, distance: float, forbidden: Forbidden) -> None:
        n, wide = int(groups.max()) + 1, vectors.astype(np.float64)
        wide -= wide.mean(axis=0)  # distances stay, and lose no digits
        order = np.argsort(groups, kind="stable")
        begins = np.searchsorted(groups[order], np.arange(n))
        self._counts = np.bincount(groups).astype(np.float64)
        means = np.add.reduceat(wide[order], begins, axis=0) / self._counts[:, None]
        self._means: Matrix = means.astype(np.float32)
        self._squares = np.bincount(groups, (wide * wide).sum(axis=1)) / self._counts
        self._most, self._forbidden = np.float32(distance**2), forbidden
        self._near = np.full((n, _NEAREST), -1, dtype=np.int64)
        self._far = np.full((n, _NEAREST), np.inf, dtype=np.float32)
        self._bound = np.zeros(n, dtype=np.float32)

    def joined(self, on_progress: OnProgress) -> Numbers:
        """Return the group that each goes on in, int64 (n,), when no two that may be joined are near enough."""
        heirs = np.arange(len(self._near))
        active = heirs.copy()
        self._compare(active, active, on_progress)
        while True:
            lost = active[(self._near[active, 0] < 0) & (self._bound[active] < self._most)]
            self._compare(lost, active)
            active = active[self._near[active, 0] >= 0]  # what has nothing near enough never will
            if not len(active):
                break
            first, second = self._mutual(active)
            step = np.arange(len(heirs))
            step[second] = first
            self._join(first, second, step, active)
            heirs = step[heirs]
            active = np.union1d(active[step[active] == active], first)
        return heirs

    def _mutual(self, active: Numbers) -> tuple[Numbers, Numbers]:
        """Return the pairs that are each other's nearest, the lower number first."""
        nearest = self._near[active, 0]
        is_first = (self._near[nearest, 0] == active) & (active < nearest)
        if is_first.any():
            return active[is_first], nearest[is_first]
        # Of equal distances, or such as rounding made so, each of three may prefer another.
        closest = np.argmin(self._far[active, 0])
        pair = np.sort([active[closest], nearest[closest]])
        return pair[:1], pair[1:]

    def _join(self, first: Numbers, second: Numbers, step: Numbers, active: Numbers) -> None:
        """Join pairs, and look at what all that knew one of them know now."""
        is_touched = np.zeros(len(step), dtype=bool)
        is_touched[first] = is_touched[second] = True
        near = self._near[active]
        knowing = active[(is_touched[near] & (near >= 0)).any(axis=1) & ~is_touched[active]]
        total = self._counts[first] + self._counts[second]
        share = self._counts[second] / total
        self._means[first] += share[:, None].astype(np.float32) * (self._means[second] - self._means[first])
        self._squares[first] += share * (self._squares[second] - self._squares[first])
        self._counts[first] = total
        self._forbidden.join(first, second, step)
        self._bound[first] = np.minimum(self._bound[first], self._bound[second])
        known = np.concatenate([self._near[first], self._near[second]], axis=1)
        for rows, others in ((first, known), (knowing, self._near[knowing])):
            for start in range(0, len(rows), _ROWS):
                part = slice(start, start + _ROWS)
                self._know(rows[part], np.where(others[part] < 0, -1, step[others[part]]))

    def _know(self, rows: Numbers, others: Numbers) -> None:
        """Let groups know those of others (n_rows, m), -1 for none, that are near enough."""
        others = np.sort(others, axis=1)
        is_there = (others >= 0) & (others != rows[:, None])
        is_there[:, 1:] &= others[:, 1:] != others[:, :-1]
        products = np.einsum("id,ijd->ij", self._means[rows], self._means[others])
        far = (self._squares[rows][:, None] + self._squares[others] - 2 * products).astype(np.float32)
        is_there &= far < self._most
        is_there &= far <= self._bound[rows][:, None]
        is_there &= ~self._forbidden.among(rows[:, None], others)
        far[~is_there] = np.inf
        self._keep(rows, np.where(is_there, others, -1), far)

    def _keep(self, rows: Numbers, others: Numbers, far: Matrix) -> None:
        """Keep the nearest of others; equal ones by their numbers."""
        order = np.lexsort((others, far), axis=1)[:, :_NEAREST]
        near, nearest = (np.take_along_axis(values, order, axis=1) for values in (others, far))
        self._near[rows], self._far[rows] = -1, np.inf
        self._near[rows, : order.shape[1]], self._far[rows, : order.shape[1]] = near, nearest
        is_full = self._far[rows, -1] < np.inf
        self._bound[rows[is_full]] = self._far[rows[is_full], -1]

    def _compare(self, rows: Numbers, columns: Numbers, on_progress: OnProgress = lambda done, total: None) -> None:
        """Let groups know the nearest of all."""
        right = self._factors(self._means[columns], np.ones(len(columns)), self._squares[columns])

        def look(part: Numbers) -> int:
            left = self._factors(-2 * self._means[part], self._squares[part], np.ones(len(part)))
            self._near[part], self._far[part], self._bound[part] = -1, np.inf, self._most
            for start in range(0, len(columns), _COLUMNS):
                self._hear_of(part, columns[start : start + _COLUMNS], left @ right[start : start + _COLUMNS].T)
            return len(part)

        blocks = [rows[start : start + _ROWS] for start in range(0, len(rows), _ROWS)]
        done, n_together = 0, n_cores()
        with ThreadPoolExecutor(n_together) as threads:
            for start in range(
                0, len(blocks), n_together
            ):  # not all at once: whoever stops it does not wait for all
                done += sum(threads.map(look, blocks[start : start + n_together]))
                on_progress(done, len(rows))

    @staticmethod
    def _factors(means: Matrix, *columns: NDArray[Any]) -> Matrix:
        """Return means (n, dim) and what their products with others lack to squared distances."""
        return np.concatenate([means, *(column[:, None] for column in columns)], axis=1, dtype=np.float32)

    def _hear_of(self, rows: Numbers, columns: Numbers, far: Matrix) -> None:
        """Let groups know those of others, at squared distances (n_rows, n_columns), that are near enough."""
        flat = np.flatnonzero(far < self._bound[rows][:, None])
        places, others = flat // len(columns), columns[flat % len(columns)]
        is_joinable = (rows[places] != others) & ~self._forbidden.among(rows[places], others)
        places, others, distances = places[is_joinable], others[is_joinable], far.ravel()[flat[is_joinable]]
        order = np.lexsort((others, distances, places))
        ranks = np.arange(len(order)) - np.searchsorted(places, places)  # the places were in order before
        order, ranks = order[ranks < _NEAREST], ranks[ranks < _NEAREST]
        hearing, lines = np.unique(places[order], return_inverse=True)
        new, new_far = np.full((len(hearing), _NEAREST), -1), np.full((len(hearing), _NEAREST), np.float32(np.inf))
        new[lines, ranks], new_far[lines, ranks] = others[order], distances[order]
        known = rows[hearing]
        self._keep(
            known,
            np.concatenate([self._near[known], new], axis=1),
            np.concatenate([self._far[known], new_far], axis=1),
        )
