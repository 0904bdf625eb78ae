"""Selective prediction: how often answers are wrong if only the surest are given.

Risk-coverage curve: R. El-Yaniv, Y. Wiener, On the foundations of noise-free selective classification, JMLR 11,
2010; the area under it: Y. Geifman, G. Uziel, R. El-Yaniv, Bias-reduced uncertainty estimation, ICLR 2019.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mmsearch.errors import GroundTruthError
from mmsearch.evaluation.metrics.ranks import Ids, Values


def risk_coverage(confidences: Values, is_right: Values) -> tuple[Values, Values]:
    """Return how large a share of answers is given, and which share of these is wrong, at every threshold.

    Parameters
    ----------
    confidences : float array, shape (n,)
        Higher is surer.
    is_right : bool or float array, shape (n,)
        1 where the answer is right, else 0.

    Returns
    -------
    coverage, risk : float64 arrays, shape (n_distinct,)
        With the confidence falling: the last coverage is 1, and its risk the share of all answers that is wrong.

    Raises
    ------
    GroundTruthError
        If there are no answers, not as many truths, or a confidence is NaN.

    Examples
    --------
    >>> risk_coverage(np.array([0.9, 0.5, 0.5, 0.1]), np.array([1, 1, 0, 0]))
    (array([0.25, 0.75, 1.  ]), array([0.        , 0.33333333, 0.5       ]))
    """
    places = _places(confidences, is_right)
    n = np.cumsum(np.bincount(places))
    wrong = np.cumsum(np.bincount(places, weights=1.0 - np.asarray(is_right, dtype=np.float64)))
    return n / n[-1], wrong / n


def area_under_risk_coverage(confidences: Values, is_right: Values) -> float:
    """Return the mean over n of the risk of the n surest answers; lower is better.

    Of answers of equal confidence each counts as wrong as all of them are on average: their order is not known.

    Examples
    --------
    >>> area_under_risk_coverage(np.array([0.9, 0.5]), np.array([1, 0]))  # (0 + 1/2) / 2
    0.25
    """
    return area_of_counts(confidences, is_right)(np.ones(len(confidences)))


def area_of_counts(confidences: Values, is_right: Values) -> Callable[[Values], float]:
    """Return a function that gives the area under the curve of answers, each as often as it is told."""
    places, wrong = _places(confidences, is_right), 1.0 - np.asarray(is_right, dtype=np.float64)
    n_places = int(places.max()) + 1

    def area(counts: Values) -> float:
        n = np.bincount(places, weights=counts, minlength=n_places)
        shares = np.bincount(places, weights=counts * wrong, minlength=n_places) / np.maximum(n, 1)
        each = np.repeat(shares, n.astype(np.int64))
        return float((np.cumsum(each) / np.arange(1, len(each) + 1)).mean())

    return area


def _places(confidences: Values, is_right: Values) -> Ids:
    """Return the place of every answer, the surest first; those of equal confidence have the same."""
    if len(confidences) != len(is_right) or not len(is_right):
        raise GroundTruthError(
            f"there are {len(confidences)} confidences and {len(is_right)} truths; expected one truth each"
        )
    if np.isnan(confidences).any():
        raise GroundTruthError("a confidence is NaN, which has no rank")
    return np.unique(-np.asarray(confidences), return_inverse=True)[1].astype(np.int64)
