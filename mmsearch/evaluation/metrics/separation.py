"""How well a score tells two kinds of things apart: pairs that belong together, answers that hold a match.

Only the order of scores counts: no measure here changes with a rising function of all of them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mmsearch.errors import GroundTruthError
from mmsearch.evaluation.metrics.ranks import Ids, Values

LOST = 0.05
"""Share of positives that a threshold may lose."""


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
    return auroc_of_counts(positives, negatives)(np.ones(len(positives) + len(negatives)))


def auroc_of_counts(positives: Values, negatives: Values) -> Callable[[Values], float]:
    """Return a function that gives the AUROC of positives, then negatives, each as often as it is told.

    It is NaN where there are none of a kind.
    """
    places, n_places = _places(positives, negatives)
    n_positives = len(positives)

    def area(counts: Values) -> float:
        of_positives = np.bincount(places[:n_positives], weights=counts[:n_positives], minlength=n_places)
        of_negatives = np.bincount(places[n_positives:], weights=counts[n_positives:], minlength=n_places)
        below = np.cumsum(of_negatives) - of_negatives / 2
        n_pairs = of_positives.sum() * of_negatives.sum()
        return float(of_positives @ below / n_pairs) if n_pairs else float("nan")

    return area


def rejected_at_loss(positives: Values, negatives: Values, *, lost: float = LOST) -> float:
    """Return the share of negatives below the highest threshold that at most a share of the positives is below.

    Parameters
    ----------
    positives, negatives : float arrays, shapes (n_positives,) and (n_negatives,)
        Scores, higher for positives; one at the threshold is kept.
    lost : float
        How many of the positives may be lost, in [0, 1).

    Raises
    ------
    GroundTruthError
        As for `auroc`.

    Examples
    --------
    >>> rejected_at_loss(np.array([0.9, 0.8, 0.7, 0.2]), np.array([0.75, 0.5, 0.1]), lost=0.25)
    0.6666666666666666
    """
    return rejected_of_counts(positives, negatives, lost=lost)(np.ones(len(positives) + len(negatives)))


def rejected_of_counts(positives: Values, negatives: Values, *, lost: float = LOST) -> Callable[[Values], float]:
    """Return a function that gives what `rejected_at_loss` does for scores, each as often as it is told."""
    places, n_places = _places(positives, negatives)
    n_positives = len(positives)

    def rejected(counts: Values) -> float:
        up_to = np.cumsum(np.bincount(places[:n_positives], weights=counts[:n_positives], minlength=n_places))
        n_negatives = counts[n_positives:].sum()
        if not up_to[-1] or not n_negatives:
            return float("nan")
        # The place of the first positive that may not be lost; 1e-9 forgives the product.
        threshold = int(np.searchsorted(up_to, np.floor(lost * up_to[-1] + 1e-9), side="right"))
        return float(counts[n_positives:][places[n_positives:] < threshold].sum() / n_negatives)

    return rejected


def _places(positives: Values, negatives: Values) -> tuple[Ids, int]:
    """Return the place of every score among the distinct ones, the lowest first, and how many there are."""
    if not len(positives) or not len(negatives):
        raise GroundTruthError(
            f"there are {len(positives)} positives and {len(negatives)} negatives; expected both"
        )
    scores = np.concatenate([positives, negatives])
    if np.isnan(scores).any():
        raise GroundTruthError("a score is NaN, which has no rank")
    distinct, places = np.unique(scores, return_inverse=True)
    return places.astype(np.int64), len(distinct)
