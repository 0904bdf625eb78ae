from __future__ import annotations

import os

import numpy as np
import pytest

from mmsearch.indexes.cells import CELLS
from mmsearch.indexes.hnsw import GRAPH
from mmsearch.indexes.plans import Ladder, Recall
from mmsearch.records import Unusable
from mmsearch.store import indexes as indexes_module
from mmsearch.store.changes import Changes
from mmsearch.store.folder import Store
from mmsearch.store.indexes import GraphSettings, plan_json, plan_of_json, plans_in_use
from mmsearch.store.publish import current
from mmsearch.store.verify import verify
from mmsearch.vectors import l2_normalize
from tests.conftest import random_units
from tests.faults.stand_in import finds_all_at_once
from tests.store.test_store import DIM, META, file, filled, flip

SETTINGS = GraphSettings(graph_from=50)
PROBES = random_units(20, DIM, seed=5)

of_any_kind = pytest.mark.parametrize("kind", [GRAPH, CELLS], ids=lambda kind: kind.name)


def index_of(folder, kind, n=200, seed=0):
    """A library of n random vectors, all of them in an index of one kind; returns the vectors."""
    vectors = filled(folder, n, seed)
    assert updated(folder, kinds=[kind])
    return vectors


def updated(folder, settings=SETTINGS, **options):
    """Bring the indexes of a library up to date, and return whether any was published anew."""
    with Store.writer(folder) as store:
        return store.indexes.update(settings, PROBES, **options)


def later(n, seed=8, first=300):
    """More pictures with random vectors."""
    return Changes(stored=[file(first + i, vector) for i, vector in enumerate(random_units(n, DIM, seed))])


def test_no_index_is_built_for_a_small_library(tmp_path):
    filled(tmp_path, 49)
    assert not updated(tmp_path)
    store = Store.open(tmp_path)
    assert (store.indexes.facts(), store.indexes.kinds()) == ({}, [])


def test_an_index_is_built_from_as_many_vectors_in_use_as_the_settings_say(tmp_path):
    filled(tmp_path, 51)
    with Store.writer(tmp_path) as store:
        store.remove_images([1, 2])
        assert not store.indexes.update(SETTINGS, PROBES)
        store.commit(later(1))
        assert store.indexes.update(SETTINGS, PROBES)


def test_building_says_how_far_it_is_and_how_long_it_took(tmp_path):
    filled(tmp_path, 200)
    steps, seconds = [], []
    for n_new in (0, 40):
        with Store.writer(tmp_path) as store:
            store.commit(later(n_new))
            on_progress = lambda *step: steps.append(step)  # noqa: E731
            assert store.indexes.update(SETTINGS, PROBES, kinds=[GRAPH], on_progress=on_progress)
            seconds.append(store.indexes.facts()["graph"]["build_seconds"])
    assert 0 < seconds[0] < seconds[1] < 60
    planned = [("calibrate", 0, 1), ("calibrate", 1, 1)]
    assert steps == [("graph", 200, 200), *planned, ("graph", 40, 40), *planned]


def test_indexes_in_memory_leave_out_what_was_removed_and_publish_nothing(tmp_path):
    filled(tmp_path, 60)
    with Store.writer(tmp_path) as store:
        store.remove_images([1, 2])
    store = Store.open(tmp_path)
    indexes = store.indexes.in_memory(SETTINGS, PROBES)
    assert [index.kind for index in indexes] == [GRAPH, CELLS]
    for index in indexes:
        assert (index.index.dead, len(index.index), index.ladders) == ({0, 1}, 58, {})
        assert index.build_seconds > 0
    assert store.indexes.kinds() == []


def test_settings_are_kept_in_the_library(tmp_path):
    filled(tmp_path, 3)
    wanted = GraphSettings(
        graph_from=7, m=5, ef_construction=33, recall_target=0.9, tail_share=0.5, graph_to=90
    )  # fmt: skip
    with Store.writer(tmp_path) as store:
        assert store.indexes.settings == GraphSettings()
        store.indexes.keep(wanted)
    assert Store.open(tmp_path).indexes.settings == wanted


@of_any_kind
def test_rows_removed_since_are_dead_in_an_index_that_is_loaded(tmp_path, kind):
    index_of(tmp_path, kind)
    with Store.writer(tmp_path) as store:
        store.remove_images([1, 2])
        store.commit(later(1))
    index = Store.open(tmp_path).indexes.load(kind).index
    assert (index.dead, len(index), index.n_rows) == ({0, 1}, 198, 200)


