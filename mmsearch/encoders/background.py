"""Background captions of an exported encoder: those that it keeps, or more where an earlier version kept few."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from mmsearch.encoders.kept import kept_units
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

    def is_right(vectors: Matrix) -> bool:
        return bool((np.abs(vectors[: len(kept)] - kept) < _CLOSE).all())

    shape = N_PROBES, kept.shape[1]
    return kept_units(folder / BACKGROUND, shape, lambda: encode(probe_texts(N_PROBES)), is_right=is_right)
