"""Exact cosine nearest neighbours by scanning the matrix: the oracle, and the fast way when n is small.

The float16 rows are read and widened block by block in cache and multiplied with all queries at once, so a scan
needs no second copy of the matrix and opening needs no time. What the scan finds near the best is scored
again in double precision: the answer is the same bits whatever block, batch or route it came from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from mmsearch.file_array import HalfRows
from mmsearch.indexes.base import NO_ROWS, IndexFacts, Rows
from mmsearch.records import Cosines, Matrix
from mmsearch.vectors import (
    F16_SHRINKING,
    check_width,
    contenders,
    inverse_lengths,
    shrunk_f16,
    stored_cosines,
    top_k,
    widen_f16,
)

_BLOCK = 3 << 15  # values widened at a time: 384 KB, which stay in the cache beside the halves they are read as
_BATCH_BLOCK = 1 << 18  # a larger block feeds a matrix product better
_EXACT_ROWS = 4096  # scored again at a time
_CANDIDATES = 1 << 24  # scores held at a time, 64 MB
MARGIN = 2e-5
"""Ten times what a sum of a few thousand products in float32 is off."""


class ExactIndex:
    """Scans `matrix` float16 (n, dim), in memory or read from its file block by block; never modified.

    Rows count at unit length, whatever rounding has made of it: the inverse of each length is kept from the first
    scan on, 4 bytes a row. A zero row, which only damage can bring, scores 0.
    """

    efforts: tuple[int, ...] = ()

    def __init__(self, matrix: HalfRows, dead: Iterable[int] = ()) -> None:
        self._matrix = matrix
        self._dead = self._waiting = NO_ROWS
        self._wide: Matrix = np.empty((0, 0), dtype=np.float32)
        self._inverse_lengths: Matrix = np.full(len(matrix), np.nan, dtype=np.float32)  # NaN: not known yet
        self.delete(dead)

    def __len__(self) -> int:
        """Return the number of live rows."""
        return len(self._matrix) - len(self._hidden)

    @property
    def n_rows(self) -> int:
        """Number of rows, dead ones included."""
        return len(self._matrix)

    @property
    def dead(self) -> frozenset[int]:
        """Rows that are deleted."""
        return frozenset(self._dead.tolist())

    @property
    def facts(self) -> IndexFacts:
        """Number of rows, and bytes of what is kept beside them."""
        return IndexFacts(len(self._matrix) - len(self._waiting), self._inverse_lengths.nbytes)

    def build(
        self, matrix: HalfRows, *, without: Rows = NO_ROWS, on_progress: Callable[[int], None] = lambda n: None
    ) -> None:
        """Scan a longer matrix from now on; what is known of the rows that it begins with is kept."""
        n_new = len(matrix) - len(self._matrix)
        self._waiting = without
        self._inverse_lengths = np.append(self._inverse_lengths, np.full(n_new, np.nan, dtype=np.float32))
        self._matrix = matrix
        on_progress(n_new)

    def delete(self, rows: Iterable[int]) -> None:
        """Leave rows out of every later answer; rows not in the matrix are ignored."""
        named = np.fromiter(rows, dtype=np.int64)
        held = np.setdiff1d(named[(named >= 0) & (named < len(self._matrix))], self._waiting)
        self._dead = np.union1d(self._dead, held)

    def restore(self, rows: Iterable[int]) -> None:
        """Let deleted rows come back."""
        self._dead = np.setdiff1d(self._dead, np.fromiter(rows, dtype=np.int64))

    def search(self, queries: Matrix, k: int, effort: int | None = None) -> tuple[Cosines, Rows]:
        """Return the min(k, len) best rows of every query, whatever the effort; ties go to the smaller row."""
        return self.search_tail(queries, k, first_row=0)

    def search_tail(
        self, queries: Matrix, k: int, *, first_row: int, ceiling: float = math.inf
    ) -> tuple[Cosines, Rows]:
        """Search only the rows from `first_row` on: those that another index does not know yet.

        With a ceiling, which one query may have, only those of cosines that are not above it.
        """
        check_width(queries, self._matrix.shape[1])
        best = np.zeros((len(queries), 0)), np.zeros((len(queries), 0), np.int64)
        width = max(1, _CANDIDATES // max(1, len(queries)))
        for start in range(first_row, len(self._matrix), width):
            rows = range(start, min(start + width, len(self._matrix)))
            scores = self._scan(queries, rows)
            hidden = self._hidden[(self._hidden >= rows.start) & (self._hidden < rows.stop)]
            scores[:, hidden - start] = -np.inf
            n_live = len(rows) - len(hidden)
            numbers = np.arange(rows.start, rows.stop)
            n_live = min(n_live, self._lowered(queries, scores, numbers, ceiling))
            best_here = self._best(queries, scores, numbers, min(k, n_live))
            best = merge(best, best_here, k)
        return best

    def search_among(
        self, queries: Matrix, k: int, rows: Rows, *, ceiling: float = math.inf
    ) -> tuple[Cosines, Rows]:
        """Search only the given rows, each named once, in any order; dead ones and those not there are left out.

        A ceiling is as that of `search_tail`.
        """
        check_width(queries, self._matrix.shape[1])
        rows = rows[rows < len(self._matrix)]
        if len(self._hidden):
            rows = rows[~np.isin(rows, self._hidden)]
        scores = self._scan(queries, rows)
        return self._best(queries, scores, rows, min(k, self._lowered(queries, scores, rows, ceiling)))

    def scores(self, query: Matrix, rows: Rows) -> Cosines:
        """Return the cosines (n,) of one query (dim,) to rows: what every search gives for them."""
        return stored_cosines(query, self._matrix[rows])

    def rough_scores(self, query: Matrix, among: Rows | None = None) -> Matrix:
        """Return the cosines float32 (n_rows,) of a query (dim,), off by `MARGIN` at most; -inf of dead rows.

        Where only some rows are scanned, which are sorted, those of all others are -inf, too.
        """
        return next(self.rough_scores_each(query[None], among))

    def rough_scores_each(self, queries: Matrix, among: Rows | None = None) -> Iterator[Matrix]:
        """Yield the `rough_scores` of each of several queries (n_queries, dim), which share scans."""
        size = max(1, _CANDIDATES // max(1, len(self._matrix)))
        for start in range(0, len(queries), size):
            block = queries[start : start + size]
            if among is None:
                scores: Matrix = self._scan(block, range(len(self._matrix)))
            else:
                scores = np.full((len(block), len(self._matrix)), -np.inf, dtype=np.float32)
                scores[:, among] = self._scan(block, among)
            scores[:, self._hidden] = -np.inf
            yield from scores

    @property
    def _hidden(self) -> Rows:
        return np.union1d(self._dead, self._waiting) if len(self._waiting) else self._dead

    def _lowered(self, queries: Matrix, scores: Matrix, rows: Rows, ceiling: float) -> int:
        """Return how many rows are not above a ceiling, and lower the rough scores (1, n) of all others."""
        if ceiling == math.inf:
            return len(rows)
        (of_query,) = scores
        near = np.flatnonzero(np.abs(of_query - ceiling) <= MARGIN)
        of_query[of_query > ceiling + MARGIN] = -np.inf
        for start in range(0, len(near), _EXACT_ROWS):
            part = near[start : start + _EXACT_ROWS]
            of_query[part[stored_cosines(queries[0], self._matrix[rows[part]]) > ceiling]] = -np.inf
        return int(np.isfinite(of_query).sum())

    def _best(self, queries: Matrix, scores: Matrix, rows: Rows, k: int) -> tuple[Cosines, Rows]:
        """Return the k best of rows whose scores (n_queries, n) are known roughly."""
        places = list(contenders(scores, k, MARGIN))
        counts = np.array([len(near_rows) for near_rows in places], dtype=np.int64)
        of_query = np.repeat(np.arange(len(queries)), counts)
        near = rows[np.concatenate([np.zeros(0, np.int64), *places])]
        exact = np.empty(len(near), dtype=np.float64)
        for start in range(0, len(near), _EXACT_ROWS):  # all of a long ranking would be a copy of the matrix
            part = slice(start, start + _EXACT_ROWS)
            exact[part] = stored_cosines(queries[of_query[part]], self._matrix[near[part]])
        order = np.lexsort((near, -exact, of_query))
        first = np.cumsum(counts) - counts
        best = order[first[:, None] + np.arange(min(k, len(rows)))]
        return exact[best], near[best]

    def _scan(self, queries: Matrix, rows: range | Rows) -> Matrix:
        """Return the cosines float32 (n_queries, n) of the queries to rows, roughly."""
        size = max(1, (_BLOCK if len(queries) < 8 else _BATCH_BLOCK) // self._matrix.shape[1])
        scores = np.empty((len(queries), len(rows)), dtype=np.float32)
        if len(self._wide) < min(size, len(rows)):
            # Kept from scan to scan: touching fresh memory costs more than the arithmetic of a small one.
            self._wide = np.empty((min(size, len(rows)), self._matrix.shape[1]), dtype=np.float32)
        all_rows = _selection(rows)
        is_new = bool(np.isnan(self._inverse_lengths[all_rows]).any())
        widen = widen_f16
        if len(queries) == 1 and not is_new:
            # One query takes the factor of all rows; of several, each would meet the subnormal numbers, slow ones.
            widen, queries = shrunk_f16, queries * F16_SHRINKING
        for start in range(0, len(rows), size):
            block = rows[start : start + size]
            part = _selection(block)
            # Under no name, or what is read would never come to lie where the block before it lay, in the cache.
            wide = widen(self._matrix[part], self._wide[: len(block)])
            if is_new:
                self._inverse_lengths[part] = inverse_lengths(wide)
            np.matmul(queries, wide.T, out=scores[:, start : start + size])
        scores *= self._inverse_lengths[all_rows]
        return scores


def _selection(rows: range | Rows) -> slice | Rows:
    """Return what takes rows of an array: a slice copies nothing."""
    return slice(rows.start, rows.stop) if isinstance(rows, range) else rows


def merge(first: tuple[Cosines, Rows], second: tuple[Cosines, Rows], k: int) -> tuple[Cosines, Rows]:
    """Return the k best of two answers to the same queries over disjoint rows."""
    scores = np.concatenate([first[0], second[0]], axis=1)
    return top_k(scores, np.concatenate([first[1], second[1]], axis=1), k)
