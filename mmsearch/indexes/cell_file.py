"""CELLS, in a file: which rows are in each, what is known of them, and their sketches, read cell by cell.

What is small is checked when the file is opened, each cell when it is first asked for: a search reads a few per
cent of them. Pages are not mapped, as whoever cuts a mapped file ends the process that reads it.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mmsearch.array_file import open_arrays, write_arrays
from mmsearch.errors import LibraryDamagedError, VocabularyError
from mmsearch.file_array import FileArray
from mmsearch.indexes.base import Rows
from mmsearch.indexes.cell_learning import COARSE, Learned
from mmsearch.indexes.sketches import Projection, Sketches
from mmsearch.records import Matrix

KIND = "cells"
_SMALL = (
    "mean", "of_queries", "of_pictures", "steps", "centroids", "learned_rows", "texts", "starts", "rows", "means",
    "variances", "variance_step", "checksums",
)  # fmt: skip
_OF_THESE = "checksum"  # the array of their crc32: of what the header says of all arrays, and of these
_ROWS = 1 << 16  # of which sums are taken at a time


class Members:
    """Sketches int8 (n_held, width) in the order of their cells, in memory or read from a file cell by cell.

    Threads may share it.

    Parameters
    ----------
    source : array or FileArray
        What is in memory is believed.
    starts : int64 array, shape (n_cells + 1,)
        The first row of each cell, and the end.
    checksums : uint32 array, shape (n_cells,)
        The crc32 of each cell.
    """

    def __init__(self, source: Sketches | FileArray[np.int8], starts: Rows, checksums: NDArray[np.uint32]) -> None:
        self._source, self._starts, self._checksums = source, starts.tolist(), checksums
        self._read: dict[int, Sketches] = {}  # of a file, which is read once

    def of(self, cell: int) -> Sketches:
        """Return the sketches of a cell; not to be modified.

        Raises
        ------
        LibraryDamagedError
            If they differ from their checksum, or the file was cut.
        """
        sketches = self._read.get(cell)
        if sketches is None:
            sketches = self._source[self._starts[cell] : self._starts[cell + 1]]
            if isinstance(self._source, np.ndarray):
                return sketches
            if zlib.crc32(sketches.data) != self._checksums[cell]:
                raise LibraryDamagedError(
                    f"cell {cell} of the index differs from its checksum; run `mmsearch index` on the folders again"
                )
            self._read[cell] = sketches
        return sketches

    def all(self) -> Sketches:
        """Return the sketches of all cells, read and compared; not to be modified."""
        if isinstance(self._source, np.ndarray):
            return self._source
        cells = [self.of(cell) for cell in range(len(self._checksums))]
        return np.concatenate([np.zeros((0, *self._source.shape[1:]), dtype=np.int8), *cells])


@dataclass(frozen=True)
class Cells:
    """Rows in their cells, and what is to be expected of each cell.

    Parameters
    ----------
    starts : int64 array, shape (n_cells + 1,)
        Where each cell begins in `rows` and in the sketches.
    rows : int32 array, shape (n_held,)
        Row numbers, cell by cell, ascending in each.
    members : Members
        The sketches.
    means : int8 array, shape (n_cells, width)
        Mean sketch of each cell.
    variances : uint8 array, shape (n_cells, at most COARSE)
        Of the sketches of each cell, in units of `variance_step`.
    """

    starts: Rows
    rows: NDArray[np.int32]
    members: Members
    checksums: NDArray[np.uint32]
    means: Sketches
    variances: NDArray[np.uint8]
    variance_step: float

    @property
    def n_cells(self) -> int:
        """Number of cells, empty ones included."""
        return len(self.starts) - 1

    @property
    def n_held(self) -> int:
        """Number of rows in them."""
        return len(self.rows)

    @property
    def sizes(self) -> Rows:
        """Rows of each cell, int64 (n_cells,)."""
        return np.diff(self.starts)

    @property
    def n_bytes(self) -> int:
        """Bytes of all of it but the projection."""
        return int(self.rows.nbytes + self.n_held * self.means.shape[1] + self.means.nbytes + self.variances.nbytes)

    @property
    def cell_of_place(self) -> NDArray[np.int32]:
        """The cell of every place in `rows`, int32 (n_held,)."""
        return np.repeat(np.arange(self.n_cells, dtype=np.int32), self.sizes)

    @classmethod
    def of(cls, cells: NDArray[np.int32], rows: NDArray[np.int32], sketches: Sketches, n_cells: int) -> Cells:
        """Return cells of rows (n,) with their cells (n,) and their sketches (n, width)."""
        order = np.lexsort((rows, cells))
        sizes = np.bincount(cells, minlength=n_cells)
        starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        sketches = sketches[order]
        means, variances = _moments(sketches, starts)
        step = float(np.quantile(variances, 0.999)) / 255 if variances.size else 0.0
        step = step if step > 0 else 1.0
        pieces = [sketches[first:last] for first, last in pairwise(starts.tolist())]
        checksums = np.array([zlib.crc32(piece.data) for piece in pieces], dtype=np.uint32)
        return cls(
            starts, rows[order], Members(sketches, starts, checksums), checksums, np.rint(means).astype(np.int8),
            np.clip(np.rint(variances / step), 0, 255).astype(np.uint8), step,
        )  # fmt: skip

    def joined(self, cells: NDArray[np.int32], rows: NDArray[np.int32], sketches: Sketches) -> Cells:
        """Return these cells with later rows (n,) in them, which go to the given cells (n,)."""
        return Cells.of(
            np.concatenate([self.cell_of_place, cells]),
            np.concatenate([self.rows, rows]),
            np.concatenate([self.members.all(), sketches]),
            self.n_cells,
        )


def _moments(sketches: Sketches, starts: Rows) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return means (n_cells, width) and variances (n_cells, at most COARSE) of sketches in the order of cells."""
    n_cells, width = len(starts) - 1, sketches.shape[1]
    sums = np.zeros((n_cells, width), dtype=np.int64)
    squares = np.zeros((n_cells, min(width, COARSE)), dtype=np.int64)
    filled, cell = np.flatnonzero(np.diff(starts)), 0
    while cell < len(filled):
        first = starts[filled[cell]]
        last = max(cell + 1, int(np.searchsorted(starts[filled], first + _ROWS)))
        part, rows = filled[cell:last], sketches[first : starts[filled[last - 1] + 1]]
        sums[part] = np.add.reduceat(rows, starts[part] - first, axis=0, dtype=np.int64)
        wide = rows[:, :COARSE].astype(np.int16)
        squares[part] = np.add.reduceat(wide * wide, starts[part] - first, axis=0, dtype=np.int64)
        cell = last
    sizes = np.maximum(1, np.diff(starts))[:, None]
    means = sums / sizes
    return means, np.maximum(squares / sizes - means[:, :COARSE] ** 2, 0)


