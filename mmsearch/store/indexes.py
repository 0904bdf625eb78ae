"""The library's indexes as published caches, whatever their kinds: build, extend, measure, save, load.

An index holds every row below its `n_rows`, dead or not (dead ones are marked when it is loaded); later rows are
searched exactly and merged until the next update takes them in. Its sidecar has what it was measured to find, from
which the plans follow: each modality goes by the index that finds enough in the least time, or by the scan.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, BinaryIO, NotRequired, TypeAlias, TypedDict
from weakref import WeakValueDictionary

import numpy as np

from mmsearch.indexes.base import NO_ROWS, IndexKind, Rows, SavedIndex, leave_out, unit_rows
from mmsearch.indexes.cells import CELLS
from mmsearch.indexes.exact import ExactIndex
from mmsearch.indexes.hnsw import GRAPH
from mmsearch.indexes.kinds import KINDS
from mmsearch.indexes.plans import (
    EXACT,
    Ladder,
    Measurement,
    Plan,
    Probes,
    Recall,
    cheapest,
    exact_plan,
    measured_efforts,
)
from mmsearch.records import Matrix, PlanFields, Unusable
from mmsearch.store.base import OnProgress
from mmsearch.store.publish import Kind, Sidecar, current, manifest_state, next_name, sidecar_checksum, withdraw

if TYPE_CHECKING:
    from mmsearch.store.folder import Store

RecallFields: TypeAlias = tuple[float, float | None, float | None, float | None, float | None]


class LadderFields(TypedDict):
    """What an index was measured to find for queries of one modality, in JSON.

    `efforts` has for each that was tried the effort, what it recalls (the mean, its interval, the share of queries
    without their best hit, the share without any), and milliseconds.
    """

    efforts: list[tuple[int, RecallFields, float]]
    exact_ms: float
    n_queries: int


class IndexSidecar(Sidecar):
    """What is noted of an index beside it; beside that stand the settings of its kind, under their own names.

    `measured` is what it was measured to find, by modality, and `calibration` the plans that followed; older
    versions wrote down the plans alone.
    """

    dim: int
    metric: str
    n: int
    epoch: int
    covered: NotRequired[int]
    build_seconds: NotRequired[float | None]
    calibration: dict[str, PlanFields]
    measured: NotRequired[dict[str, LadderFields]]


_N_HELD_OUT = 512  # pictures that stand for new ones when an index is measured
_HELD_OUT_SHARE = 0.1  # of the pictures at most: the others are left to be found
_FEWEST_NEW = 50  # else pictures that the index knows stand for them
_CHEAPER = 0.8  # of the time of an index: a finer one, which is larger, is worth it
_SEED = 7


@dataclass(frozen=True)
class GraphSettings:
    """When and how indexes are built.

    Below `graph_from` rows the exact scan takes under a millisecond and there is no index. Up to `graph_to` rows
    there is a graph beside the cells; it takes twice the memory of the vectors and a millisecond for each, so a
    larger library has one only if it has one already. An index is extended when more than `tail_share` of the
    rows are not in it.
    """

    graph_from: int = 10_000
    m: int = 16
    ef_construction: int = 200
    recall_target: float = 0.95
    tail_share: float = 0.02
    graph_to: int = 300_000


@dataclass(eq=False)
class PublishedIndex:
    """An index of some kind, what it was measured to find in each modality, and its sidecar if it was loaded."""

    kind: IndexKind
    index: SavedIndex
    ladders: dict[str, Ladder] = field(default_factory=dict)
    load_seconds: float = 0.0
    build_seconds: float | None = 0.0  # of all its vectors; None where an older version did not write it down
    facts: IndexSidecar | None = None

    def __post_init__(self) -> None:
        self._lock, self._revision = Lock(), -1

    def bury(self, dead: Iterable[int], revision: int) -> None:
        """Make these rows the dead ones, unless that was done for a later revision of the library."""
        with self._lock:
            if revision > self._revision:
                leave_out(self.index, dead)
                self._revision = revision


_loaded: WeakValueDictionary[tuple[object, ...], PublishedIndex] = WeakValueDictionary()
"""Indexes that searches of this process have loaded, by what they are, so that threads share them."""
_loading = Lock()


class LibraryIndexes:
    """The indexes of one open library, as `Store.indexes` gives them.

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

    def kinds(self) -> list[IndexKind]:
        """Return the kinds of the indexes that the library has published."""
        return [kind for kind in KINDS.values() if current(self._store.files, kind.name) is not None]

    def facts(self) -> dict[str, IndexSidecar]:
        """Return the sidecars of the current indexes that fit the library, by kind; does not read the indexes."""
        fitting = {}
        for kind in self.kinds():
            facts = self._store.sidecar(_cache_of(kind))
            is_current = not isinstance(facts, Unusable) and (
                (facts["epoch"], facts["dim"]) == (self._store.epoch, self._store.dim)
            )
            if is_current and not isinstance(facts, Unusable):
                fitting[kind.name] = facts
        return fitting

    def state(self) -> bytes:
        """Return what changes with every publication."""
        return manifest_state(self._store.files)

    def shared(self, kind: IndexKind) -> PublishedIndex | Unusable:
        """Return the current index of a kind for searches, loaded once for all threads of this process."""
        key = (
            str(self._store.files), self._store.vectors_look()[1:2], kind.name,
            sidecar_checksum(self._store.files, kind.name),
        )  # fmt: skip
        with _loading:
            published = _loaded.get(key)
            if published is None:
                loaded = self.load(kind)
                if isinstance(loaded, Unusable):
                    return loaded
                published = _loaded[key] = loaded
        published.bury(self._store.dead_rows(), self._store.revision)
        return published

    def load(self, kind: IndexKind, *, is_proved: bool = False) -> PublishedIndex | Unusable:
        """Open the current index of a kind, or say why it cannot be used; its dead rows are those of now.

        All of it is compared with its checksum, unless it is of a kind that checks what it reads: that is done for
        one that `is_proved`, or whose file was touched since it was published.
        """
        start = time.perf_counter()
        epoch, matrix = self._store.epoch, self._store.matrix()

        def load(file: BinaryIO, facts: IndexSidecar) -> tuple[SavedIndex, IndexSidecar]:
            return kind.load(file, matrix, facts), facts

        loaded = self._store.load_matching(
            _cache_of(kind), {"dim": self._store.dim, "epoch": epoch, "metric": "ip"}, load,
            is_stamp_enough=kind.is_read_lazily and not is_proved,
        )  # fmt: skip
        if isinstance(loaded, Unusable):
            return loaded
        index, facts = loaded
        if index.n_rows > len(matrix):
            return Unusable(
                f"the file of the {kind.name} covers {index.n_rows} vectors, of which {len(matrix)} are there"
            )
        published = PublishedIndex(
            kind, index, _ladders_of(facts), time.perf_counter() - start, facts.get("build_seconds"), facts
        )
        published.bury(self._store.dead_rows(), self._store.revision)
        return published

    def problems(self) -> dict[str, str]:
        """Return what is wrong with the index of each kind, by reading all of it."""
        problems = {}
        for kind in self.kinds():
            # One of an older epoch is stale, not damaged: search leaves it alone and `update` replaces it.
            loaded = self._store.load_matching(_cache_of(kind), {"dim": self._store.dim}, lambda file, facts: None)
            if isinstance(loaded, Unusable):
                problems[kind.name] = loaded.reason
        return problems

    def update(
        self,
        settings: GraphSettings,
        text_probes: Matrix,
        *,
        kinds: Iterable[IndexKind] | None = None,
        on_progress: OnProgress = lambda stage, done, total: None,
    ) -> bool:
        """Bring the indexes up to date with the committed rows; the caller is the writer.

        Parameters
        ----------
        settings : GraphSettings
            When and how to build.
        text_probes : float32 array, shape (n, dim)
            Unit embeddings of typical texts: half of them to fit an index to, half to measure it with.
        kinds : iterable of IndexKind, optional
            What to build; indexes of other kinds are withdrawn. By default those that there are, the cells, and a
            graph while the library is small.
        on_progress : callable
            Given (stage, done, total): `graph` while rows are taken in, `calibrate`.

        Returns
        -------
        bool
            True if a new generation was published.
        """
        if self._store.n_rows - self._store.n_dead < settings.graph_from:
            return False
        published, wanted = self.kinds(), None if kinds is None else list(kinds)
        if wanted is None:
            is_small = self._store.n_rows <= settings.graph_to
            new = (CELLS, GRAPH) if is_small else (CELLS,)
            wanted = [kind for kind in KINDS.values() if kind in published or kind in new]
        for kind in published:
            if kind not in wanted:
                withdraw(self._store.files, kind.name)
        return any([self._updated(kind, settings, text_probes, on_progress) for kind in wanted])

    def in_memory(
        self,
        settings: GraphSettings,
        text_probes: Matrix,
        *,
        on_progress: OnProgress = lambda stage, done, total: None,
    ) -> list[PublishedIndex]:
        """Return a graph and cells of all committed rows that are not published or measured and need no writer."""
        indexes = [self._empty(settings, kind, text_probes) for kind in (GRAPH, CELLS)]
        for index in indexes:
            self._take_in(index, on_progress)
        return indexes

    def _updated(
        self, kind: IndexKind, settings: GraphSettings, text_probes: Matrix, on_progress: OnProgress
    ) -> bool:
        """Bring the index of one kind up to date, and return whether it was published anew."""
        fitted, asked = text_probes[::2], self._asked(text_probes)
        loaded = self.load(kind, is_proved=True)  # so a damaged one is replaced here
        index = self._empty(settings, kind, fitted) if isinstance(loaded, Unusable) else loaded
        n_new = self._store.n_rows - index.index.n_rows
        is_short = n_new > settings.tail_share * self._store.n_rows
        is_measured = _is_measured(index, settings.recall_target)
        if not is_short and is_measured:
            return False
        # Few rows more do not help an index that never found enough: when they are many it learns by itself.
        is_hopeful = not is_measured or _finds_enough(index, settings.recall_target)
        measured = self._measured(index, asked, settings, on_progress)
        is_old = measured is index is loaded and kind.finer is not None
        if is_old and is_hopeful and not _finds_enough(index, settings.recall_target):
            measured = self._measured(self._empty(settings, kind, fitted), asked, settings, on_progress)
        self._publish(measured, settings)
        return True

    def _empty(self, settings: GraphSettings, kind: IndexKind, texts: Matrix) -> PublishedIndex:
        return PublishedIndex(kind, kind.make(self._store.dim, vars(settings), texts))

    def _asked(self, text_probes: Matrix) -> Matrix:
        """Return texts to measure an index with: those it was not fitted to, and what people looked for here."""
        remembered = self._store.remembered.vectors(len(text_probes) // 2) if len(text_probes) else text_probes
        return np.concatenate([text_probes[1::2], remembered])

    def _take_in(self, index: PublishedIndex, on_progress: OnProgress, *, without: Rows = NO_ROWS) -> None:
        """Take the rows that an index does not know yet into it, but some."""
        start, matrix = time.perf_counter(), self._store.matrix()
        total = len(matrix) - index.index.n_rows
        index.index.build(matrix, without=without, on_progress=lambda done: on_progress("graph", done, total))
        index.index.delete(self._store.dead_rows())
        if index.build_seconds is not None:
            index.build_seconds += time.perf_counter() - start

    def _measured(
        self, index: PublishedIndex, texts: Matrix, settings: GraphSettings, on_progress: OnProgress
    ) -> PublishedIndex:
        """Return an index of all rows, or one of its kind that finds more, with what it was measured to find.

        It is measured while it lacks some of the new pictures, which are asked for as photographs are that nobody
        has indexed: one that an index holds is easier to find the neighbours of.
        """
        known, matrix, dead = index.index.n_rows, self._store.matrix(), self._store.dead_rows()
        live = np.setdiff1d(np.arange(len(matrix)), dead)
        n = min(_N_HELD_OUT, max(1, int(_HELD_OUT_SHARE * len(live))))
        held_out, pictures = self._pictures_of(live[live >= known], n)
        is_held_out = len(held_out) >= _FEWEST_NEW
        if not is_held_out:
            held_out, pictures = self._pictures_of(live, n)
        without = held_out if is_held_out else NO_ROWS
        exact = ExactIndex(matrix, np.union1d(dead, held_out))
        probes = {
            modality: Probes.of(exact, queries)
            for modality, queries in {"image": pictures, "text": texts}.items()
            if len(queries)
        }

        def measure(index: PublishedIndex) -> PublishedIndex:
            self._take_in(index, on_progress, without=without)
            index.index.delete(held_out.tolist())
            on_progress("calibrate", 0, 1)
            index.ladders = {
                name: measured_efforts(index.index, of_name, settings.recall_target)
                for name, of_name in probes.items()
            }
            on_progress("calibrate", 1, 1)
            index.index.restore(held_out.tolist())
            return index

        best = self._cheapest(measure(index), measure, settings.recall_target)
        best.index.build(matrix)
        best.index.delete(dead)
        return best

    def _cheapest(
        self, index: PublishedIndex, measure: Callable[[PublishedIndex], PublishedIndex], target: float
    ) -> PublishedIndex:
        """Return an index, or a finer one of its kind by which queries take clearly less time, or can go at all."""
        is_first = True
        while index.kind.finer is not None and (is_first or not _finds_enough(index, target)):
            finer = index.kind.finer(index.index)
            if finer is None:
                break
            tried = measure(PublishedIndex(index.kind, finer, build_seconds=index.build_seconds))
            if _milliseconds(tried, target) > _CHEAPER * _milliseconds(index, target):
                break
            index, is_first = tried, False
        return index

    def _pictures_of(self, rows: Rows, n: int) -> tuple[Rows, Matrix]:
        """Return n of these rows at most, ascending, and their unit vectors."""
        rng = np.random.default_rng(_SEED)
        rows = np.sort(rng.choice(rows, min(len(rows), n), replace=False))
        places, vectors = unit_rows(self._store.matrix()[rows])
        return rows[places], vectors

    def _publish(self, index: PublishedIndex, settings: GraphSettings) -> None:
        from importlib.metadata import version

        held, kind = index.index.facts, index.kind
        calibration = {
            modality: plan_json(ladder.plan(kind.name, settings.recall_target))
            for modality, ladder in index.ladders.items()
        }
        facts = {
            "dim": self._store.dim, "metric": "ip", **held.settings, "n": held.n_held, "epoch": self._store.epoch,
            "covered": index.index.n_rows, **{package: version(package) for package in kind.packages},
            "build_seconds": index.build_seconds, "calibration": calibration,
            "measured": {modality: _ladder_json(ladder) for modality, ladder in index.ladders.items()},
        }  # fmt: skip
        name = next_name(self._store.files, kind.name, stem=kind.stem)
        self._store.publish(kind.name, name, index.index.save, facts)


def plan_json(plan: Plan) -> PlanFields:
    """Return a plan as sidecars, `status` and reports have it."""
    measured, recall = plan.measured, plan.measured.recall
    return {
        "route": plan.index, "ef": measured.effort, "recall": recall.mean, "recall_low": recall.low,
        "recall_high": recall.high, "best_missed": recall.best_missed, "none_found": recall.none_found,
        "target": measured.target, "graph_ms": measured.index_ms, "exact_ms": measured.exact_ms,
        "n_queries": measured.n_queries,
    }  # fmt: skip


def plan_of_json(fields: PlanFields) -> Plan:
    """Return the plan of `plan_json`, also as older versions wrote it down."""
    recall = Recall(
        fields["recall"], fields.get("recall_low"), fields.get("recall_high"), fields.get("best_missed"),
        fields.get("none_found"),
    )  # fmt: skip
    measured = Measurement(
        fields["ef"], recall, fields["target"], fields["graph_ms"], fields["exact_ms"], fields["n_queries"]
    )
    route = fields["route"]
    return Plan(route, measured.effort, measured) if route in KINDS else exact_plan(measured)


def plans_in_use(facts: Mapping[str, IndexSidecar], target: float, kinds: Iterable[IndexKind]) -> dict[str, Plan]:
    """Return the plan of each modality that searches follow, of the indexes of some kinds that a library has."""
    plans: dict[str, list[Plan]] = {}
    for kind in kinds:
        if kind.name in facts:
            for modality, plan in _plans_of(facts[kind.name], kind.name, target).items():
                plans.setdefault(modality, []).append(plan)
    return {modality: cheapest(of_modality) for modality, of_modality in plans.items()}


def _plans_of(facts: IndexSidecar, name: str, target: float) -> dict[str, Plan]:
    """Return the plan of each modality with one index.

    What older versions measured says nothing of the tail: a graph calibrated to .956 for texts lost the best hit of
    2.98 % of the captions of 15,510 photographs. So texts are scanned for until it is measured again.
    """
    before = {modality: plan_of_json(fields) for modality, fields in facts["calibration"].items()}
    plans = {name: plan if name == "image" else exact_plan(plan.measured) for name, plan in before.items()}
    return plans | {modality: ladder.plan(name, target) for modality, ladder in _ladders_of(facts).items()}


def _ladder_json(ladder: Ladder) -> LadderFields:
    efforts = [
        (effort, (recall.mean, recall.low, recall.high, recall.best_missed, recall.none_found), ms)
        for effort, recall, ms in ladder.efforts
    ]
    return {"efforts": efforts, "exact_ms": ladder.exact_ms, "n_queries": ladder.n_queries}


def _ladders_of(facts: IndexSidecar) -> dict[str, Ladder]:
    """Return what an index was measured to find; nothing where an older version did that."""
    ladders = {}
    for modality, fields in facts.get("measured", {}).items():
        efforts = tuple((effort, Recall(*recall), ms) for effort, recall, ms in fields["efforts"])
        ladders[modality] = Ladder(efforts, fields["exact_ms"], fields["n_queries"])
    return ladders


def _is_measured(index: PublishedIndex, target: float) -> bool:
    """Return whether it is known what an index finds, as far as that counts for a target."""
    if index.facts is None or not index.ladders:
        return False
    is_fitted = all(fields["target"] == target for fields in index.facts["calibration"].values())
    return is_fitted or _finds_enough(index, target)


def _finds_enough(index: PublishedIndex, target: float) -> bool:
    """Return whether queries of every modality can go by an index."""
    return all(ladder.plan(index.kind.name, target).index != EXACT for ladder in index.ladders.values())


def _milliseconds(index: PublishedIndex, target: float) -> float:
    """Return what a query of each modality takes together, by the index or by the scan."""
    plans = [ladder.plan(index.kind.name, target) for ladder in index.ladders.values()]
    return sum(plan.measured.exact_ms if plan.index == EXACT else plan.measured.index_ms for plan in plans)


def _cache_of(kind: IndexKind) -> Kind[IndexSidecar]:
    """Return what an index of a kind is published as."""
    return Kind(kind.name)
