"""Approximate cosine nearest neighbours by cells of sketches: an inverted file over small integers.

Pictures are sketched (`mmsearch.indexes.sketches`) and put into cells by k-means. A query ranks the cells by the
best score that is to be expected in them, scans the sketches of the best few per cent of all pictures, and scores
the best of those exactly by their vectors. Everything before that last step is arithmetic on integers that
float32 holds exactly, so a query has the same rows alone and in a batch, on one thread and on several.

The inverted file over cells is that of H. Jegou, M. Douze and C. Schmid, Product quantization for nearest neighbor
search, 2011.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from math import isqrt
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mmsearch.file_array import HalfRows
from mmsearch.indexes.base import NO_ROWS, IndexFacts, IndexKind, Passing, Rows, directed_rows
from mmsearch.indexes.cell_file import KIND, Cells, read_cells, write_cells
from mmsearch.indexes.cell_learning import Learned, learned
from mmsearch.indexes.exact import MARGIN
from mmsearch.indexes.sketches import largest_of_query
from mmsearch.records import Cosines, Matrix
from mmsearch.vectors import check_width, contenders, inverse_lengths, stored_cosines, top_k, widen_f16

WIDTHS = (128, 192, 256, 384, 512)
"""Dimensions of a sketch to choose from: more keep more of the order of pictures, and take as much more."""
_WIDTH = 192
_EFFORT = 40  # of a search that is told none
_K = 10  # what efforts are measured with
_GROWTH = 0.3  # power of the depth of an answer that as much more is scanned with
_REFINED = 10  # rows scored exactly for each of the first ten that are asked for, half as many for each further one
_TOO_NEW = 0.1  # of the rows: cells that were learned without them are learned anew
_TOO_LARGE = 10  # times the mean: as many rows in a cell that learning did not foresee
_STANDARD_DEVIATIONS = 2.8  # above the mean of a cell: the best score that is expected in it
_BATCH = 1000  # queries at a time: each cell that several need is widened once
_SCORES = 1 << 24  # held at a time, 64 MB


class CellsIndex:
    """Cells of sketches over rows whose vectors lie elsewhere; the effort is the share to scan, in thousandths.

    Searching from several threads is safe, changing is not.

    Parameters
    ----------
    dim : int
        Width of the vectors.
    texts : float32 array, shape (n_texts, dim)
        Typical queries by words, unit rows, that the sketches are fitted to; none where there are no words.
    width : int
        Dimensions of a sketch, a byte each; not more than `dim` are made.
    """

    efforts: tuple[int, ...] = (3, 5, 7, 10, 14, 20, 28, 40, 56, 80, 112, 160, 224, 320, 450)

    def __init__(self, dim: int, texts: Matrix, *, width: int = _WIDTH) -> None:
        self.dim, self.width = dim, min(width, dim)
        self._texts = texts.astype(np.float16).astype(np.float32)  # as in the file: they teach the same
        self._matrix: HalfRows = np.zeros((0, dim), dtype=np.float16)
        self._n_rows, self._waiting = 0, NO_ROWS
        self._learned: Learned | None = None
        self._no_sketches = np.zeros((0, self.width), dtype=np.int8)
        self._use(Cells.of(NO_ROWS.astype(np.int32), NO_ROWS.astype(np.int32), self._no_sketches, 0))

    def __len__(self) -> int:
        """Return the number of live rows that have a direction."""
        return self._alive.n

    @property
    def n_rows(self) -> int:
        """Rows of the matrix that the cells were made of; those without a direction are in none."""
        return self._n_rows

    @property
    def dead(self) -> frozenset[int]:
        """Rows that are deleted."""
        return self._dead

    @property
    def facts(self) -> IndexFacts:
        """Rows in cells, bytes of all that is kept, and the numbers of cells and of dimensions."""
        settings = {"cells": self._cells.n_cells, "sketch": self.width}
        return IndexFacts(self._cells.n_held, self._cells.n_bytes, settings)

    def build(
        self, matrix: HalfRows, *, without: Rows = NO_ROWS, on_progress: Callable[[int], None] = lambda n: None
    ) -> None:
        """Put the rows from `n_rows` on into cells, which are learned anew where too many rows are new to them."""
        new = np.union1d(self._waiting, np.arange(self._n_rows, len(matrix)))
        dead, self._matrix, self._n_rows, self._waiting = self._dead, matrix, len(matrix), without
        new = np.setdiff1d(new, without)
        if len(new) == 0:
            self._use(self._cells)
            self.delete(dead)
            return
        is_outdated = self._learned is None or len(matrix) - self._learned.n_rows > _TOO_NEW * len(matrix)
        if is_outdated:
            self._learned = learned(matrix, self._texts)
        self._take(new, on_progress, is_all=is_outdated)
        if self._learned and self._learned.n_rows < len(matrix) and self._is_uneven:
            self._learned = learned(matrix, self._texts)
            self._take(new, lambda n: None, is_all=True)  # all of it was told
        self.delete(dead)
        on_progress(len(new))

    def finer(self) -> CellsIndex | None:
        """Return an index without rows for the same cells and wider sketches; None where there are no wider."""
        width = next((width for width in WIDTHS if width > self.width), None)
        if width is None or self.width == self.dim or self._learned is None or self._learned.is_cut:
            return None
        index = CellsIndex(self.dim, self._texts, width=width)
        index._learned = self._learned
        return index

    def delete(self, rows: Iterable[int]) -> None:
        """Leave rows out of every later answer; rows that are in no cell are ignored."""
        named = np.fromiter(rows, dtype=np.int64)
        named = named[(named >= 0) & (named < self._n_rows)]
        self._bury(self._dead.union(named[self._is_held[named]].tolist()))

    def restore(self, rows: Iterable[int]) -> None:
        """Let deleted rows come back."""
        self._bury(self._dead.difference(rows))

    def search(self, queries: Matrix, k: int, effort: int | None = None) -> tuple[Cosines, Rows]:
        """Return about the min(k, len) best rows of every query, of the `effort` thousandths that are scanned.

        Scores are the cosines to the stored rows. For more than ten rows more are scanned.

        Raises
        ------
        LibraryDamagedError
            If a cell differs from its checksum, or the file was cut.
        """
        return self.search_among(queries, k, self._alive, effort)

    def search_among(
        self, queries: Matrix, k: int, passing: Passing, effort: int | None = None
    ) -> tuple[Cosines, Rows]:
        """Search only the rows that pass, as `passing` gives them; returns fewer where too few are reached."""
        check_width(queries, self.dim)
        k = min(k, passing.n)
        if k == 0 or len(queries) == 0:
            return np.zeros((len(queries), 0)), np.zeros((len(queries), 0), np.int64)
        effort = _EFFORT if effort is None else max(0, effort)
        # The ten best of a tenth of all rows lie as far from a query as the hundred best of all.
        depth = max(1.0, k / _K) * len(self) / passing.n
        share = effort / 1000 * depth**_GROWTH
        n_scanned = int(share * self._cells.n_held)
        # Of more rows, more have sketches of about the same score.
        n_further = max(0, k - _K)
        n_refined = _REFINED * (k - n_further) + _REFINED // 2 * n_further + max(effort // 2, isqrt(n_scanned))
        n_scanned = max(n_scanned, n_refined, _REFINED * k)
        size = max(1, min(_BATCH, _SCORES // (n_scanned + 1)))
        answers = [
            self._refined(query, rows, k)
            for start in range(0, len(queries), size)
            for query, rows in self._shortlists(queries[start : start + size], n_scanned, n_refined, passing)
        ]
        n = min(len(rows) for _, rows in answers)
        return np.stack([scores[:n] for scores, _ in answers]), np.stack([rows[:n] for _, rows in answers])

    def passing(self, rows: Rows | None) -> Passing:
        """Return what lets these rows pass, all of them for None, as far as they are alive, in `search_among`."""
        if rows is None and not self._dead:
            return Passing(None, self._cells.sizes, self._cells.n_held)
        is_passing = np.full(self.n_rows, rows is None)
        if rows is not None:
            is_passing[rows[rows < self.n_rows]] = True
        is_passing[list(self._dead)] = False
        in_cells = is_passing[self._cells.rows]
        sizes = np.zeros(self._cells.n_cells, dtype=np.int64)
        if len(in_cells):
            has_rows = self._cells.sizes > 0
            sizes[has_rows] = np.add.reduceat(in_cells, self._cells.starts[:-1][has_rows], dtype=np.int64)
        return Passing(in_cells, sizes, int(sizes.sum()))

    def save(self, path: Path) -> None:
        """Write all but which rows are dead."""
        assert self._learned is not None
        write_cells(path, self._learned.cut(self.width), self._texts, self._cells)

    @classmethod
    def of_file(cls, file: BinaryIO, matrix: HalfRows, facts: Mapping[str, Any]) -> CellsIndex:
        """Open what was saved, with the vectors that it was made of; sketches are read when they are asked for.

        Raises
        ------
        VocabularyError
            If it is another kind of file, or what it says of its cells differs from its checksum.
        """
        learned_cells, texts, cells = read_cells(file)
        index = cls(matrix.shape[1], texts, width=learned_cells.projection.width)
        index._matrix, index._n_rows, index._learned = matrix, int(facts["covered"]), learned_cells
        index._use(cells)
        return index

    @property
    def _is_uneven(self) -> bool:
        sizes = self._cells.sizes
        return bool(sizes.max() > _TOO_LARGE * sizes.mean())

    def _take(self, new: Rows, on_progress: Callable[[int], None], *, is_all: bool) -> None:
        """Put new rows into the cells that were learned, or all rows where they were learned anew."""
        assert self._learned is not None
        projection = self._learned.projection.narrowed(self.width)
        rows = np.setdiff1d(np.arange(self._n_rows), self._waiting) if is_all else new
        taken, n_done = [(NO_ROWS.astype(np.int32), NO_ROWS.astype(np.int32), self._no_sketches)], 0
        for block, vectors in directed_rows(self._matrix, [rows]):
            sketches = projection.of(vectors)
            taken.append((self._learned.cells_of(sketches), block.astype(np.int32), sketches))
            n_done += len(block)
            on_progress(n_done * len(new) // len(rows))
        cells, numbers, sketches = (np.concatenate(parts) for parts in zip(*taken, strict=True))
        n_cells = len(self._learned.centroids)
        is_first = is_all or not self._cells.n_cells
        before = Cells.of(numbers[:0], cells[:0], sketches[:0], n_cells) if is_first else self._cells
        self._use(before.joined(cells, numbers, sketches))

    def _shortlists(
        self, queries: Matrix, n_scanned: int, n_refined: int, passing: Passing
    ) -> Iterator[tuple[Matrix, Rows]]:
        """Yield each query (dim,) with the rows of best sketches, `n_refined` and all that tie with the last.

        All queries that a cell is scanned for are scored by one product.
        """
        assert self._learned is not None
        sketched = self._learned.projection.narrowed(self.width).queries(queries)
        probed = [self._probed(row, n_scanned) for row in self._expected(sketched, passing.sizes)]
        of_query = np.repeat(np.arange(len(queries)), [len(cells) for cells in probed])
        cells = np.concatenate(probed)
        by_cell = np.argsort(cells, kind="stable")
        cells, of_query = cells[by_cell], of_query[by_cell]
        sizes = self._sizes[cells]
        ends = np.cumsum(sizes)
        scores = np.empty(int(ends[-1]), dtype=np.float32)
        self._score(sketched, cells, of_query, ends, passing, scores)
        starts, first_rows = (ends - sizes).tolist(), self._cells.starts[cells]
        by_query = np.split(np.argsort(of_query, kind="stable"), np.cumsum([len(cells) for cells in probed])[:-1])
        for query, places in zip(queries, by_query, strict=True):
            of_cells = [
                scores[starts[place] : starts[place] + self._sizes[cells[place]]] for place in places.tolist()
            ]
            yield query, self._best_rows(np.concatenate(of_cells), first_rows[places], sizes[places], n_refined)

    def _score(
        self, queries: Matrix, cells: Rows, of_query: Rows, ends: Rows, passing: Passing, scores: Matrix
    ) -> None:
        """Write the scores of the rows of each cell, in ascending order, for each of its queries into `scores`."""
        wide = np.empty((int(self._sizes[cells].max()), self.width), dtype=np.float32)
        named, first = np.unique(cells, return_index=True)
        bounds, ends_of = [*first.tolist(), len(cells)], [0, *ends.tolist()]
        for number, cell in enumerate(named.tolist()):
            place, stop = bounds[number], bounds[number + 1]
            sketches = self._cells.members.of(cell)
            part = wide[: len(sketches)]
            np.copyto(part, sketches)
            out = scores[ends_of[place] : ends_of[stop]].reshape(stop - place, -1)
            np.matmul(queries[of_query[place:stop]], part.T, out=out)
            if passing.in_parts is not None:
                start = self._starts[cell]
                out[:, ~passing.in_parts[start : start + len(part)]] = -np.inf

    def _expected(self, queries: Matrix, sizes: Rows) -> Matrix:
        """Return for each query the best score (n_queries, n_cells) to be expected of so many rows of each cell."""
        largest = largest_of_query(self.width)
        squares = np.rint(np.square(queries[:, : len(self._variances)]) * np.float32(255 / largest**2))
        unit = np.float32(self._cells.variance_step * largest**2 / 255)
        expected: Matrix = queries @ self._means + np.float32(_STANDARD_DEVIATIONS) * np.sqrt(
            (squares @ self._variances) * unit
        )
        expected[:, sizes == 0] = -np.inf
        return expected

    def _probed(self, expected: Matrix, n_scanned: int) -> Rows:
        """Return the cells of the highest expected scores (n_cells,) that hold so many rows together, ascending."""
        n_filled = int((expected > -np.inf).sum())
        n = min(n_filled, 32 + 2 * int(len(expected) * n_scanned / self._cells.n_held))
        while True:
            floor = np.partition(expected, len(expected) - n)[len(expected) - n]
            cells = np.flatnonzero(expected >= floor)
            cells = cells[np.argsort(-expected[cells], kind="stable")]
            ends = np.cumsum(self._sizes[cells])
            if n == n_filled or ends[-1] >= n_scanned:
                return np.sort(cells[: int(np.searchsorted(ends, n_scanned)) + 1])
            n = min(n_filled, 2 * n)

    def _best_rows(self, scores: Matrix, first_rows: Rows, sizes: Rows, n: int) -> Rows:
        """Return the rows, ascending, of the n best scores in some cells, and of those that equal the last."""
        (places,) = contenders(scores[None], n, 0)
        places = places[scores[places] > -np.inf]
        ends = np.cumsum(sizes)
        cell = np.searchsorted(ends, places, side="right")
        return np.sort(self._cells.rows[first_rows[cell] + places - (ends - sizes)[cell]]).astype(np.int64)

    def _refined(self, query: Matrix, rows: Rows, k: int) -> tuple[Cosines, Rows]:
        """Return the k best of some rows by their stored vectors, with their cosines."""
        halves = self._matrix[rows]
        wide = widen_f16(halves, np.empty(halves.shape, dtype=np.float32))
        # Not by BLAS, which would wake its threads for so little: they wait for a core where others are at work.
        roughly = np.einsum("nd,d->n", wide, query) * inverse_lengths(wide)
        (near,) = contenders(roughly[None], k, MARGIN)
        scores, best = top_k(stored_cosines(query, halves[near])[None], rows[near], k)
        return scores[0], best[0]

    def _bury(self, dead: frozenset[int]) -> None:
        self._dead = dead
        self._alive = self.passing(None)

    def _use(self, cells: Cells) -> None:
        """Search these cells from now on, with no dead rows."""
        self._cells, self._sizes, self._starts = cells, cells.sizes, cells.starts.tolist()
        self._is_held = np.zeros(self._n_rows, dtype=bool)
        self._is_held[cells.rows] = True
        self._means = np.ascontiguousarray(cells.means.T, dtype=np.float32)
        self._variances = np.ascontiguousarray(cells.variances.T, dtype=np.float32)
        self._bury(frozenset())


def _made(dim: int, settings: Mapping[str, Any], texts: Matrix) -> CellsIndex:
    return CellsIndex(dim, texts)


CELLS = IndexKind(
    KIND, KIND, _made, CellsIndex.of_file, finer=CellsIndex.finer, can_filter=True, is_read_lazily=True
)
