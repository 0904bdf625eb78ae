"""Background captions of an exported encoder: those that it keeps, or more where an earlier version kept few."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from mmsearch.encoders.probes import N_PROBES, probe_texts
from mmsearch.records import Matrix

BACKGROUND = "calibration.npy"
_CLOSE = 1e-3  # of vectors of the same texts


def background_of(folder: Path, kept: Matrix, encode: Callable[[Sequence[str]], Matrix]) -> Matrix:
    """Return unit vectors float32 (1024, dim) of all background captions.

    Where the encoder was exported with fewer, all are encoded, which takes seconds, and kept beside it if that can
    be done; what is found there is believed only if it begins with those of the export.

    Parameters
    ----------
    folder : Path
        Of the encoder.
    kept : float32 array, shape (n, dim)
        Those that it was exported with, the first of all.
    encode : callable
        Returns unit vectors float32 (n, dim) of n texts.
    """
    if len(kept) >= N_PROBES:
        return kept
    path = folder / BACKGROUND
    with suppress(OSError, ValueError, EOFError):  # not there yet, or damaged: made anew
        vectors: Matrix = np.load(path, allow_pickle=False)
        if _is_whole(vectors, kept):
            return vectors
    vectors = encode(probe_texts(N_PROBES))
    with suppress(OSError):  # a folder that nobody may write to, or a full disk
        _write(path, vectors)
    return vectors


def _is_whole(vectors: Matrix, kept: Matrix) -> bool:
    is_like = vectors.shape == (N_PROBES, kept.shape[1]) and vectors.dtype == np.float32
    if not is_like or not np.isfinite(vectors).all():
        return False
    lengths = np.linalg.norm(vectors, axis=1)
    return bool((np.abs(lengths - 1) < _CLOSE).all() and (np.abs(vectors[: len(kept)] - kept) < _CLOSE).all())


def _write(path: Path, vectors: Matrix) -> None:
    """Write a file that takes its place whole; several processes may."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            np.save(file, vectors, allow_pickle=False)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
