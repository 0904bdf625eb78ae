"""How well the library's own index finds the exact neighbours, and how fast, over its efforts.

ANN recall@10 is the share of the exact ten neighbours that the index finds: the quality of the index, not of the
retrieval. Texts and pictures are measured apart, as they lie differently among the vectors.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mmsearch.errors import QueryError
from mmsearch.evaluation.metrics.uncertainty import mean_interval
from mmsearch.evaluation.records import AnnReport, ChosenPlan, EffortResult, ModalityResult, Speed
from mmsearch.indexes.base import SearchableIndex
from mmsearch.indexes.plans import EXACT, K, Plan, ann_recall_at_k, picture_queries, single_query_ms
from mmsearch.records import Matrix
from mmsearch.store.base import LibraryStore, MeasurableIndex, OnProgress

DEFINITIONS = {
    "recall@10": "share of the exact ten nearest neighbours that the index finds, mean over queries",
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
    n_queries: int = 1000,
    efforts: Sequence[int] | None = None,
    seed: int = 0,
    on_progress: OnProgress = lambda stage, done, total: None,
) -> AnnReport:
    """Measure the index of a library against the exact scan.

    Parameters
    ----------
    store : LibraryStore
        Opened for reading. A folder with fewer vectors than a graph is built for gets one in memory, to show
        what it would do.
    texts : float32 array, shape (n_texts, dim)
        Unit embeddings of text queries; none if the library knows no words.
    n_queries : int > 0
        Queries of each kind at most. Picture queries are stored vectors, moved a little.
    efforts : sequence of int, optional
        Those to measure; all that the index names if not given.
    seed : int
        Of the picture queries and the intervals.
    on_progress : callable
        Given (stage, done, total): `graph` while building in memory, `measure`.

    Returns
    -------
    AnnReport
        The report as JSON: the index with its size and build time; for `text` and `image` queries the exact scan
        and every effort with recall (95 % interval), percentiles of latency, and rate; the choice of the library.

    Raises
    ------
    QueryError
        If the library holds too few vectors to have ten neighbours.
    """
    measured = store.measurable_index(on_progress=on_progress)
    if len(measured.exact) <= K:
        raise QueryError(
            f"{store.address} holds {len(measured.exact)} vectors; to measure its index takes more than {K}"
        )
    efforts = measured.index.efforts if efforts is None else efforts
    queries = {"text": texts[:n_queries], "image": picture_queries(measured.vectors, n_queries, seed=seed)}
    queries = {modality: vectors for modality, vectors in queries.items() if len(vectors)}
    results = _results(measured, queries, efforts, seed, on_progress)
    facts: Any = measured.facts
    return {
        "benchmark": "ann",
        "set": {"name": store.address, "bad": []},
        "seed": seed,
        "definitions": DEFINITIONS,
        "index": facts,
        "results": results,
    }


def _results(
    measured: MeasurableIndex,
    queries: dict[str, Matrix],
    efforts: Sequence[int],
    seed: int,
    on_progress: OnProgress,
) -> dict[str, ModalityResult]:
    n_steps, n_done = len(queries) * (len(efforts) + 1), 0

    def step() -> None:
        nonlocal n_done
        n_done += 1
        on_progress("measure", n_done, n_steps)

    return {
        modality: _modality(measured, measured.plans.get(modality), vectors, efforts, seed, step)
        for modality, vectors in queries.items()
    }


def _modality(
    measured_index: MeasurableIndex,
    plan: Plan | None,
    queries: Matrix,
    efforts: Sequence[int],
    seed: int,
    step: Callable[[], None],
) -> ModalityResult:
    index, exact = measured_index.index, measured_index.exact
    _, expected = exact.search(queries, K)
    scan = _speed(exact, queries, queries[:_N_EXACT])
    step()
    measured: list[EffortResult] = []
    for effort in efforts:
        recall = ann_recall_at_k(index.search(queries, K, effort)[1], expected)
        low, high = mean_interval(recall, seed=seed)
        speed = _speed(index, queries, queries, effort)
        measured.append({
            "effort": effort,
            "recall": round(float(recall.mean()), 4),
            "low": round(low, 4),
            "high": round(high, 4),
            **speed,
            "times_exact_single": _ratio(scan["p50_ms"], speed["p50_ms"]),
            "times_exact_batch": _ratio(speed["queries_per_s"], scan["queries_per_s"]),
        })  # fmt: skip
        step()
    return {
        "n_queries": len(queries),
        "exact": scan,
        "efforts": measured,
        "chosen": {"route": EXACT} if plan is None else _chosen(plan),
    }


def _chosen(plan: Plan) -> ChosenPlan:
    measured = plan.measured
    return {
        "route": plan.index, "effort": measured.effort, "recall": measured.recall, "target": measured.target,
        "index_ms": measured.index_ms, "exact_ms": measured.exact_ms, "n_queries": measured.n_queries,
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
