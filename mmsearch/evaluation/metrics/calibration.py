"""Calibration: whether things that are given a probability come true as often as it says.

Expected calibration error and reliability diagram: M. Naeini, G. Cooper, M. Hauskrecht, Obtaining well calibrated
probabilities using Bayesian binning, AAAI 2015; C. Guo et al., On calibration of modern neural networks, ICML 2017.

A prediction is a probability and whether what it was given to is true: of a classifier the probability of the most
probable label and whether that is right, of a search the relevance of a hit and whether it is what was asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mmsearch.arguments import as_count
from mmsearch.errors import GroundTruthError
from mmsearch.evaluation.metrics.ranks import Ids, Values

N_BINS = 15


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram: what is predicted and what comes true, by bins of probability of equal width.

    Attributes
    ----------
    edges : float64 array, shape (n_bins + 1,)
        From 0 to 1; a bin has its lower edge, the last one both.
    counts : int64 array, shape (n_bins,)
        Predictions in each bin.
    predicted, observed : float64 arrays, shape (n_bins,)
        Their mean probability and the share of them that is true; NaN in an empty bin.
    """

    edges: Values
    counts: Ids
    predicted: Values
    observed: Values


def reliability(probabilities: Values, is_true: Values, *, n_bins: int = N_BINS) -> Reliability:
    """Return the reliability diagram of predictions.

    Examples
    --------
    >>> diagram = reliability(np.array([0.1, 0.3, 0.9]), np.array([0, 1, 1]), n_bins=2)
    >>> diagram.counts, diagram.predicted, diagram.observed
    (array([2, 1]), array([0.2, 0.9]), array([0.5, 1. ]))
    """
    bins = _bins(probabilities, is_true, n_bins)
    counts = np.bincount(bins, minlength=n_bins)
    n = np.where(counts > 0, counts, np.nan)
    return Reliability(
        np.linspace(0, 1, n_bins + 1),
        counts,
        np.bincount(bins, weights=probabilities, minlength=n_bins) / n,
        np.bincount(bins, weights=is_true, minlength=n_bins) / n,
    )


def calibration_error(probabilities: Values, is_true: Values, *, n_bins: int = N_BINS) -> float:
    """Return the expected calibration error: how far probabilities are from the share of predictions that is true.

    Parameters
    ----------
    probabilities : float64 array, shape (n,)
        From 0 to 1.
    is_true : bool or float array, shape (n,)
        1 where what is predicted is true, else 0.
    n_bins : int > 0
        Of equal width.

    Returns
    -------
    float
        The mean over the bins of |mean probability - share that is true|, each as heavy as it is full; 0 is best.

    Raises
    ------
    GroundTruthError
        If there are no predictions, not as many truths, or a probability is not from 0 to 1.

    Examples
    --------
    >>> calibration_error(np.array([0.9, 0.7]), np.array([1, 0]))  # (0.1 + 0.7) / 2
    0.4
    """
    return calibration_error_of_counts(probabilities, is_true, n_bins=n_bins)(np.ones(len(probabilities)))


def calibration_error_of_counts(
    probabilities: Values, is_true: Values, *, n_bins: int = N_BINS
) -> Callable[[Values], float]:
    """Return a function that gives the calibration error of predictions, each as often as it is told."""
    bins, gaps = _bins(probabilities, is_true, n_bins), probabilities - is_true

    def error(counts: Values) -> float:
        of_bins = np.abs(np.bincount(bins, weights=counts * gaps, minlength=n_bins))
        return float(np.round(of_bins.sum() / counts.sum(), 12))

    return error


def _bins(probabilities: Values, is_true: Values, n_bins: int) -> Ids:
    n_bins = as_count(n_bins, "n_bins")
    if len(probabilities) != len(is_true) or not len(is_true):
        raise GroundTruthError(
            f"there are {len(probabilities)} probabilities and {len(is_true)} truths; expected one truth each"
        )
    if not ((probabilities >= 0) & (probabilities <= 1)).all():  # nor NaN
        raise GroundTruthError("a probability is not a number from 0 to 1")
    return np.minimum((probabilities * n_bins).astype(np.int64), n_bins - 1)
