"""Measures of query by example that belong to one protocol each.

- Revisited Oxford and Paris (F. Radenovic et al., CVPR 2018): precision@k over no more places than there are up
  to the last relevant image; junk is out of the ranking, mAP is trapezoidal.
- UKBench (D. Nister, H. Stewenius, CVPR 2006): the N-S score, how many of the four pictures of an object, the
  query itself among them, stand in the top 4; 4 is perfect.
"""

from __future__ import annotations

import numpy as np

from mmsearch.arguments import as_count
from mmsearch.evaluation.metrics.ranks import UNRANKED, RankedRelevant, Values, owners_of

GROUP = 4


def precision_at_k_revisited(ranked: RankedRelevant, k: int) -> Values:
    """Return the relevant share of the top min(k, last relevant rank)."""
    as_count(k, "k")
    last = np.zeros(len(ranked))
    is_found = ranked.ranks != UNRANKED
    np.maximum.at(last, owners_of(ranked.offsets)[is_found], ranked.ranks[is_found])
    return ranked.per_query(ranked.within(k)) / np.maximum(np.minimum(last, k), 1)


def ns_score(ranked: RankedRelevant) -> Values:
    """Return how many of the top 4 belong to the query's group of 4, the query included; 0 to 4."""
    return ranked.per_query(ranked.within(GROUP))
