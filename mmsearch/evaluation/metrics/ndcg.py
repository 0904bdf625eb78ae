"""Normalised discounted cumulative gain: K. Jaervelin, J. Kekaelaeinen, ACM TOIS 20, 2002.

Gains are linear and the discount is log2(1 + rank), as in trec_eval and scikit-learn; the ideal ranking holds all
relevant images by descending gain, found or not.
"""

from __future__ import annotations

import numpy as np

from mmsearch.arguments import as_count
from mmsearch.evaluation.metrics.ranks import UNRANKED, Ids, RankedRelevant, Values, owners_of


def ndcg(ranked: RankedRelevant, k: int = UNRANKED - 1) -> Values:
    """Return DCG / ideal DCG of the top k (all of the list by default), 0 where R is 0.

    Examples
    --------
    >>> from mmsearch.evaluation.metrics.ranks import Qrels, rank_relevant_of_lists
    >>> qrels = Qrels.from_lists([[7, 3]], gains=[[1, 2]])
    >>> ndcg(rank_relevant_of_lists([np.array([3, 7])], qrels))
    array([1.])
    """
    as_count(k, "k")
    gained = ranked.per_query(_discounted(ranked.gains, ranked.ranks, k))
    order = np.lexsort((-ranked.gains, owners_of(ranked.offsets)))
    ideal = ranked.per_query(_discounted(ranked.gains[order], ranked.places, k))
    return np.where(ideal > 0, gained / np.where(ideal > 0, ideal, 1), 0.0)


def _discounted(gains: Values, ranks: Ids, k: int) -> Values:
    return np.where(ranks <= k, gains / np.log2(1.0 + ranks), 0.0)