@of_any_kind
def test_pictures_that_come_back_after_they_were_published_as_removed_are_found(tmp_path, kind):
    vectors = filled(tmp_path, 200)
    with Store.writer(tmp_path) as store:
        store.remove_images([1, 2, 3])
        assert store.indexes.update(SETTINGS, PROBES, kinds=[kind])
        assert store.indexes.load(kind).index.dead == {0, 1, 2}
        store.commit(Changes(stored=[file(i, vectors[i]) for i in (0, 1)]))
        assert store.n_rows == 200  # the rows that were there are used again
        index = store.indexes.load(kind).index
    assert (index.dead, len(index)) == ({2}, 199)
    assert index.search(vectors[:3], 1)[1][:2, 0].tolist() == [0, 1]


def test_rows_that_an_older_version_wrote_down_as_dead_in_a_graph_come_back(tmp_path):
    vectors = index_of(tmp_path, GRAPH)
    with Store.writer(tmp_path) as store:
        graph, facts = store.indexes.load(GRAPH).index, store.indexes.facts()["graph"]
        graph._graph.mark_deleted(0)  # hnswlib writes its marks
        store.publish("graph", "hnsw-2", graph.save, {name: facts[name] for name in facts if name != "measured"})
        index = store.indexes.load(GRAPH).index
    assert (index.dead, index.search(vectors[:1], 1)[1].tolist()) == (frozenset(), [[0]])


@of_any_kind
def test_an_index_of_more_vectors_than_are_there_is_not_used(tmp_path, kind):
    index_of(tmp_path, kind)
    os.truncate(tmp_path / "vectors-0.f16", 150 * 2 * DIM)
    reason = f"the file of the {kind.name} covers 200 vectors, of which 150 are there"
    assert Store.open(tmp_path).indexes.load(kind) == Unusable(reason)


@of_any_kind
def test_published_index_is_loaded_and_finds_the_stored_vectors(tmp_path, kind):
    vectors = index_of(tmp_path, kind)
    published = Store.open(tmp_path).indexes.load(kind)
    assert (published.kind, published.index.n_rows) == (kind, 200)
    _, rows = published.index.search(l2_normalize(vectors.astype(np.float16).astype(np.float32)), 1)
    np.testing.assert_array_equal(rows[:, 0], np.arange(200))


@of_any_kind
def test_unchanged_library_publishes_nothing_new(tmp_path, kind):
    index_of(tmp_path, kind)
    assert not updated(tmp_path, kinds=[kind])
    assert current(tmp_path, kind.name) == f"{kind.stem}-1"


@of_any_kind
def test_few_new_rows_stay_in_the_tail_and_many_are_taken_in(tmp_path, kind):
    index_of(tmp_path, kind)
    with Store.writer(tmp_path) as store:
        store.commit(later(3))
        assert not store.indexes.update(SETTINGS, PROBES, kinds=[kind])
        store.commit(later(30, seed=9, first=400))
        assert store.indexes.update(SETTINGS, PROBES, kinds=[kind])
        assert store.indexes.load(kind).index.n_rows == 233
    names = sorted(path.name for path in tmp_path.glob(f"{kind.stem}-*"))
    assert names == [f"{kind.stem}-2.bin", f"{kind.stem}-2.json"]


@of_any_kind
def test_a_tail_as_large_as_its_share_is_not_taken_in_yet(tmp_path, kind):
    index_of(tmp_path, kind, n=196)
    with Store.writer(tmp_path) as store:
        store.commit(later(4))
        assert not store.indexes.update(SETTINGS, PROBES, kinds=[kind])  # 4 of 200 are 2 %
        store.commit(later(1, seed=9, first=400))
        assert store.indexes.update(SETTINGS, PROBES, kinds=[kind])


@of_any_kind
def test_index_of_an_older_epoch_is_not_used_and_is_rebuilt(tmp_path, kind):
    index_of(tmp_path, kind)
    with Store.writer(tmp_path) as store:
        store.remove_images([image.image_id for image in store.catalog.images()][:60])
        store.compact()
        assert store.indexes.facts() == {}
        assert isinstance(store.indexes.load(kind), Unusable)
        assert store.indexes.update(SETTINGS, PROBES, kinds=[kind])
        assert store.indexes.load(kind).index.n_rows == 140


