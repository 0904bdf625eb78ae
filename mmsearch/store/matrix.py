"""The vectors of a library: an append-only float16 matrix that readers read block by block.

The file holds nothing but rows; how many of them count, and their width, is said by the catalog.
"""

from __future__ import annotations

import os
import stat
import zlib
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import LibraryDamagedError, StorageError, advice, reason
from mmsearch.file_array import FileArray, HalfRows, OpenFile
from mmsearch.store.publish import sync
from mmsearch.system import shown_path

Half = NDArray[np.float16]


def row_checksum(row: Half) -> int:
    """Return the crc32 of one row's bytes."""
    return zlib.crc32(row.tobytes())


def row_digest(row: Half) -> bytes:
    """Return 16 bytes that equal rows share and others do not."""
    return blake2b(row.tobytes(), digest_size=16).digest()


def append_rows(path: Path, rows: Half | NDArray[np.int8], *, at: int) -> None:
    """Write rows (n, dim) behind the first `at` rows of the file and force them to disk.

    Whatever an interrupted run left behind row `at` is overwritten or cut off.

    Raises
    ------
    StorageError
        If the disk refuses; the rows before `at` are untouched.
    """
    data = memoryview(np.ascontiguousarray(rows, dtype=rows.dtype.newbyteorder("<")).tobytes())
    start = at * rows.shape[1] * rows.itemsize
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(handle, start)
            written = 0
            while written < len(data):
                written += os.pwrite(handle, data[written:], start + written)
            sync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise StorageError(
            f"{shown_path(path)}: could not store {len(rows)} vectors ({reason(error)}); {advice(error)}, "
            "and run again; nothing that was stored before is lost"
        ) from error


def stored_rows(path: Path, dim: int, *, itemsize: int = 2) -> int:
    """Return how many whole rows the file holds; 0 if there is none, or if rows have no width.

    `itemsize` are the bytes of a number.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        return 0
    return status.st_size // (itemsize * dim) if dim and stat.S_ISREG(status.st_mode) else 0


def look_of(path: Path) -> tuple[int, ...]:
    """Return the length of a file and what changes when it is written to or replaced; nothing without a file."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns


def open_rows(path: Path, n_rows: int, dim: int) -> HalfRows:
    """Return the first `n_rows` rows of the file, which are read when they are asked for.

    Whoever cuts the file later ends no process: reading what is lost is a LibraryDamagedError.

    Raises
    ------
    LibraryDamagedError
        If the file is missing or shorter than that.
    StorageError
        If the system refuses to open it.
    """
    if n_rows == 0:
        return np.zeros((0, dim), dtype=np.float16)
    n_stored = stored_rows(path, dim)
    if n_stored < n_rows:
        raise LibraryDamagedError(
            f"{shown_path(path)}: {n_stored} vectors found, the catalog lists {n_rows}; "
            "run `mmsearch index` on the folders again to embed the missing ones"
        )
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise LibraryDamagedError(f"{shown_path(path)} is gone; {advice(error)}") from error
    except OSError as error:
        raise StorageError(f"{shown_path(path)} cannot be read ({reason(error)}); {advice(error)}") from error
    return FileArray(OpenFile(path, handle, LibraryDamagedError), np.dtype("<f2"), (n_rows, dim))
