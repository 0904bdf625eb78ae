from __future__ import annotations

import json
import os

import numpy as np
import pytest

from mmsearch.indexes.plans import Measurement, Plan
from mmsearch.records import Unusable
from mmsearch.store.changes import Changes
from mmsearch.store.folder import Store
from mmsearch.store.indexes import EXACT_TEXTS_BELOW, GraphSettings, followed, plan_json, plans_of_json
from mmsearch.store.publish import current
from mmsearch.store.verify import verify
from mmsearch.vectors import l2_normalize
from tests.conftest import random_units
from tests.store.test_store import DIM, META, file, filled

SETTINGS = GraphSettings(graph_from=50)
PROBES = random_units(20, DIM, seed=5)


def graph_of(folder, n=200, seed=0):
    vectors = filled(folder, n, seed)
    with Store.writer(folder) as store:
        assert store.indexes.update(SETTINGS, PROBES)
    return vectors


def test_no_graph_is_built_for_a_small_library(tmp_path):
    filled(tmp_path, 49)
    with Store.writer(tmp_path) as store:
        assert not store.indexes.update(SETTINGS, PROBES)
        assert store.indexes.facts() is None
    assert current(tmp_path, "graph") is None


def test_a_graph_is_built_from_as_many_vectors_in_use_as_the_settings_say(tmp_path):
    filled(tmp_path, 51)
    with Store.writer(tmp_path) as store:
        store.remove_images([1, 2])
        assert not store.indexes.update(SETTINGS, PROBES)
        store.commit(Changes(stored=[file(300, random_units(1, DIM, seed=8)[0])]))
        assert store.indexes.update(SETTINGS, PROBES)


def test_building_says_how_far_it_is_and_how_long_it_took(tmp_path):
    filled(tmp_path, 200)
    steps = []
    with Store.writer(tmp_path) as store:
        assert store.indexes.update(SETTINGS, PROBES, on_progress=lambda *step: steps.append(step))
        first = store.indexes.facts()["build_seconds"]
        store.commit(Changes(stored=[file(300 + i, v) for i, v in enumerate(random_units(40, DIM, seed=8))]))
        assert store.indexes.update(SETTINGS, PROBES, on_progress=lambda *step: steps.append(step))
        assert 0 < first < store.indexes.facts()["build_seconds"] < 60
    planned = [("calibrate", 0, 1), ("calibrate", 1, 1)]
    assert steps == [("graph", 200, 200), *planned, ("graph", 40, 40), *planned]


def test_a_graph_in_memory_leaves_out_what_was_removed_and_publishes_nothing(tmp_path):
    filled(tmp_path, 60)
    with Store.writer(tmp_path) as store:
        store.remove_images([1, 2])
    graph = Store.open(tmp_path).graph.in_memory(SETTINGS)
    assert (graph.index.dead, len(graph.index), graph.plans, current(tmp_path, "graph")) == ({0, 1}, 58, {}, None)
    assert graph.build_seconds > 0


def test_settings_are_kept_in_the_library(tmp_path):
    filled(tmp_path, 3)
    wanted = GraphSettings(graph_from=7, m=5, ef_construction=33, recall_target=0.9, tail_share=0.5)
    with Store.writer(tmp_path) as store:
        assert store.indexes.settings == GraphSettings()
        store.indexes.keep(wanted)
    assert Store.open(tmp_path).graph.settings == wanted


def test_rows_removed_since_are_dead_in_a_graph_that_is_loaded(tmp_path):
    graph_of(tmp_path)
    with Store.writer(tmp_path) as store:
        store.remove_images([1, 2])
        store.commit(Changes(stored=[file(300, random_units(1, DIM, seed=8)[0])]))
    index = Store.open(tmp_path).graph.load().index
    assert (index.dead, len(index), index.n_rows) == ({0, 1}, 198, 200)


def test_a_graph_of_more_vectors_than_are_there_is_not_used(tmp_path):
    graph_of(tmp_path)
    os.truncate(tmp_path / "vectors-0.f16", 150 * 2 * DIM)
    assert Store.open(tmp_path).graph.load() == Unusable("the graph covers 200 vectors, of which 150 are there")


def test_texts_among_few_vectors_are_scanned_for_whatever_was_measured():
    measured = Measurement(24, 0.96, 0.95, 0.2, 0.5, 20)
    plans = {"text": Plan("graph", 24, measured), "image": Plan("graph", 24, measured)}
    assert followed(plans, EXACT_TEXTS_BELOW) == plans
    assert followed(plans, EXACT_TEXTS_BELOW - 1) == {**plans, "text": Plan("exact", None, measured)}
    assert followed({"image": plans["image"]}, 1) == {"image": plans["image"]}


