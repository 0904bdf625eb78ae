"""Measures of zero-shot classification, as in A. Radford et al., ICML 2021 (CLIP), table 9 and section 3.1.

Equal scores go to the smaller class.
"""

from __future__ import annotations

import numpy as np

from mmsearch.arguments import as_count
from mmsearch.evaluation.metrics.ranks import Ids, Values
from mmsearch.records import Matrix


def ranks_of_truth(scores: Matrix, truth: Ids) -> Ids:
    """Return the rank from 1 of the true class of every picture.

    Parameters
    ----------
    scores : float array, shape (n_pictures, n_classes)
        Higher is better.
    truth : int64 array, shape (n_pictures,)
        Column of the true class.
    """
    own = scores[np.arange(len(truth)), truth][:, None]
    is_before = np.arange(scores.shape[1]) < truth[:, None]
    ranks: Ids = 1 + ((scores > own) | ((scores == own) & is_before)).sum(axis=1)
    return ranks


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


def recall_per_class(predicted: Ids, truth: Ids, n_classes: int, counts: Values | None = None) -> Values:
    """Return the share of each class that is predicted right, (n_classes,); NaN for a class without pictures.

    The mean over the classes that have pictures is the mean per-class recall. `counts` (n_pictures,) says how often
    each picture counts; once by default.

    >>> recall_per_class(np.array([0, 1, 1]), np.array([0, 0, 1]), 3)
    array([0.5, 1. , nan])
    """
    counts = np.ones(len(truth)) if counts is None else counts
    n = np.bincount(truth, weights=counts, minlength=n_classes)
    right = np.bincount(truth, weights=counts * (predicted == truth), minlength=n_classes)
    return np.where(n > 0, right / np.maximum(n, 1), np.nan)
