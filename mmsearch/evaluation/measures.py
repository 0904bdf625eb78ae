"""The ranking measures a report shows: name, definition, function; and their means with intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from mmsearch.arguments import WithoutRelevant, one_of
from mmsearch.errors import GroundTruthError
from mmsearch.evaluation.metrics.average_precision import (
    average_precision,
    average_precision_at_k,
    average_precision_trapezoidal,
)
from mmsearch.evaluation.metrics.curves import LEVELS, precision_recall_curve
from mmsearch.evaluation.metrics.first_rank import first_relevant_rank, reciprocal_rank
from mmsearch.evaluation.metrics.instance import ns_score, precision_at_k_revisited
from mmsearch.evaluation.metrics.ndcg import ndcg
from mmsearch.evaluation.metrics.ranks import Ids, RankedRelevant, Values
from mmsearch.evaluation.metrics.recall import hit_at_k, precision_at_k, recall_at_k
from mmsearch.evaluation.metrics.uncertainty import (
    bootstrap_interval,
    holm,
    mean_interval,
    median_of_counts,
    paired_p_value,
)
from mmsearch.evaluation.records import Comparison, Interval

_LARGEST = {"share": 1.0, "of 4": 4.0}  # of a scale


@dataclass(frozen=True)
class Measure:
    """One line of a report: its name, what it is, and its value for every query.

    The value of a set is the mean over the queries, or the median where `is_median`. `scale` says what a value
    is: a `share` in [0, 1] (higher is better), a `rank` (lower is better), or a number `of 4` (higher is better).
    """

    name: str
    definition: str
    of: Callable[[RankedRelevant], Values]
    is_median: bool = False
    scale: str = "share"

    def value(self, values: Values) -> float:
        """Return the value of a set from those of its queries; NaN if there are none."""
        if not len(values):
            return float("nan")
        return float(np.median(values) if self.is_median else np.mean(values))


def _at_k(name: str, definition: str, function: Callable[[RankedRelevant, int], Values], *ks: int) -> list[Measure]:
    def at(k: int) -> Callable[[RankedRelevant], Values]:
        return lambda ranked: function(ranked, k)

    return [Measure(name.format(k=k), definition, at(k)) for k in ks]


_ANY = "share of queries with any relevant one in the top k: the recall of caption benchmarks"
_FIRST = "median of the rank of the first relevant one; lower is better"
RANKING: tuple[Measure, ...] = (
    *_at_k("R@{k} (any)", _ANY, hit_at_k, 1, 5, 10),
    *_at_k("recall@{k}", "share of the relevant ones that is in the top k", recall_at_k, 1, 5, 10),
    *_at_k("precision@{k}", "share of the top k that is relevant", precision_at_k, 1, 5, 10),
    Measure("mAP", "mean over the relevant ones of the precision at the rank of each (TREC)", average_precision),
    *_at_k("mAP@{k}", "precision at each relevant rank up to k, summed, over R", average_precision_at_k, 10),
    Measure("MRR", "1 / rank of the first relevant one", reciprocal_rank),
    *_at_k("nDCG@{k}", "discounted gain of the top k over that of the ideal ranking", ndcg, 10),
    Measure("median rank", _FIRST, first_relevant_rank, is_median=True, scale="rank"),
)
"""In the order of a report."""

REVISITED_RANKING: tuple[Measure, ...] = (
    Measure(
        "mAP (trapezoidal)",
        "area under the precision-recall curve by the trapezoidal rule, junk out of the ranking (Radenovic 2018)",
        average_precision_trapezoidal,
    ),
    *_at_k(
        "mP@{k}", "share of the top min(k, last relevant rank) that is relevant (Radenovic 2018)",
        precision_at_k_revisited, 1, 5, 10,
    ),
)  # fmt: skip
"""The measures of the revisited Oxford and Paris protocol."""

NS_SCORE = Measure(
    "N-S score", "how many of the top 4 show the object, the query among them (UKBench)", ns_score, scale="of 4"
)
"""Its ranking, unlike all others, holds the query itself."""


def definitions_of(measures: Sequence[Measure]) -> dict[str, str]:
    """Return what each measure is, by name."""
    return {measure.name: measure.definition for measure in measures}


def scales_of(measures: Sequence[Measure]) -> dict[str, str]:
    """Return what the values of each measure are, by name."""
    return {measure.name: measure.scale for measure in measures}


def recall_levels() -> list[float]:
    """Return the x axis of the curves of a report."""
    return [round(float(level), 2) for level in LEVELS]


def kept_queries(n_relevant: Ids, without_relevant: WithoutRelevant = "skip") -> Ids:
    """Return the positions of the queries that are scored.

    Parameters
    ----------
    n_relevant : int64 array, shape (n_queries,)
        R of every query.
    without_relevant : "skip", "zero" or "error"
        What becomes of queries to which nothing is relevant: `skip` leaves them out, `zero` scores them 0, `error`
        refuses the set.
    """
    one_of(without_relevant, "without_relevant", WithoutRelevant)
    empty = np.flatnonzero(n_relevant == 0)
    if without_relevant == "error" and len(empty):
        raise GroundTruthError(
            f"{len(empty)} of {len(n_relevant)} queries have no relevant picture, the first is query {empty[0]}; "
            "mend the ground truth, or skip them"
        )
    return np.arange(len(n_relevant)) if without_relevant == "zero" else np.flatnonzero(n_relevant)


def per_query(ranked: RankedRelevant, measures: Sequence[Measure] = RANKING) -> dict[str, Values]:
    """Return the values (n_queries,) of every measure by its name."""
    return {measure.name: measure.of(ranked) for measure in measures}


def summarised(
    values: Mapping[str, Values],
    groups: Ids | None = None,
    *,
    measures: Sequence[Measure] = RANKING,
    seed: int = 0,
) -> dict[str, Interval]:
    """Return for every measure its `value` and the `low` and `high` of its 95 % interval."""
    intervals: dict[str, Interval] = {}
    for measure in measures:
        of_queries = values[measure.name]
        if measure.is_median:
            low, high = bootstrap_interval(of_queries, groups, of_counts=median_of_counts(of_queries), seed=seed)
        else:
            low, high = mean_interval(of_queries, groups, largest=_LARGEST[measure.scale], seed=seed)
        intervals[measure.name] = {"value": measure.value(of_queries), "low": low, "high": high}
    return intervals


def curve(ranked: RankedRelevant) -> list[float]:
    """Return the mean interpolated precision at the recall levels of a report."""
    return [round(float(precision), 6) for precision in precision_recall_curve(ranked)]


def means_of(measures: Sequence[Measure]) -> tuple[str, ...]:
    """Return the names of the measures that are means over queries: medians cannot be tested by differences."""
    return tuple(measure.name for measure in measures if not measure.is_median)


MEANS = means_of(RANKING)


def compared(
    systems: Mapping[str, Mapping[str, Values]],
    groups: Ids | None = None,
    *,
    names: Sequence[str] = MEANS,
    seed: int = 0,
) -> list[Comparison]:
    """Return for every pair of systems and every mean the difference and its p value, corrected by Holm's method.

    Parameters
    ----------
    systems : mapping of name to values of every measure
        Over the same queries.
    groups : int64 array or None
        Queries that belong together.
    names : sequence of str
        Measures whose means are compared.
    seed : int
        Of the randomisation test.
    """
    pairs = list(combinations(systems, 2))
    comparisons: list[Comparison] = []
    for name in names:
        paired = [(systems[a][name], systems[b][name]) for a, b in pairs]
        p_values = holm([paired_p_value(a, b, groups, seed=seed) for a, b in paired])
        for (a, b), (first, second), p in zip(pairs, paired, p_values, strict=True):
            difference = float(np.mean(first - second))
            comparisons.append({"measure": name, "first": a, "second": b, "difference": difference, "p": p})
    return comparisons