@of_any_kind
def test_index_with_a_changed_byte_is_never_loaded_and_is_rebuilt(tmp_path, kind):
    index_of(tmp_path, kind)
    path = tmp_path / f"{kind.stem}-1.bin"
    flip(path, path.stat().st_size // 2)
    assert "differs from its checksum" in Store.open(tmp_path).indexes.load(kind).reason
    with Store.writer(tmp_path) as store:
        assert store.indexes.update(SETTINGS, PROBES, kinds=[kind])
        assert store.indexes.load(kind).index.n_rows == 200


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"graph": "../../etc/passwd"}', '{"graph": 7}', "\0\0"])
def test_damaged_manifest_means_no_index(tmp_path, text):
    index_of(tmp_path, GRAPH)
    (tmp_path / "manifest.json").write_text(text)
    indexes = Store.open(tmp_path).indexes
    assert (indexes.facts(), indexes.kinds()) == ({}, [])
    assert all(isinstance(indexes.load(kind), Unusable) for kind in (GRAPH, CELLS))


def test_an_index_left_behind_by_a_compaction_is_stale_and_no_damage(tmp_path):
    filled(tmp_path, 200)
    assert updated(tmp_path)
    with Store.writer(tmp_path) as store:
        store.remove_images([image.image_id for image in store.catalog.images()][:160])
        store.compact()
        assert not store.indexes.update(SETTINGS, PROBES)  # too small for an index now
        assert store.indexes.facts() == {}
        assert verify(store).problems == ()


# -- several kinds -------------------------------------------------------------------------------------


def test_a_graph_and_cells_are_published_side_by_side(tmp_path):
    filled(tmp_path, 200)
    assert updated(tmp_path)
    names = ["cells-1.bin", "cells-1.json", "hnsw-1.bin", "hnsw-1.json"]
    assert sorted(path.name for path in tmp_path.glob("*-1.*")) == names
    store = Store.open(tmp_path)
    assert store.indexes.kinds() == [GRAPH, CELLS]
    assert {name: facts["covered"] for name, facts in store.indexes.facts().items()} == {"graph": 200, "cells": 200}
    assert not updated(tmp_path)
    assert verify(store).problems == ()


@pytest.mark.parametrize(("graph_to", "kinds"), [(200, [GRAPH, CELLS]), (199, [CELLS])])
def test_a_library_of_more_rows_than_graph_to_gets_no_graph(tmp_path, graph_to, kinds):
    filled(tmp_path, 200)
    assert updated(tmp_path, GraphSettings(graph_from=50, graph_to=graph_to))
    assert Store.open(tmp_path).indexes.kinds() == kinds


def test_a_library_that_grew_large_keeps_the_graph_that_it_has(tmp_path):
    index_of(tmp_path, GRAPH)
    with Store.writer(tmp_path) as store:
        store.commit(later(10))
        assert store.indexes.update(GraphSettings(graph_from=50, graph_to=50), PROBES)
        facts = store.indexes.facts()
    assert {name: of_kind["covered"] for name, of_kind in facts.items()} == {"graph": 210, "cells": 210}


def test_a_kind_that_is_no_longer_wanted_is_withdrawn(tmp_path):
    filled(tmp_path, 200)
    assert updated(tmp_path)
    assert not updated(tmp_path, kinds=[CELLS])
    assert Store.open(tmp_path).indexes.kinds() == [CELLS]
    assert list(tmp_path.glob("hnsw-*")) == []


def test_damage_of_one_kind_leaves_the_other_as_it_is(tmp_path):
    filled(tmp_path, 200)
    assert updated(tmp_path)
    flip(tmp_path / "hnsw-1.bin", 99)
    indexes = Store.open(tmp_path).indexes
    assert list(indexes.problems()) == ["graph"]
    assert indexes.load(CELLS).index.n_rows == 200
    assert updated(tmp_path)
    assert (current(tmp_path, "graph"), current(tmp_path, "cells")) == ("hnsw-2", "cells-1")


# -- what an index is measured with --------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch):
    """What every index that is measured holds and is asked then: (number of rows, probes) in turn."""
    noted = []

    def note(index, probes, target):
        noted.append((len(index), probes))
        return finds_all_at_once(index, probes, target)

    monkeypatch.setattr(indexes_module, "measured_efforts", note)
    return noted


