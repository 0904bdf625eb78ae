"""The library's index as a published cache, whatever its kind: build, extend, plan, save, load.

It holds every row below its `n_rows`, dead or not (dead ones are marked when it is loaded); later rows are
searched exactly and merged until the next update takes them in. Its sidecar has the plans that were made with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import BinaryIO, NotRequired

from mmsearch.indexes.base import IndexKind, SavedIndex
from mmsearch.indexes.exact import ExactIndex
from mmsearch.indexes.hnsw import GRAPH
from mmsearch.indexes.kinds import KINDS
from mmsearch.indexes.plans import Measurement, Plan, choose_plan, exact_plan, picture_queries
from mmsearch.records import Matrix, PlanFields, Unusable
from mmsearch.store.folder import Store
from mmsearch.store.publish import Kind, Sidecar, current, next_name


class IndexSidecar(Sidecar):
    """What is noted of an index beside it; beside that stand the settings of its kind, under their own names.

    `calibration` are the plans that were made with it, by modality.
    """

    dim: int
    metric: str
    n: int
    epoch: int
    covered: NotRequired[int]
    build_seconds: NotRequired[float | None]
    calibration: dict[str, PlanFields]


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
    """An index of some kind, the plan of each modality, and its sidecar if it was loaded."""

    kind: IndexKind
    index: SavedIndex
    plans: dict[str, Plan]
    load_seconds: float = 0.0
    build_seconds: float | None = 0.0  # of all its vectors; None where an older version did not write it down
    facts: IndexSidecar | None = None


def cache_of(kind: IndexKind) -> Kind[IndexSidecar]:
    """Return what an index of a kind is published as."""
    return Kind(kind.name)


def published_kind(store: Store) -> IndexKind | None:
    """Return the kind of the index that the library has published; None if there is none."""
    return next((kind for kind in KINDS.values() if current(store.files, kind.name) is not None), None)


def graph_facts(store: Store) -> IndexSidecar | None:
    """Return the sidecar of the current index if it fits the library; does not read the index."""
    kind = published_kind(store)
    if kind is None:
        return None
    facts = store.sidecar(cache_of(kind))
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
        route = fields["route"]
        plans[modality] = Plan(route, measured.effort, measured) if route in KINDS else exact_plan(measured)
    return plans


def plans_in_use(facts: IndexSidecar, n_vectors: int) -> dict[str, Plan]:
    """Return the plans of a sidecar as searches follow them in a library with so many vectors in use."""
    return followed(plans_of_json(facts["calibration"]), n_vectors)


def followed(plans: dict[str, Plan], n_vectors: int) -> dict[str, Plan]:
    """Return plans as searches follow them: texts among few vectors are answered exactly, whatever was measured."""
    text = plans.get("text")
    if text is None or n_vectors >= EXACT_TEXTS_BELOW:
        return plans
    return {**plans, "text": exact_plan(text.measured)}


def load_graph(store: Store) -> PublishedGraph | Unusable:
    """Load the current index after comparing it with its checksum, or say why it cannot be used."""
    start, kind = time.perf_counter(), published_kind(store) or GRAPH
    epoch, n_rows = store.epoch, len(store.matrix())

    def load(file: BinaryIO, facts: IndexSidecar) -> tuple[SavedIndex, IndexSidecar]:
        return kind.load(file, store.dim, facts), facts

    loaded = store.load_matching(cache_of(kind), {"dim": store.dim, "epoch": epoch, "metric": "ip"}, load)
    if isinstance(loaded, Unusable):
        return loaded
    index, facts = loaded
    if index.n_rows > n_rows:
        return Unusable(f"the {kind.name} covers {index.n_rows} vectors, of which {n_rows} are there")
    index.delete(store.catalog.dead_rows())
    seconds = time.perf_counter() - start
    plans, build_seconds = plans_of_json(facts["calibration"]), facts.get("build_seconds")
    return PublishedGraph(kind, index, plans, seconds, build_seconds, facts)


def update_graph(
    store: Store,
    settings: GraphSettings,
    text_probes: Matrix,
    *,
    kind: IndexKind | None = None,
    on_progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> bool:
    """Bring the index up to date with the committed rows; the caller is the writer.

    Parameters
    ----------
    store : Store
        Opened as the writer.
    settings : GraphSettings
        When and how to build.
    text_probes : float32 array, shape (n, dim)
        Unit embeddings of typical texts, to plan for.
    kind : IndexKind, optional
        What to build; an index of another kind is replaced. By default what there is, or a graph.
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
    kind = kind or published_kind(store) or GRAPH
    loaded = load_graph(store)  # reads and checks the whole file, so a damaged one is replaced here
    if isinstance(loaded, Unusable) or loaded.kind != kind:
        loaded = _empty_graph(store, settings, kind)
    if n_rows - loaded.index.n_rows > settings.tail_share * n_rows:
        _extend(store, loaded, on_progress)
    elif _aims_at(loaded.plans, settings.recall_target):
        return False
    on_progress("calibrate", 0, 1)
    loaded.plans = _choose_plans(store, loaded, settings, text_probes)
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
    graph = _empty_graph(store, settings, GRAPH)
    _extend(store, graph, on_progress)
    return graph


def _empty_graph(store: Store, settings: GraphSettings, kind: IndexKind) -> PublishedGraph:
    index = kind.make(store.dim, {"m": settings.m, "ef_construction": settings.ef_construction})
    return PublishedGraph(kind, index, {})


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
    store: Store, graph: PublishedGraph, settings: GraphSettings, text_probes: Matrix
) -> dict[str, Plan]:
    """Choose index and effort for each modality by exact search over all committed rows."""
    exact = ExactIndex(store.matrix(), store.catalog.dead_rows())
    queries = {"image": picture_queries(store.matrix(), _N_PICTURE_QUERIES), "text": text_probes}
    return {
        modality: choose_plan(graph.kind.name, graph.index, exact, vectors, target=settings.recall_target)
        for modality, vectors in queries.items()
        if len(vectors)
    }


def _publish(store: Store, graph: PublishedGraph) -> None:
    from importlib.metadata import version

    held = graph.index.facts
    facts = {
        "dim": store.dim, "metric": "ip", **held.settings, "n": held.n_held, "epoch": store.epoch,
        "covered": graph.index.n_rows, **{package: version(package) for package in graph.kind.packages},
        "build_seconds": graph.build_seconds,
        "calibration": {modality: plan_json(plan) for modality, plan in graph.plans.items()},
    }  # fmt: skip
    kind = graph.kind
    name = next_name(store.files, kind.name, stem=kind.stem)
    store.publish(
        kind.name, name, graph.index.save, facts, replaces=[other for other in KINDS if other != kind.name]
    )
