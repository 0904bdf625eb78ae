"""The library's index as a published cache, whatever its kind: build, extend, plan, save, load.

It holds every row below its `n_rows`, dead or not (dead ones are marked when it is loaded); later rows are
searched exactly and merged until the next update takes them in. Its sidecar has the plans that were made with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, NotRequired

from mmsearch.indexes.base import IndexKind, SavedIndex
from mmsearch.indexes.exact import ExactIndex
from mmsearch.indexes.hnsw import GRAPH
from mmsearch.indexes.kinds import KINDS
from mmsearch.indexes.plans import Measurement, Plan, choose_plan, exact_plan, picture_queries
from mmsearch.records import Matrix, PlanFields, Unusable
from mmsearch.store.publish import Kind, Sidecar, current, manifest_state, next_name

if TYPE_CHECKING:
    from mmsearch.store.folder import Store


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


@dataclass
class PublishedGraph:
    """An index of some kind, the plan of each modality, and its sidecar if it was loaded."""

    kind: IndexKind
    index: SavedIndex
    plans: dict[str, Plan]
    load_seconds: float = 0.0
    build_seconds: float | None = 0.0  # of all its vectors; None where an older version did not write it down
    facts: IndexSidecar | None = None


class LibraryGraph:
    """The index of one open library, as `Store.graph` gives it.

    Parameters
    ----------
    store : Store
        Opened for reading; by its writer for `keep` and `update`.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def settings(self) -> GraphSettings:
        """Return the settings that the library keeps."""
        return GraphSettings(**(self._store.setting("graph") or {}))

    def keep(self, settings: GraphSettings) -> None:
        """Make these the settings of the library; the caller is the writer."""
        self._store.keep({"graph": vars(settings)})

    def kind(self) -> IndexKind | None:
        """Return the kind of the index that the library has published; None if there is none."""
        return next((kind for kind in KINDS.values() if current(self._store.files, kind.name) is not None), None)

    def facts(self) -> IndexSidecar | None:
        """Return the sidecar of the current index if it fits the library; does not read the index."""
        kind = self.kind()
        if kind is None:
            return None
        facts = self._store.sidecar(cache_of(kind))
        if isinstance(facts, Unusable) or (facts["epoch"], facts["dim"]) != (self._store.epoch, self._store.dim):
            return None
        return facts

    def state(self) -> bytes:
        """Return what changes with every publication."""
        return manifest_state(self._store.files)

    def load(self) -> PublishedGraph | Unusable:
        """Load the current index after comparing it with its checksum, or say why it cannot be used."""
        start, kind = time.perf_counter(), self.kind() or GRAPH
        epoch, n_rows = self._store.epoch, len(self._store.matrix())

        def load(file: BinaryIO, facts: IndexSidecar) -> tuple[SavedIndex, IndexSidecar]:
            return kind.load(file, self._store.dim, facts), facts

        loaded = self._store.load_matching(
            cache_of(kind), {"dim": self._store.dim, "epoch": epoch, "metric": "ip"}, load
        )
        if isinstance(loaded, Unusable):
            return loaded
        index, facts = loaded
        if index.n_rows > n_rows:
            return Unusable(f"the {kind.name} covers {index.n_rows} vectors, of which {n_rows} are there")
        index.delete(self._store.dead_rows())
        seconds = time.perf_counter() - start
        plans, build_seconds = plans_of_json(facts["calibration"]), facts.get("build_seconds")
        return PublishedGraph(kind, index, plans, seconds, build_seconds, facts)

    def problems(self) -> dict[str, str]:
        """Return what is wrong with the index of each kind, by reading all of it."""
        problems = {}
        for kind in KINDS.values():
            if current(self._store.files, kind.name) is None:
                continue
            # One of an older epoch is stale, not damaged: search leaves it alone and `update` replaces it.
            loaded = self._store.load_matching(cache_of(kind), {"dim": self._store.dim}, lambda file, facts: None)
            if isinstance(loaded, Unusable):
                problems[kind.name] = loaded.reason
        return problems

    def update(
        self,
        settings: GraphSettings,
        text_probes: Matrix,
        *,
        kind: IndexKind | None = None,
        on_progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
    ) -> bool:
        """Bring the index up to date with the committed rows; the caller is the writer.

        Parameters
        ----------
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
        n_rows = self._store.n_rows
        if n_rows - self._store.n_dead < settings.graph_from:
            return False
        kind = kind or self.kind() or GRAPH
        loaded = self.load()  # reads and checks the whole file, so a damaged one is replaced here
        if isinstance(loaded, Unusable) or loaded.kind != kind:
            loaded = self._empty(settings, kind)
        if n_rows - loaded.index.n_rows > settings.tail_share * n_rows:
            self._extend(loaded, on_progress)
        elif _aims_at(loaded.plans, settings.recall_target):
            return False
        on_progress("calibrate", 0, 1)
        loaded.plans = self._choose_plans(loaded, settings, text_probes)
        on_progress("calibrate", 1, 1)
        self._publish(loaded)
        return True

    def in_memory(
        self,
        settings: GraphSettings,
        *,
        on_progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
    ) -> PublishedGraph:
        """Return a graph of all committed rows that is not published, has no plans, and needs no writer."""
        graph = self._empty(settings, GRAPH)
        self._extend(graph, on_progress)
        return graph

    def _empty(self, settings: GraphSettings, kind: IndexKind) -> PublishedGraph:
        index = kind.make(self._store.dim, {"m": settings.m, "ef_construction": settings.ef_construction})
        return PublishedGraph(kind, index, {})

    def _extend(self, graph: PublishedGraph, on_progress: Callable[[str, int, int], None]) -> None:
        """Take the rows that a graph does not know yet into it."""
        start, matrix = time.perf_counter(), self._store.matrix()
        total = len(matrix) - graph.index.n_rows
        graph.index.build(matrix, on_progress=lambda done: on_progress("graph", done, total))
        graph.index.delete(self._store.dead_rows())
        if graph.build_seconds is not None:
            graph.build_seconds += time.perf_counter() - start

    def _choose_plans(self, graph: PublishedGraph, settings: GraphSettings, text_probes: Matrix) -> dict[str, Plan]:
        """Choose index and effort for each modality by exact search over all committed rows."""
        exact = ExactIndex(self._store.matrix(), self._store.dead_rows())
        queries = {"image": picture_queries(self._store.matrix(), _N_PICTURE_QUERIES), "text": text_probes}
        return {
            modality: choose_plan(graph.kind.name, graph.index, exact, vectors, target=settings.recall_target)
            for modality, vectors in queries.items()
            if len(vectors)
        }

    def _publish(self, graph: PublishedGraph) -> None:
        from importlib.metadata import version

        held = graph.index.facts
        facts = {
            "dim": self._store.dim, "metric": "ip", **held.settings, "n": held.n_held, "epoch": self._store.epoch,
            "covered": graph.index.n_rows, **{package: version(package) for package in graph.kind.packages},
            "build_seconds": graph.build_seconds,
            "calibration": {modality: plan_json(plan) for modality, plan in graph.plans.items()},
        }  # fmt: skip
        kind = graph.kind
        name = next_name(self._store.files, kind.name, stem=kind.stem)
        self._store.publish(
            kind.name, name, graph.index.save, facts, replaces=[other for other in KINDS if other != kind.name]
        )


def cache_of(kind: IndexKind) -> Kind[IndexSidecar]:
    """Return what an index of a kind is published as."""
    return Kind(kind.name)


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


def _aims_at(plans: dict[str, Plan], target: float) -> bool:
    """Return whether there are plans, all made for this recall target."""
    return bool(plans) and all(plan.measured.target == target for plan in plans.values())
