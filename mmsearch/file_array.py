"""Arrays that stay in their file: rows are read when they are asked for, and never mapped.

A process that touches a mapped page whose file was cut is ended by the system (SIGBUS), and no check before it is
near enough. A read that comes back short is an error like any other.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable
from itertools import repeat
from math import prod
from pathlib import Path
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import MmsearchError, advice, reason
from mmsearch.system import shown_path

Scalar = TypeVar("Scalar", bound=np.generic)
_MOST = 1 << 30  # bytes that are read at once: systems give 2 GiB at most


class OpenFile:
    """A file that is read at any place, by any thread, and closed when nothing holds it any more.

    Parameters
    ----------
    path : Path
        Its name, for people.
    handle : int
        Its descriptor, which belongs to this object from now on.
    error : type of MmsearchError
        Raised when it was cut or cannot be read.
    """

    def __init__(self, path: Path, handle: int, error: type[MmsearchError]) -> None:
        self.path, self.handle, self.error = path, handle, error
        weakref.finalize(self, os.close, handle)

    def read_into(self, pieces: Iterable[Any], offsets: Iterable[int], n_bytes: int) -> None:
        """Fill pieces of memory, n_bytes together, each with what the file holds from its offset on."""
        try:
            # Without a loop in Python: a piece costs about 0.4 us more than the same bytes of a mapped page.
            n_read = sum(map(os.preadv, repeat(self.handle), zip(pieces), offsets))
        except OSError as error:
            why = f"cannot be read ({reason(error)}); {advice(error)}"
            raise self.error(f"{shown_path(self.path)} {why}") from error
        if n_read < n_bytes:
            raise self.error(
                f"{shown_path(self.path)} was cut while it was read; restore it, or run `mmsearch verify --repair` "
                "and then `mmsearch index` on the folders again"
            )


class FileArray(Generic[Scalar]):
    """An array (n, ...) in a file, indexed along its first axis as if it were in memory; every answer is a copy.

    Threads may share it. What is read is what the file holds then.

    Parameters
    ----------
    file : OpenFile
        Where it lies.
    dtype : dtype
        Of the values, little-endian.
    shape : tuple of int
        Number of rows, and the shape of each.
    offset : int
        Bytes before the first row.
    """

    def __init__(self, file: OpenFile, dtype: np.dtype[Scalar], shape: tuple[int, ...], *, offset: int = 0) -> None:
        self.dtype, self.shape = dtype, shape
        self._file, self._offset = file, offset
        self._row_bytes = dtype.itemsize * prod(shape[1:])

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.shape[0]

    def __getitem__(self, rows: slice | NDArray[np.integer]) -> NDArray[Scalar]:
        """Return rows: a slice without steps, or their numbers (n,) in any order.

        Raises
        ------
        IndexError
            If there is no such row.
        MmsearchError
            Of the file's kind, if it was cut or cannot be read.
        """
        if isinstance(rows, slice):
            first, last, _ = rows.indices(len(self))
            values = self._empty(max(0, last - first))
            if values.size:
                memory, start = values.reshape(-1).view(np.uint8).data, self._offset + first * self._row_bytes
                blocks = range(0, values.nbytes, _MOST)
                pieces = (memory[block : block + _MOST] for block in blocks)
                self._file.read_into(pieces, (start + block for block in blocks), values.nbytes)
            return values
        if len(rows) and not (rows.min() >= 0 and rows.max() < len(self)):
            raise IndexError(f"rows {rows.min()} to {rows.max()} of an array of {len(self)}")
        # Neighbours in the file are read together, such as the pictures of one folder.
        is_first = np.ones(len(rows), dtype=bool)
        np.not_equal(rows[1:], rows[:-1] + 1, out=is_first[1:])
        places = np.flatnonzero(is_first)
        return self.runs(rows[places], np.diff(places, append=len(rows)))

    def runs(self, starts: NDArray[np.integer], lengths: NDArray[np.integer]) -> NDArray[Scalar]:
        """Return runs of rows, one behind the other: so many from each start on, all of them there."""
        ends = np.cumsum(lengths) * self._row_bytes
        values = self._empty(int(lengths.sum()))
        if values.size:
            offsets = self._offset + starts.astype(np.int64) * self._row_bytes
            memory, places = values.data.cast("B"), [0, *ends.tolist()]
            pieces = map(memory.__getitem__, map(slice, places, places[1:]))
            self._file.read_into(pieces, offsets.tolist(), values.nbytes)
        return values

    def _empty(self, n: int) -> NDArray[Scalar]:
        return np.empty((n, *self.shape[1:]), dtype=self.dtype)


class RowSource(Protocol):
    """Vectors float16 (n, dim) that are made of what lies elsewhere when they are asked for."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Their number, and their width."""

    def __len__(self) -> int:
        """Return their number."""

    def __getitem__(self, rows: slice | NDArray[np.integer]) -> NDArray[np.float16]:
        """Return a copy of rows: a slice without steps, or their numbers (n,) in any order."""


HalfRows: TypeAlias = "NDArray[np.float16] | FileArray[np.float16] | RowSource"
"""Vectors (n, dim), in memory, in their file or made of what lies elsewhere."""
