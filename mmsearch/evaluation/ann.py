"""How well the library's own index finds the exact neighbours, and how fast, over its efforts.

ANN recall@10 is the share of the exact ten neighbours that the index finds: the quality of the index, not of the
retrieval. Texts and pictures are measured apart, as they lie differently among the vectors. A mean is no promise
to any one query, so two shares stand beside it: of the queries that lose their best hit, and of those that lose
all ten.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmsearch.errors import QueryError
from mmsearch.evaluation.metrics.uncertainty import mean_interval
from mmsearch.evaluation.records import AnnReport, ChosenPlan, EffortResult, ModalityResult, Speed
from mmsearch.indexes.base import Rows, SearchableIndex, unit_rows
from mmsearch.indexes.plans import EXACT, K, Plan, ann_recall_at_k, recall_of, single_query_ms
from mmsearch.records import Matrix
from mmsearch.store.base import LibraryStore, MeasurableIndexes, OnProgress

DEFINITIONS = {
    "recall@10": "share of the exact ten nearest neighbours that the index finds, mean over queries",
    "best missed": "share of queries whose nearest neighbour the index does not find",
    "none found": "share of queries of whose ten nearest neighbours the index finds none",
    "image": "stored vectors, searched without themselves; a graph that holds them finds their neighbours somewhat "
    "more easily than those of new pictures",
    "photograph": "photographs that no library was calibrated with, and cut-outs of them",
    "p50, p95, p99": "milliseconds of single queries, one at a time; none where too few were asked for it",
    "queries/s": "queries a second in one batch, median of repeats, with all threads for 8 queries and more",
    "exact": "the scan of all vectors, in the same process",
}
PERCENTILES = (50, 95, 99)
_N_EXACT = 100  # single queries of the exact scan, which may take a tenth of a second each
_BATCH_SECONDS = 0.3  # a batch is repeated so long, and the median rate is reported


def run_ann(
    store: LibraryStore,
    texts: Matrix,
    *,
    photographs: Matrix | None = None,
    fitted: Matrix | None = None,
    n_queries: int = 1000,
    efforts: Sequence[int] | None = None,
    seed: int = 0,
    on_progress: OnProgress = lambda stage, done, total: None,
) -> AnnReport:
    """Measure the indexes of a library against the exact scan.

    Parameters
    ----------
    store : LibraryStore
        Opened for reading. A folder with fewer vectors than an index is built for gets some in memory, to show
        what they would do.
    texts : float32 array, shape (n_texts, dim)
        Unit embeddings of text queries; none if the library knows no words.
    photographs : float32 array, shape (n_photographs, dim), optional
        Unit embeddings of pictures that are not in the library.
    fitted : float32 array, shape (n, dim), optional
        Unit embeddings of texts that an index in memory is fitted to; by default the queries.
    n_queries : int > 0
        Queries of each kind at most. Picture queries are stored vectors, searched without themselves.
    efforts : sequence of int, optional
        Those to measure; all that an index names if not given.
    seed : int
        Of the picture queries and the intervals.
    on_progress : callable
        Given (stage, done, total): `graph` while building in memory, `measure`.

    Returns
    -------
    AnnReport
        The report as JSON: the indexes with their sizes and build times; for `text`, `image` and `photograph`
        queries the exact scan and every effort of each index with recall (95 % interval), the shares of queries
        that lose their best hit and all of the best ten, percentiles of latency, and rate; the choice of the
        library.

    Raises
    ------
    QueryError
        If the library holds too few vectors to have ten neighbours.
    """
    measured = store.measurable_indexes(texts if fitted is None else fitted, on_progress=on_progress)
    if len(measured.exact) <= K:
        raise QueryError(
            f"{store.address} holds {len(measured.exact)} vectors; to measure its index takes more than {K}"
        )
    asked = {"text": _Asked(texts[:n_queries]), "image": _stored(measured, n_queries, seed)}
    if photographs is not None:
        asked["photograph"] = _Asked(photographs[:n_queries])
    results = _results(measured, asked, efforts, seed, on_progress)
    facts: Any = measured.facts
    return {
        "benchmark": "ann", "set": {"name": store.address, "bad": []}, "seed": seed, "definitions": DEFINITIONS,
        "indexes": facts, "results": results,
    }  # fmt: skip


@dataclass(frozen=True)
class _Asked:
    """Queries float32 (n_queries, dim), and the row (n_queries,) of each where they are stored vectors."""

    vectors: Matrix
    rows: Rows | None = None

    def nearest(self, index: SearchableIndex, effort: int | None = None) -> Rows:
        """Return the ten nearest rows of each query, but the query's own."""
        if self.rows is None:
            return index.search(self.vectors, K, effort)[1]
        rows = index.search(self.vectors, K + 1, effort)[1]
        # One that does not find itself loses the last of its rows.
        is_other = rows != self.rows[:, None]
        is_other[is_other.all(axis=1), -1:] = False
        others: Rows = rows[is_other].reshape(len(rows), -1)
        return others


