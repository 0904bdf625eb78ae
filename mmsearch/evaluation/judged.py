"""Scores that were given to something, and whether it is true: how far the scores tell it, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmsearch.evaluation.metrics.calibration import calibration_error_of_counts, reliability
from mmsearch.evaluation.metrics.ranks import Ids, Values
from mmsearch.evaluation.metrics.selective import area_of_counts, risk_coverage
from mmsearch.evaluation.metrics.separation import auroc_of_counts, rejected_of_counts
from mmsearch.evaluation.metrics.uncertainty import bootstrap_interval, mean_interval
from mmsearch.evaluation.records import CalibrationResult, Interval, ReliabilityBin

Flags: TypeAlias = NDArray[np.bool_]

AUROC, CALIBRATION = "AUROC", "calibration error"
AT_LOSS = {"rejected at 5 % lost": 0.05, "rejected at 10 % lost": 0.1}
REJECTED, LOST = "rejected", "lost"
ERROR, AREA = "error", "area under risk-coverage"
DEFINITIONS = {
    AUROC: "chance that what is true scores above what is not, equal scores counted half; 50 % is a guess",
    **{
        name: f"share of what is not true below the threshold that loses at most {100 * lost:.0f} % of what is true"
        for name, lost in AT_LOSS.items()
    },
    CALIBRATION: "gap between the probability and the share that is true, mean over 15 bins of the probability; "
    "lower is better",
    REJECTED: "share of what is not true that is said to be so, at the threshold that people meet",
    LOST: "share of what is true that is said not to be, at the same threshold; lower is better",
    ERROR: "share of answers that are wrong; lower is better",
    AREA: "mean over n of the share of the n surest answers that is wrong; lower is better",
}
COVERAGES: Values = np.linspace(0.01, 1.0, 100)
"""Shares of answers that are given, the x axis of the risk-coverage curve."""


@dataclass(frozen=True)
class Judged:
    """What was given scores.

    Attributes
    ----------
    scores : float64 array, shape (n,)
        Higher says that it is rather true.
    is_true : bool array, shape (n,)
        What the scores should tell.
    groups : int64 array, shape (n,)
        Those with the same number belong together, such as what is of one picture.
    is_probability : bool
        The scores are probabilities that it is true.
    is_rejected : bool array, shape (n,), or None
        Where people are told that it is not true, where they are told such a thing.
    is_right : bool array, shape (n,), or None
        Whether the answer that is given with this score as its confidence is right, where there is one.
    """

    scores: Values
    is_true: Flags
    groups: Ids
    is_probability: bool = False
    is_rejected: Flags | None = None
    is_right: Flags | None = None


def measured(judged: Judged, *, seed: int = 0) -> CalibrationResult:
    """Return the measures of what was judged, with 95 % intervals over groups, its diagram and its curve."""
    result: CalibrationResult = {
        "n_true": int(judged.is_true.sum()),
        "n_not_true": int((~judged.is_true).sum()),
        "measures": {**_separation(judged, seed), **_shares(judged, seed)},
    }
    if judged.is_probability:
        result["reliability"] = list(_bins(judged))
    if judged.is_right is not None:
        coverage, risk = risk_coverage(judged.scores, judged.is_right.astype(np.float64))
        # The fewest answers that are as many as a level wants; 1e-9 forgives the division.
        at_levels = risk[np.searchsorted(coverage, COVERAGES - 1e-9)]
        result["risk_at_coverage"] = [round(float(value), 6) for value in at_levels]
    return result


def _separation(judged: Judged, seed: int) -> dict[str, Interval]:
    """Return the measures that only the order of the scores decides; none where all are of one kind."""
    if judged.is_true.all() or not judged.is_true.any():
        return {}
    order = np.argsort(~judged.is_true, kind="stable")  # those that are true first
    positives, negatives = judged.scores[judged.is_true], judged.scores[~judged.is_true]
    groups = judged.groups[order]
    values = {AUROC: auroc_of_counts(positives, negatives)}
    values |= {name: rejected_of_counts(positives, negatives, lost=lost) for name, lost in AT_LOSS.items()}
    return {name: _bootstrapped(of_counts, groups, seed) for name, of_counts in values.items()}


def _shares(judged: Judged, seed: int) -> dict[str, Interval]:
    is_true, of_counts = judged.is_true, partial(_bootstrapped, groups=judged.groups, seed=seed)
    measures = {}
    if judged.is_probability:
        error = calibration_error_of_counts(judged.scores, is_true.astype(np.float64))
        measures[CALIBRATION] = of_counts(error)
    if judged.is_rejected is not None:
        measures[REJECTED] = _mean(judged.is_rejected[~is_true], judged.groups[~is_true], seed)
        measures[LOST] = _mean(judged.is_rejected[is_true], judged.groups[is_true], seed)
    if judged.is_right is not None:
        measures[ERROR] = _mean(~judged.is_right, judged.groups, seed)
        measures[AREA] = of_counts(area_of_counts(judged.scores, judged.is_right.astype(np.float64)))
    return measures


def _bootstrapped(of_counts: Callable[[Values], float], groups: Ids, seed: int) -> Interval:
    """Return a value and its percentile bootstrap interval, which holds the value."""
    value = of_counts(np.ones(len(groups)))
    low, high = bootstrap_interval(np.ones(len(groups)), groups, of_counts=of_counts, seed=seed)
    return {"value": value, "low": min(low, value), "high": max(high, value)}


def _mean(is_so: Flags, groups: Ids, seed: int) -> Interval:
    values = is_so.astype(np.float64)
    low, high = mean_interval(values, groups, seed=seed)
    return {"value": float(values.mean()) if len(values) else float("nan"), "low": low, "high": high}


def _bins(judged: Judged) -> Iterator[ReliabilityBin]:
    """Yield the bins of the diagram that are not empty."""
    diagram = reliability(judged.scores, judged.is_true.astype(np.float64))
    for i in np.flatnonzero(diagram.counts):
        yield {
            "low": float(diagram.edges[i]),
            "high": float(diagram.edges[i + 1]),
            "n": int(diagram.counts[i]),
            "predicted": float(diagram.predicted[i]),
            "observed": float(diagram.observed[i]),
        }