@of_any_kind
def test_what_an_index_finds_is_measured_for_texts_and_pictures_apart(tmp_path, kind):
    index_of(tmp_path, kind)
    facts = Store.open(tmp_path).indexes.facts()[kind.name]
    assert set(facts["measured"]) == set(facts["calibration"]) == {"text", "image"}
    assert facts["measured"]["text"]["n_queries"] == 10  # half of the probes
    assert facts["measured"]["image"]["n_queries"] == 20  # a tenth of the pictures
    efforts = kind.make(DIM, vars(SETTINGS), PROBES).efforts
    for ladder in facts["measured"].values():
        assert [effort for effort, _, _ in ladder["efforts"]] == list(efforts[: len(ladder["efforts"])])
        for _, recall, ms in ladder["efforts"]:
            assert ms > 0
            assert all(0 <= part <= 1 for part in recall)


def test_texts_that_were_looked_for_are_asked_beside_those_that_no_index_is_fitted_to(tmp_path, asked):
    filled(tmp_path, 200)
    looked_for = random_units(12, DIM, seed=30)
    store = Store.open(tmp_path)
    for i, vector in enumerate(looked_for):
        store.remembered.put(f"text {i}", vector, META["fingerprint"])
    assert updated(tmp_path, kinds=[CELLS])
    _, texts = asked[1]
    np.testing.assert_array_equal(texts.queries[:10], PROBES[1::2])
    np.testing.assert_array_equal(texts.queries[10:], looked_for[:1:-1])  # the last ten: as many as other texts


@of_any_kind
def test_new_pictures_are_asked_for_before_the_index_has_them(tmp_path, asked, kind):
    vectors = l2_normalize(filled(tmp_path, 600).astype(np.float16).astype(np.float32))
    assert updated(tmp_path, kinds=[kind])
    n_held, probes = asked[0]
    assert (n_held, len(probes.queries)) == (540, 60)  # a tenth is held out
    held_out = np.flatnonzero((probes.queries @ vectors.T).max(axis=0) > 0.9999)
    assert len(held_out) == 60
    assert not np.isin(held_out, probes.expected).any()
    loaded = Store.open(tmp_path).indexes.load(kind).index
    assert (len(loaded), loaded.n_rows, loaded.dead) == (600, 600, frozenset())
    assert loaded.search(vectors[held_out], 1)[1][:, 0].tolist() == held_out.tolist()


