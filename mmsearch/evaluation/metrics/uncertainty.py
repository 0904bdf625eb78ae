"""How sure a mean over queries is: intervals, and paired tests between systems.

Queries that belong together, such as the captions of one picture, are not independent of one another: everything
here takes them in groups.

- A share of queries, such as R@1 (any) or top-1: the score interval (E. Wilson, JASA 22, 1927), which has a width
  also where all queries are right, or none is (A. Agresti, B. Coull, The American Statistician 52, 1998). Groups
  shrink the number of queries by the design effect (J. Rao, A. Scott, Biometrics 48, 1992).
- Any other mean, and the median: percentile bootstrap over the groups (B. Efron, R. Tibshirani, 1993).
- Tests: Fisher's randomisation test on paired differences (M. Smucker et al., CIKM 2007); p values of several pairs
  are corrected by Holm's method (S. Holm, 1979).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import sqrt
from statistics import NormalDist

import numpy as np

from mmsearch.errors import DimensionError
from mmsearch.evaluation.metrics.ranks import Ids, Values

N_RESAMPLES = 2000
N_PERMUTATIONS = 10_000
_BLOCK = 1 << 24  # values held at a time
_SIGNS = 2.0 * np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1) - 1  # all that eight values can have


def mean_interval(
    values: Values, groups: Ids | None = None, *, largest: float = 1.0, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Return the (low, high) of an interval of the mean over queries, which never shrinks to a point.

    Parameters
    ----------
    values : float64 array, shape (n_queries,)
        One value a query, from 0 to `largest`.
    groups : int64 array, shape (n_queries,), or None
        Queries with the same number belong together; None says that none do.
    largest : float > 0
        What a query can have at most.
    seed : int
        Of the resampling; the same seed gives the same interval.
    level : float
        Coverage, in (0, 1).

    Notes
    -----
    Wilson's interval where every value is 0 or `largest`, the bootstrap's otherwise. Where all resamples have the
    same mean, as all groups have, it is Wilson's again, at one query a group: of all laws from 0 to `largest` that
    have this mean, the one of the two ends varies most, so it is wide enough.

    Examples
    --------
    >>> np.round(mean_interval(np.ones(30)), 4)
    array([0.8865, 1.    ])
    """
    if not len(values):
        return float("nan"), float("nan")
    groups = _compact(groups, len(values))
    shares = values / largest
    if np.isin(shares, (0.0, 1.0)).all():
        low, high = wilson_interval(float(shares.mean()), effective_size(shares, groups), level=level)
    else:
        low, high = bootstrap_interval(shares, groups, seed=seed, level=level)
        if low == high:
            n = effective_size(np.ones(len(shares)), groups)  # of groups of one size: their number
            low, high = wilson_interval(float(shares.mean()), n, level=level)
    return largest * low, largest * high


def wilson_interval(share: float, n: float, *, level: float = 0.95) -> tuple[float, float]:
    """Return the (low, high) of Wilson's score interval of a share, 0 to 1, of n > 0 independent cases.

    >>> np.round(wilson_interval(0.0, 30), 4)
    array([0.    , 0.1135])
    """
    z2 = NormalDist().inv_cdf((1 + level) / 2) ** 2
    middle = share + z2 / (2 * n)
    half = sqrt(z2 * (share * (1 - share) + z2 / (4 * n)) / n)
    low, high = (middle - half) / (1 + z2 / n), (middle + half) / (1 + z2 / n)
    return (low if share > 0 else 0.0), (high if share < 1 else 1.0)  # exactly, without what rounding leaves


def effective_size(values: Values, groups: Ids, weights: Values | None = None) -> float:
    """Return how many independent queries tell as much of a share as these do, at most as many as there are.

    Parameters
    ----------
    values : float64 array, shape (n_queries,)
        0 or 1 for every query.
    groups : int64 array, shape (n_queries,)
        Group 0, 1, ... of each, without gaps.
    weights : float64 array, shape (n_queries,), or None
        Above 0: how much each counts in the share; None for all the same.

    Notes
    -----
    n over the design effect: the variance of the mean over groups, as linearised for a ratio, over that of as many
    independent queries. Where all queries are right, or all but a few, they do not show whether those of a group go
    wrong together; so one group of wrong ones and one of right ones are counted with them, as large as the group of
    an average query. All of 6 groups of 5 right is then as sure as all of 6 queries, and with weights all right is
    as sure as L. Kish's effective sample size (Survey Sampling, 1965).

    Examples
    --------
    >>> effective_size(np.ones(30), np.repeat(np.arange(6), 5))
    6.0
    """
    weights = np.ones(len(values)) if weights is None else weights
    right, sizes = np.bincount(groups, weights=weights * values), np.bincount(groups, weights=weights)
    n = sizes.sum()
    usual = (sizes**2).sum() / n
    right, sizes = np.append(right, [usual, 0]), np.append(sizes, [usual, usual])
    share = right.sum() / sizes.sum()
    variance = ((right - share * sizes) ** 2).sum() / sizes.sum() ** 2
    design_effect = variance * sizes.sum() / (share * (1 - share))
    return min(float(n / design_effect), float(len(values)))


