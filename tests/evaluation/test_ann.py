from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest

from mmsearch.errors import QueryError
from mmsearch.evaluation.ann import run_ann
from mmsearch.indexes.exact import ExactIndex
from mmsearch.indexes.plans import ann_recall_at_k
from mmsearch.store import graph as graph_module
from mmsearch.store.folder import Store
from mmsearch.store.indexes import GraphSettings
from tests.conftest import random_units
from tests.faults.stand_in import plan_for_the_graph
from tests.store.test_store import DIM, filled

SETTINGS = GraphSettings(graph_from=50, m=4, ef_construction=10, recall_target=0.9)
TEXTS = random_units(20, DIM, seed=5)
EFFORTS = (10, 200)


@pytest.fixture
def folder(tmp_path):
    filled(tmp_path, 200)
    with Store.writer(tmp_path) as store:
        store.indexes.update(SETTINGS, TEXTS)
        store.remove_images([1, 2, 3])
    return tmp_path


def measured(folder, texts=TEXTS, settings=SETTINGS, **options):
    with Store.writer(folder) as store:
        store.indexes.keep(settings)
    with closing(Store.open(folder)) as store:
        return run_ann(store, texts, efforts=EFFORTS, **options)


def test_recall_is_that_of_the_librarys_graph_against_the_scan(folder):
    result = measured(folder)["results"]["text"]
    store = Store.open(folder)
    graph, exact = store.indexes.load(), ExactIndex(store.matrix(), store.catalog.dead_rows())
    for at_effort in result["efforts"]:
        recall = ann_recall_at_k(graph.index.search(TEXTS, 10, at_effort["effort"])[1], exact.search(TEXTS, 10)[1])
        assert at_effort["recall"] == pytest.approx(recall.mean(), abs=1e-4)
        assert at_effort["low"] <= at_effort["recall"] <= at_effort["high"]
    assert result["n_queries"] == 20
    assert result["chosen"]["target"] == 0.9


def test_latencies_and_rates_of_both_routes_are_given(folder):
    for result in measured(folder)["results"].values():
        for speed in (result["exact"], *result["efforts"]):
            assert 0 < speed["p50_ms"] <= speed["p95_ms"]
            if speed["p99_ms"] is not None:  # of twenty texts nothing can be said
                assert speed["p99_ms"] >= speed["p95_ms"]
                assert result["n_queries"] >= 100
            assert speed["queries_per_s"] > 0
        first = result["efforts"][0]
        assert first["times_exact_single"] == pytest.approx(result["exact"]["p50_ms"] / first["p50_ms"], rel=0.02)


def test_the_index_is_described(folder):
    index = measured(folder)["index"]
    assert (index["kind"], index["n_vectors"], index["n_in_index"], index["n_dead_in_index"]) == (
        "graph",
        197,
        200,
        3,
    )
    assert (index["M"], index["ef_construction"], index["vector_bytes"]) == (4, 10, 2 * DIM)
    assert index["index_bytes_per_vector"] == pytest.approx((folder / "hnsw-1.bin").stat().st_size / 200, abs=0.1)
    assert index["build_seconds"] > 0
    assert not index["is_built_for_this_measurement"]


def test_a_library_without_a_graph_is_measured_with_one_in_memory(tmp_path):
    filled(tmp_path, 40)
    before = sorted(path.name for path in tmp_path.iterdir())
    report = measured(tmp_path)
    assert report["index"]["is_built_for_this_measurement"]
    assert report["results"]["image"]["chosen"] == {"route": "exact"}
    assert report["results"]["image"]["efforts"][-1]["recall"] > 0.9
    assert [name for name in sorted(path.name for path in tmp_path.iterdir()) if "sqlite-" not in name] == [
        name for name in before if "sqlite-" not in name
    ]


def test_a_library_that_knows_no_words_is_measured_with_pictures(folder):
    report = measured(folder, texts=np.zeros((0, DIM), np.float32), n_queries=30)
    assert list(report["results"]) == ["image"]
    assert report["results"]["image"]["n_queries"] == 30


def test_a_library_of_ten_vectors_is_refused(tmp_path):
    filled(tmp_path, 10)
    with pytest.raises(QueryError, match="holds 10 vectors; to measure its index takes more than 10"):
        measured(tmp_path)


def test_the_route_that_is_given_is_the_one_that_searches_take(tmp_path, monkeypatch):
    monkeypatch.setattr(graph_module, "choose_plan", plan_for_the_graph)
    filled(tmp_path, 200)
    with Store.writer(tmp_path) as store:
        store.indexes.update(SETTINGS, TEXTS)
    results = measured(tmp_path)["results"]
    assert (results["text"]["chosen"]["route"], results["image"]["chosen"]["route"]) == ("exact", "graph")
    assert [at_effort["effort"] for at_effort in results["text"]["efforts"]] == list(EFFORTS)
