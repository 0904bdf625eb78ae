"""What a nearest-neighbour index is: what every one of them can do, and what may be asked of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from mmsearch.file_array import HalfRows
from mmsearch.records import Cosines, Matrix

Rows = NDArray[np.int64]


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

    `ExactIndex` scans, and is the oracle for all others; `HnswIndex` walks a graph. `tests/contracts` holds what
    each of them must pass. Searching from several threads is safe where nothing else is called meanwhile.

    A third kind is one more file in this folder. Cells over quantised rows, `cells.py`, would be

    - a constructor that takes the dimensions and some typical queries, which the sketch of a row is fitted to;
    - `build`: the first time it learns a projection and the centroids of the cells from a sample; every row gets
      its cell and its sketch, projected and rounded to int8. Later rows join the cells that are there;
    - `delete`, `restore`: a mask in the order of the cells, so that dead rows never become candidates;
    - `search`: cells in the order of the best score to be expected in them, until `effort` thousandths of all rows
      are scanned, by integer products with the sketches; the best of those are scored by the rows of the matrix;
    - `efforts` such as (5, 10, 20, 40, 80), and `facts` with `{"cells": 1024, "sketch": 128}` for settings.

    - an `IndexKind` in `mmsearch.indexes.kinds`: its name, and how one is made, saved and loaded.

    The cache that publishes an index (`mmsearch.store.graph`) knows it by that alone, and the plan of a modality
    names the kind and an effort (`mmsearch.indexes.plans`). An index that is never published, such as the scan, is
    of no kind.
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

    def build(self, matrix: HalfRows, *, on_progress: Callable[[int], None] = lambda n: None) -> None:
        """Take in the rows that the index does not know yet. Dead rows stay dead.

        Parameters
        ----------
        matrix : float16 array, shape (n, dim)
            Begins with the `n_rows` rows of the last time. Rows count at unit length. One without a direction is
            near nothing, and may be left out.
        on_progress : callable
            Given the number of rows taken in so far.
        """

    def delete(self, rows: Iterable[int]) -> None:
        """Leave rows out of every later answer; rows that the index does not hold are ignored."""

    def restore(self, rows: Iterable[int]) -> None:
        """Let deleted rows come back; others are ignored."""


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
        Given the dimensions and the settings that the library keeps for indexes, of which each kind takes its own;
        returns an empty index.
    load : callable
        Given a file, open at its start, that is known to be what was saved, the dimensions, and the sidecar, which
        holds the settings in the index's facts, `n` (its `n_held`) and `covered` (its `n_rows`); returns the index
        with no dead rows.
    packages : tuple of str
        Whose versions are noted beside the file.
    """

    name: str
    stem: str
    make: Callable[[int, Mapping[str, int]], SavedIndex]
    load: Callable[[BinaryIO, int, Mapping[str, Any]], SavedIndex]
    packages: tuple[str, ...] = ()


def leave_out(index: VectorIndex, dead: Iterable[int]) -> None:
    """Make these, and no others, the dead rows of an index, as far as it holds them."""
    wanted = frozenset(dead)
    index.restore(index.dead - wanted)
    index.delete(wanted - index.dead)
