"""KEPT: unit vectors of texts, which take seconds to encode, from a file of NumPy where it holds them."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import suppress
from math import prod
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np

from mmsearch.records import Matrix

_TOLERANCE = 1e-3  # of a length


def kept_units(
    file: Path, shape: tuple[int, int], make: Callable[[], Matrix], *, is_right: Callable[[Matrix], bool]
) -> Matrix:
    """Return unit vectors float32 from a file, or make them and keep them there if that can be done.

    Parameters
    ----------
    file : Path
        Of NumPy (.npy). One that is missing or damaged is written again.
    shape : tuple of int
        (n, dim) of the vectors.
    make : callable
        Returns them.
    is_right : callable
        Tells whether unit vectors of this shape are those that are wanted.
    """
    with suppress(OSError, ValueError):  # not there yet, or damaged: made anew
        kept = _read(file, shape)
        if (np.abs(np.linalg.norm(kept, axis=1) - 1) < _TOLERANCE).all() and is_right(kept):
            return kept
    vectors = make()
    with suppress(OSError):  # a folder that nobody may write to, or a full disk
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _replace(file, vectors)
    return vectors


def _read(file: Path, shape: tuple[int, int]) -> Matrix:
    """Return an array as `np.save` writes one of this shape, or raise ValueError; nothing else is understood."""
    expected = io.BytesIO()
    facts = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(expected, facts)
    header, n_bytes = expected.getvalue(), 4 * prod(shape)
    with file.open("rb") as opened:
        contents = opened.read(len(header) + n_bytes + 1)
    if not contents.startswith(header) or len(contents) != len(header) + n_bytes:
        raise ValueError("it is no array of this shape")
    vectors: Matrix = np.frombuffer(contents, dtype="<f4", offset=len(header)).reshape(shape)
    return vectors


def _replace(file: Path, vectors: Matrix) -> None:
    """Write a file whole, or leave it as it is; others may be writing it."""
    with NamedTemporaryFile(dir=file.parent, prefix=f"{file.name}.", delete=False) as temporary:
        try:
            np.save(temporary, vectors, allow_pickle=False)
            temporary.close()
            Path(temporary.name).replace(file)
        finally:
            Path(temporary.name).unlink(missing_ok=True)
