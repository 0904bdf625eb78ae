"""WHITEN: descriptors in, shorter unit descriptors out whose dimensions no longer say the same twice. NumPy only.

Jegou and Chum, Negative evidences and co-occurences in image retrieval: the benefit of PCA and whitening, 2012:
what many pictures share is subtracted (the mean), what occurs together is counted once (the whitening).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import DimensionError, VectorError
from mmsearch.records import Matrix
from mmsearch.vectors import l2_normalize


@dataclass(frozen=True)
class Whitening:
    """What was learned: `mean` float32 (dim,), and `projection` float32 (dim, n_components), widest axis first."""

    mean: Matrix
    projection: Matrix


def fit_whitening(descriptors: Matrix, n_components: int, *, shrinkage: float = 0.0) -> Whitening:
    """Learn a PCA-whitening on descriptors of pictures like those that will be searched, but not the same.

    Parameters
    ----------
    descriptors : float32 array, shape (n, dim)
        Not modified.
    n_components : int
        Dimensions to keep, 1 to dim: those along which the descriptors vary most.
    shrinkage : float in [0, 1]
        Share of an isotropic covariance of the same trace that is mixed in (the form of Ledoit and Wolf, 2004):
        above 0 the narrow axes are stretched less, and few descriptors will do; at 1 nothing is whitened.

    Returns
    -------
    Whitening
        The sign of an axis is such that its largest component is positive, so that it is the same every time.

    Raises
    ------
    VectorError
        If the descriptors are not finite, or vary along fewer dimensions than are to be kept and nothing is
        shrunk: whitening would blow up rounding errors.

    Notes
    -----
    Needs 16 * dim^2 bytes, and time cubic in dim: 1 s at 1,280.
    """
    _check_fit(descriptors, n_components, shrinkage)
    mean = descriptors.mean(axis=0, dtype=np.float64)
    centred = descriptors - mean
    variances, axes = np.linalg.eigh(centred.T @ centred / len(descriptors))
    shrunk = (1 - shrinkage) * variances.clip(0) + shrinkage * variances.clip(0).mean()
    kept = np.argsort(-variances, kind="stable")[:n_components]
    # Below this an axis is rounding error of float32 descriptors.
    if shrunk[kept[-1]] <= 1e-10 * shrunk.max():
        n_varied = int((shrunk > 1e-10 * shrunk.max()).sum())
        raise VectorError(
            f"{len(descriptors)} descriptors vary along {n_varied} dimensions, {n_components} are to be kept; give "
            "more descriptors, keep fewer dimensions or shrink"
        )
    largest = axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])]
    projection = (axes * np.where(largest < 0, -1.0, 1.0))[:, kept] * shrunk[kept] ** -0.5
    return Whitening(mean.astype(np.float32), projection.astype(np.float32))


def fit_learned_whitening(
    first: Matrix,
    second: Matrix,
    descriptors: Matrix,
    n_components: int,
    *,
    shrinkage: float = 0.1,
    power: float = 1.0,
) -> Whitening:
    """Learn a whitening from similar pairs: along the axes on which they differ, descriptors are narrowed.

    Parameters
    ----------
    first, second : float32 arrays, shape (n_pairs, dim)
        Descriptors that should be the same.
    descriptors : float32 array, shape (n, dim)
        Of all pictures; what varies most among them is kept.
    n_components : int
        Dimensions to keep, 1 to dim.
    shrinkage : float in [0, 1]
        As for `fit_whitening`, of the differences.
    power : float in [0, 1]
        1 makes pairs differ alike along all axes, 0 leaves the descriptors as they are but for a turn.

    Returns
    -------
    Whitening
        Signs as of `fit_whitening`.

    Raises
    ------
    VectorError
        If descriptors are not finite, all the same, or pairs do not differ.

    Notes
    -----
    Lw of Radenovic, Tolias and Chum, Fine-tuning CNN image retrieval with no human annotation, 2018, section 3.4,
    after Mikolajczyk and Matas, Improving descriptors for fast tree matching by optimal linear projection, 2007.
    """
    _check_fit(descriptors, n_components, shrinkage)
    differences = first.astype(np.float64) - second
    _check_fit(differences, n_components, shrinkage)
    mean = descriptors.mean(axis=0, dtype=np.float64)
    variances, axes = np.linalg.eigh(differences.T @ differences / len(differences))
    shrunk = (1 - shrinkage) * variances.clip(0) + shrinkage * variances.clip(0).mean()
    if shrunk.min() <= 1e-12 * shrunk.max():
        raise VectorError("pairs differ along fewer axes than there are; give more pairs, or a shrinkage above 0")
    narrowed = (axes * shrunk ** (-power / 2)) @ axes.T
    seen = (descriptors - mean) @ narrowed
    spread, directions = np.linalg.eigh(seen.T @ seen / len(seen))
    kept = np.argsort(-spread, kind="stable")[:n_components]
    projection = narrowed @ directions[:, kept]
    largest = np.abs(projection).argmax(axis=0)
    projection *= np.sign(projection[largest, np.arange(n_components)])
    projection /= np.sqrt((seen @ directions[:, kept]).var(axis=0).sum())  # so that vectors have about unit length
    return Whitening(mean.astype(np.float32), projection.astype(np.float32))


def _check_fit(descriptors: NDArray[np.floating[Any]], n_components: int, shrinkage: float) -> None:
    n, dim = descriptors.shape
    if not 1 <= n_components <= dim:
        raise VectorError(f"{n_components} dimensions are to be kept of {dim}; expected 1 to {dim}")
    if not 0 <= shrinkage <= 1:
        raise VectorError(f"the shrinkage is {shrinkage}; expected 0 to 1")
    if n < 2:
        raise VectorError(
            f"a whitening is learned from {n} descriptors; expected at least 2, better some thousands"
        )
    if not np.isfinite(descriptors).all():
        raise VectorError("a whitening is learned from descriptors that are not finite; leave those out")
    if not (descriptors != descriptors[0]).any():
        raise VectorError(f"all {n} descriptors are the same; a whitening needs different ones")


def whiten(descriptors: Matrix, whitening: Whitening) -> Matrix:
    """Return whitened descriptors float32 (n, n_components) at unit length; what equals the mean stays zero.

    Raises
    ------
    DimensionError
        If descriptors (n, dim) are not as wide as those the whitening was learned on.
    """
    dim, expected = descriptors.shape[1], len(whitening.mean)
    if dim != expected:
        raise DimensionError(
            f"descriptors have {dim} dimensions, the whitening was learned on {expected}; use one of the same layer"
        )
    projected = (descriptors - whitening.mean) @ whitening.projection
    return l2_normalize(np.asarray(projected, dtype=np.float32))