def write_cells(path: Path, learned: Learned, texts: Matrix, cells: Cells) -> None:
    """Write all that `read_cells` gives back."""
    projection = learned.projection
    arrays: dict[str, NDArray[Any]] = {
        "mean": projection.mean, "of_queries": projection.of_queries, "of_pictures": projection.of_pictures,
        "steps": projection.steps, "centroids": learned.centroids,
        "learned_rows": np.array([learned.n_rows], dtype=np.int64), "texts": texts.astype(np.float16),
        "starts": cells.starts, "rows": cells.rows, "means": cells.means, "variances": cells.variances,
        "variance_step": np.array([cells.variance_step]), "checksums": cells.checksums,
    }  # fmt: skip
    arrays["sketches"] = cells.members.all()
    checksums = np.array([_header_checksum(arrays), _checksum(arrays)], dtype=np.uint32)
    write_arrays(path, KIND, {}, {**arrays, _OF_THESE: checksums})


def read_cells(file: BinaryIO) -> tuple[Learned, Matrix, Cells]:
    """Return what was learned, the texts that it was fitted to, and the cells, their sketches unread.

    Raises
    ------
    VocabularyError
        If it is another kind of file, or differs from its checksum.
    OSError, LibraryDamagedError
        If it cannot be read.
    """
    opened = open_arrays(file, KIND)
    differs = VocabularyError(f"{Path(file.name).name} differs from its checksum")
    checksums = opened.pop(_OF_THESE, None)
    # The header first: by a wrong one, other bytes or another type would be read.
    if checksums is None or checksums.shape != (2,) or checksums[:1].tolist() != [_header_checksum(opened)]:
        raise differs
    arrays = {name: opened[name][:] for name in _SMALL}
    if checksums[1:].tolist() != [_checksum(arrays)]:
        raise differs
    projection = Projection(*(arrays[name] for name in ("mean", "of_queries", "of_pictures", "steps")))
    learned = Learned(projection, arrays["centroids"], arrays["learned_rows"].item(), is_cut=True)
    members = Members(opened["sketches"], arrays["starts"], arrays["checksums"])
    cells = Cells(
        arrays["starts"], arrays["rows"], members, arrays["checksums"], arrays["means"], arrays["variances"],
        arrays["variance_step"].item(),
    )  # fmt: skip
    return learned, arrays["texts"].astype(np.float32), cells


def _header_checksum(arrays: Mapping[str, NDArray[Any] | FileArray[Any]]) -> int:
    """Return the crc32 of the names, types and shapes of arrays."""
    described = sorted((name, array.dtype.str, array.shape) for name, array in arrays.items())
    return zlib.crc32(repr(described).encode())


def _checksum(arrays: Mapping[str, NDArray[Any]]) -> int:
    """Return the crc32 of the values of all arrays but the sketches."""
    checksum = 0
    for name in _SMALL:
        checksum = zlib.crc32(np.ascontiguousarray(arrays[name]).data, checksum)
    return checksum
