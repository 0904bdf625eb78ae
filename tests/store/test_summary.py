"""What the status of a library says, against what was done to it."""

from __future__ import annotations

import shutil

from mmsearch import GraphSettings
from mmsearch.indexes.cells import CELLS
from mmsearch.indexes.hnsw import GRAPH
from mmsearch.indexes.plans import Ladder, Recall
from mmsearch.store import indexes as indexes_module
from mmsearch.store.changes import Changes
from mmsearch.store.folder import Store
from mmsearch.store.summary import library_status
from tests.conftest import random_units
from tests.store.test_store import DIM, file, filled

SETTINGS = GraphSettings(graph_from=50)
PROBES = random_units(20, DIM, seed=5)


def test_status_counts_what_was_done(indexed, photos):
    (photos / "page.jpg").write_bytes(b"<html></html>")
    shutil.copyfile(photos / "cat.jpg", photos / "again.jpg")
    indexed.index([photos], local=False, settings=GraphSettings(graph_from=77))
    (photos / "fig.jpg").unlink()
    indexed.index([photos], local=False)
    status = indexed.status()
    assert (status.n_images, status.n_vectors, status.n_dead) == (8, 7, 1)
    assert [(bad.path, bad.code) for bad in status.bad] == [(str(photos / "page.jpg"), "not_an_image")]
    assert (status.n_read_before, status.graph_from, status.n_in_graph) == (0, 77, 0)
    assert status.size_bytes == sum(path.stat().st_size for path in indexed.folder.rglob("*") if path.is_file())


def with_index(folder, kind):
    filled(folder, 200)
    with Store.writer(folder) as store:
        assert store.indexes.update(SETTINGS, PROBES, kinds=[kind])


def test_status_says_how_queries_go_and_what_was_measured_of_it(tmp_path, monkeypatch):
    rung = (64, Recall(0.98, 0.97, 0.99, 0.004, 0.0), 0.4)
    monkeypatch.setattr(indexes_module, "measured_efforts", lambda index, probes, target: Ladder((rung,), 4.0, 8))
    with_index(tmp_path, GRAPH)
    status = library_status(Store.open(tmp_path))
    assert (status.n_in_graph, set(status.search)) == (200, {"text", "image"})
    for plan in status.search.values():
        assert (plan["route"], plan["ef"], plan["graph_ms"], plan["exact_ms"]) == ("graph", 64, 0.4, 4.0)
        assert (plan["recall"], plan["recall_low"], plan["recall_high"]) == (0.98, 0.97, 0.99)
        assert (plan["best_missed"], plan["none_found"], plan["n_queries"]) == (0.004, 0.0, 8)


def test_status_shows_what_the_index_loses_where_searches_are_exact_for_it(tmp_path, monkeypatch):
    rung = (40, Recall(0.97, 0.96, 0.98, 0.006, 0.001), 0.2)
    monkeypatch.setattr(indexes_module, "measured_efforts", lambda index, probes, target: Ladder((rung,), 3.0, 8))
    with_index(tmp_path, CELLS)
    for plan in library_status(Store.open(tmp_path)).search.values():
        assert (plan["route"], plan["ef"], plan["best_missed"], plan["none_found"]) == ("exact", 40, 0.006, 0.001)


def test_as_many_vectors_are_in_the_index_as_the_kind_that_is_furthest_behind_has(tmp_path):
    with_index(tmp_path, GRAPH)
    with Store.writer(tmp_path) as store:
        vectors = random_units(3, DIM, seed=8)
        store.commit(Changes(stored=[file(300 + i, vector) for i, vector in enumerate(vectors)]))
        store.indexes.update(SETTINGS, PROBES)
        covered = {name: facts["covered"] for name, facts in store.indexes.facts().items()}
        assert covered == {"graph": 200, "cells": 203}
        assert library_status(store).n_in_graph == 200
