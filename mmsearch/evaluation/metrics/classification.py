"""Measures of classification, zero-shot as in A. Radford et al., ICML 2021 (CLIP), table 9 and section 3.1."""

from __future__ import annotations

import numpy as np

from mmsearch.arguments import as_count
from mmsearch.evaluation.metrics.ranks import Ids, Values


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
