"""Query by example over an instance set: encode, rank, and measure by the protocol of the set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from mmsearch.arguments import Mode, WithoutRelevant, one_of
from mmsearch.datasets.sets import GROUPS_OF_FOUR, REVISITED, InstanceSet, Task
from mmsearch.errors import GroundTruthError
from mmsearch.evaluation.encode import SetEncoder, bad_pictures, described_encoders, names_of, refuse_repeated
from mmsearch.evaluation.leakage import leakages_of_encoders
from mmsearch.evaluation.local import LocalOptions, scores_by_search, words_library
from mmsearch.evaluation.measures import (
    NS_SCORE,
    RANKING,
    REVISITED_RANKING,
    Measure,
    definitions_of,
    kept_queries,
    recall_levels,
    scales_of,
)
from mmsearch.evaluation.metrics.ranks import Ids, Qrels, rank_relevant_of_rows
from mmsearch.evaluation.ranking import OnRanking, Ranking, Scored, compare_parts, results_of, score
from mmsearch.evaluation.records import Bad, Item, MeasuredReport, SetFacts
from mmsearch.evaluation.ties import BY_PLACE, ties_of
from mmsearch.records import Matrix
from mmsearch.vectors import inner_products

WORDS_ALONE = "visual words"
RERANKED = "{} + local"


@dataclass(frozen=True)
class _Answers:
    """How one system scores the pictures of a set that could be read, and where each position of the set went."""

    scores: Callable[[Ids], Matrix]  # of rows of queries
    query_rows: dict[int, int]  # position in the set -> row
    gallery_rows: dict[int, int]
    bad: list[Bad]


def run_instance(
    benchmark: InstanceSet,
    encoders: Sequence[SetEncoder],
    *,
    without_relevant: WithoutRelevant = "skip",
    local: LocalOptions | None = None,
    seed: int = 0,
    on_ranking: OnRanking = lambda encoder, part, ranking: None,
) -> MeasuredReport:
    """Measure encoders on query by example.

    Parameters
    ----------
    benchmark : InstanceSet
        Gallery, queries, and what is relevant and junk.
    encoders : sequence of SetEncoder
        Compared pairwise where there are several.
    without_relevant : "skip", "zero" or "error"
        What becomes of queries to which nothing is relevant; see `kept_queries`.
    local : LocalOptions or None
        Also measure every encoder with its answers reranked by local features, and visual words alone.
    seed : int
        Of the intervals and tests.
    on_ranking : callable
        Given each ranking as it is scored.

    Returns
    -------
    MeasuredReport
        The report as JSON: for every encoder each task of the set and each part of its queries, with 95 %
        intervals over groups of queries that ask for the same pictures. A picture that cannot be read is named
        in `bad` and leaves the gallery; as a query it is not asked.

    Raises
    ------
    GroundTruthError
        If no picture can be read, a model is given twice, or a query has no relevant picture and that is an error.
    """
    one_of(without_relevant, "without_relevant", WithoutRelevant)
    refuse_repeated(names_of(encoders))
    scored, bad = dict[str, dict[str, Scored]](), list[Bad]()
    left_out = set[str]()  # tasks and parts in which nothing can be asked
    for name, answers in _systems(benchmark, encoders, local):
        bad = answers.bad
        scored[name], empty = _scored_parts(benchmark, answers, without_relevant, seed, partial(on_ranking, name))
        left_out |= empty
    return {
        "benchmark": "instance",
        "set": _set_facts(benchmark, bad, left_out),
        "seed": seed,
        "without_relevant": without_relevant,
        "ties": BY_PLACE,
        "definitions": definitions_of(_measures(benchmark)),
        "scales": scales_of(_measures(benchmark)),
        "recall_levels": recall_levels(),
        "encoders": described_encoders(encoders),
        "leakage": leakages_of_encoders(encoders, benchmark.pictures),
        "results": results_of(scored, seed=seed),
        "comparisons": compare_parts(scored, seed=seed),
    }


def _set_facts(benchmark: InstanceSet, bad: list[Bad], left_out: set[str]) -> SetFacts:
    return {
        "name": benchmark.name,
        "protocol": benchmark.protocol,
        "n_pictures": len(benchmark.gallery),
        "n_queries": len(benchmark.queries),
        "bad": bad,
        "left_out": list(benchmark.left_out),
        "without_queries": sorted(left_out),
    }


def _ranking_measures(benchmark: InstanceSet) -> tuple[Measure, ...]:
    """Return the measures that the protocol of a set has of every part of its queries."""
    return REVISITED_RANKING if benchmark.protocol == REVISITED else RANKING


def _measures(benchmark: InstanceSet) -> tuple[Measure, ...]:
    """Return all measures of a set: the N-S score too where pictures come in fours, though of another ranking."""
    return (*_ranking_measures(benchmark), *((NS_SCORE,) if benchmark.protocol == GROUPS_OF_FOUR else ()))


def _scored_parts(
    benchmark: InstanceSet,
    answers: _Answers,
    without_relevant: WithoutRelevant,
    seed: int,
    on_ranking: Callable[[str, Ranking], None],
) -> tuple[dict[str, Scored], set[str]]:
    """Return the measures of each task and each part of the queries, and the tasks and parts without any query."""
    measures = _ranking_measures(benchmark)
    scored: dict[str, Scored] = {}
    empty: set[str] = set()
    for name, task in benchmark.tasks.items():
        ranking, asked, n_without = _ranking(benchmark, answers, task, without_relevant)
        if not asked:
            empty.add(name)
            continue
        on_ranking(name, ranking)
        task_scored = score(ranking, measures=measures, n_without_relevant=n_without, seed=seed)
        is_of_four = benchmark.protocol == GROUPS_OF_FOUR
        scored[name] = _with_ns_score(task_scored, ranking) if is_of_four else task_scored
        place = {query: i for i, query in enumerate(asked)}
        for label, queries in benchmark.parts.items():
            places = [place[query] for query in queries if query in place]
            if places:
                scored[label] = task_scored.of(places)
            else:
                empty.add(label)
    if not scored:
        raise GroundTruthError(f"{benchmark.name}: no query that can be read has a relevant picture in the gallery")
    return scored, empty


def system_names(encoders: Sequence[SetEncoder], *, is_local: bool) -> list[str]:
    """Return the names of the systems that `run_instance` measures."""
    names = [encoder.encoder.name for encoder in encoders]
    return [*names, *map(RERANKED.format, names), WORDS_ALONE] if is_local else names


def _systems(
    benchmark: InstanceSet, encoders: Sequence[SetEncoder], local: LocalOptions | None
) -> Iterator[tuple[str, _Answers]]:
    """Yield the name of each system and its answers."""
    for i, encoder in enumerate(encoders):
        asked, gallery, answers = _encoded(benchmark, encoder)
        yield encoder.encoder.name, answers
        if local is None:
            continue
        searches: dict[str, Mode] = {
            RERANKED.format(encoder.encoder.name): "global",
            **({WORDS_ALONE: "local"} if i == 0 else {}),
        }
        with words_library(encoder, gallery, local) as library:
            for name, mode in searches.items():
                scores = scores_by_search(library, asked, gallery, mode=mode, on_progress=encoder.on_progress)
                yield name, replace(answers, scores=scores.__getitem__)


def _encoded(benchmark: InstanceSet, encoder: SetEncoder) -> tuple[list[Path], list[Path], _Answers]:
    """Encode every picture once; a query that is a part of a picture is cut out first.

    Returns
    -------
    asked, gallery : list of Path
        The files that could be read, in the order of rows.
    answers : _Answers
        By the cosines of the encoder.
    """
    parts, bad = encoder.cut_parts(benchmark.queries, benchmark.boxes)
    pictures = list(dict.fromkeys([*benchmark.gallery, *parts.values()]))
    readable, vectors, unreadable = encoder.readable_pictures(benchmark.name, pictures)
    row_of = {pictures[position]: row for row, position in enumerate(readable)}
    gallery = {i: row_of[path] for i, path in enumerate(benchmark.gallery) if path in row_of}
    queries = {i: row_of[path] for i, path in parts.items() if path in row_of}
    if not (gallery and queries):
        first = next(iter([*bad.values(), *unreadable.values()]))
        raise GroundTruthError(f"{benchmark.name}: no query or no gallery picture can be read; the first: {first}")
    asked_vectors, gallery_vectors = vectors[list(queries.values())], vectors[list(gallery.values())]
    answers = _Answers(
        lambda rows: inner_products(asked_vectors[rows], gallery_vectors),
        {position: row for row, position in enumerate(queries)},
        {position: row for row, position in enumerate(gallery)},
        [*bad_pictures(benchmark.queries, bad), *bad_pictures(pictures, unreadable)],
    )
    return [parts[i] for i in queries], [benchmark.gallery[i] for i in gallery], answers


def _ranking(
    benchmark: InstanceSet, answers: _Answers, task: Task, without_relevant: WithoutRelevant
) -> tuple[Ranking, list[int], int]:
    """Return the ranking of a task, the positions of its queries, and how many have nothing relevant."""
    rows = answers.gallery_rows
    itself = {path: (i,) for i, path in enumerate(benchmark.gallery) if i in rows}
    relevant = {q: [rows[i] for i in task.relevant[q] if i in rows] for q in answers.query_rows}
    positions = list(relevant)
    n_relevant = np.array([len(relevant[q]) for q in positions], dtype=np.int64)
    asked = [positions[i] for i in kept_queries(n_relevant, without_relevant)]
    row_of_query = np.array([answers.query_rows[q] for q in asked], dtype=np.int64)
    ranking = Ranking(
        [_item(benchmark, q) for q in asked],
        [{"path": str(benchmark.gallery[i])} for i in rows],
        lambda ids: answers.scores(row_of_query[ids]),
        Qrels.from_lists(
            [relevant[q] for q in asked], junk=[[rows[i] for i in task.junk[q] if i in rows] for q in asked]
        ),
        _groups([[*relevant[q], *(rows[i] for i in itself.get(benchmark.queries[q], ()))] for q in asked]),
    )
    return ranking, asked, int((n_relevant == 0).sum())


def _item(benchmark: InstanceSet, query: int) -> Item:
    item: Item = {"path": str(benchmark.queries[query])}
    if box := benchmark.boxes[query]:
        item["box"] = list(box)
    return item


def _groups(shown: Sequence[Sequence[int]]) -> Ids:
    """Return the same number for queries that are not independent: pictures of one thing, shown by several of them.

    `shown` holds for every query the gallery pictures of its thing, itself among them if it is there; queries that
    have one in common, directly or through others, are of one group, and one that has none is a group of its own.
    """
    parent: dict[int, int] = {}

    def root(node: int) -> int:
        while parent.setdefault(node, node) != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for query, pictures in enumerate(shown):
        for picture in pictures:
            parent[root(picture)] = root(-1 - query)  # queries are negative nodes
    return np.unique([root(-1 - query) for query in range(len(shown))], return_inverse=True)[1].astype(np.int64)


def _with_ns_score(scored: Scored, ranking: Ranking) -> Scored:
    """Return the measures with the N-S score, in whose ranking the query itself stands, and counts."""
    qrels = ranking.qrels
    things = [
        [*qrels.ids[a:b], *qrels.junk_ids[c:d]]
        for a, b, c, d in zip(
            qrels.offsets, qrels.offsets[1:], qrels.junk_offsets, qrels.junk_offsets[1:], strict=False
        )
    ]
    rows = (row for _, scores in ranking.blocks() for row in scores)
    ranked = rank_relevant_of_rows(rows, len(ranking.gallery), Qrels.from_lists(things))
    values = {**scored.values, NS_SCORE.name: NS_SCORE.of(ranked)}
    ties = scored.ties.joined(ties_of(ranked, (NS_SCORE,)))
    return replace(scored, values=values, ties=ties, measures=(*scored.measures, NS_SCORE))
