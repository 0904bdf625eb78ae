"""A library whose cells are damaged, before it is opened or under an open one: answers are right all the same."""

from __future__ import annotations

import os

import numpy as np
import pytest

from mmsearch.array_file import open_arrays
from mmsearch.indexes.cells import CELLS
from mmsearch.records import Unusable
from mmsearch.store import indexes as indexes_module
from mmsearch.store import routes as routes_module
from mmsearch.store.folder import Store
from mmsearch.store.indexes import GraphSettings
from mmsearch.store.routes import NearestRows
from mmsearch.store.verify import verify
from mmsearch.store.where import condition_of
from tests.conftest import random_units
from tests.faults.mutated_index import finds_enough_with_least, hide
from tests.store.test_store import DIM, filled

N, K = 600, 5
SETTINGS = GraphSettings(graph_from=50)
PROBES = random_units(20, DIM, seed=5)
NAMED = (
    "the index `cells` cannot be used, and what went by it is searched exactly: "
    "cells-1.bin differs from its checksum"
)


@pytest.fixture
def vectors(tmp_path, monkeypatch):
    """The vectors of a library with cells, by which every query goes that is not filtered."""
    monkeypatch.setattr(indexes_module, "measured_efforts", finds_enough_with_least)
    vectors = filled(tmp_path / "library", N)
    update(tmp_path / "library")
    return vectors


def update(folder):
    with Store.writer(folder) as store:
        return store.indexes.update(SETTINGS, PROBES, kinds=[CELLS])


def opened(folder):
    return NearestRows(Store.open(folder))


def answers(neighbours, queries, where=()):
    with neighbours.store.catalog.reading():
        neighbours.refresh()
        return neighbours.of(queries, K, condition_of(list(where)), "text")


def nearest_row(vectors, query):
    return int(np.argmax(vectors @ query[0]))


def damage(folder, row):
    """Change a byte of the cell that a row is in, as it lies on the disk; a program that has it open goes on."""
    index = Store.open(folder).indexes.load(CELLS).index
    cells, path = index._cells, folder / "cells-1.bin"
    (place,) = np.flatnonzero(cells.rows == row)
    offset = open_arrays(path, "cells")["sketches"]._offset + int(place) * index.width
    with path.open("r+b") as file:
        byte = os.pread(file.fileno(), 1, offset)
        os.pwrite(file.fileno(), bytes([byte[0] ^ 1]), offset)


def assert_right(answers, vectors, queries, route, rows=range(N)):
    stored = vectors.astype(np.float16).astype(np.float64)[list(rows)]
    stored /= np.linalg.norm(stored, axis=1, keepdims=True)
    for answer, query in zip(answers, queries, strict=True):
        best = np.argsort(-(stored @ query))[:K]
        assert (answer.rows[:K].tolist(), answer.route) == (np.array(rows)[best].tolist(), route)


def test_queries_that_come_to_a_cell_that_was_damaged_meanwhile_and_all_later_ones_are_scanned_for(
    tmp_path, vectors
):
    folder, far = tmp_path / "library", -vectors[:1]
    neighbours = opened(folder)
    assert answers(neighbours, vectors[:1])[0].route == "cells"
    damage(folder, nearest_row(vectors, far))
    assert answers(neighbours, vectors[:1])[0].route == "cells"  # what it read was whole, and still is
    for query in (far, vectors[:1], vectors[40:41]):
        assert_right(answers(neighbours, query), vectors, query, "exact")
    assert_right(answers(opened(folder), far), vectors, far, "exact")


def test_of_queries_asked_together_those_that_need_the_damaged_cell_are_right(tmp_path, vectors):
    folder, queries = tmp_path / "library", np.concatenate([vectors[:10], -vectors[:10]])
    neighbours = opened(folder)
    answers(neighbours, vectors[:1])
    damage(folder, nearest_row(vectors, queries[15:16]))
    together = answers(neighbours, queries)
    assert together[15].route == "exact"
    assert_right(together[15:16], vectors, queries[15:16], "exact")
    assert all(len(answer.rows) >= K for answer in together)


def test_a_filtered_query_that_comes_to_a_damaged_cell_is_scanned_for(tmp_path, vectors, monkeypatch):
    monkeypatch.setattr(routes_module, "_FEW", 10)
    folder, far, where = tmp_path / "library", -vectors[:1], ["size < 500"]  # row i is 100 + i bytes large
    neighbours = opened(folder)
    (before,) = answers(neighbours, vectors[:1], where)
    assert before.route == "cells"
    assert (before.rows < 400).all()
    damage(folder, nearest_row(vectors[:400], far))
    for query in (far, vectors[:1]):
        assert_right(answers(neighbours, query, where), vectors, query, "filtered", range(400))


def test_cells_whose_file_is_cut_under_an_open_library_are_done_without(tmp_path, vectors):
    folder, far = tmp_path / "library", -vectors[:1]
    neighbours = opened(folder)
    assert answers(neighbours, vectors[:1])[0].route == "cells"
    os.truncate(folder / "cells-1.bin", 5_000)
    assert_right(answers(neighbours, far), vectors, far, "exact")


@pytest.mark.parametrize("is_hidden", [False, True], ids=["touched", "decayed"])
def test_damaged_cells_are_named_dropped_and_made_again_for_who_has_the_library_open(tmp_path, vectors, is_hidden):
    folder, far = tmp_path / "library", -vectors[:1]
    neighbours = opened(folder)
    assert answers(neighbours, vectors[:1])[0].route == "cells"
    damage(folder, nearest_row(vectors, far))
    if is_hidden:  # so that the file system says nothing, and only who reads all of it can know
        hide(folder, CELLS)
        assert not isinstance(Store.open(folder).indexes.load(CELLS), Unusable)
    assert_right(answers(neighbours, far), vectors, far, "exact")
    with Store.writer(folder) as store:
        assert verify(store).problems == (NAMED,)
        assert verify(store, is_repair=True).problems == (NAMED,)
        assert verify(store).problems == ()
        assert store.indexes.kinds() == []
    assert not list(folder.glob("cells-*"))
    assert_right(answers(neighbours, far), vectors, far, "exact")
    assert update(folder)
    (again,) = answers(neighbours, far)
    assert (again.rows[0], again.route) == (nearest_row(vectors, far), "cells")


def test_a_run_makes_cells_again_that_decayed_though_nothing_is_new(tmp_path, vectors):
    folder = tmp_path / "library"
    whole = (folder / "cells-1.bin").read_bytes()
    damage(folder, 7)
    hide(folder, CELLS)
    assert update(folder)
    assert not update(folder)
    assert (folder / "cells-2.bin").read_bytes() == whole
