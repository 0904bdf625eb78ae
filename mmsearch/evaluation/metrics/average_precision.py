"""Average precision, in the two definitions that are called so and differ.

- TREC: the mean over all R relevant images of the precision at the rank of each, 0 for those not found
  (C. Buckley, E. Voorhees, SIGIR 2000). The default everywhere.
- Trapezoidal: the area under the precision-recall curve by the trapezoidal rule, as in the protocol of Oxford
  and Paris Buildings (J. Philbin et al., CVPR 2007; revisited by F. Radenovic et al., CVPR 2018). Only there.

One relevant image, at rank 2: 0.5 by the first, 0.25 by the second.
"""

from __future__ import annotations

import numpy as np

from mmsearch.arguments import as_count
from mmsearch.evaluation.metrics.ranks import UNRANKED, RankedRelevant, Values


def average_precision(ranked: RankedRelevant) -> Values:
    """Return AP = (1/R) sum of the precision at each relevant rank (TREC).

    Examples
    --------
    >>> from mmsearch.evaluation.metrics.ranks import Qrels, rank_relevant_of_lists
    >>> ranked = rank_relevant_of_lists([np.array([3, 7])], Qrels.from_lists([[7]]))
    >>> average_precision(ranked), average_precision_trapezoidal(ranked)
    (array([0.5]), array([0.25]))
    """
    return ranked.per_relevant(ranked.precision)


def average_precision_at_k(ranked: RankedRelevant, k: int, *, is_capped: bool = False) -> Values:
    """Return the sum of the precision at each relevant rank up to k, divided by R.

    Parameters
    ----------
    ranked : RankedRelevant
        Ranks of the relevant images.
    k : int > 0
        Cutoff.
    is_capped : bool
        Divide by min(R, k), the most that can stand in the top k, instead of R.
    """
    total = ranked.per_query(ranked.precision * ranked.within(as_count(k, "k")))
    n_relevant = ranked.n_relevant
    return total / np.maximum(np.minimum(n_relevant, k) if is_capped else n_relevant, 1)


def average_precision_trapezoidal(ranked: RankedRelevant) -> Values:
    """Return the area under the precision-recall curve by the trapezoidal rule (Oxford and Paris protocol)."""
    is_found = ranked.ranks != UNRANKED
    rank = np.where(is_found, ranked.ranks, 2).astype(np.float64)
    place = ranked.places
    before = np.where(rank > 1, (place - 1) / np.maximum(rank - 1, 1), 1.0)
    return ranked.per_relevant(np.where(is_found, (before + place / rank) / 2, 0.0))
