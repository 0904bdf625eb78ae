"""Logistic models of few statistics: how likely something is, learned from cases in which it was true or not."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

_RIDGE = 1e-4
_STEPS = 100

Values: TypeAlias = NDArray[np.float64]


def fit_logistic(statistics: Values, truths: Values, weights: Values) -> tuple[float, ...]:
    """Return constant and weights of a logistic model, the weights 0 or above.

    Parameters
    ----------
    statistics : float64 array, shape (n, n_statistics)
    truths : float64 array, shape (n,)
        1 for what is true, else 0.
    weights : float64 array, shape (n,)
        How much each counts.

    Notes
    -----
    Newton's method on the mean loss, with a ridge of 1e-4 on the weights of statistics at unit variance. A weight
    that would be below 0 is 0, and the others are fitted without it.
    """
    shares = weights / weights.sum()
    means = shares @ statistics
    deviations = np.sqrt(shares @ (statistics - means) ** 2)
    kept = [column for column, deviation in enumerate(deviations) if deviation > 0]
    while True:
        standard = (statistics[:, kept] - means[kept]) / deviations[kept]
        constant, *fitted = _newton(standard, truths, shares)
        below = [column for column, weight in zip(kept, fitted, strict=True) if weight < 0]
        if not below:
            break
        worst = min(below, key=lambda column: fitted[kept.index(column)])
        kept.remove(worst)
    slopes = np.zeros(statistics.shape[1])
    slopes[kept] = np.array(fitted) / deviations[kept]
    return float(constant - slopes @ means), *map(float, slopes)


def _newton(standard: Values, truths: Values, shares: Values) -> Values:
    columns = np.column_stack([np.ones(len(standard)), standard])
    penalty = np.full(columns.shape[1], _RIDGE)
    penalty[0] = 1e-9
    fitted = np.zeros(columns.shape[1])
    for _ in range(_STEPS):
        odds = 1 / (1 + np.exp(-np.clip(columns @ fitted, -30, 30)))
        slope = columns.T @ (shares * (odds - truths)) + penalty * fitted
        bend = (columns * (shares * np.maximum(odds * (1 - odds), 1e-6))[:, None]).T @ columns + np.diag(penalty)
        step = np.linalg.solve(bend, slope)
        fitted -= step * min(1.0, 2.0 / max(np.abs(step).max(), 1e-12))  # no farther where the curve is flat
        if np.abs(step).max() < 1e-9:
            break
    return fitted
