"""PASTED: two pictures that lie alike in, whether the one is the other with something pasted on it out.

What is beside that agrees as in copies. Where drawings differ, such as two smileys, the rest agrees too: so there
must be many local features at the same places, which only photographs and full drawings have.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.duplicates.align import fine_light
from mmsearch.records import LocalFeatures, Matrix

SHARE = 0.25
"""Of a picture may be covered by what was pasted."""
_NEAR = 0.012  # of a side: how far a feature may lie from its place
_SAME = 0.8  # cosine of the descriptors of features that are the same
_STEPS = 5
_LEAST_GAIN, _DARK = 0.05, 1e-6


def agreement_beside(grids: NDArray[Any], others: NDArray[Any], cells: int) -> Matrix:
    """Return how well the fine light of grids (n, side, side) agrees with others where it agrees best: (n,).

    The squares of so many cells a side that agree least, `SHARE` of all, are left out. Least trimmed squares by
    concentration steps: P. Rousseeuw and K. Van Driessen, Computing LTS regression for large data sets, 2006.
    """
    n, side, _ = grids.shape
    a, b = fine_light(grids), fine_light(others)
    k = side // cells
    products, squares, other_squares = (
        x.reshape(n, k, cells, k, cells).sum(axis=(2, 4)).reshape(n, k * k) for x in (a * b, a * a, b * b)
    )
    is_beside = np.ones((n, k * k), dtype=bool)
    n_kept = round((1 - SHARE) * k * k)
    for _ in range(_STEPS):
        gains = np.maximum(_sums(products, is_beside) / np.maximum(_sums(squares, is_beside), _DARK), _LEAST_GAIN)
        residues = other_squares - 2 * gains * products + gains**2 * squares
        is_beside = residues <= np.partition(residues, n_kept - 1, axis=1)[:, n_kept - 1 : n_kept]
    lengths = np.sqrt(_sums(squares, is_beside) * _sums(other_squares, is_beside))
    agreement: Matrix = (_sums(products, is_beside) / np.maximum(lengths, _DARK))[:, 0]
    return agreement


def n_in_place(features: LocalFeatures, others: LocalFeatures) -> int:
    """Return how many local features of a picture are in another, too, at the same places of their frames."""
    if not (len(features) and len(others)):
        return 0
    places, other_places = features.positions / features.size, others.positions / others.size
    is_near = (np.abs(places[:, None] - other_places) <= _NEAR).all(axis=2)
    is_same = is_near & (features.descriptors @ others.descriptors.T >= _SAME)
    return int(is_same.any(axis=1).sum())


def _sums(values: Matrix, is_wanted: NDArray[np.bool_]) -> Matrix:
    sums: Matrix = np.where(is_wanted, values, 0).sum(axis=1, keepdims=True)
    return sums
