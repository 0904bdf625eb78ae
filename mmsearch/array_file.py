"""One file of named arrays: a line that says what it is, a line of JSON, the arrays as in memory, a checksum.

Opening reads the two lines only; the arrays stay in the file until rows of them are asked for. No pickle.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from hashlib import file_digest, sha256
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import LibraryDamagedError, VocabularyError
from mmsearch.file_array import FileArray, OpenFile

Arrays = dict[str, NDArray[Any]]
Places = dict[str, tuple[np.dtype[Any], tuple[int, ...], int]]
VERSION = 1
_ALIGNMENT = 64  # bytes: a cache line, and more than any dtype needs
_CHECKSUM = 32  # bytes at the end
_MAX_HEADER = 1 << 20


def write_arrays(path: Path, kind: str, facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays under their names, little-endian, with facts that JSON can hold and a checksum of it all."""
    described = {name: (array.dtype, array.shape) for name, array in arrays.items()}
    with arrays_in_pieces(path, kind, facts, described) as put:
        for name, array in arrays.items():
            put(name, 0, array)


@contextmanager
def arrays_in_pieces(
    path: Path, kind: str, facts: Mapping[str, Any], described: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]]
) -> Iterator[Callable[[str, int, NDArray[Any]], None]]:
    """Write a file as `write_arrays` does, by arrays that need not be in memory at once.

    Parameters
    ----------
    path, kind, facts
        As for `write_arrays`.
    described : mapping of str to (dtype, shape)
        The arrays.

    Yields
    ------
    callable
        Given the name of an array, the number of its first row and the rows to write there; what is never given
        is zero.
    """
    plain = {name: (dtype.newbyteorder("<"), shape) for name, (dtype, shape) in described.items()}
    arrays = {name: [dtype.str, list(shape)] for name, (dtype, shape) in plain.items()}
    header = _magic(kind) + json.dumps({"facts": dict(facts), "arrays": arrays}).encode() + b"\n"
    places = dict(_places(arrays, len(header)))
    end = max([len(header), *(end for _, end in places.values())])
    with path.open("w+b") as file:
        file.write(header)

        def put(name: str, first: int, rows: NDArray[Any]) -> None:
            dtype, shape = plain[name]
            file.seek(places[name][0] + first * dtype.itemsize * prod(shape[1:]))
            file.write(np.ascontiguousarray(rows, dtype=dtype).data)

        yield put
        file.truncate(end)
        file.seek(0)
        checksum = file_digest(file, "sha256").digest()
        file.seek(end)
        file.write(checksum)


def open_arrays(source: Path | BinaryIO, kind: str) -> dict[str, FileArray[Any]]:
    """Return the arrays of a file that is known to be whole, unread; only their lengths are checked.

    Parameters
    ----------
    source : Path or file
        Written by `write_arrays` with the same `kind`; a file is open at its start.
    kind : str
        What it must be.

    Returns
    -------
    dict of FileArray
        Reading rows of one that was cut meanwhile is a LibraryDamagedError.

    Raises
    ------
    VocabularyError
        If the file is of another kind or version, or cut short.
    OSError
        If it cannot be read.
    """
    with _opened(source) as file:
        path, length = Path(file.name), os.fstat(file.fileno()).st_size
        _, places = _described(file, path, kind, length)
        opened = OpenFile(path, os.dup(file.fileno()), LibraryDamagedError)
    return {name: FileArray(opened, dtype, shape, offset=start) for name, (dtype, shape, start) in places.items()}


def open_columns(
    source: Path | BinaryIO, kind: str, names: Collection[str], *, in_file: Collection[str], what: str
) -> dict[str, Any]:
    """Return arrays of exactly these names, read; those `in_file` stay in the file until rows are asked for.

    Raises
    ------
    VocabularyError
        If it is another kind of file, cut short, or has other arrays than `what` it should hold.
    OSError
        If it cannot be read.
    """
    arrays = open_arrays(source, kind)
    if set(arrays) != set(names):
        raise VocabularyError(
            f"{getattr(source, 'name', source)} holds no {what} ({sorted(arrays)}); make it again"
        )
    return {name: array if name in in_file else array[:] for name, array in arrays.items()}


def load_arrays(source: Path | BinaryIO, kind: str) -> tuple[dict[str, Any], Arrays]:
    """Return facts and arrays of a file, all of it read into memory and compared with its checksum.

    Parameters and errors are those of `open_arrays`; a checksum that differs is a VocabularyError too.
    """
    with _opened(source) as file:
        path, content = Path(file.name), file.read()
    facts, places = _described(BytesIO(content), path, kind, len(content))
    if sha256(memoryview(content)[:-_CHECKSUM]).digest() != content[-_CHECKSUM:]:
        raise VocabularyError(f"{path} differs from its checksum; copy or make it again")
    arrays: Arrays = {}
    for name, (dtype, shape, start) in places.items():
        # NumPy takes no empty array from a buffer.
        array = np.frombuffer(content, dtype, prod(shape), start) if prod(shape) else np.zeros(0, dtype)
        arrays[name] = array.reshape(shape)
    return facts, arrays


def _opened(source: Path | BinaryIO) -> AbstractContextManager[BinaryIO]:
    return source.open("rb") if isinstance(source, Path) else nullcontext(source)


def _described(file: BinaryIO, path: Path, kind: str, length: int) -> tuple[dict[str, Any], Places]:
    """Return the facts of a file, open at its start, with dtype, shape and place of its arrays, all inside it."""
    header = _header(path, kind, file.readline(_MAX_HEADER), file.readline(_MAX_HEADER))
    places: Places = {}
    for name, (start, end) in _places(header["arrays"], file.tell()):
        dtype, shape = header["arrays"][name]
        if end + _CHECKSUM > length:
            raise VocabularyError(
                f"{path} has {length} bytes, its array {name} should end at {end}; the file is cut short, "
                "copy or make it again"
            )
        places[name] = np.dtype(dtype), tuple(shape), start
    facts: dict[str, Any] = header["facts"]
    return facts, places


def _places(arrays: Mapping[str, Sequence[Any]], start: int) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield the names of arrays, given as (dtype, shape), and where each begins and ends behind a header."""
    for name, (dtype, shape) in arrays.items():
        start += -start % _ALIGNMENT
        end = start + np.dtype(dtype).itemsize * prod(shape)
        yield name, (start, end)
        start = end


def _magic(kind: str) -> bytes:
    return f"mmsearch {kind} {VERSION}\n".encode()


def _header(path: Path, kind: str, first: bytes, second: bytes) -> dict[str, Any]:
    """Return the parsed header, or say why it is not one."""
    if first != _magic(kind):
        beginning = first[:40].decode("latin-1").strip()
        raise VocabularyError(
            f"{path} starts with {beginning!r}, expected {_magic(kind).decode().strip()!r}; "
            "it is another kind of file or was written by another version"
        )
    try:
        header: dict[str, Any] = json.loads(second)
        for dtype, shape in header["arrays"].values():
            if np.dtype(dtype).hasobject or not all(type(side) is int and side >= 0 for side in shape):
                raise ValueError(f"no array has the type {dtype} and the shape {shape}")
        if not isinstance(header["facts"], dict):
            raise ValueError("it holds no facts")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise VocabularyError(f"{path}: its header is damaged ({error}); copy or make it again") from error
    return header
