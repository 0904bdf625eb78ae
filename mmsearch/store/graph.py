"""The library's HNSW graph as a published cache: build, extend, plan, save, load.

The graph holds every row below its `n_rows`, dead or not (dead ones are marked when it is loaded); later rows are
searched exactly and merged until the next update takes them in. Its sidecar has the plans that were made with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Final, NotRequired

from mmsearch.indexes.base import VectorIndex
from mmsearch.indexes.exact import ExactIndex
from mmsearch.indexes.hnsw import HnswIndex
from mmsearch.indexes.plans import Measurement, Plan, choose_plan, exact_plan, picture_queries
from mmsearch.records import Matrix, PlanFields, Unusable
from mmsearch.store.folder import Store
from mmsearch.store.publish import Kind, Sidecar, next_name


class GraphSidecar(Sidecar):
    """What is noted of a graph beside it: what it is made of, its settings, the plans that were made with it."""

    dim: int
    metric: str
    M: int
    ef_construction: int
    n: int
    epoch: int
    covered: NotRequired[int]
    hnswlib: str
    build_seconds: NotRequired[float | None]
    calibration: dict[str, PlanFields]


KIND: Final[Kind[GraphSidecar]] = Kind("graph")
"""What the manifest, plans and routes call it."""
EXACT_TEXTS_BELOW = 50_000
"""Vectors from which on a text may go by the graph, where that was measured to reach the recall target.

