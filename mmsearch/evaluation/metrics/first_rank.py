"""Measures of the first relevant image: its rank, the median rank, and the reciprocal rank.

Reciprocal rank: E. Voorhees, The TREC-8 Question Answering Track Report, 1999. The median rank is reported by
caption benchmarks since M. Hodosh et al., JAIR 47, 2013; lower is better.
"""

from __future__ import annotations

import numpy as np

from mmsearch.evaluation.metrics.ranks import UNRANKED, RankedRelevant, Values


def first_relevant_rank(ranked: RankedRelevant) -> Values:
    """Return the rank of the best-ranked relevant image, infinite where there is none; lower is better."""
    ranks = np.full(len(ranked), np.inf)
    has_any = ranked.n_relevant > 0
    first = ranked.ranks[ranked.offsets[:-1][has_any]]
    ranks[has_any] = np.where(first == UNRANKED, np.inf, first)
    return ranks


def reciprocal_rank(ranked: RankedRelevant) -> Values:
    """Return 1 / rank of the first relevant image, 0 where none is found."""
    return 1 / first_relevant_rank(ranked)
