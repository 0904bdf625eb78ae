"""JUDGE: vectors before and after a training in, what changed out; by pictures that it never saw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mmsearch.evaluation.metrics.ranks import Ids, Values
from mmsearch.evaluation.metrics.separation import auroc
from mmsearch.evaluation.metrics.uncertainty import bootstrap_interval, mean_interval, paired_p_value
from mmsearch.evaluation.records import Interval
from mmsearch.records import Matrix

SIGNIFICANT = 0.05
_N_PAIRS = 200_000
_BINS = np.linspace(0.0, 2.0, 41)  # distances of unit vectors


@dataclass(frozen=True)
class Value:
    """A mean with its 95 % interval."""

    value: float
    low: float
    high: float

    def to_json(self) -> Interval:
        """Return the value as a report has it."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class Distances:
    """Euclidean distances of similar and of dissimilar pairs.

    Attributes
    ----------
    edges : list of float
        Of the bins, one more than there are bins.
    similar, dissimilar : list of float
        Share of the pairs in each bin.
    mean_similar, mean_dissimilar : float
        Mean distance.
    auroc : float
        Chance that a similar pair is nearer than a dissimilar one.
    """

    edges: list[float]
    similar: list[float]
    dissimilar: list[float]
    mean_similar: float
    mean_dissimilar: float
    auroc: float


_HALF_WIDTH = 1.96  # standard errors of half a 95 % interval


@dataclass(frozen=True)
class Improvement(Value):
    """By how much the mean of all measures changed, with its 95 % interval and the p of a paired test."""

    p: float = 1.0

    @property
    def is_certain(self) -> bool:
        """True if all of the interval is above 0, and a test agrees: of five pictures or fewer none does."""
        return self.low > 0 and self.p < SIGNIFICANT

    @property
    def is_likely(self) -> bool:
        """True if it is beyond one standard error, where pictures are too few for certainty.

        The rule of Breiman et al., Classification and regression trees, 1984, for choosing among simpler and less
        simple models.
        """
        return self.value > (self.high - self.low) / (2 * _HALF_WIDTH)


def measured(values: Values, groups: Ids) -> Value:
    """Return the mean over queries of shares, with its interval; those of a group are not independent."""
    return Value(float(values.mean()), *mean_interval(values, groups))


def improvement(before: list[Values], after: list[Values], groups: list[Ids]) -> Improvement:
    """Return the change of the mean of several measures, each over queries of its own.

    Parameters
    ----------
    before, after : list of float64 arrays
        Values of one measure each, by query.
    groups : list of int64 arrays
        The picture that a query belongs to; values of a picture are averaged, then measures. Fisher's randomisation
        test is over pictures, too.
    """
    n = max(int(pictures.max()) for pictures in groups) + 1
    changes = np.zeros(n)
    for first, second, pictures in zip(before, after, groups, strict=True):
        counts = np.bincount(pictures, minlength=n)
        changes += np.bincount(pictures, weights=second - first, minlength=n) / np.maximum(counts, 1) / len(before)
    p = paired_p_value(changes, np.zeros(n))
    return Improvement(float(changes.mean()), *bootstrap_interval(changes), p)


def distances_of(first: Matrix, second: Matrix, similar: Ids, *, is_same: Any, seed: int = 0) -> Distances:
    """Return the distances of all similar pairs, and of as many dissimilar ones as are told apart well.

    Parameters
    ----------
    first, second : float32 arrays, shapes (n, dim) and (m, dim)
        Unit vectors.
    similar : int64 array, shape (n_pairs, 2)
        Rows of similar pairs.
    is_same : callable
        Given rows int64 (k,) of `first` and of `second`, returns bool (k,): pairs that are not dissimilar.
    seed : int
        Of the choice of dissimilar pairs.
    """
    rng = np.random.default_rng(seed)
    rows, columns = rng.integers(0, len(first), _N_PAIRS), rng.integers(0, len(second), _N_PAIRS)
    is_other = ~is_same(rows, columns)
    near = _distances(first[similar[:, 0]], second[similar[:, 1]])
    far = _distances(first[rows[is_other]], second[columns[is_other]])
    return Distances(
        _BINS.round(3).tolist(), _shares(near), _shares(far), float(near.mean()), float(far.mean()),
        auroc(-near, -far),
    )  # fmt: skip


def _distances(first: Matrix, second: Matrix) -> Values:
    cosines = np.einsum("ij,ij->i", first, second, dtype=np.float64)
    distances: Values = np.sqrt((2 - 2 * cosines).clip(0))
    return distances


def _shares(distances: Values) -> list[float]:
    counts = np.histogram(distances.clip(0, 2), _BINS)[0]
    return [float(share) for share in (counts / len(distances)).round(5)]
