"""Candidates for groups of duplicates, made by hand."""

from __future__ import annotations

import numpy as np

from mmsearch.duplicates.keepers import Candidate
from mmsearch.records import SIGNATURE_SIDE, ImageRecord, luminance_layout


def candidate(path="/a.jpg", *, size=(100, 80), size_bytes=1_000, mtime_ns=5, taken=None, signature=None, number=1):
    image = ImageRecord(number, path, 0, size_bytes, mtime_ns, *size, "JPEG", taken)
    return Candidate(image, path.encode(), signature)


def light(grid, *, box=(0.0, 0.0, 1.0, 1.0), tone=(100, 50, 30)):
    """A signature of one record."""
    record = np.zeros(1, luminance_layout(SIGNATURE_SIDE))
    record["grid"], record["box"], record["tone"] = grid, np.rint(np.multiply(box, 65_535)), tone
    return record


def smooth_grids(n, seed=0, side=SIGNATURE_SIDE):
    """Random grids int8 (n, side, side) as smooth as those of pictures."""
    coarse = np.random.default_rng(seed).normal(size=(n, 4, 4))
    places = np.linspace(0, 3, side)
    weights = np.maximum(0, 1 - np.abs(places[:, None] - np.arange(4)))
    grids = weights @ coarse @ weights.T
    grids -= grids.mean(axis=(1, 2), keepdims=True)
    return np.rint(grids * 127 / np.abs(grids).max(axis=(1, 2), keepdims=True)).astype(np.int8)
