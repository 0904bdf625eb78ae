"""Metrics of ranked answers. Ranks count from 1; ties are broken by the smaller id, as search does."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import DimensionError
from mmsearch.records import Matrix


def first_relevant_ranks(scores: Matrix, relevant: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the rank of the best-ranked relevant image of every query.

    Parameters
    ----------
    scores : float32 array, shape (n_queries, n_images)
        Higher is better.
    relevant : bool array, shape (n_queries, n_images)
        What counts as correct; every query needs at least one relevant image.

    Returns
    -------
    int64 array, shape (n_queries,)
        Ranks from 1.

    Raises
    ------
    DimensionError
        If the shapes differ.
    ValueError
        If a query has no relevant image, or a score is NaN.

    Examples
    --------
    >>> scores = np.array([[0.9, 0.5, 0.7]], dtype=np.float32)
    >>> first_relevant_ranks(scores, np.array([[False, True, True]]))
    array([2])
    """
    if scores.shape != relevant.shape:
        raise DimensionError(f"scores have shape {scores.shape}, relevance has {relevant.shape}; they must agree")
    if np.isnan(scores).any():
        raise ValueError("a score is NaN, so there is no ranking")
    if not relevant.any(axis=1).all():
        raise ValueError(f"query {int(np.argmin(relevant.any(axis=1)))} has no relevant image; leave it out")
    best = np.where(relevant, scores, -np.inf).max(axis=1, keepdims=True)
    first = np.argmax(relevant & (scores == best), axis=1)
    is_before = np.arange(scores.shape[1]) < first[:, None]
    ranks: NDArray[np.int64] = 1 + ((scores > best) | ((scores == best) & is_before)).sum(axis=1)
    return ranks


def hit_rate_at_k(ranks: NDArray[np.int64], k: int) -> float:
    """Return the share of queries with any relevant image in the top k, "R@k (any)" of caption benchmarks.

    >>> hit_rate_at_k(np.array([1, 3, 7]), 5)
    0.6666666666666666
    """
    return float(np.mean(ranks <= k))
