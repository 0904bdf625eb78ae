"""Search at scale on synthetic vectors: cells and graph against the scan, by texts and pictures, with filters.

    python benchmarks/search.py WORK [--n 1000000] [--set realistic] [--set worst] [--graph] [--out FILE]

One thread. WORK keeps the libraries of n vectors between runs. The cells are learned, measured and published by
the library itself; --graph builds the HNSW graph beside them, and compares CPU times. Each kind of queries is
reported at the smallest effort that reaches its mean recall here, and at what the library chose, whose target
holds for the tail as well. 1,000 queries of each kind that nothing was fitted to or chosen by.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import argparse
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from embeddings import Embeddings, Realistic, Worst
from machine import report
from synthetic import build_library

from mmsearch.indexes.base import IndexKind, VectorIndex
from mmsearch.indexes.cells import CELLS, CellsIndex
from mmsearch.indexes.exact import ExactIndex
from mmsearch.indexes.hnsw import GRAPH
from mmsearch.indexes.plans import recall_of
from mmsearch.records import Unusable
from mmsearch.store.folder import Store
from mmsearch.store.indexes import GraphSettings, PublishedIndex, plans_in_use

K = 10
N_QUERIES = 1000
N_PROBES = 512
MEANS = {"image": 0.97}  # recall that is asked for; of texts .95
SETS: dict[str, Callable[[], Embeddings]] = {"realistic": Realistic, "worst": Worst}


def cpu_ms(call: Callable[[int], object], n: int) -> tuple[float, float]:
    """Median milliseconds of CPU time and of wall time of n calls, each given its number."""
    cpu, wall = [], []
    for i in range(n):
        before, start = time.thread_time(), time.perf_counter()
        call(i)
        cpu.append(time.thread_time() - before)
        wall.append(time.perf_counter() - start)
    return 1e3 * float(np.median(cpu)), 1e3 * float(np.median(wall))


class Scan:
    """The exact scan: its answers to queries, and what it takes."""

    def __init__(self, exact: ExactIndex, queries: np.ndarray) -> None:
        exact.search(queries[:8], K)
        before = time.process_time()
        self.rows = exact.search(queries, K)[1]
        self.rate = len(queries) / (time.process_time() - before)
        self.ms, self.wall_ms = cpu_ms(lambda i: exact.search(queries[i : i + 1], K), 9)


def at_effort(index: VectorIndex, queries: np.ndarray, scan: Scan, effort: int) -> dict[str, Any]:
    """Recall, latency and rate of an index at one effort against the scan."""
    before = time.process_time()
    rows = index.search(queries, K, effort)[1]
    rate = len(queries) / (time.process_time() - before)
    ms, wall_ms = cpu_ms(lambda i: index.search(queries[i : i + 1], K, effort), 200)
    alone = [index.search(query[None], K, effort)[1][0] for query in queries[:100]]
    recall = recall_of(rows, scan.rows)
    return {
        "effort": effort, "recall@10": recall.mean, "best missed": recall.best_missed,
        "none found": recall.none_found, "single ms": round(ms, 2), "single ms, wall": round(wall_ms, 2),
        "queries/s": round(rate), "times the scan, single": round(scan.ms / ms, 1),
        "times the scan, batch": round(rate / scan.rate, 1), "same rows alone": bool((rows[:100] == alone).all()),
    }  # fmt: skip


def smallest_efforts(index: VectorIndex, queries: np.ndarray, scan: Scan, mean: float) -> dict[str, int]:
    """Return the smallest effort that reaches a mean recall, and that which holds for the tail as well."""
    efforts: dict[str, int] = {}
    for effort in index.efforts:
        recall = recall_of(index.search(queries, K, effort)[1], scan.rows)
        if recall.mean >= mean:
            efforts.setdefault(f"mean {mean}", effort)
        if recall.reaches(0.95):
            efforts.setdefault("all three targets", effort)
        if len(efforts) == 2:
            break
    return efforts


def filtered(
    index: CellsIndex, exact: ExactIndex, queries: np.ndarray, share: float, effort: int
) -> dict[str, Any]:
    """Measure a filter that a share of all rows passes, at random, against the scan of those that pass."""
    rows = np.flatnonzero(np.random.default_rng(5).random(index.n_rows) < share)
    start = time.thread_time()
    passing = index.passing(rows)
    told_ms = 1e3 * (time.thread_time() - start)
    expected = np.concatenate([exact.search_among(query[None], K, rows)[1] for query in queries[:50]])
    scan_ms, _ = cpu_ms(lambda i: exact.search_among(queries[i : i + 1], K, rows), 15)
    got = np.concatenate([index.search_among(query[None], K, passing, effort)[1] for query in queries[:50]])
    ms, _ = cpu_ms(lambda i: index.search_among(queries[i : i + 1], K, passing, effort), 50)
    return {
        "passing": len(rows), "recall@10": recall_of(got, expected).mean, "cells ms": round(ms, 2),
        "scan of those that pass ms": round(scan_ms, 2), "times the scan": round(scan_ms / ms, 1),
        "told once, ms": round(told_ms, 1),
    }  # fmt: skip


def built(store: Store, kind: IndexKind, probes: np.ndarray) -> tuple[PublishedIndex, float, float]:
    """Return the published index of a kind, made if it is not there, and CPU seconds: in all, and to measure it."""
    measuring, before = 0.0, time.process_time()

    def note(stage: str, done: int, total: int) -> None:
        nonlocal measuring
        if stage == "calibrate":
            measuring += time.process_time() if done else -time.process_time()

    settings = GraphSettings(graph_from=1000)
    store.indexes.update(settings, probes, kinds={*store.indexes.kinds(), kind}, on_progress=note)
    seconds = time.process_time() - before
    published = store.indexes.load(kind)
    assert not isinstance(published, Unusable), published
    return published, seconds, measuring


def measured(work: Path, embeddings: Embeddings, n: int, *, with_graph: bool) -> dict[str, Any]:
    """All figures of one set of embeddings."""
    folder = work / f"{embeddings.name}-{n}"
    if not (folder / "catalog.sqlite").exists():
        build_library(folder, embeddings, n)
    probes = np.concatenate([embeddings.texts(kind, N_PROBES, seed=1) for kind in embeddings.queries])
    figures: dict[str, Any] = {}
    with Store.writer(folder) as store:
        kinds = [CELLS, GRAPH] if with_graph else [CELLS]
        indexes = {}
        for kind in kinds:
            indexes[kind.name], seconds, measuring = built(store, kind, probes)
            figures[f"{kind.name}, CPU seconds to build and measure"] = round(seconds, 1)
            figures[f"{kind.name}, of these to measure"] = round(measuring, 1)
            figures[f"{kind.name}, of the vectors' bytes"] = round(
                indexes[kind.name].index.facts.size_bytes / (2 * n * store.dim), 3
            )
            figures[f"{kind.name}"] = indexes[kind.name].index.facts.settings
        plans = plans_in_use(store.indexes.facts(), 0.95, kinds)
        figures["plans"] = {modality: asdict(plan) for modality, plan in plans.items()}
        exact = ExactIndex(store.matrix())
        asked = {"image": embeddings.pictures(N_QUERIES)}
        asked |= {kind: embeddings.texts(kind, N_QUERIES) for kind in embeddings.queries}
        for name, queries in asked.items():
            scan, mean = Scan(exact, queries), MEANS.get(name, 0.95)
            lines: dict[str, Any] = {"scan": {"single ms": round(scan.ms, 1), "queries/s": round(scan.rate, 1)}}
            for kind_name, published in indexes.items():
                for what, effort in smallest_efforts(published.index, queries, scan, mean).items():
                    lines[f"{kind_name}, {what}"] = at_effort(published.index, queries, scan, effort)
            plan = plans["image" if name == "image" else "text"]
            if plan.effort is not None:
                lines["as the library searches"] = {
                    "index": plan.index, **at_effort(indexes[plan.index].index, queries, scan, plan.effort)
                }  # fmt: skip
            cells = indexes[CELLS.name].index
            assert isinstance(cells, CellsIndex)
            reached = lines.get(f"{CELLS.name}, mean {mean}")  # no effort may be enough
            effort = cells.efforts[-1] if reached is None else reached["effort"]
            for share in (0.5, 0.1, 0.01):
                lines[f"filter, {share:.0%}"] = filtered(cells, exact, queries, share, effort)
            figures[f"{name} queries"] = lines
    return figures


def main() -> None:
    """Build what is not there yet, measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--set", action="append", choices=list(SETS))
    parser.add_argument("--graph", action="store_true")
    parser.add_argument("--out")
    arguments = parser.parse_args()
    figures = {
        name: measured(arguments.work, SETS[name](), arguments.n, with_graph=arguments.graph)
        for name in arguments.set or SETS
    }
    report(f"search {arguments.n}", {"n": arguments.n, **figures}, arguments.out)


if __name__ == "__main__":
    main()
