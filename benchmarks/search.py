"""Search at scale on synthetic vectors: graph against exact, picture-like and text-like queries, filters.

    python benchmarks/search.py WORK [--n 100000] [--out FILE]

WORK keeps the library of n vectors between runs; building one of a million takes some minutes. The library's
own calibration chooses efforts and routes; both routes are measured in the same run.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import hnswlib
import numpy as np
from machine import report
from synthetic import build_library, picture_like, text_like

from mmsearch import GraphSettings, Library
from mmsearch.indexes.base import VectorIndex
from mmsearch.indexes.exact import ExactIndex
from mmsearch.indexes.plans import ann_recall_at_k
from mmsearch.records import Unusable
from mmsearch.store.folder import Store
from mmsearch.store.publish import current

K = 10
N_QUERIES = 500


def median_ms(call: Any, n: int) -> float:
    """Median milliseconds of n calls, each given its number."""
    times = []
    for i in range(n):
        start = time.perf_counter()
        call(i)
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))


def modality(index: VectorIndex, exact: VectorIndex, queries: np.ndarray, effort: int) -> dict[str, Any]:
    """Recall, latency and rate of an index at one effort against exact search."""
    start = time.perf_counter()
    _, expected = exact.search(queries, K)
    exact_rate = len(queries) / (time.perf_counter() - start)
    exact_ms = median_ms(lambda i: exact.search(queries[i : i + 1], K), 15)
    start = time.perf_counter()
    _, rows = index.search(queries, K, effort)
    rate = len(queries) / (time.perf_counter() - start)
    single_ms = median_ms(lambda i: index.search(queries[i : i + 1], K, effort), 300)
    return {
        "effort": effort,
        "recall@10": round(float(ann_recall_at_k(rows, expected).mean()), 4),
        "index single ms": round(single_ms, 3),
        "exact single ms": round(exact_ms, 2),
        "index batch queries/s": round(rate),
        "exact batch queries/s": round(exact_rate),
        "times exact, single": round(exact_ms / single_ms, 1),
        "times exact, batch": round(rate / exact_rate, 1),
    }


def filtered(published: Path, exact: ExactIndex, n: int, queries: np.ndarray) -> dict[str, Any]:
    """Measure a filter that 1 % passes: exact over the subset against hnswlib's Python callback on one thread."""
    passing = np.flatnonzero(np.random.default_rng(5).random(n) < 0.01)
    allowed = set(passing.tolist())
    theirs_of_file = hnswlib.Index(space="ip", dim=queries.shape[1])
    theirs_of_file.load_index(str(published))
    theirs_of_file.set_ef(64)

    def callback(i: int) -> Any:
        return theirs_of_file.knn_query(queries[i : i + 1], k=K, num_threads=1, filter=allowed.__contains__)

    ours = median_ms(lambda i: exact.search_among(queries[i : i + 1], K, passing), 50)
    theirs = median_ms(callback, 20)
    return {
        "passing": len(passing),
        "exact over the subset ms": round(ours, 3),
        "hnswlib callback ms": round(theirs, 2),
        "times the callback": round(theirs / ours, 1),
        "recall of the subset scan": 1.0,
    }


def main() -> None:
    """Build if needed, measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--out")
    arguments = parser.parse_args()
    folder = arguments.work / f"synthetic-{arguments.n}"
    figures: dict[str, Any] = {"n": arguments.n}
    if not (folder / "manifest.json").exists():
        start = time.perf_counter()
        if not (folder / "catalog.sqlite").exists():
            build_library(folder, arguments.n)
        figures["store seconds"] = round(time.perf_counter() - start, 1)
        start = time.perf_counter()
        with Store.writer(folder) as store:
            store.indexes.update(GraphSettings(), text_like(256, seed=0))
        figures["index seconds"] = round(time.perf_counter() - start, 1)
    figures["open and status ms"] = round(median_ms(lambda _: open_once(folder), 5), 2)
    store = Store.open(folder)
    published = store.indexes.load()
    assert not isinstance(published, Unusable), published
    figures["index load seconds"] = round(published.load_seconds, 2)
    figures["plans"] = {name: asdict(plan) for name, plan in published.plans.items()}
    exact = ExactIndex(store.matrix())
    held_out = {"image": picture_like(N_QUERIES), "text": text_like(N_QUERIES + 256)[256:]}
    for name, queries in held_out.items():
        figures[f"{name} queries"] = modality(
            published.index, exact, queries, published.plans[name].measured.effort
        )
    figures["filter, 1 % passes"] = filtered(
        folder / f"{current(folder, published.kind.name)}.bin", exact, arguments.n, held_out["image"]
    )
    report(f"search {arguments.n}", figures, arguments.out)


def open_once(folder: Path) -> None:
    """Open a library as a search does: catalog, vectors."""
    with Library.open(folder) as library:
        store = library.reader()
        with store.reading():
            store.matrix()


if __name__ == "__main__":
    main()
