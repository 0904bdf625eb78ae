"""Precision-recall curves: C. D. Manning et al., Introduction to Information Retrieval, 2008, section 8.4.

The interpolated precision at recall r is the best precision at any recall >= r; the curve of a set is the mean
over its queries at fixed levels of recall.
"""

from __future__ import annotations

import numpy as np

from mmsearch.evaluation.metrics.ranks import RankedRelevant, Values

LEVELS: Values = np.linspace(0.0, 1.0, 101)
"""Recall levels of a curve."""


def precision_recall_curve(ranked: RankedRelevant, levels: Values = LEVELS) -> Values:
    """Return the mean interpolated precision at each recall level, shape (n_levels,).

    Examples
    --------
    >>> from mmsearch.evaluation.metrics.ranks import Qrels, rank_relevant_of_lists
    >>> ranked = rank_relevant_of_lists([np.array([1, 9, 2])], Qrels.from_lists([[1, 2]]))
    >>> precision_recall_curve(ranked, np.array([0.0, 0.5, 1.0]))
    array([1.        , 1.        , 0.66666667])
    """
    precision, n_relevant = ranked.precision, ranked.n_relevant
    total = np.zeros(len(levels))
    for query in np.flatnonzero(n_relevant):
        at_relevant = precision[ranked.offsets[query] : ranked.offsets[query + 1]]
        best_from_here = np.maximum.accumulate(at_relevant[::-1])[::-1]
        # The first relevant image at which the recall reaches the level; 1e-9 forgives the division.
        needed = np.ceil(levels * n_relevant[query] - 1e-9).astype(np.int64)
        total += best_from_here[np.maximum(needed, 1) - 1]
    return total / max(1, len(ranked))
