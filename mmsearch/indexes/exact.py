"""Exact cosine nearest neighbours by scanning the matrix: the oracle, and the fast way when n is small.

The float16 rows are widened block by block in cache and multiplied with all queries at once, so a scan
needs no second copy of the matrix and opening needs no time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mmsearch.indexes.base import Rows
from mmsearch.records import Matrix
from mmsearch.vectors import check_width, top_k, widen_f16

_BLOCK = 512  # rows widened at a time; 512 x 512 floats are 1 MB and stay in the cache
_BATCH_BLOCK = 4096  # a larger block feeds a matrix product better
_CANDIDATES = 1 << 24  # scores held at a time, 64 MB


class ExactIndex:
    """Scans `matrix` float16 (n, dim), unit rows, usually mapped from disk; never modified."""

    def __init__(self, matrix: NDArray[np.float16], dead: Sequence[int] = ()) -> None:
        self._matrix = matrix
        self._dead = np.array(sorted(row for row in set(dead) if row < len(matrix)), dtype=np.int64)
        self._wide: Matrix = np.empty((0, 0), dtype=np.float32)

    def __len__(self) -> int:
        """Return the number of live rows."""
        return len(self._matrix) - len(self._dead)

    def delete(self, rows: Sequence[int]) -> None:
        """Leave rows out of every later answer."""
        rows_ = np.asarray(rows, dtype=np.int64)
        self._dead = np.union1d(self._dead, rows_[(rows_ >= 0) & (rows_ < len(self._matrix))])

    def search(self, queries: Matrix, k: int) -> tuple[Matrix, Rows]:
        """Return the min(k, len) best rows of every query; ties go to the smaller row."""
        return self._search(queries, k, self._matrix, first_row=0)

    def search_tail(self, queries: Matrix, k: int, *, first_row: int) -> tuple[Matrix, Rows]:
        """Search only the rows from `first_row` on: those a graph does not hold yet."""
        return self._search(queries, k, self._matrix[first_row:], first_row=first_row)

    def search_among(self, queries: Matrix, k: int, rows: Rows) -> tuple[Matrix, Rows]:
        """Search only the given rows, each named once, in any order; dead ones and those not there are left out."""
        rows = rows[rows < len(self._matrix)]
        if len(self._dead):
            rows = rows[~np.isin(rows, self._dead)]
        n_blocks = max(1, len(rows) // _BATCH_BLOCK + 1)
        parts = [
            (self._score(queries, self._matrix[part]), part) for part in np.array_split(rows, n_blocks) if len(part)
        ]
        if not parts:
            return np.zeros((len(queries), 0), np.float32), np.zeros((len(queries), 0), np.int64)
        scores = np.concatenate([score for score, _ in parts], axis=1)
        return top_k(scores, np.concatenate([part for _, part in parts]), k)

    def _search(
        self, queries: Matrix, k: int, matrix: NDArray[np.float16], *, first_row: int
    ) -> tuple[Matrix, Rows]:
        last_row = first_row + len(matrix)
        dead = self._dead[(self._dead >= first_row) & (self._dead < last_row)] - first_row
        k = min(k, len(matrix) - len(dead))
        width = max(1, _CANDIDATES // max(1, len(queries)))
        best: tuple[Matrix, Rows] | None = None
        for start in range(0, max(1, len(matrix)), width):
            block = matrix[start : start + width]
            scores = self._score(queries, block)
            scores[:, dead[(dead >= start) & (dead < start + len(block))] - start] = -np.inf
            found = top_k(scores, np.arange(first_row + start, first_row + start + len(block)), k)
            best = found if best is None else merge(best, found, k)
        assert best is not None
        return best

    def _score(self, queries: Matrix, block: NDArray[np.float16]) -> Matrix:
        """Return the inner products float32 (n_queries, n) of the queries with the rows of a block."""
        check_width(queries, block.shape[1])
        size = _BLOCK if len(queries) < 8 else _BATCH_BLOCK
        scores = np.empty((len(queries), len(block)), dtype=np.float32)
        if len(self._wide) < min(size, len(block)):
            # Kept from scan to scan: touching fresh memory costs more than the arithmetic of a small one.
            self._wide = np.empty((min(size, len(block)), block.shape[1]), dtype=np.float32)
        wide = self._wide
        for start in range(0, len(block), size):
            part = block[start : start + size]
            rows = widen_f16(part, wide[: len(part)])
            np.matmul(queries, rows.T, out=scores[:, start : start + len(part)])
        return scores


def merge(first: tuple[Matrix, Rows], second: tuple[Matrix, Rows], k: int) -> tuple[Matrix, Rows]:
    """Return the k best of two answers to the same queries over disjoint rows."""
    scores = np.concatenate([first[0], second[0]], axis=1)
    return top_k(scores, np.concatenate([first[1], second[1]], axis=1), k)
