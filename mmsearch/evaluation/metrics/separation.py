"""How well a score tells two kinds of pairs apart."""

from __future__ import annotations

import numpy as np

from mmsearch.errors import GroundTruthError
from mmsearch.evaluation.metrics.ranks import Values


def auroc(positives: Values, negatives: Values) -> float:
    """Return the chance that a positive scores above a negative, equal ones counted half.

    Parameters
    ----------
    positives, negatives : float arrays, shapes (n_positives,) and (n_negatives,)
        Scores, higher for positives.

    Returns
    -------
    float
        The area under the ROC curve: 1 where all positives are above, 0.5 where nothing tells them apart.

    Raises
    ------
    GroundTruthError
        If there are none of a kind, or a score is NaN.

    Notes
    -----
    The statistic of Mann and Whitney (1947), by ranks.

    Examples
    --------
    >>> auroc(np.array([0.9, 0.4]), np.array([0.1, 0.4]))
    0.875
    """
    n_positives, n_negatives = len(positives), len(negatives)
    if not n_positives or not n_negatives:
        raise GroundTruthError(f"there are {n_positives} positives and {n_negatives} negatives; expected both")
    scores = np.concatenate([positives, negatives])
    if np.isnan(scores).any():
        raise GroundTruthError("a score is NaN, which has no rank")
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2  # mean rank of equal scores
    rank_sum = float(ranks[places[:n_positives]].sum())
    return (rank_sum - n_positives * (n_positives + 1) / 2) / (n_positives * n_negatives)
