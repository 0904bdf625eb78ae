"""What a nearest-neighbour index is: what every one of them can do, and what may be asked of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mmsearch.file_array import HalfRows
from mmsearch.records import Cosines, Matrix
from mmsearch.vectors import l2_normalize

Rows = NDArray[np.int64]
NO_ROWS: Rows = np.zeros(0, dtype=np.int64)
_ROWS = 2_000  # taken in at a time


@dataclass(frozen=True)
class IndexFacts:
    """What an index says of itself, for sidecars and reports.

    `n_held` counts the rows that it can find, dead ones included; `size_bytes` is what it takes beside the matrix,
    in a file or in memory; `settings` are what it was built with, under the names of its own method, fit for JSON.
    """

    n_held: int
    size_bytes: int
    settings: dict[str, Any] = field(default_factory=dict)


class SearchableIndex(Protocol):
    """Cosine nearest neighbours over unit vectors, by row number, wherever they are kept."""

    @property
    def efforts(self) -> tuple[int, ...]:
        """Efforts to choose from, ascending: more finds more and takes longer. None for an index that is exact."""

    def __len__(self) -> int:
        """Return the number of rows that can be found."""

    def search(self, queries: Matrix, k: int, effort: int | None = None) -> tuple[Cosines, Rows]:
        """Return the min(k, len) best rows of every query.

        Parameters
        ----------
        queries : float32 array, shape (n_queries, dim)
            Unit rows.
        k : int > 0
        effort : int, optional
            How much to do for it, any number; by default what suits most. An exact index does all there is to do.

        Returns
        -------
        scores : float64 array, shape (n_queries, n)
            Cosines, best first. n is min(k, len); less where an approximate index reaches no more for one of the
            queries, so check the width of the answer.
        rows : int64 array, same shape

        Raises
        ------
        DimensionError
            If the queries have another width than the rows.
        """


class VectorIndex(SearchableIndex, Protocol):
    """An index that is built here, from rows of a matrix; dead rows never come back.

    `ExactIndex` scans, and is the oracle for all others; `HnswIndex` walks a graph, `CellsIndex` scans a few
    cells. `tests/contracts` holds what each of them must pass. Searching from several threads is safe where
    nothing else is called meanwhile.

    A new kind is one more file in this folder, and an `IndexKind` in `mmsearch.indexes.kinds`: its name, and how
    one is made, saved and loaded. The cache that publishes an index (`mmsearch.store.indexes`) knows it by that
    alone, and the plan of a modality names the kind and an effort (`mmsearch.indexes.plans`). An index that is
    never published, such as the scan, is of no kind.
    """

    @property
    def n_rows(self) -> int:
        """Rows of the matrix that it was built from, dead ones included: later rows it does not know."""

    @property
    def dead(self) -> frozenset[int]:
        """Rows that are left out of every answer."""

    @property
    def facts(self) -> IndexFacts:
        """What it holds, how large it is and how it was built."""

    def build(
        self, matrix: HalfRows, *, without: Rows = NO_ROWS, on_progress: Callable[[int], None] = lambda n: None
    ) -> None:
        """Take in the rows that the index does not know yet. Dead rows stay dead.

        Parameters
        ----------
        matrix : float16 array, shape (n, dim)
            Begins with the `n_rows` rows of the last time. Rows count at unit length. One without a direction is
            near nothing, and may be left out.
        without : int64 array, shape (n,)
            Rows from `n_rows` on that are taken in by the next call, whatever that leaves out.
        on_progress : callable
            Given the number of rows taken in so far.
        """

    def delete(self, rows: Iterable[int]) -> None:
        """Leave rows out of every later answer; rows that the index does not hold are ignored."""

    def restore(self, rows: Iterable[int]) -> None:
        """Let deleted rows come back; others are ignored."""


@dataclass(frozen=True)
class Passing:
    """Which rows of an index may be found: bool (n_held,) in the order of its parts, None for all of them.

    `sizes` int64 (n_parts,) says how many of each part, `n` how many of all.
    """

    in_parts: NDArray[np.bool_] | None
    sizes: Rows
    n: int


@runtime_checkable
class FilteringIndex(Protocol):
    """An index that can be told which of its rows pass a filter, before it looks for the nearest."""

    @property
    def n_rows(self) -> int:
        """As for a `VectorIndex`."""

    def passing(self, rows: Rows | None) -> Passing:
        """Return what lets these rows pass, all of them for None, as far as they are alive."""

    def search_among(
        self, queries: Matrix, k: int, passing: Passing, effort: int | None = None
    ) -> tuple[Cosines, Rows]:
        """Search as `search` does, but only the rows that pass; returns fewer where too few are reached."""


class SavedIndex(VectorIndex, Protocol):
    """An index that goes to a file."""

    def save(self, path: Path) -> None:
        """Write all of it but which rows are dead; OSError if not all of it is there afterwards."""


@dataclass(frozen=True)
class IndexKind:
    """How indexes of one kind are made and read; they have efforts to choose from.

    Parameters
    ----------
    name : str
        In the manifest, in plans and in routes.
    stem : str
        Of its files: small letters.
    make : callable
        Given the dimensions, the settings that the library keeps for indexes, of which each kind takes its own, and
        unit embeddings float32 (n, dim) of typical texts; returns an empty index.
    load : callable
        Given a file, open at its start, that is known to be what was saved, the matrix that begins with its rows,
        and the sidecar, which holds the settings in the index's facts, `n` (its `n_held`) and `covered` (its
        `n_rows`); returns the index with no dead rows.
    packages : tuple of str
        Whose versions are noted beside the file.
    finer : callable, optional
        Given an index of this kind, returns an empty one that finds more with the same effort, or None.
    can_filter : bool
        Its indexes are told which rows pass a filter: each is a `FilteringIndex`.
    is_read_lazily : bool
        Opening one takes no time: what is read of the file is read, and compared with a checksum of its own, when
        it is asked for. Else the file that `load` is given was compared as a whole.
    """

    name: str
    stem: str
    make: Callable[[int, Mapping[str, Any], Matrix], SavedIndex]
    load: Callable[[BinaryIO, HalfRows, Mapping[str, Any]], SavedIndex]
    packages: tuple[str, ...] = ()
    finer: Callable[[Any], SavedIndex | None] | None = None
    can_filter: bool = False
    is_read_lazily: bool = False


def leave_out(index: VectorIndex, dead: Iterable[int]) -> None:
    """Make these, and no others, the dead rows of an index, as far as it holds them."""
    wanted = frozenset(dead)
    index.restore(index.dead - wanted)
    index.delete(wanted - index.dead)


def directed_rows(matrix: HalfRows, ranges: Iterable[range | Rows]) -> Iterator[tuple[Rows, Matrix]]:
    """Yield blocks of (rows, unit vectors) of some rows that have a direction; one for a lost row has none."""
    for rows in ranges:
        for start in range(0, len(rows), _ROWS):
            block = np.asarray(rows[start : start + _ROWS], dtype=np.int64)
            places, vectors = unit_rows(matrix[block])
            if len(places):
                yield block[places], vectors


def unit_rows(rows: NDArray[np.float16]) -> tuple[Rows, Matrix]:
    """Return which of some rows (n, dim) have a direction, and those as unit vectors float32."""
    vectors = np.asarray(rows, dtype=np.float32)
    has_direction = np.isfinite(vectors).all(axis=1) & vectors.any(axis=1)
    return np.flatnonzero(has_direction), l2_normalize(vectors[has_direction])
