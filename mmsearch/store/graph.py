"""The library's HNSW graph as a published cache: build, extend, calibrate, load.

The graph holds every row below `covered` that has a direction, dead or not (dead ones are marked when it
is loaded); rows from `covered` on are searched exactly and merged until the next update takes them in.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO

import numpy as np

from mmsearch.indexes.base import Rows
from mmsearch.indexes.calibrate import Calibration, calibrate, picture_queries
from mmsearch.indexes.exact import ExactIndex
from mmsearch.indexes.hnsw import HnswIndex
from mmsearch.records import Matrix
from mmsearch.store.folder import Store
from mmsearch.store.publish import next_name
from mmsearch.vectors import l2_normalize

KIND = "graph"
EXACT_TEXTS_BELOW = 50_000
"""Vectors from which on a text may go by the graph, where that was measured to reach the recall target.

Texts lie off the manifold of the pictures, and what is measured on some is no promise for others: on 15,510 real
photographs a graph with a beam calibrated to .956 lost the best hit of 2.98 % of the captions, and all ten best of
.36 %. A scan of fewer vectors than this takes some milliseconds and loses nothing.
"""
_BLOCK = 2_000
_N_PICTURE_QUERIES = 200


@dataclass(frozen=True)
class GraphSettings:
    """When and how the graph is built.

    Below `graph_from` rows the exact scan takes under a millisecond and there is no graph. The graph is
    extended when more than `tail_share` of the rows are not in it.
    """

    graph_from: int = 10_000
    m: int = 16
    ef_construction: int = 200
    recall_target: float = 0.95
    tail_share: float = 0.02


def settings_of(store: Store) -> GraphSettings:
    """Return the settings that a library keeps."""
    return GraphSettings(**(store.catalog.meta("graph") or {}))


def keep_settings(store: Store, settings: GraphSettings) -> None:
    """Make these the settings of a library; the caller is the writer."""
    with store.catalog.writing():
        store.catalog.set_meta({"graph": vars(settings)})


@dataclass
class PublishedGraph:
    """A graph, the rows it covers, what was measured for each modality, and its sidecar if it was loaded."""

    index: HnswIndex
    covered: int
    calibrations: dict[str, Calibration]
    load_seconds: float = 0.0
    build_seconds: float | None = 0.0  # of all its vectors; None where an older version did not write it down
    facts: dict[str, Any] = field(default_factory=dict)


def graph_facts(store: Store) -> dict[str, Any] | None:
    """Return the sidecar of the current graph if it fits the library; does not read the graph."""
    facts = store.sidecar(KIND)
    if isinstance(facts, str) or (facts["epoch"], facts["dim"]) != (store.epoch, store.dim):
        return None
    return facts


def calibrations_of(facts: dict[str, Any]) -> dict[str, Calibration]:
    """Return the calibrations of a sidecar."""
    return {modality: Calibration.from_json(fields) for modality, fields in facts["calibration"].items()}


def routed(calibrations: dict[str, Calibration], n_vectors: int) -> dict[str, Calibration]:
    """Return calibrations with the routes that searches of a library take, by the number of its vectors in use."""
    text = calibrations.get("text")
    if text is None or n_vectors >= EXACT_TEXTS_BELOW:
        return calibrations
    return {**calibrations, "text": replace(text, route="exact")}


def load_graph(store: Store) -> PublishedGraph | str:
    """Load the current graph after comparing it with its checksum, or say why it cannot be used."""
    start = time.perf_counter()
    epoch, n_rows = store.epoch, len(store.matrix())

    def load(file: BinaryIO, facts: dict[str, Any]) -> tuple[HnswIndex, dict[str, Any]]:
        return HnswIndex.of_file(file, store.dim, facts), facts

    found = store.load_matching(KIND, {"dim": store.dim, "epoch": epoch, "metric": "ip"}, load)
    if isinstance(found, str):
        return found
    index, facts = found
    covered = int(facts["covered"])
    if covered > n_rows:
        return f"the graph covers {covered} vectors, of which {n_rows} are there"
    index.delete([row for row in store.catalog.dead_rows() if row < covered])
    seconds = time.perf_counter() - start
    calibrations, build_seconds = calibrations_of(facts), facts.get("build_seconds")
    return PublishedGraph(index, covered, calibrations, seconds, build_seconds, facts)


def update_graph(
    store: Store,
    settings: GraphSettings,
    text_probes: Matrix,
    *,
    on_progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> bool:
    """Bring the graph up to date with the committed rows; the caller is the writer.

    Parameters
    ----------
    store : Store
        Opened as the writer.
    settings : GraphSettings
        When and how to build.
    text_probes : float32 array, shape (n, dim)
        Unit embeddings of typical texts, for the calibration.
    on_progress : callable
        Given (stage, done, total): `graph` while inserting, `calibrate`.

    Returns
    -------
    bool
        True if a new generation was published.
    """
    n_rows = store.n_rows
    if n_rows - store.catalog.count("dead") < settings.graph_from:
        return False
    loaded = load_graph(store)  # reads and checks the whole file, so a damaged one is replaced here
    if isinstance(loaded, str):
        loaded = _empty_graph(store, settings)
    total = n_rows - loaded.covered
    if total <= settings.tail_share * n_rows:
        if _is_calibrated(loaded.calibrations, settings.recall_target):
            return False
        total = 0
    if total:
        _extend(store, loaded, on_progress)
    on_progress("calibrate", 0, 1)
    loaded.calibrations = calibrate_graph(store, loaded.index, settings, text_probes)
    on_progress("calibrate", 1, 1)
    _publish(store, loaded, settings)
    return True


def graph_in_memory(
    store: Store,
    settings: GraphSettings,
    *,
    on_progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> PublishedGraph:
    """Return a graph of all committed rows that is not published, not calibrated, and needs no writer."""
    graph = _empty_graph(store, settings)
    _extend(store, graph, on_progress)
    return graph


def _empty_graph(store: Store, settings: GraphSettings) -> PublishedGraph:
    index = HnswIndex(store.dim, m=settings.m, ef_construction=settings.ef_construction)
    return PublishedGraph(index, 0, {})


def _extend(store: Store, graph: PublishedGraph, on_progress: Callable[[str, int, int], None]) -> None:
    """Take the rows that a graph does not cover yet into it."""
    start, n_rows = time.perf_counter(), len(store.matrix())
    total = n_rows - graph.covered
    graph.index.add(
        _directed_rows(store, graph.covered, n_rows),
        total,
        on_progress=lambda done: on_progress("graph", done, total),
    )
    graph.index.delete(store.catalog.dead_rows())
    graph.covered = n_rows
    if graph.build_seconds is not None:
        graph.build_seconds += time.perf_counter() - start


def _is_calibrated(found: dict[str, Calibration], target: float) -> bool:
    return bool(found) and all(calibration.target == target for calibration in found.values())


def calibrate_graph(
    store: Store, index: HnswIndex, settings: GraphSettings, text_probes: Matrix
) -> dict[str, Calibration]:
    """Choose beam and route for each modality by exact search over all committed rows."""
    exact = ExactIndex(store.matrix(), store.catalog.dead_rows())
    queries = {"image": picture_queries(store.matrix(), _N_PICTURE_QUERIES), "text": text_probes}
    return {
        modality: calibrate(index, exact, vectors, target=settings.recall_target)
        for modality, vectors in queries.items()
        if len(vectors)
    }


def _directed_rows(store: Store, first: int, last: int) -> Iterator[tuple[Rows, Matrix]]:
    """Yield blocks of (rows, unit vectors) that have a direction; rows standing in for lost ones have none."""
    matrix = store.matrix()
    for start in range(first, last, _BLOCK):
        vectors = np.asarray(matrix[start : min(start + _BLOCK, last)], dtype=np.float32)
        has_direction = np.isfinite(vectors).all(axis=1) & vectors.any(axis=1)
        rows = start + np.flatnonzero(has_direction)
        if len(rows):
            yield rows, l2_normalize(vectors[has_direction])


def _publish(store: Store, graph: PublishedGraph, settings: GraphSettings) -> None:
    from importlib.metadata import version

    facts = {
        "dim": store.dim, "metric": "ip", "M": settings.m, "ef_construction": settings.ef_construction,
        "n": graph.index.n_nodes, "epoch": store.epoch, "covered": graph.covered, "hnswlib": version("hnswlib"),
        "build_seconds": graph.build_seconds,
        "calibration": {modality: found.to_json() for modality, found in graph.calibrations.items()},
    }  # fmt: skip
    store.publish(KIND, next_name(store.files, KIND, stem="hnsw"), graph.index.save, facts)