def bootstrap_interval(
    values: Values,
    groups: Ids | None = None,
    *,
    of_counts: Callable[[Values], float] | None = None,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Return the (low, high) of a percentile bootstrap interval of the mean over queries.

    Parameters
    ----------
    values : float64 array, shape (n_queries,)
        One value a query.
    groups : int64 array, shape (n_queries,), or None
        Queries with the same number are drawn together; None draws each alone.
    of_counts : callable or None
        Given how often each query is drawn, float64 (n_queries,), returns what is estimated instead of the mean,
        such as `median_of_counts(values)`.
    seed : int
        Of the resampling; the same seed gives the same interval.
    level : float
        Coverage, in (0, 1).

    Examples
    --------
    >>> bootstrap_interval(np.array([0.0, 1.0, 2.0]))
    (0.0, 2.0)
    """
    if not len(values):
        return float("nan"), float("nan")
    groups = _compact(groups, len(values))
    rng = np.random.default_rng(seed)
    if of_counts is None:
        estimates = _resampled_means(values, groups, rng)
    else:
        n = int(groups.max()) + 1
        draws = (np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(N_RESAMPLES))
        estimates = np.array([of_counts(draw[groups].astype(np.float64)) for draw in draws])
    # Order statistics: an interpolation between two infinite ranks would not be a number.
    low, high = np.quantile(estimates, [(1 - level) / 2, (1 + level) / 2], method="nearest")
    return float(low), float(high)


def _resampled_means(values: Values, groups: Ids, rng: np.random.Generator) -> Values:
    sums, sizes = np.bincount(groups, weights=values), np.bincount(groups)
    n, means = len(sums), []
    step = max(1, _BLOCK // n)
    for start in range(0, N_RESAMPLES, step):
        draws = rng.integers(0, n, (min(step, N_RESAMPLES - start), n))
        means.append(sums[draws].sum(axis=1) / sizes[draws].sum(axis=1))
    return np.concatenate(means)


def median_of_counts(values: Values) -> Callable[[Values], float]:
    """Return a function that gives the median of values, each as often as it is told.

    >>> median_of_counts(np.array([3.0, 1.0, 2.0]))(np.array([2.0, 1.0, 1.0]))
    2.5
    """
    order = np.argsort(values, kind="stable")
    ordered = values[order]

    def median(counts: Values) -> float:
        ends = np.cumsum(counts[order])
        middle = [(ends[-1] + 1) // 2, ends[-1] // 2 + 1]  # the same place twice where their number is odd
        return float(ordered[np.searchsorted(ends, middle)].mean())

    return median


def paired_p_value(first: Values, second: Values, groups: Ids | None = None, *, seed: int = 0) -> float:
    """Return the two-sided p value of the difference of means of two systems over the same queries.

    Every group's difference keeps or changes its sign at random: if the systems were alike, a difference as
    large as the one seen would come up in this share of cases.

    Examples
    --------
    >>> paired_p_value(np.array([0.5, 1.0]), np.array([0.5, 1.0]))
    1.0
    """
    if first.shape != second.shape:
        raise DimensionError(
            f"one system has {first.shape} values and the other {second.shape}; expected the same queries"
        )
    differences = np.bincount(_compact(groups, len(first)), weights=first - second)
    differences = differences[differences != 0]
    if not len(differences):
        return 1.0
    # Rounding must not make an equal sum smaller.
    observed = abs(differences.sum()) - 1e-12 * np.abs(differences).sum()
    rng, sums = np.random.default_rng(seed), np.zeros(N_PERMUTATIONS)
    for eight in np.pad(differences, (0, -len(differences) % 8)).reshape(-1, 8):
        sums += (_SIGNS @ eight)[rng.integers(0, len(_SIGNS), N_PERMUTATIONS)]
    return (1 + int((np.abs(sums) >= observed).sum())) / (1 + N_PERMUTATIONS)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for their number, in the same order.

    >>> holm([0.01, 0.04])
    [0.02, 0.04]
    """
    corrected, largest = [0.0] * len(p_values), 0.0
    for n_before, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - n_before) * p_values[i]))
        corrected[i] = largest
    return corrected


def _compact(groups: Ids | None, n: int) -> Ids:
    """Return group numbers 0, 1, ... without gaps."""
    if groups is None:
        return np.arange(n)
    if len(groups) != n:
        raise DimensionError(f"there are {len(groups)} group numbers for {n} values; expected one each")
    return np.unique(groups, return_inverse=True)[1].astype(np.int64)
