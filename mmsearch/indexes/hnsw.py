"""Approximate cosine nearest neighbours on a navigable small-world graph (Malkov and Yashunin, 2018).

A thin shell over hnswlib that keeps clear of its sharp edges: capacity grows before an insert, k is
clamped to the live rows, `ef` is never below k, vectors without a direction are refused, deleted nodes
are marked and never reused, and a file is only loaded by callers that have checked its checksum.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

import numpy as np

from mmsearch.errors import DimensionError
from mmsearch.file_array import HalfRows
from mmsearch.indexes.base import NO_ROWS, IndexFacts, IndexKind, Rows, directed_rows
from mmsearch.records import Cosines, Matrix
from mmsearch.system import path_through
from mmsearch.vectors import check_directions, check_width

_EFFORT = 64  # of a search that is told none
_BLOCK = 1 << 20  # bytes


class HnswIndex:
    """Graph whose labels are row numbers; the effort of a search is its beam, `ef`.

    Searching from several threads is safe, changing is not.

    Parameters
    ----------
    dim : int
        Width of the vectors.
    m : int
        Links per node and layer.
    ef_construction : int
        Beam while inserting.
    """

    efforts: tuple[int, ...] = (10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)

    def __init__(self, dim: int, *, m: int = 16, ef_construction: int = 200) -> None:
        self.dim, self.m, self.ef_construction = dim, m, ef_construction
        self._n_rows = 0
        self._graph = self._empty_graph()
        self._graph.init_index(max_elements=1, M=m, ef_construction=ef_construction)
        self._dead: set[int] = set()
        self._waiting = NO_ROWS
        self._lock = Lock()

    def _empty_graph(self) -> Any:
        import hnswlib

        # On unit vectors the inner product is the cosine, without hnswlib normalising a copy.
        return hnswlib.Index(space="ip", dim=self.dim)

    def __len__(self) -> int:
        """Return the number of live rows."""
        return int(self._graph.get_current_count()) - len(self._dead)

    @property
    def n_rows(self) -> int:
        """Rows of the matrix that the graph was built from; those without a direction are no nodes of it."""
        return self._n_rows

    @property
    def facts(self) -> IndexFacts:
        """Number of nodes, bytes of the graph with its copy of the vectors, and what it was built with."""
        settings = {"M": self.m, "ef_construction": self.ef_construction}
        return IndexFacts(int(self._graph.get_current_count()), int(self._graph.index_file_size()), settings)

    def build(
        self,
        matrix: HalfRows,
        *,
        without: Rows = NO_ROWS,
        on_progress: Callable[[int], None] = lambda n: None,
        n_threads: int = -1,
    ) -> None:
        """Insert the rows of a matrix float16 (n, dim) from `n_rows` on that have a direction; -1 for all cores."""
        new = np.setdiff1d(np.arange(self._n_rows, len(matrix)), without)
        blocks = directed_rows(matrix, [self._waiting, new])
        self.add(blocks, len(self._waiting) + len(new), n_threads=n_threads, on_progress=on_progress)
        self._n_rows, self._waiting = len(matrix), without

    def add(
        self,
        blocks: Iterable[tuple[Rows, Matrix]],
        total: int,
        *,
        n_threads: int = -1,
        on_progress: Callable[[int], None] = lambda n: None,
    ) -> None:
        """Insert unit vectors under their row numbers.

        Parameters
        ----------
        blocks : iterable of (rows int64 (n,), vectors float32 (n, dim))
            Rows that the graph does not hold yet.
        total : int
            At least as many as will come; the capacity is grown to hold them first.
        n_threads : int
            -1 for all cores. The graph is the same from run to run only with one thread.
        on_progress : callable
            Given the number of vectors inserted so far, after every block.

        Raises
        ------
        DimensionError, VectorError
            If vectors do not fit; those before them stay inserted.
        """
        n_needed = int(self._graph.get_current_count()) + total
        if n_needed > self._graph.get_max_elements():
            self._graph.resize_index(n_needed)
        done = 0
        for rows, vectors in blocks:
            if vectors.shape[1] != self.dim:
                raise DimensionError(f"vectors have {vectors.shape[1]} dimensions, the graph has {self.dim}")
            check_directions(vectors)
            self._graph.add_items(vectors, rows, num_threads=n_threads)
            self._n_rows = max(self._n_rows, int(rows.max()) + 1)
            done += len(rows)
            on_progress(done)

    def delete(self, rows: Iterable[int]) -> None:
        """Leave rows out of every later answer; rows not in the graph are ignored."""
        for row in rows:
            try:
                self._graph.mark_deleted(row)
            except RuntimeError:  # hnswlib: "Label not found", or deleted before
                continue
            self._dead.add(row)

    def restore(self, rows: Iterable[int]) -> None:
        """Let deleted rows come back."""
        for row in self._dead.intersection(rows):
            self._graph.unmark_deleted(row)
            self._dead.discard(row)

    @property
    def dead(self) -> frozenset[int]:
        """Rows that are deleted."""
        return frozenset(self._dead)

    def search(
        self, queries: Matrix, k: int, effort: int | None = None, *, n_threads: int = -1
    ) -> tuple[Cosines, Rows]:
        """Return about the min(k, len) best rows of every query, with a beam of max(effort, k).

        Cosines are those of the graph's own copies of the vectors. May return fewer where the graph cannot reach
        more, and does so for all queries then: check the width of the answer. Several queries are shared out to
        `n_threads`, -1 for all cores.
        """
        check_width(queries, self.dim)
        check_directions(queries, "queries")
        k = min(k, len(self))
        if k == 0 or len(queries) == 0:
            return np.zeros((len(queries), 0)), np.zeros((len(queries), 0), np.int64)
        # One thread for a single query: starting the pool costs more than the walk.
        n_threads = 1 if len(queries) < 8 else n_threads
        with self._lock:  # the beam is one of the graph, not of the search
            self._graph.set_ef(max(_EFFORT if effort is None else effort, k))
            try:
                rows, distances = self._graph.knn_query(queries, k=k, num_threads=n_threads)
            except RuntimeError:  # hnswlib found fewer than k reachable live nodes
                return np.zeros((len(queries), 0)), np.zeros((len(queries), 0), np.int64)
        return 1 - distances.astype(np.float64), rows.astype(np.int64)

    def save(self, path: Path) -> None:
        """Write all but which rows are dead.

        Raises
        ------
        OSError
            If not all of it is there afterwards, which hnswlib does not notice.
        """
        path.open("wb").close()
        dead = self.dead
        self.restore(dead)  # hnswlib writes its marks too, and whoever loads the file could not take them off
        try:
            self._graph.save_index(str(path))
        finally:
            self.delete(dead)
        n_bytes, n_expected = path.stat().st_size, self.facts.size_bytes
        if n_bytes == n_expected:
            return
        with path.open("ab", buffering=0) as file:
            for _ in range(n_bytes, n_expected, _BLOCK):  # until the system says why it takes no more
                file.write(bytes(_BLOCK))
        raise OSError(errno.EIO, f"{n_bytes} of {n_expected} bytes were written")

    @classmethod
    def load(cls, path: Path, dim: int, *, m: int, ef_construction: int, n_nodes: int) -> HnswIndex:
        """Read a graph that is known to be whole: a damaged file crashes the process.

        Raises
        ------
        OSError
            If it cannot be read.
        """
        index = cls(dim, m=m, ef_construction=ef_construction)
        index._n_rows = n_nodes
        index._graph = index._empty_graph()
        try:
            index._graph.load_index(str(path), max_elements=max(1, n_nodes))
        except RuntimeError as error:  # hnswlib: "Cannot open file", whatever the reason
            path.open("rb").close()
            raise OSError(errno.EIO, str(error)) from error
        return index

    @classmethod
    def of_file(cls, file: BinaryIO, dim: int, facts: Mapping[str, Any]) -> HnswIndex:
        """Read a graph as `load` does from a file that is open, with what is noted of it beside it."""
        path = path_through(file.fileno(), Path(file.name))
        ef_construction = facts["ef_construction"]
        index = cls.load(path, dim, m=facts["M"], ef_construction=ef_construction, n_nodes=facts["n"])
        index._n_rows = int(facts.get("covered", facts["n"]))  # rows without a direction are covered, and no nodes
        if "measured" not in facts:  # an older version, which wrote down rows that were dead then
            for row in index._graph.get_ids_list():
                with suppress(RuntimeError):  # hnswlib: it is not deleted
                    index._graph.unmark_deleted(row)
        return index


def _made(dim: int, settings: Mapping[str, Any], texts: Matrix) -> HnswIndex:
    return HnswIndex(dim, m=settings["m"], ef_construction=settings["ef_construction"])


def _loaded(file: BinaryIO, matrix: HalfRows, facts: Mapping[str, Any]) -> HnswIndex:
    return HnswIndex.of_file(file, matrix.shape[1], facts)


GRAPH = IndexKind("graph", "hnsw", _made, _loaded, ("hnswlib",))
