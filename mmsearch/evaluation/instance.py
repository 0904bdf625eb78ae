"""Query by example over an instance set: encode, rank, and measure by the protocol of the set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mmsearch.errors import GroundTruthError
from mmsearch.evaluation.encode import SetEncoder, bad_pictures, described_encoders, refuse_repeated
from mmsearch.evaluation.ground_truth.sets import GROUPS_OF_FOUR, REVISITED, InstanceSet, Task
from mmsearch.evaluation.measures import NS_SCORE, RANKING, REVISITED_RANKING, described, kept_queries
from mmsearch.evaluation.metrics.ranks import Ids, Qrels, rank_relevant_of_rows
from mmsearch.evaluation.scored import Item, OnRanking, Ranking, Scored, compare_parts, score
from mmsearch.records import Matrix
from mmsearch.vectors import inner_products


@dataclass(frozen=True)
class _Encoded:
    """Vectors of the pictures of a set that could be read, and where each position of the set went."""

    queries: Matrix
    gallery: Matrix
    query_rows: dict[int, int]  # position in the set -> row
    gallery_rows: dict[int, int]
    bad: list[dict[str, str]]


def run_instance(
    benchmark: InstanceSet,
    encoders: Sequence[SetEncoder],
    *,
    without_relevant: str = "skip",
    seed: int = 0,
    on_ranking: OnRanking = lambda encoder, part, ranking: None,
) -> dict[str, Any]:
    """Measure encoders on query by example.

    Parameters
    ----------
    benchmark : InstanceSet
        Gallery, queries, and what is relevant and junk.
    encoders : sequence of SetEncoder
        Compared pairwise where there are several.
    without_relevant : str
        What becomes of queries to which nothing is relevant: `skip`, `zero` or `error`; see `kept_queries`.
    seed : int
        Of the intervals and tests.
    on_ranking : callable
        Given each ranking as it is scored.

    Returns
    -------
    dict
        The report as JSON: for every encoder each task of the set and each part of its queries, with 95 %
        intervals over groups of queries that ask for the same pictures. A picture that cannot be read is named
        in `bad` and leaves the gallery; as a query it is not asked.

    Raises
    ------
    GroundTruthError
        If no picture can be read, a model is given twice, or a query has no relevant picture and that is an error.
    """
    refuse_repeated(encoders)
    measures = {REVISITED: REVISITED_RANKING, GROUPS_OF_FOUR: (*RANKING, NS_SCORE)}.get(benchmark.protocol, RANKING)
    found: dict[str, dict[str, Scored]] = {}
    bad: list[dict[str, str]] = []
    for encoder in encoders:
        encoded = _encoded(benchmark, encoder)
        bad, name = encoded.bad, encoder.encoder.name
        found[name] = {}
        for part, task in benchmark.tasks.items():
            ranking, asked, n_without = _ranking(benchmark, encoded, task, without_relevant)
            on_ranking(name, part, ranking)
            scored = score(
                ranking,
                measures=RANKING if benchmark.protocol == GROUPS_OF_FOUR else measures,
                n_without_relevant=n_without,
                seed=seed,
            )
            found[name][part] = _with_ns_score(scored, ranking) if measures[-1] is NS_SCORE else scored
            place = {query: i for i, query in enumerate(asked)}
            for label, queries in benchmark.parts.items():
                found[name][label] = scored.of([place[query] for query in queries if query in place])
    return {
        "benchmark": "instance",
        "set": {
            "name": benchmark.name,
            "protocol": benchmark.protocol,
            "n_pictures": len(benchmark.gallery),
            "n_queries": len(benchmark.queries),
            "bad": bad,
        },
        "seed": seed,
        "without_relevant": without_relevant,
        **described(measures),
        "encoders": described_encoders(encoders),
        "results": {
            name: {part: one.to_json(seed=seed) for part, one in parts.items()} for name, parts in found.items()
        },
        "comparisons": compare_parts(found, seed=seed),
    }


def _encoded(benchmark: InstanceSet, encoder: SetEncoder) -> _Encoded:
    """Encode every picture once; a query that is a part of a picture is cut out first."""
    asked, bad = encoder.cut_parts(benchmark.queries, benchmark.boxes)
    pictures = list(dict.fromkeys([*benchmark.gallery, *asked.values()]))
    readable, vectors, unreadable = encoder.readable_pictures(benchmark.name, pictures)
    row_of = {pictures[position]: row for row, position in enumerate(readable)}
    gallery = {i: row_of[path] for i, path in enumerate(benchmark.gallery) if path in row_of}
    queries = {i: row_of[path] for i, path in asked.items() if path in row_of}
    if not (gallery and queries):
        first = next(iter([*bad.values(), *unreadable.values()]))
        raise GroundTruthError(f"{benchmark.name}: no query or no gallery picture can be read; the first: {first}")
    return _Encoded(
        vectors[list(queries.values())],
        vectors[list(gallery.values())],
        {position: row for row, position in enumerate(queries)},
        {position: row for row, position in enumerate(gallery)},
        [*bad_pictures(benchmark.queries, bad), *bad_pictures(pictures, unreadable)],
    )


def _ranking(
    benchmark: InstanceSet, encoded: _Encoded, task: Task, without_relevant: str
) -> tuple[Ranking, list[int], int]:
    """Return the ranking of a task, the positions of its queries, and how many have nothing relevant."""
    rows = encoded.gallery_rows
    relevant = {q: [rows[i] for i in task.relevant[q] if i in rows] for q in encoded.query_rows}
    positions = list(relevant)
    n_relevant = np.array([len(relevant[q]) for q in positions], dtype=np.int64)
    asked = [positions[i] for i in kept_queries(n_relevant, without_relevant)]
    if not asked:
        raise GroundTruthError(f"{benchmark.name}: no query that can be read has a relevant picture in the gallery")
    vectors = encoded.queries[[encoded.query_rows[q] for q in asked]]
    ranking = Ranking(
        [_item(benchmark, q) for q in asked],
        [{"path": str(benchmark.gallery[i])} for i in rows],
        lambda ids: inner_products(vectors[ids], encoded.gallery),
        Qrels.from_lists(
            [relevant[q] for q in asked], junk=[[rows[i] for i in task.junk[q] if i in rows] for q in asked]
        ),
        _groups([tuple(relevant[q]) for q in asked]),
    )
    return ranking, asked, int((n_relevant == 0).sum())


def _item(benchmark: InstanceSet, query: int) -> Item:
    box = benchmark.boxes[query]
    return {"path": str(benchmark.queries[query]), **({"box": list(box)} if box else {})}


def _groups(relevant: Sequence[tuple[int, ...]]) -> Ids:
    """Return the same number for queries that ask for the same pictures: they are not independent."""
    number: dict[tuple[int, ...], int] = {}
    return np.array([number.setdefault(own, len(number)) for own in relevant], dtype=np.int64)


def _with_ns_score(scored: Scored, ranking: Ranking) -> Scored:
    """Return the measures with the N-S score, in whose ranking the query itself stands, and counts."""
    qrels = ranking.qrels
    own = [
        [*qrels.ids[a:b], *qrels.junk_ids[c:d]]
        for a, b, c, d in zip(
            qrels.offsets, qrels.offsets[1:], qrels.junk_offsets, qrels.junk_offsets[1:], strict=False
        )
    ]
    rows = (row for _, scores in ranking.blocks() for row in scores)
    ranked = rank_relevant_of_rows(rows, len(ranking.gallery), Qrels.from_lists(own))
    values = {**scored.values, NS_SCORE.name: NS_SCORE.of(ranked)}
    return replace(scored, values=values, measures=(*scored.measures, NS_SCORE))
