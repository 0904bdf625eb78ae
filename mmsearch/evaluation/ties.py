"""Equal scores: how they were ordered, how many queries that concerns, and what another order would give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mmsearch.evaluation.measures import Measure, per_query
from mmsearch.evaluation.metrics.ranks import Ids, RankedRelevant, Values
from mmsearch.evaluation.records import OfTies

BY_PLACE = "Equal scores are ordered by the place in the set."
BY_CLASS = "Equal scores go to the first class."
BY_NAME = "Equal scores go to the smaller document name (trec_eval: to the larger)."


@dataclass(frozen=True)
class Ties:
    """What the order of equal scores decides.

    Parameters
    ----------
    worst, best : dict of str to float64 array (n_queries,)
        By measure, the values if of equal scores the relevant ones stood last, and if they stood first.
    """

    worst: Mapping[str, Values]
    best: Mapping[str, Values]

    def of(self, queries: Ids) -> Ties:
        """Return the same for some of the queries."""
        ends = (self.worst, self.best)
        return Ties(*({name: of_measure[queries] for name, of_measure in end.items()} for end in ends))

    def joined(self, other: Ties) -> Ties:
        """Return the same with the measures of another ranking of the same queries."""
        return Ties({**self.worst, **other.worst}, {**self.best, **other.best})

    def to_json(self, measures: Sequence[Measure]) -> OfTies:
        """Return how many queries depend on it and, of every measure that does, the two `ends`; else nothing."""
        is_decided = np.any([self.worst[measure.name] != self.best[measure.name] for measure in measures], axis=0)
        ends = {
            measure.name: sorted([measure.value(self.worst[measure.name]), measure.value(self.best[measure.name])])
            for measure in measures
        }
        differing = {name: end for name, end in ends.items() if end[0] != end[1]}
        return {"ties": {"n_queries": int(is_decided.sum()), "ends": differing}} if is_decided.any() else {}


def ties_of(ranked: RankedRelevant, measures: Sequence[Measure]) -> Ties:
    """Return what the order of equal scores does to the measures of a ranking."""
    worst, best = ranked.with_ties(relevant_first=False), ranked.with_ties(relevant_first=True)
    return Ties(per_query(worst, measures), per_query(best, measures))