@of_any_kind
@pytest.mark.parametrize("n", [60, 300])
def test_where_few_are_new_known_pictures_are_asked_for_and_looked_for_among_the_others(tmp_path, asked, kind, n):
    filled(tmp_path, n)
    assert updated(tmp_path, kinds=[kind])
    n_held, probes = asked[0]
    assert (n_held, probes.expected.shape) == (n - n // 10, (n // 10, 10))
    assert len(Store.open(tmp_path).indexes.load(kind).index) == n


def test_measuring_leaves_removed_pictures_removed(tmp_path):
    filled(tmp_path, 600)
    with Store.writer(tmp_path) as store:
        store.remove_images([1, 2, 3])
        assert store.indexes.update(SETTINGS, PROBES)
        for kind in (GRAPH, CELLS):
            index = store.indexes.load(kind).index
            assert (index.dead, len(index)) == ({0, 1, 2}, 597)


def test_a_new_recall_target_needs_no_new_measuring_where_that_went_far_enough(tmp_path, monkeypatch):
    rungs = (16, Recall(0.9, 0.88, 0.92, 0.0, 0.0), 0.1), (64, Recall(1.0, 1.0, 1.0, 0.0, 0.0), 0.4)
    monkeypatch.setattr(indexes_module, "measured_efforts", lambda index, probes, target: Ladder(rungs, 10.0, 20))
    filled(tmp_path, 200)
    assert updated(tmp_path)
    for target, effort in ((0.9, 16), (0.91, 64), (1.0, 64)):
        assert not updated(tmp_path, GraphSettings(graph_from=50, recall_target=target))
        for kind in (GRAPH, CELLS):
            plans = plans_in_use(Store.open(tmp_path).indexes.facts(), target, [kind])
            assert {name: (plan.index, plan.effort, plan.measured.target) for name, plan in plans.items()} == {
                "text": (kind.name, effort, target), "image": (kind.name, effort, target)
            }  # fmt: skip


@pytest.mark.parametrize(
    ("recall_before", "target", "n_measured"), [(0.9, 0.95, 1), (0.96, 0.95, 2), (0.96, 0.97, 2)],
    ids=["too few before", "enough before", "another target"],
)  # fmt: skip
def test_cells_that_lose_more_than_before_are_learned_anew_and_those_that_never_found_enough_are_not(
    tmp_path, monkeypatch, recall_before, target, n_measured
):
    held = []

    def finds(mean):
        def measure(index, probes, target):
            held.append(len(index))
            rung = 100, Recall(mean, mean, mean, 0.0, 0.0), 0.1
            return Ladder((rung,), 1.0, len(probes.queries))

        monkeypatch.setattr(indexes_module, "measured_efforts", measure)

    filled(tmp_path, 300)
    finds(recall_before)
    assert updated(tmp_path, kinds=[CELLS])
    held.clear()
    finds(0.8)
    with Store.writer(tmp_path) as store:
        store.commit(later(10))
        assert store.indexes.update(GraphSettings(graph_from=50, recall_target=target), PROBES, kinds=[CELLS])
    assert len(held) == 2 * n_measured  # texts and pictures
    assert Store.open(tmp_path).indexes.load(CELLS).index.n_rows == 310


def test_what_an_older_version_measured_is_measured_again(tmp_path):
    index_of(tmp_path, GRAPH)
    with Store.writer(tmp_path) as store:
        graph, facts = store.indexes.load(GRAPH).index, store.indexes.facts()["graph"]
        store.publish("graph", "hnsw-2", graph.save, {name: facts[name] for name in facts if name != "measured"})
        assert "measured" not in store.indexes.facts()["graph"]
        assert store.indexes.update(SETTINGS, PROBES, kinds=[GRAPH])
        assert set(store.indexes.facts()["graph"]["measured"]) == {"text", "image"}


# -- plans ---------------------------------------------------------------------------------------------


OLD_PLAN = {
    "route": "graph", "ef": 24, "recall": 0.961, "target": 0.95, "graph_ms": 0.2, "exact_ms": 0.5, "n_queries": 20,
}  # fmt: skip
GOOD = (0.96, 0.95, 0.97, 0.005, 0.0)
LOSES_BEST = (0.96, 0.95, 0.97, 0.006, 0.0)


def measured_as(**rungs):
    """A sidecar, as far as plans follow from it: of each modality one effort; the scan takes 20 ms."""
    measured = {
        modality: {"efforts": [rung], "exact_ms": 20.0, "n_queries": 20} for modality, rung in rungs.items()
    }
    return {"calibration": {}, "measured": measured}


def chosen(facts, kinds=(GRAPH, CELLS)):
    return {name: (plan.index, plan.effort) for name, plan in plans_in_use(facts, 0.95, kinds).items()}


@pytest.mark.parametrize("route", ["graph", "cells", "exact"])
def test_plans_are_written_as_they_were_read(route):
    parts = {"recall_low": 0.95, "recall_high": 0.972, "best_missed": 0.004, "none_found": 0.0}
    fields = {**OLD_PLAN, "route": route, **parts}
    plan = plan_of_json(fields)
    assert (plan.index, plan.effort, plan.measured.effort) == (route, None if route == "exact" else 24, 24)
    assert plan_json(plan) == fields


def test_pictures_follow_the_plan_of_an_older_version_and_texts_are_scanned_for():
    old = {"graph": {"calibration": {"text": OLD_PLAN, "image": OLD_PLAN}}}
    assert chosen(old) == {"text": ("exact", None), "image": ("graph", 24)}
    assert {plan.measured.recall for plan in plans_in_use(old, 0.95, [GRAPH]).values()} == {Recall(0.961)}


def test_each_modality_goes_by_the_index_that_answers_it_fastest():
    facts = {
        "graph": measured_as(image=(16, GOOD, 0.2), text=(64, GOOD, 0.9)),
        "cells": measured_as(image=(10, GOOD, 0.3), text=(20, GOOD, 0.4)),
    }
    assert chosen(facts) == {"image": ("graph", 16), "text": ("cells", 20)}
    assert chosen(facts, kinds=[CELLS]) == {"image": ("cells", 10), "text": ("cells", 20)}
    assert chosen(facts, kinds=[]) == {}


def test_an_index_that_loses_the_best_hit_of_too_many_does_not_answer_however_fast():
    graph = measured_as(text=(16, LOSES_BEST, 0.1))
    assert chosen({"graph": graph, "cells": measured_as(text=(10, GOOD, 1.9))}) == {"text": ("cells", 10)}
    assert chosen({"graph": graph}) == {"text": ("exact", None)}
