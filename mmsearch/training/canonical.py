"""CORRELATE: what canonical correlation learns of captioned pictures in two seconds, the baseline to beat."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mmsearch.records import Matrix
from mmsearch.training.captions import CaptionFeatures
from mmsearch.vectors import l2_normalize

_N_PRINCIPAL = 512
_MOST_ROWS = 4096  # that axes are learned from
_N_CANONICAL = 256
_RIDGE = 1.0  # in mean variances


def canonical_vectors(train: CaptionFeatures, others: CaptionFeatures) -> tuple[Matrix, Matrix]:
    """Return unit vectors of pictures and texts by canonical correlation, learned in closed form: what to beat.

    Parameters
    ----------
    train : CaptionFeatures
        What is learned from.
    others : CaptionFeatures
        Whose vectors are returned.

    Notes
    -----
    Hotelling, Relations between two sets of variates, 1936; with a ridge, and dimensions weighted by the square of
    their correlation (Gong et al., A multi-view embedding space for internet images, tags, and their semantics,
    2014).
    """
    axes = _principal_axes(train.images)
    image_mean, text_mean = train.images.mean(axis=0, dtype=np.float64), train.texts.mean(axis=0, dtype=np.float64)
    images = ((train.images - image_mean) @ axes)[train.picture_of_text]
    texts = train.texts - text_mean
    image_root, text_root = _inverse_root(images), _inverse_root(texts)
    left, correlations, right = np.linalg.svd(
        image_root @ (images.T @ texts / len(texts)) @ text_root, full_matrices=False
    )
    weights = correlations[:_N_CANONICAL] ** 2
    to_images = axes @ image_root @ left[:, :_N_CANONICAL] * weights
    to_texts = text_root @ right[:_N_CANONICAL].T * weights
    return (
        l2_normalize(((others.images - image_mean) @ to_images).astype(np.float32)),
        l2_normalize(((others.texts - text_mean) @ to_texts).astype(np.float32)),
    )


def _principal_axes(features: Matrix) -> NDArray[np.float64]:
    """Return the axes (n_features, n <= 512) along which features vary most, by products of rows, which are few."""
    some = features[:: -(-len(features) // _MOST_ROWS)]
    centred = (some - some.mean(axis=0)).astype(np.float64)
    squares, rows = np.linalg.eigh(centred @ centred.T)
    kept = np.flatnonzero(squares > 1e-9 * squares[-1])[-_N_PRINCIPAL:]
    axes: NDArray[np.float64] = centred.T @ (rows[:, kept] / np.sqrt(squares[kept]))
    return axes


def _inverse_root(centred: NDArray[np.float64]) -> NDArray[np.float64]:
    covariance = centred.T @ centred / len(centred)
    covariance += _RIDGE * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    variances, axes = np.linalg.eigh(covariance)
    root: NDArray[np.float64] = (axes * variances**-0.5) @ axes.T
    return root