def _stored(measured: MeasurableIndexes, n_queries: int, seed: int) -> _Asked:
    """Return some stored vectors that pictures use."""
    live = np.setdiff1d(np.arange(len(measured.vectors)), measured.dead)
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(live, min(n_queries, len(live)), replace=False))
    places, vectors = unit_rows(measured.vectors[chosen])
    return _Asked(vectors, chosen[places])


def _results(
    measured: MeasurableIndexes,
    asked: dict[str, _Asked],
    efforts: Sequence[int] | None,
    seed: int,
    on_progress: OnProgress,
) -> dict[str, ModalityResult]:
    asked = {modality: queries for modality, queries in asked.items() if len(queries.vectors)}
    tried = [
        (name, effort)
        for name, index in measured.indexes.items()
        for effort in (index.efforts if efforts is None else efforts)
    ]
    n_steps, n_done = len(asked) * (len(tried) + 1), 0

    def step() -> None:
        nonlocal n_done
        n_done += 1
        on_progress("measure", n_done, n_steps)

    return {
        modality: _modality(measured, modality, queries, tried, seed, step) for modality, queries in asked.items()
    }


def _modality(
    measured: MeasurableIndexes,
    modality: str,
    asked: _Asked,
    tried: Sequence[tuple[str, int]],
    seed: int,
    step: Callable[[], None],
) -> ModalityResult:
    expected = asked.nearest(measured.exact)
    scan = _speed(measured.exact, asked.vectors, asked.vectors[:_N_EXACT])
    step()
    results = list[EffortResult]()
    for name, effort in tried:
        index = measured.indexes[name]
        rows = asked.nearest(index, effort)
        recall, shares = recall_of(rows, expected), ann_recall_at_k(rows, expected)
        low, high = mean_interval(shares, seed=seed)
        speed = _speed(index, asked.vectors, asked.vectors, effort)
        results.append({
            "index": name,
            "effort": effort,
            "recall": round(float(shares.mean()), 4),
            "low": round(low, 4),
            "high": round(high, 4),
            "best_missed": recall.best_missed,
            "none_found": recall.none_found,
            **speed,
            "times_exact_single": _ratio(scan["p50_ms"], speed["p50_ms"]),
            "times_exact_batch": _ratio(speed["queries_per_s"], scan["queries_per_s"]),
        })  # fmt: skip
        step()
    plan = measured.plans.get("image" if modality == "photograph" else modality)
    return {
        "n_queries": len(asked.vectors),
        "exact": scan,
        "efforts": results,
        "chosen": {"route": EXACT} if plan is None else _chosen(plan),
    }


def _chosen(plan: Plan) -> ChosenPlan:
    measured, recall = plan.measured, plan.measured.recall
    return {
        "route": plan.index, "effort": measured.effort, "recall": recall.mean, "best_missed": recall.best_missed,
        "none_found": recall.none_found, "target": measured.target, "index_ms": measured.index_ms,
        "exact_ms": measured.exact_ms, "n_queries": measured.n_queries,
    }  # fmt: skip


def _ratio(first: float | None, second: float | None) -> float | None:
    return round(first / second, 2) if first and second else None


def _speed(index: SearchableIndex, queries: Matrix, singles: Matrix, effort: int | None = None) -> Speed:
    rates, start = list[float](), time.perf_counter()
    while not rates or time.perf_counter() - start < _BATCH_SECONDS:
        before = time.perf_counter()
        index.search(queries, K, effort)
        rates.append(len(queries) / (time.perf_counter() - before))
    times = np.percentile(single_query_ms(index, singles, effort), PERCENTILES)
    p50, p95, p99 = (
        round(float(ms), 4) if len(singles) * (100 - p) >= 100 else None
        for p, ms in zip(PERCENTILES, times, strict=True)
    )
    return {"p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "queries_per_s": round(float(np.median(rates)), 1)}
