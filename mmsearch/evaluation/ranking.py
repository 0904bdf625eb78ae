"""One list of queries over one gallery, scored: measures with intervals, a curve, and examples to look at.

Every benchmark of rankings is a dict of these, a part of its report each: a direction, a task, a camera.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mmsearch.evaluation.measures import RANKING, Measure, compared, curve, means_of, per_query, summarised
from mmsearch.evaluation.metrics.average_precision import average_precision
from mmsearch.evaluation.metrics.ranks import Ids, Qrels, Values, rank_relevant_of_rows
from mmsearch.evaluation.records import (
    Comparison,
    Example,
    Examples,
    Item,
    RankedItem,
    RankingCounts,
    RankingResult,
    WantedItem,
)
from mmsearch.evaluation.ties import Ties, ties_of
from mmsearch.records import Matrix
from mmsearch.vectors import top_k

OnRanking = Callable[[str, str, "Ranking"], None]
"""Given the name of an encoder, of a part of the report, and its ranking."""

_SCORES = 1 << 26  # held at a time: 256 MB
_N_EXAMPLES = 6  # best and worst queries each
_N_SHOWN = 7  # hits of an example
_N_WANTED = 2  # relevant ones named that are not among those


@dataclass(frozen=True)
class Ranking:
    """Queries, a gallery, how one is scored against the other, and what is relevant.

    Parameters
    ----------
    queries, gallery : sequence of Item
        In the order of ids.
    scores : callable
        Given ids of queries int64 (n,), returns their scores float32 (n, n_gallery), higher is better.
    qrels : Qrels
        Ground truth of the queries over the gallery.
    groups : int64 array, shape (n_queries,)
        Queries of the same number are not independent of one another.
    """

    queries: Sequence[Item]
    gallery: Sequence[Item]
    scores: Callable[[Ids], Matrix]
    qrels: Qrels
    groups: Ids

    def blocks(self) -> Iterator[tuple[Ids, Matrix]]:
        """Yield ids of queries and their scores, a part of the queries at a time."""
        step = max(1, _SCORES // max(1, len(self.gallery)))
        for start in range(0, len(self.queries), step):
            ids = np.arange(start, min(start + step, len(self.queries)))
            yield ids, self.scores(ids)

    def best(self, k: int) -> Iterator[tuple[int, Ids, Matrix]]:
        """Yield for every query its id, and ids and scores of its k best, best first; junk is left out."""
        for ids, scores in self.blocks():
            for query, row in zip(ids.tolist(), scores, strict=True):
                best_scores, best = top_k(_without_junk(row, self.qrels, query)[None], np.arange(len(row)), k)
                is_ranked = best_scores[0] > -np.inf
                yield query, best[0][is_ranked], best_scores[0][is_ranked]


@dataclass(frozen=True)
class Scored:
    """The measures of one ranking: `values` of every query by the name of the measure, and what is shown.

    `examples` are the `best` and the `worst` queries by average precision with their hits, as JSON.
    """

    n_gallery: int
    values: dict[str, Values]
    groups: Ids
    ties: Ties
    curve: list[float]
    examples: Examples = field(default_factory=Examples)
    n_without_relevant: int = 0
    measures: tuple[Measure, ...] = RANKING

    def of(self, queries: Sequence[int]) -> Scored:
        """Return the same for some of the queries, by their place in `values`; without curve and examples."""
        chosen = np.asarray(queries, dtype=np.int64)
        values = {name: of_measure[chosen] for name, of_measure in self.values.items()}
        return replace(
            self, values=values, groups=self.groups[chosen], ties=self.ties.of(chosen), curve=[], examples={},
            n_without_relevant=0,
        )  # fmt: skip

    def to_json(self, *, seed: int) -> RankingResult:
        """Return counts, measures with 95 % intervals, the precision-recall curve and the examples."""
        counts: RankingCounts = {"n_queries": len(self.groups), "n_gallery": self.n_gallery}
        if self.n_without_relevant:
            counts["n_without_relevant"] = self.n_without_relevant
        return {
            **counts,
            "measures": summarised(self.values, self.groups, measures=self.measures, seed=seed),
            **self.ties.to_json(self.measures),
            "precision_at_recall": self.curve,
            "examples": self.examples,
        }


def score(
    ranking: Ranking, *, measures: tuple[Measure, ...] = RANKING, n_without_relevant: int = 0, seed: int = 0
) -> Scored:
    """Return the measures of a ranking; `seed` decides which of equally good queries are shown."""
    rows = (row for _, scores in ranking.blocks() for row in scores)
    ranked = rank_relevant_of_rows(rows, len(ranking.gallery), ranking.qrels)
    return Scored(
        len(ranking.gallery),
        per_query(ranked, measures),
        ranking.groups,
        ties_of(ranked, measures),
        curve(ranked),
        examples_of(ranking, average_precision(ranked), seed=seed),
        n_without_relevant,
        measures,
    )


def results_of(scored: Mapping[str, Mapping[str, Scored]], *, seed: int) -> dict[str, dict[str, RankingResult]]:
    """Return what a report says of `scored[encoder][part]`."""
    return {
        encoder: {part: of_part.to_json(seed=seed) for part, of_part in parts.items()}
        for encoder, parts in scored.items()
    }


def compare_parts(scored: Mapping[str, Mapping[str, Scored]], *, seed: int) -> dict[str, list[Comparison]]:
    """Return the comparisons between encoders, `scored[encoder][part]`, of every part; {} if there is only one.

    Parts in which the encoders did not answer the same number of queries, as one could not read a picture, are left
    out: there is nothing to pair.
    """
    if len(scored) < 2:
        return {}
    first_scored, *others = scored.values()
    parts = {
        part: first
        for part, first in first_scored.items()
        if all(part in other and len(other[part].groups) == len(first.groups) for other in others)
    }
    return {
        part: compared(
            {name: parts_of[part].values for name, parts_of in scored.items()},
            first.groups,
            names=means_of(first.measures),
            seed=seed,
        )
        for part, first in parts.items()
    }


def examples_of(ranking: Ranking, precision: Values, *, seed: int = 0) -> Examples:
    """Return the `best` and the `worst` queries with their hits, as JSON; one without a fault is not the worst.

    Parameters
    ----------
    ranking : Ranking
        Of its groups at most one query is shown.
    precision : float64 array, shape (n_queries,)
        Average precision of every query.
    seed : int
        Decides among equally good queries.
    """
    shuffled = np.random.default_rng(seed).permutation(len(precision))
    ascending = shuffled[np.argsort(precision[shuffled], kind="stable")]
    descending = shuffled[np.argsort(-precision[shuffled], kind="stable")]
    return {
        "best": _first_of_groups(ranking, precision, descending),
        "worst": _first_of_groups(ranking, precision, ascending[precision[ascending] < 1]),
    }


def _first_of_groups(ranking: Ranking, precision: Values, order: Ids) -> list[Example]:
    """Return the first queries of an order, one of each group."""
    _, first = np.unique(ranking.groups[order], return_index=True)
    chosen = order[np.sort(first)[: min(_N_EXAMPLES, max(1, len(precision) // 2))]]
    rows = ranking.scores(chosen)
    return [
        _example(ranking, query, row, float(precision[query]))
        for query, row in zip(chosen.tolist(), rows, strict=True)
    ]


def _example(ranking: Ranking, query: int, row: Matrix, precision: float) -> Example:
    qrels = ranking.qrels
    relevant = qrels.ids[qrels.offsets[query] : qrels.offsets[query + 1]]
    row = _without_junk(row, qrels, query)
    order = np.lexsort((np.arange(len(row)), -row))
    order = order[row[order] > -np.inf]
    wanted: list[WantedItem] = [
        {**ranking.gallery[int(order[place])], "rank": int(place) + 1}
        for place in np.flatnonzero(np.isin(order, relevant))
        if place >= _N_SHOWN
    ]
    hits: list[RankedItem] = [
        {**ranking.gallery[i], "score": round(float(row[i]), 4), "is_relevant": bool(i in relevant)}
        for i in map(int, order[:_N_SHOWN])
    ]
    return {
        "query": ranking.queries[query],
        "average_precision": round(precision, 4),
        "hits": hits,
        "wanted": wanted[:_N_WANTED],
        "n_relevant": len(relevant),
    }


def _without_junk(row: Matrix, qrels: Qrels, query: int) -> Matrix:
    """Return the scores of a query with those of its junk at minus infinity."""
    junk = qrels.junk_ids[qrels.junk_offsets[query] : qrels.junk_offsets[query + 1]]
    if not len(junk):
        return row
    row = row.copy()
    row[junk] = -np.inf
    return row