Texts lie off the manifold of the pictures, and what is measured on some is no promise for others: on 15,510 real
photographs a graph with a beam calibrated to .956 lost the best hit of 2.98 % of the captions, and all ten best of
.36 %. A scan of fewer vectors than this takes some milliseconds and loses nothing.
"""
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
    """A graph, the plan of each modality, and its sidecar if it was loaded."""

    index: HnswIndex
    plans: dict[str, Plan]
    load_seconds: float = 0.0
    build_seconds: float | None = 0.0  # of all its vectors; None where an older version did not write it down
    facts: GraphSidecar | None = None


def graph_facts(store: Store) -> GraphSidecar | None:
    """Return the sidecar of the current graph if it fits the library; does not read the graph."""
    facts = store.sidecar(KIND)
    if isinstance(facts, Unusable) or (facts["epoch"], facts["dim"]) != (store.epoch, store.dim):
        return None
    return facts


def plan_json(plan: Plan) -> PlanFields:
    """Return a plan as sidecars, `status` and reports have it."""
    measured = plan.measured
    return {
        "route": plan.index, "ef": measured.effort, "recall": measured.recall, "target": measured.target,
        "graph_ms": measured.index_ms, "exact_ms": measured.exact_ms, "n_queries": measured.n_queries,
    }  # fmt: skip


def plans_of_json(fields_of: Mapping[str, PlanFields]) -> dict[str, Plan]:
    """Return the plan of each modality from what `plan_json` gave for it."""
    plans = {}
    for modality, fields in fields_of.items():
        measured = Measurement(
            fields["ef"], fields["recall"], fields["target"], fields["graph_ms"], fields["exact_ms"],
            fields["n_queries"],
        )  # fmt: skip
        is_exact = fields["route"] != KIND
        plans[modality] = exact_plan(measured) if is_exact else Plan(KIND, measured.effort, measured)
    return plans


def plans_in_use(facts: GraphSidecar, n_vectors: int) -> dict[str, Plan]:
    """Return the plans of a sidecar as searches follow them in a library with so many vectors in use."""
    return followed(plans_of_json(facts["calibration"]), n_vectors)


def followed(plans: dict[str, Plan], n_vectors: int) -> dict[str, Plan]:
    """Return plans as searches follow them: texts among few vectors are answered exactly, whatever was measured."""
    text = plans.get("text")
    if text is None or n_vectors >= EXACT_TEXTS_BELOW:
        return plans
    return {**plans, "text": exact_plan(text.measured)}


def load_graph(store: Store) -> PublishedGraph | Unusable:
    """Load the current graph after comparing it with its checksum, or say why it cannot be used."""
    start = time.perf_counter()
    epoch, n_rows = store.epoch, len(store.matrix())

    def load(file: BinaryIO, facts: GraphSidecar) -> tuple[HnswIndex, GraphSidecar]:
        return HnswIndex.of_file(file, store.dim, facts), facts

    loaded = store.load_matching(KIND, {"dim": store.dim, "epoch": epoch, "metric": "ip"}, load)
    if isinstance(loaded, Unusable):
        return loaded
    index, facts = loaded
    if index.n_rows > n_rows:
        return Unusable(f"the graph covers {index.n_rows} vectors, of which {n_rows} are there")
    index.delete(store.catalog.dead_rows())
    seconds = time.perf_counter() - start
    plans, build_seconds = plans_of_json(facts["calibration"]), facts.get("build_seconds")
    return PublishedGraph(index, plans, seconds, build_seconds, facts)


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
        Unit embeddings of typical texts, to plan for.
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
    if isinstance(loaded, Unusable):
        loaded = _empty_graph(store, settings)
    if n_rows - loaded.index.n_rows > settings.tail_share * n_rows:
        _extend(store, loaded, on_progress)
    elif _aims_at(loaded.plans, settings.recall_target):
        return False
    on_progress("calibrate", 0, 1)
    loaded.plans = _choose_plans(store, loaded.index, settings, text_probes)
    on_progress("calibrate", 1, 1)
    _publish(store, loaded)
    return True


def graph_in_memory(
    store: Store,
    settings: GraphSettings,
    *,
    on_progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> PublishedGraph:
    """Return a graph of all committed rows that is not published, has no plans, and needs no writer."""
    graph = _empty_graph(store, settings)
    _extend(store, graph, on_progress)
    return graph


def _empty_graph(store: Store, settings: GraphSettings) -> PublishedGraph:
    index = HnswIndex(store.dim, m=settings.m, ef_construction=settings.ef_construction)
    return PublishedGraph(index, {})


def _extend(store: Store, graph: PublishedGraph, on_progress: Callable[[str, int, int], None]) -> None:
    """Take the rows that a graph does not know yet into it."""
    start, matrix = time.perf_counter(), store.matrix()
    total = len(matrix) - graph.index.n_rows
    graph.index.build(matrix, on_progress=lambda done: on_progress("graph", done, total))
    graph.index.delete(store.catalog.dead_rows())
    if graph.build_seconds is not None:
        graph.build_seconds += time.perf_counter() - start


def _aims_at(plans: dict[str, Plan], target: float) -> bool:
    """Return whether there are plans, all made for this recall target."""
    return bool(plans) and all(plan.measured.target == target for plan in plans.values())


def _choose_plans(
    store: Store, index: VectorIndex, settings: GraphSettings, text_probes: Matrix
) -> dict[str, Plan]:
    """Choose index and effort for each modality by exact search over all committed rows."""
    exact = ExactIndex(store.matrix(), store.catalog.dead_rows())
    queries = {"image": picture_queries(store.matrix(), _N_PICTURE_QUERIES), "text": text_probes}
    return {
        modality: choose_plan(KIND, index, exact, vectors, target=settings.recall_target)
        for modality, vectors in queries.items()
        if len(vectors)
    }


def _publish(store: Store, graph: PublishedGraph) -> None:
    from importlib.metadata import version

    held = graph.index.facts
    facts = {
        "dim": store.dim, "metric": "ip", **held.settings, "n": held.n_held, "epoch": store.epoch,
        "covered": graph.index.n_rows, "hnswlib": version("hnswlib"), "build_seconds": graph.build_seconds,
        "calibration": {modality: plan_json(plan) for modality, plan in graph.plans.items()},
    }  # fmt: skip
    store.publish(KIND, next_name(store.files, KIND, stem="hnsw"), graph.index.save, facts)
