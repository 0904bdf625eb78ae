"""Measures of classification, zero-shot as in A. Radford et al., ICML 2021 (CLIP), table 9 and section 3.1."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mmsearch.arguments import as_count
from mmsearch.evaluation.metrics.ranks import Ids, Values

_N_DRAWS = 1000  # of the bootstrap


def top_k_accuracy(ranks: Ids, k: int) -> Values:
    """Return 1 where the true class stands in the top k, else 0, (n_pictures,).

    >>> top_k_accuracy(np.array([1, 3, 7]), 5)
    array([1., 1., 0.])
    """
    return (ranks <= as_count(k, "k")).astype(np.float64)


def confusions(predicted: Ids, truth: Ids, n_classes: int) -> Ids:
    """Return the entries of the confusion matrix that are not 0: rows (true class, predicted class, pictures).

    The whole matrix of 20,000 classes would take 3 GB.

    >>> confusions(np.array([0, 1, 1]), np.array([0, 0, 1]), 2)
    array([[0, 0, 1],
           [0, 1, 1],
           [1, 1, 1]])
    """
    pairs, counts = np.unique(truth * n_classes + predicted, return_counts=True)
    return np.column_stack([pairs // n_classes, pairs % n_classes, counts])


def recall_per_class(predicted: Ids, truth: Ids, n_classes: int) -> Values:
    """Return the share of each class that is predicted right, (n_classes,); NaN for a class without pictures.

    The mean over the classes that have pictures is the mean per-class recall.

    >>> recall_per_class(np.array([0, 1, 1]), np.array([0, 0, 1]), 3)
    array([0.5, 1. , nan])
    """
    n = np.bincount(truth, minlength=n_classes)
    right = np.bincount(truth, weights=predicted == truth, minlength=n_classes)
    return np.where(n > 0, right / np.maximum(n, 1), np.nan)


def calibration_error(probabilities: NDArray[np.float64], truth: Ids, *, n_bins: int = 15) -> float:
    """Return the expected calibration error: how far the confidence of answers is from their share that is right.

    Parameters
    ----------
    probabilities : float64 array, shape (n, n_labels)
        Rows that sum to 1.
    truth : int64 array, shape (n,)
        The right label of each.
    n_bins : int > 0
        Of confidence, of equal width.

    Notes
    -----
    Naeini, Cooper and Hauskrecht, Obtaining well calibrated probabilities using Bayesian binning, 2015.

    Examples
    --------
    >>> calibration_error(np.array([[0.9, 0.1], [0.7, 0.3]]), np.array([0, 1]))  # (0.1 + 0.7) / 2
    0.4
    """
    confidence = probabilities.max(axis=1)
    return _calibration_error(
        _bins(confidence, n_bins), confidence - (probabilities.argmax(axis=1) == truth), n_bins
    )


def calibration_interval(
    probabilities: NDArray[np.float64], truth: Ids, *, n_bins: int = 15, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % interval of the calibration error over pictures, by the bootstrap's percentiles."""
    confidence = probabilities.max(axis=1)
    bins, gaps = _bins(confidence, n_bins), confidence - (probabilities.argmax(axis=1) == truth)
    rng = np.random.default_rng(seed)
    draws = (rng.integers(0, len(gaps), len(gaps)) for _ in range(_N_DRAWS))
    errors = [_calibration_error(bins[drawn], gaps[drawn], n_bins) for drawn in draws]
    low, high = np.quantile(errors, [0.025, 0.975])
    return float(low), float(high)


def _bins(confidence: Values, n_bins: int) -> Ids:
    return np.minimum((confidence * n_bins).astype(np.int64), n_bins - 1)


def _calibration_error(bins: Ids, gaps: Values, n_bins: int) -> float:
    return float(np.round(np.abs(np.bincount(bins, weights=gaps, minlength=n_bins)).sum() / len(gaps), 12))