def test_published_graph_is_loaded_and_finds_the_stored_vectors(tmp_path):
    vectors = graph_of(tmp_path)
    graph = Store.open(tmp_path).graph.load()
    assert graph.index.n_rows == 200
    _, rows = graph.index.search(l2_normalize(vectors.astype(np.float16).astype(np.float32)), 1)
    np.testing.assert_array_equal(rows[:, 0], np.arange(200))


def test_unchanged_library_publishes_nothing_new(tmp_path):
    graph_of(tmp_path)
    with Store.writer(tmp_path) as store:
        assert not store.indexes.update(SETTINGS, PROBES)
    assert current(tmp_path, "graph") == "hnsw-1"


def test_few_new_rows_stay_in_the_tail_and_many_are_taken_in(tmp_path):
    graph_of(tmp_path)
    with Store.writer(tmp_path) as store:
        store.commit(Changes(stored=[file(300 + i, v) for i, v in enumerate(random_units(3, DIM, seed=8))]))
        assert not store.indexes.update(SETTINGS, PROBES)
        store.commit(Changes(stored=[file(400 + i, v) for i, v in enumerate(random_units(30, DIM, seed=9))]))
        assert store.indexes.update(SETTINGS, PROBES)
        assert store.indexes.load().index.n_rows == 233
    assert sorted(path.name for path in tmp_path.glob("hnsw-*")) == ["hnsw-2.bin", "hnsw-2.json"]


def test_a_tail_as_large_as_its_share_is_not_taken_in_yet(tmp_path):
    graph_of(tmp_path, n=196)
    with Store.writer(tmp_path) as store:
        store.commit(Changes(stored=[file(300 + i, v) for i, v in enumerate(random_units(4, DIM, seed=8))]))
        assert not store.indexes.update(SETTINGS, PROBES)  # 4 of 200 are 2 %
        store.commit(Changes(stored=[file(400, random_units(1, DIM, seed=9)[0])]))
        assert store.indexes.update(SETTINGS, PROBES)


def test_graph_of_an_older_epoch_is_not_used_and_is_rebuilt(tmp_path):
    graph_of(tmp_path)
    with Store.writer(tmp_path) as store:
        store.remove_images([image.image_id for image in store.catalog.images()][:60])
        store.compact()
        assert store.indexes.facts() is None
        assert isinstance(store.indexes.load(), Unusable)
        assert store.indexes.update(SETTINGS, PROBES)
        assert store.indexes.load().index.n_rows == 140


def test_graph_with_a_changed_byte_is_never_loaded_and_is_rebuilt(tmp_path):
    graph_of(tmp_path)
    path = tmp_path / "hnsw-1.bin"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert "differs from its checksum" in Store.open(tmp_path).graph.load().reason
    with Store.writer(tmp_path) as store:
        assert store.indexes.update(SETTINGS, PROBES)
        assert store.indexes.load().index.n_rows == 200


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"graph": "../../etc/passwd"}', '{"graph": 7}', "\0\0"])
def test_damaged_manifest_means_no_graph(tmp_path, text):
    graph_of(tmp_path)
    (tmp_path / "manifest.json").write_text(text)
    assert isinstance(Store.open(tmp_path).graph.load(), Unusable)


def test_calibration_is_measured_for_texts_and_pictures_apart(tmp_path):
    graph_of(tmp_path)
    plans = plans_of_json(Store.open(tmp_path).graph.facts()["calibration"])
    assert set(plans) == {"text", "image"}
    assert all(0 <= plan.measured.recall <= 1 and plan.measured.target == 0.95 for plan in plans.values())


@pytest.mark.parametrize("route", ["graph", "exact"])
def test_plans_are_written_as_they_were_read(route):
    fields = {
        "route": route, "ef": 24, "recall": 0.961, "target": 0.95, "graph_ms": 0.2, "exact_ms": 0.5,
        "n_queries": 20,
    }  # fmt: skip
    plan = plans_of_json({"text": fields})["text"]
    assert (plan.index, plan.effort, plan.measured.effort) == (route, 24 if route == "graph" else None, 24)
    assert list(plan_json(plan).items()) == list(fields.items())


def test_new_recall_target_is_calibrated_again_without_new_rows(tmp_path):
    graph_of(tmp_path)
    with Store.writer(tmp_path) as store:
        assert store.indexes.update(GraphSettings(graph_from=50, recall_target=0.99), PROBES)
    facts = json.loads((tmp_path / "hnsw-2.json").read_text())
    assert facts["calibration"]["text"]["target"] == 0.99
    assert facts["covered"] == 200
    assert META["dim"] == facts["dim"]


def test_graph_left_behind_by_a_compaction_is_stale_and_no_damage(tmp_path):
    graph_of(tmp_path)
    with Store.writer(tmp_path) as store:
        store.remove_images([image.image_id for image in store.catalog.images()][:160])
        store.compact()
        assert not store.indexes.update(SETTINGS, PROBES)  # too small for a graph now
        assert store.indexes.facts() is None
        assert verify(store).problems == ()
