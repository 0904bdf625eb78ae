"""One file of named arrays: a line that says what it is, a line of JSON, the arrays as in memory, a checksum.

Opening reads the two lines only; the arrays are mapped read-only, so processes share their pages. No pickle.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import file_digest, sha256
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import VocabularyError

Arrays = dict[str, NDArray[Any]]
VERSION = 1
_ALIGNMENT = 64  # bytes: a cache line, and more than any dtype needs
_CHECKSUM = 32  # bytes at the end
_MAX_HEADER = 1 << 20


def write_arrays(path: Path, kind: str, facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays under their names, little-endian, with facts that JSON can hold and a checksum of it all."""
    plain = {name: _plain(array) for name, array in arrays.items()}
    described = {name: [array.dtype.str, list(array.shape)] for name, array in plain.items()}
    header = json.dumps({"facts": dict(facts), "arrays": described}).encode()
    with path.open("w+b") as file:
        file.write(_magic(kind) + header + b"\n")
        for array in plain.values():
            file.write(bytes(-file.tell() % _ALIGNMENT))
            file.write(array.data)
        file.seek(0)
        checksum = file_digest(file, "sha256").digest()
        file.seek(0, 2)
        file.write(checksum)


def open_arrays(path: Path, kind: str, *, is_checked: bool = False) -> tuple[dict[str, Any], Arrays]:
    """Return facts and memory-mapped arrays of a file.

    Parameters
    ----------
    path : Path
        Written by `write_arrays` with the same `kind`.
    kind : str
        What it must be.
    is_checked : bool
        Read everything and compare it with the checksum. Without, only the lengths are checked.

    Returns
    -------
    facts : dict
    arrays : dict of read-only arrays

    Raises
    ------
    VocabularyError
        If the file is of another kind or version, cut short, or differs from its checksum.
    OSError
        If it cannot be read.
    """
    with path.open("rb") as file:
        header = _header(path, kind, file.readline(_MAX_HEADER), file.readline(_MAX_HEADER))
        start, length = file.tell(), file.seek(0, 2)
    if is_checked:
        content = path.read_bytes()
        if sha256(content[:-_CHECKSUM]).digest() != content[-_CHECKSUM:]:
            raise VocabularyError(f"{path} differs from its checksum; copy or make it again")
    arrays: Arrays = {}
    for name, (dtype, shape) in header["arrays"].items():
        start += -start % _ALIGNMENT
        end = start + np.dtype(dtype).itemsize * prod(shape)
        if end + _CHECKSUM > length:
            raise VocabularyError(
                f"{path} has {length} bytes, its array {name} should end at {end}; the file is cut short, "
                "copy or make it again"
            )
        # A mapping of no bytes is an error of the operating system.
        is_empty = end == start
        arrays[name] = np.zeros(shape, dtype) if is_empty else np.memmap(path, dtype, "r", start, tuple(shape))
        start = end
    facts: dict[str, Any] = header["facts"]
    return facts, arrays


def _plain(array: NDArray[Any]) -> NDArray[Any]:
    """Return a contiguous little-endian array."""
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))


def _magic(kind: str) -> bytes:
    return f"mmsearch {kind} {VERSION}\n".encode()


def _header(path: Path, kind: str, first: bytes, second: bytes) -> dict[str, Any]:
    """Return the parsed header, or say why it is not one."""
    if first != _magic(kind):
        found = repr(first[:40].decode("latin-1").strip())
        raise VocabularyError(
            f"{path} starts with {found}, expected {_magic(kind).decode().strip()!r}; "
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
