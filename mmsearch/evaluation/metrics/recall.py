"""Set measures at a cutoff: precision@k, recall@k, and the "R@k" of caption benchmarks.

Definitions: C. D. Manning, P. Raghavan, H. Schuetze, Introduction to Information Retrieval, 2008, section 8.4.
"R@k" of caption benchmarks since M. Hodosh et al., JAIR 47, 2013, is the share of queries with *any* relevant
image in the top k: here `hit_at_k`, printed "R@k (any)", and never called recall.
"""

from __future__ import annotations

import numpy as np

from mmsearch.arguments import as_count
from mmsearch.evaluation.metrics.ranks import RankedRelevant, Values


def precision_at_k(ranked: RankedRelevant, k: int) -> Values:
    """Return the share of the top k that is relevant; places beyond the end of a list are not relevant.

    >>> from mmsearch.evaluation.metrics.ranks import Qrels, rank_relevant_of_lists
    >>> ranked = rank_relevant_of_lists([np.array([5, 8, 2, 9])], Qrels.from_lists([[8, 9, 1]]))
    >>> precision_at_k(ranked, 2)
    array([0.5])
    """
    return ranked.per_query(ranked.within(as_count(k, "k"))) / k


def recall_at_k(ranked: RankedRelevant, k: int) -> Values:
    """Return the share of the relevant images that stands in the top k."""
    return ranked.per_relevant(ranked.within(as_count(k, "k")))


def hit_at_k(ranked: RankedRelevant, k: int) -> Values:
    """Return 1 where any relevant image stands in the top k, else 0; its mean is "R@k (any)"."""
    return np.minimum(ranked.per_query(ranked.within(as_count(k, "k"))), 1.0)
