"""A kind of index that the package does not know: registered, it is published, loaded, searched and verified."""

from __future__ import annotations

import numpy as np
import pytest

from mmsearch.indexes.cells import CELLS
from mmsearch.indexes.exact import ExactIndex
from mmsearch.indexes.hnsw import GRAPH
from mmsearch.indexes.kinds import KINDS
from mmsearch.records import Unusable
from mmsearch.store import indexes as indexes_module
from mmsearch.store.changes import Changes
from mmsearch.store.folder import Store
from mmsearch.store.indexes import GraphSettings
from mmsearch.store.routes import NearestRows
from mmsearch.store.summary import library_status
from mmsearch.store.verify import verify
from mmsearch.store.where import condition_of
from tests.conftest import random_units
from tests.contracts.blocks import BLOCKS, Blocks
from tests.faults.stand_in import finds_all_at_once
from tests.store.test_store import DIM, file, filled, flip

PROBES = random_units(5, DIM, seed=1)
SETTINGS = GraphSettings(graph_from=20)


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """The kind is known, and queries go by the index, however few the vectors are."""
    monkeypatch.setitem(KINDS, BLOCKS.name, BLOCKS)
    monkeypatch.setattr(indexes_module, "measured_efforts", finds_all_at_once)


@pytest.fixture
def folder(tmp_path):
    """A library of 120 pictures, 3 of them removed since, with blocks of all of them."""
    filled(tmp_path, 120)
    with Store.writer(tmp_path) as store:
        assert store.indexes.update(SETTINGS, PROBES, kinds=[BLOCKS])
        store.remove_images([1, 2, 3])
    return tmp_path


def routes(folder, queries, k=7):
    store = Store.open(folder)
    neighbours = NearestRows(store)
    with store.reading():
        neighbours.refresh()
        return neighbours.of(queries, k, condition_of([]), "text")


def test_an_index_of_a_new_kind_is_published_and_comes_back(folder):
    assert [path.name for path in sorted(folder.glob("blocks-*"))] == ["blocks-1.bin", "blocks-1.json"]
    published = Store.open(folder).indexes.load(BLOCKS)
    assert isinstance(published.index, Blocks)
    assert (len(published.index), published.index.n_rows) == (117, 120)
    assert published.facts["block"] == 50
    assert published.facts["calibration"]["text"]["route"] == "blocks"


def test_searches_go_by_the_new_kind_and_find_what_the_scan_does(folder):
    queries = random_units(6, DIM, seed=9)
    store = Store.open(folder)
    scores, rows = ExactIndex(store.matrix(), store.dead_rows()).search(queries, 7)
    answers = routes(folder, queries)
    assert {answer.route for answer in answers} == {"blocks"}
    np.testing.assert_array_equal([answer.rows for answer in answers], rows)
    np.testing.assert_array_equal([answer.scores for answer in answers], scores)


def test_the_status_names_the_new_kind(folder):
    status = library_status(Store.open(folder))
    assert status.n_in_graph == 120
    assert {plan["route"] for plan in status.search.values()} == {"blocks"}


def test_a_damaged_index_of_the_new_kind_is_named_dropped_and_done_without(folder):
    flip(folder / "blocks-1.bin", 99)
    assert Store.open(folder).indexes.load(BLOCKS) == Unusable("blocks-1.bin differs from its checksum")
    assert {answer.route for answer in routes(folder, PROBES)} == {"exact"}
    reason = (
        "the index `blocks` cannot be used, and what went by it is searched exactly: "
        "blocks-1.bin differs from its checksum"
    )
    with Store.writer(folder) as store:
        assert verify(store, is_repair=True).problems == (reason,)
        assert verify(store).problems == ()
        assert store.indexes.update(SETTINGS, PROBES, kinds=[BLOCKS])


def test_a_library_keeps_its_kind_of_index_beside_those_of_every_library(folder):
    with Store.writer(folder) as store:
        store.commit(
            Changes(stored=[file(200 + i, vector) for i, vector in enumerate(random_units(9, DIM, seed=4))])
        )
        assert store.indexes.update(SETTINGS, PROBES)
        assert store.indexes.kinds() == [GRAPH, CELLS, BLOCKS]
        assert {store.indexes.load(kind).index.n_rows for kind in (GRAPH, CELLS, BLOCKS)} == {129}


@pytest.mark.parametrize(("before", "after"), [(BLOCKS, GRAPH), (GRAPH, BLOCKS), (CELLS, GRAPH)])
def test_an_index_of_the_wanted_kind_takes_the_place_of_the_one_before(before, after, tmp_path):
    filled(tmp_path, 60)
    with Store.writer(tmp_path) as store:
        assert store.indexes.update(SETTINGS, PROBES, kinds=[before])
        assert store.indexes.update(SETTINGS, PROBES, kinds=[after])
        assert not store.indexes.update(SETTINGS, PROBES, kinds=[after])
    assert Store.open(tmp_path).indexes.kinds() == [after]
    assert {answer.route for answer in routes(tmp_path, PROBES)} == {after.name}
    assert list(tmp_path.glob(f"{before.stem}-*")) == []
