from __future__ import annotations

import shutil
from contextlib import closing

import numpy as np
import pytest

from mmsearch.errors import QueryError
from mmsearch.evaluation import ann as ann_module
from mmsearch.evaluation.ann import run_ann
from mmsearch.indexes.cells import CELLS
from mmsearch.indexes.exact import ExactIndex
from mmsearch.indexes.hnsw import GRAPH, HnswIndex
from mmsearch.indexes.plans import Ladder, Recall, recall_of
from mmsearch.store import indexes as indexes_module
from mmsearch.store.folder import Store
from mmsearch.store.indexes import GraphSettings
from mmsearch.vectors import l2_normalize
from tests.conftest import random_units
from tests.faults.stand_in import finds_all_at_once
from tests.store.test_store import DIM, filled, flip

of_any_kind = pytest.mark.parametrize("kind", [GRAPH, CELLS], ids=lambda kind: kind.name)
SETTINGS = GraphSettings(graph_from=50, m=4, ef_construction=10, recall_target=0.9)
TEXTS = random_units(20, DIM, seed=5)
EFFORTS = (10, 200)


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    """Ask each batch once: what is tested here is not how fast it is."""
    monkeypatch.setattr(ann_module, "_BATCH_SECONDS", 0)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    filled(folder, 200)
    with Store.writer(folder) as store:
        store.indexes.update(SETTINGS, TEXTS)
        store.remove_images([1, 2, 3])
    return folder


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made, tmp_path, dirs_exist_ok=True)


def loses_the_best_of_some(index, probes, target):
    """Say that an index takes no time, and that one query of a hundred loses its best hit."""
    return Ladder(((500, Recall(0.99, 0.98, 1.0, 0.01, 0.0), 0.00001),), exact_ms=1.0, n_queries=100)


def measured(folder, texts=TEXTS, settings=SETTINGS, **options):
    with Store.writer(folder) as store:
        store.indexes.keep(settings)
    with closing(Store.open(folder)) as store:
        return run_ann(store, texts, efforts=EFFORTS, **options)


@of_any_kind
def test_recall_is_that_of_the_librarys_indexes_against_the_scan(folder, kind):
    result = measured(folder)["results"]["text"]
    store = Store.open(folder)
    index, exact = store.indexes.load(kind).index, ExactIndex(store.matrix(), store.catalog.dead_rows())
    expected = exact.search(TEXTS, 10)[1]
    at_efforts = [at for at in result["efforts"] if at["index"] == kind.name]
    assert [at["effort"] for at in at_efforts] == list(EFFORTS)
    for at in at_efforts:
        recall = recall_of(index.search(TEXTS, 10, at["effort"])[1], expected)
        assert (at["recall"], at["best_missed"], at["none_found"]) == (
            recall.mean, recall.best_missed, recall.none_found
        )  # fmt: skip
        assert at["low"] <= at["recall"] <= at["high"]
    assert result["n_queries"] == 20
    assert result["chosen"]["target"] == 0.9


def test_stored_pictures_are_searched_without_themselves(folder):
    """Of ten neighbours that are not the picture itself; with themselves one of ten were found for nothing."""
    store = Store.open(folder)
    cells, exact = store.indexes.load(CELLS).index, ExactIndex(store.matrix(), store.dead_rows())
    rows = np.setdiff1d(np.arange(200), store.dead_rows())
    queries = l2_normalize(store.matrix()[rows].astype(np.float32))
    shares = []
    for row, query in zip(rows, queries, strict=True):
        expected, found_rows = (
            [near for near in index.search(query[None], 11, 10)[1][0] if near != row] for index in (exact, cells)
        )
        shares.append(len(set(expected) & set(found_rows[:10])) / 10)
    at = next(at for at in measured(folder)["results"]["image"]["efforts"] if at["index"] == "cells")
    assert (at["effort"], at["recall"]) == (10, pytest.approx(np.mean(shares), abs=1e-4))


def test_a_graph_that_reaches_too_few_rows_finds_nothing(folder, monkeypatch):
    nothing = np.zeros((197, 0)), np.zeros((197, 0), dtype=np.int64)  # what hnswlib refuses
    monkeypatch.setattr(HnswIndex, "search", lambda index, queries, k, effort: [a[: len(queries)] for a in nothing])
    efforts = measured(folder)["results"]["image"]["efforts"]
    recalls = {at["index"]: (at["recall"], at["none_found"]) for at in efforts}
    assert recalls["graph"] == (0.0, 1.0)
    assert recalls["cells"][0] > 0


def test_photographs_that_are_not_in_the_library_are_measured_apart(folder):
    photographs = random_units(30, DIM, seed=9)
    results = measured(folder, photographs=photographs)["results"]
    assert list(results) == ["text", "image", "photograph"]
    assert results["photograph"]["n_queries"] == 30
    assert results["photograph"]["chosen"] == results["image"]["chosen"]


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


def test_the_indexes_are_described(folder):
    graph, cells = measured(folder)["indexes"]
    for index, kind in ((graph, GRAPH), (cells, CELLS)):
        assert (index["kind"], index["n_vectors"], index["n_in_index"]) == (kind.name, 197, 200)
        assert (index["n_dead_in_index"], index["vector_bytes"]) == (3, 2 * DIM)
        assert index["build_seconds"] > 0
        assert not index["is_built_for_this_measurement"]
    assert (graph["M"], graph["ef_construction"]) == (4, 10)
    assert graph["index_bytes_per_vector"] == pytest.approx((folder / "hnsw-1.bin").stat().st_size / 200, abs=0.1)
    assert (cells["cells"], cells["sketch"]) == (200 // 8, DIM)


def test_a_library_without_an_index_is_measured_with_some_in_memory(tmp_path):
    filled(tmp_path, 40)
    before = sorted(path.name for path in tmp_path.iterdir())
    report = measured(tmp_path)
    assert [index["kind"] for index in report["indexes"]] == ["graph", "cells"]
    assert all(index["is_built_for_this_measurement"] for index in report["indexes"])
    assert report["results"]["image"]["chosen"] == {"route": "exact"}
    assert all(at["recall"] > 0.9 for at in report["results"]["image"]["efforts"] if at["effort"] == EFFORTS[-1])
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
    filled(tmp_path, 200)
    for kind, measure in ((GRAPH, finds_all_at_once), (CELLS, loses_the_best_of_some)):
        monkeypatch.setattr(indexes_module, "measured_efforts", measure)
        with Store.writer(tmp_path) as store:
            store.indexes.update(SETTINGS, TEXTS, kinds=[*store.indexes.kinds(), kind])
    results = measured(tmp_path)["results"]
    for result in results.values():
        chosen = result["chosen"]
        assert (chosen["route"], chosen["effort"], chosen["best_missed"], chosen["none_found"]) == (
            "graph",
            1000,
            0,
            0,
        )
        assert [(at["index"], at["effort"]) for at in result["efforts"]] == [
            (name, effort) for name in ("graph", "cells") for effort in EFFORTS
        ]


def test_an_index_that_is_damaged_is_not_said_to_be_the_route(tmp_path, monkeypatch):
    monkeypatch.setattr(indexes_module, "measured_efforts", finds_all_at_once)
    filled(tmp_path, 200)
    with Store.writer(tmp_path) as store:
        store.indexes.update(SETTINGS, TEXTS, kinds=[CELLS])
    flip(tmp_path / "cells-1.bin", 99)
    report = measured(tmp_path)
    assert {result["chosen"]["route"] for result in report["results"].values()} == {"exact"}
    assert all(index["is_built_for_this_measurement"] for index in report["indexes"])
