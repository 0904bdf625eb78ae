from __future__ import annotations

import json

import numpy as np
import pytest

from mmsearch.store.changes import Changes
from mmsearch.store.folder import Store
from mmsearch.store.graph import GraphSettings, graph_facts, load_graph, plan_json, plans_of_json, update_graph
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
        assert update_graph(store, SETTINGS, PROBES)
    return vectors


def test_no_graph_is_built_for_a_small_library(tmp_path):
    filled(tmp_path, 49)
    with Store.writer(tmp_path) as store:
        assert not update_graph(store, SETTINGS, PROBES)
    assert current(tmp_path, "graph") is None


def test_published_graph_is_loaded_and_finds_the_stored_vectors(tmp_path):
    vectors = graph_of(tmp_path)
    graph = load_graph(Store.open(tmp_path))
    assert graph.index.n_rows == 200
    _, rows = graph.index.search(l2_normalize(vectors.astype(np.float16).astype(np.float32)), 1)
    np.testing.assert_array_equal(rows[:, 0], np.arange(200))


def test_unchanged_library_publishes_nothing_new(tmp_path):
    graph_of(tmp_path)
    with Store.writer(tmp_path) as store:
        assert not update_graph(store, SETTINGS, PROBES)
    assert current(tmp_path, "graph") == "hnsw-1"


def test_few_new_rows_stay_in_the_tail_and_many_are_taken_in(tmp_path):
    graph_of(tmp_path)
    with Store.writer(tmp_path) as store:
        store.commit(Changes(stored=[file(300 + i, v) for i, v in enumerate(random_units(3, DIM, seed=8))]))
        assert not update_graph(store, SETTINGS, PROBES)
        store.commit(Changes(stored=[file(400 + i, v) for i, v in enumerate(random_units(30, DIM, seed=9))]))
        assert update_graph(store, SETTINGS, PROBES)
        assert load_graph(store).index.n_rows == 233
    assert sorted(path.name for path in tmp_path.glob("hnsw-*")) == ["hnsw-2.bin", "hnsw-2.json"]


def test_graph_of_an_older_epoch_is_not_used_and_is_rebuilt(tmp_path):
    graph_of(tmp_path)
    with Store.writer(tmp_path) as store:
        store.remove_images([image.image_id for image in store.catalog.images()][:60])
        store.compact()
        assert graph_facts(store) is None
        assert isinstance(load_graph(store), str)
        assert update_graph(store, SETTINGS, PROBES)
        assert load_graph(store).index.n_rows == 140


def test_graph_with_a_changed_byte_is_never_loaded_and_is_rebuilt(tmp_path):
    graph_of(tmp_path)
    path = tmp_path / "hnsw-1.bin"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert "differs from its checksum" in load_graph(Store.open(tmp_path))
    with Store.writer(tmp_path) as store:
        assert update_graph(store, SETTINGS, PROBES)
        assert load_graph(store).index.n_rows == 200


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"graph": "../../etc/passwd"}', '{"graph": 7}', "\0\0"])
def test_damaged_manifest_means_no_graph(tmp_path, text):
    graph_of(tmp_path)
    (tmp_path / "manifest.json").write_text(text)
    assert isinstance(load_graph(Store.open(tmp_path)), str)


def test_calibration_is_measured_for_texts_and_pictures_apart(tmp_path):
    graph_of(tmp_path)
    plans = plans_of_json(graph_facts(Store.open(tmp_path))["calibration"])
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
        assert update_graph(store, GraphSettings(graph_from=50, recall_target=0.99), PROBES)
    facts = json.loads((tmp_path / "hnsw-2.json").read_text())
    assert facts["calibration"]["text"]["target"] == 0.99
    assert facts["covered"] == 200
    assert META["dim"] == facts["dim"]


def test_graph_left_behind_by_a_compaction_is_stale_and_no_damage(tmp_path):
    graph_of(tmp_path)
    with Store.writer(tmp_path) as store:
        store.remove_images([image.image_id for image in store.catalog.images()][:160])
        store.compact()
        assert not update_graph(store, SETTINGS, PROBES)  # too small for a graph now
        assert graph_facts(store) is None
        assert verify(store).problems == ()
