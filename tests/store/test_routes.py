"""Which way a query goes, and that each gives what a scan of everything would."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from functools import partialmethod

import numpy as np
import pytest

from mmsearch.indexes.cells import CELLS, CellsIndex
from mmsearch.indexes.hnsw import GRAPH, HnswIndex
from mmsearch.indexes.plans import Ladder, Recall
from mmsearch.store import indexes as indexes_module
from mmsearch.store import routes as routes_module
from mmsearch.store.changes import Changes
from mmsearch.store.folder import Store
from mmsearch.store.indexes import GraphSettings, LibraryIndexes
from mmsearch.store.routes import NearestRows
from mmsearch.store.where import SqlCondition, condition_of
from mmsearch.vectors import l2_normalize
from tests.conftest import random_units
from tests.faults.stand_in import finds_all_at_once
from tests.store.test_store import DIM, META, file

N = 240
PROBES = random_units(5, DIM, seed=1)


of_any_kind = pytest.mark.parametrize("kind", [GRAPH, CELLS], ids=lambda kind: kind.name)


@pytest.fixture(autouse=True)
def always_by_an_index(monkeypatch):
    """Let queries go by indexes of few vectors, made by one thread and so the same every time."""
    monkeypatch.setattr(indexes_module, "measured_efforts", finds_all_at_once)
    monkeypatch.setattr(HnswIndex, "build", partialmethod(HnswIndex.build, n_threads=1))


def with_index(folder, kind, vectors, **settings):
    """A library of pictures 0.jpg, 1.jpg, ... with these vectors, all of them in an index of one kind."""
    with Store.writer(folder, create=META) as store:
        store.commit(Changes(stored=[file(i, vector) for i, vector in enumerate(vectors)]))
        settings = GraphSettings(graph_from=5, tail_share=0.5, **settings)
        assert store.indexes.update(settings, PROBES, kinds=[kind])
    return folder


@pytest.fixture
def loaded(monkeypatch):
    """The names of the kinds that are loaded from now on, one a load."""
    names, load = [], LibraryIndexes.load

    def noted(indexes, kind, **options):
        names.append(kind.name)
        return load(indexes, kind, **options)

    monkeypatch.setattr(LibraryIndexes, "load", noted)
    return names


def nearest(neighbours, queries, k, where=(), modality="text"):
    """Answers of `NearestRows` to queries (n, dim), as a searcher asks for them."""
    with neighbours.store.catalog.reading():
        neighbours.refresh()
        return neighbours.of(queries, k, condition_of(list(where)), modality)


def by_arithmetic(vectors, query, k, keep=lambda row: True):
    """The k best rows by plain arithmetic on the stored vectors at unit length."""
    stored = vectors.astype(np.float16).astype(np.float64)
    scores = stored @ query / np.linalg.norm(stored, axis=1)
    return sorted(filter(keep, range(len(vectors))), key=lambda row: -scores[row])[:k]


def ids_of(store):
    return {
        int(image.path.rpartition("/")[2].removesuffix(".jpg")): image.image_id for image in store.catalog.images()
    }


# -- what is removed and comes back while a library is open -------------------------------------------


ROUTES = [(GRAPH, "graph"), (CELLS, "cells"), (GRAPH, "exact")]


@pytest.mark.parametrize(("kind", "route"), ROUTES)
def test_rows_that_are_removed_leave_open_neighbours_and_come_back_to_them(tmp_path, kind, route):
    vectors = random_units(N, DIM, seed=3)
    opened = NearestRows(Store.open(with_index(tmp_path, kind, vectors)), use_index=route != "exact")
    query = vectors[7:8]
    (before,) = nearest(opened, query, 10)
    assert (before.rows.tolist(), before.route) == (by_arithmetic(vectors, query[0], 10), route)
    removed, back = before.rows.tolist()[:6], before.rows.tolist()[:3]
    with Store.writer(tmp_path) as store:
        ids = ids_of(store)
        store.remove_images([ids[row] for row in removed])
    (without,) = nearest(opened, query, 10)
    assert without.rows.tolist() == by_arithmetic(vectors, query[0], 10, lambda row: row not in removed)
    assert (without.route, without.n_candidates) == (route, N - 6)
    with Store.writer(tmp_path) as store:
        store.commit(Changes(stored=[file(row, vectors[row]) for row in back]))
        assert store.n_rows == N  # the rows that were there are used again
    (after,) = nearest(opened, query, 10)
    assert after.rows.tolist() == by_arithmetic(vectors, query[0], 10, lambda row: row not in removed[3:])
    assert (after.route, after.n_candidates) == (route, N - 3)


@pytest.mark.parametrize(("kind", "route"), ROUTES)
def test_open_neighbours_follow_new_rows_a_new_index_and_new_numbers(tmp_path, kind, route):
    vectors, later = random_units(N, DIM, seed=3), random_units(40, DIM, seed=4)
    opened = NearestRows(Store.open(with_index(tmp_path, kind, vectors)), use_index=route != "exact")
    query = later[11:12]
    nearest(opened, query, 5)
    with Store.writer(tmp_path) as store:
        store.commit(Changes(stored=[file(N + i, vector) for i, vector in enumerate(later)]))
    everything = np.concatenate([vectors, later])
    (tail,) = nearest(opened, query, 5)
    assert (tail.rows.tolist(), tail.route) == (by_arithmetic(everything, query[0], 5), route)
    with Store.writer(tmp_path) as store:
        store.indexes.update(GraphSettings(graph_from=5, tail_share=0.0), PROBES, kinds=[kind])
    (taken_in,) = nearest(opened, query, 5)
    assert (taken_in.rows.tolist(), taken_in.route) == (tail.rows.tolist(), route)
    if route != "exact":
        assert opened._published[route].index.n_rows == N + 40
    with Store.writer(tmp_path) as store:
        ids = ids_of(store)
        store.remove_images([ids[i] for i in range(100)])
        store.compact()
    (renumbered,) = nearest(opened, query, 5)
    assert renumbered.rows.tolist() == by_arithmetic(everything[100:], query[0], 5)
    assert renumbered.route == "exact"  # the index is of the numbers before
    with Store.writer(tmp_path) as store:
        store.indexes.update(GraphSettings(graph_from=5), PROBES, kinds=[kind])
    (again,) = nearest(opened, query, 5)
    assert (again.rows.tolist(), again.route) == (renumbered.rows.tolist(), route)


@of_any_kind
def test_an_index_is_loaded_once_while_it_stays_the_same(tmp_path, loaded, kind):
    vectors = random_units(N, DIM, seed=3)
    opened = NearestRows(Store.open(with_index(tmp_path, kind, vectors)))
    loaded.clear()
    for i in range(3):
        assert nearest(opened, vectors[:1], 5)[0].route == kind.name
        with Store.writer(tmp_path) as store:
            store.commit(Changes(stored=[file(N + i, random_units(1, DIM, seed=20 + i)[0])]))
    assert loaded == [kind.name]


def nearly_the_same(n, seed):
    """Vectors that differ by less than rounding to float16 changes their lengths."""
    rng = np.random.default_rng(seed)
    return l2_normalize((np.ones(DIM) + 3e-3 * rng.standard_normal((n, DIM))).astype(np.float32))


def test_lengths_of_rows_before_a_compaction_are_not_those_of_the_rows_after_it(tmp_path):
    vectors = nearly_the_same(200, seed=6)
    with Store.writer(tmp_path, create=META) as store:
        store.commit(Changes(stored=[file(i, vector) for i, vector in enumerate(vectors[:150])]))
    opened = NearestRows(Store.open(tmp_path))
    nearest(opened, vectors[:1], 5)
    with Store.writer(tmp_path) as store:
        ids = ids_of(store)
        store.remove_images([ids[i] for i in range(50)])
        store.compact()
        store.commit(Changes(stored=[file(150 + i, vector) for i, vector in enumerate(vectors[150:])]))
        assert store.n_rows == 150
    for query in vectors[60:70]:
        (answer,) = nearest(opened, query[None], 5)
        assert answer.rows.tolist() == by_arithmetic(vectors[50:], query, 5)


def test_vectors_that_somebody_else_writes_over_are_measured_anew(tmp_path):
    vectors = random_units(N, DIM, seed=3)
    opened = NearestRows(Store.open(with_index(tmp_path, GRAPH, vectors)), use_index=False)
    expected = by_arithmetic(vectors, vectors[7], 5)
    assert nearest(opened, vectors[7:8], 5)[0].rows.tolist() == expected
    shorter = vectors.astype(np.float16)
    shorter[expected] /= 4  # a quarter as long, in the same direction
    (tmp_path / "vectors-0.f16").write_bytes(shorter.tobytes())
    assert nearest(opened, vectors[7:8], 5)[0].rows.tolist() == expected


@of_any_kind
def test_vectors_that_are_cut_at_the_moment_of_a_commit_are_left_out(tmp_path, kind):
    vectors = random_units(N, DIM, seed=3)
    opened = NearestRows(Store.open(with_index(tmp_path, kind, vectors)))
    assert nearest(opened, vectors[7:8], 5)[0].route == kind.name
    with Store.writer(tmp_path) as store:
        store.remove_images([ids_of(store)[0]])
    os.truncate(tmp_path / "vectors-0.f16", 100 * 2 * DIM)
    (answer,) = nearest(opened, vectors[7:8], 5)
    assert answer.rows.tolist() == by_arithmetic(vectors, vectors[7], 5, lambda row: 0 < row < 100)
    assert (answer.route, answer.n_candidates, opened.lost_rows) == ("exact", 99, range(100, N))


@of_any_kind
def test_scores_are_those_of_the_scan_to_the_last_bit_whatever_the_route(tmp_path, kind):
    vectors = random_units(N, DIM, seed=3)
    with_index(tmp_path, kind, vectors)
    by_index, by_scan = (NearestRows(Store.open(tmp_path), use_index=use_index) for use_index in (True, False))
    queries = random_units(20, DIM, seed=5)
    for indexed, scanned in zip(nearest(by_index, queries, 5), nearest(by_scan, queries, 5), strict=True):
        assert (indexed.route, scanned.route) == (kind.name, "exact")
        np.testing.assert_array_equal(indexed.rows, scanned.rows)
        np.testing.assert_array_equal(indexed.scores, scanned.scores)


# -- a graph that falls short --------------------------------------------------------------------------


def in_clusters(n=200):
    """Tight clusters far apart, which a graph of few links does not connect."""
    rng = np.random.default_rng(0)
    centres = np.eye(DIM)[np.arange(n) % DIM]
    return l2_normalize((centres + 0.01 * rng.standard_normal((n, DIM))).astype(np.float32))


FEW_LINKS = {"m": 2, "ef_construction": 4}


def test_queries_that_a_graph_cannot_answer_in_full_are_scanned_for(tmp_path):
    vectors = in_clusters()
    opened = NearestRows(Store.open(with_index(tmp_path, GRAPH, vectors, **FEW_LINKS)))
    for k, route in ((5, "graph"), (200, "exact"), (1000, "exact")):
        (answer,) = nearest(opened, vectors[:1], k)
        assert answer.route == route
        assert len(answer.rows) == min(k, 200)
    assert answer.rows.tolist() == by_arithmetic(vectors, vectors[0], 200)


def test_one_query_that_a_graph_cannot_answer_leaves_the_others_their_route(tmp_path):
    vectors = in_clusters()
    opened = NearestRows(Store.open(with_index(tmp_path, GRAPH, vectors, **FEW_LINKS)))
    alone = [nearest(opened, vector[None], 40)[0] for vector in vectors[:8]]
    assert {answer.route for answer in alone} == {"graph", "exact"}
    pair = [next(i for i in range(8) if alone[i].route == route) for route in ("graph", "exact")]
    for asked in (list(range(8)), pair):
        for together, i in zip(nearest(opened, vectors[asked], 40), asked, strict=True):
            assert together.route == alone[i].route
            np.testing.assert_array_equal(together.rows, alone[i].rows)


def test_a_filter_over_a_graph_that_falls_short_is_answered_by_a_scan(tmp_path, monkeypatch):
    monkeypatch.setattr(routes_module, "_FEW", 10)
    vectors = in_clusters()
    opened = NearestRows(Store.open(with_index(tmp_path, GRAPH, vectors, **FEW_LINKS)))
    (answer,) = nearest(opened, vectors[:1], 5, where=["size >= 100"])
    assert (answer.route, answer.rows.tolist()) == ("filtered", by_arithmetic(vectors, vectors[0], 5))


@of_any_kind
def test_live_rows_that_are_all_there_are_no_shortage(tmp_path, kind):
    vectors = random_units(60, DIM, seed=3)
    opened = NearestRows(Store.open(with_index(tmp_path, kind, vectors)))
    with Store.writer(tmp_path) as store:
        ids = ids_of(store)
        store.remove_images([ids[i] for i in range(20)])
    (answer,) = nearest(opened, vectors[40:41], 50)
    assert (answer.route, answer.n_candidates) == (kind.name, 40)
    assert answer.rows.tolist() == by_arithmetic(vectors, vectors[40], 50, lambda row: row >= 20)


# -- filters -------------------------------------------------------------------------------------------


def far_and_near():
    """A query, and vectors in the order of their cosines to it: the first rows are the nearest."""
    query = random_units(1, DIM, seed=9)
    vectors = random_units(N, DIM, seed=3)
    return query, vectors[np.argsort(-(vectors @ query[0]))]


@pytest.mark.parametrize(("k", "first", "route"), [(1, 39, "graph"), (1, 40, "filtered"), (2, 79, "filtered")])
def test_too_few_that_pass_among_the_neighbours_are_not_taken_for_all(tmp_path, monkeypatch, k, first, route):
    monkeypatch.setattr(routes_module, "_FEW", 10)
    query, vectors = far_and_near()
    opened = NearestRows(Store.open(with_index(tmp_path, GRAPH, vectors)))
    # Row i is 100 + i bytes large. Of the 40 k nearest, one passes: enough for k = 1 and no more.
    (answer,) = nearest(opened, query, k, where=[f"size >= {100 + first}"])
    assert (answer.rows.tolist(), answer.route) == (list(range(first, first + k)), route)
    assert answer.n_candidates == N - first  # whatever the route


@pytest.mark.parametrize(("n_passing", "route"), [(11, "filtered"), (12, "graph"), (13, "graph")])
def test_a_filter_that_passes_less_than_a_twentieth_is_scanned_exactly(tmp_path, monkeypatch, n_passing, route):
    monkeypatch.setattr(routes_module, "_FEW", 10)
    query, vectors = far_and_near()
    opened = NearestRows(Store.open(with_index(tmp_path, GRAPH, vectors)))
    (answer,) = nearest(opened, query, 5, where=[f"size < {100 + n_passing}"])
    assert (answer.rows[:5].tolist(), answer.route) == ([0, 1, 2, 3, 4], route)


@pytest.mark.parametrize(("n_passing", "route"), [(29, "filtered"), (30, "graph")])
def test_a_filter_that_passes_few_pictures_is_scanned_exactly_whatever_their_share(
    tmp_path, monkeypatch, n_passing, route
):
    monkeypatch.setattr(routes_module, "_FEW", 30)
    query, vectors = far_and_near()
    opened = NearestRows(Store.open(with_index(tmp_path, GRAPH, vectors)))
    (answer,) = nearest(opened, query, 5, where=[f"size < {100 + n_passing}"])
    assert (answer.rows[:5].tolist(), answer.route) == ([0, 1, 2, 3, 4], route)


@pytest.mark.parametrize("k", [1, 10, 59, 60, 100])
def test_a_filter_over_cells_that_are_all_scanned_gives_what_a_scan_of_all_that_pass_does(tmp_path, monkeypatch, k):
    monkeypatch.setattr(routes_module, "_FEW", 10)
    vectors, query = random_units(N, DIM, seed=3), random_units(1, DIM, seed=9)
    with_index(tmp_path, CELLS, vectors)
    by_cells, by_scan = (NearestRows(Store.open(tmp_path), use_index=use_index) for use_index in (True, False))
    where = ["size >= 150 and size < 210"]  # sixty of them
    (in_cells,), (scanned,) = nearest(by_cells, query, k, where), nearest(by_scan, query, k, where)
    assert (in_cells.route, scanned.route) == ("cells", "filtered")
    assert in_cells.rows.tolist() == by_arithmetic(vectors, query[0], k, lambda row: 50 <= row < 110)
    np.testing.assert_array_equal(in_cells.rows, scanned.rows)
    np.testing.assert_array_equal(in_cells.scores, scanned.scores)
    assert (in_cells.n_candidates, scanned.n_candidates) == (60, 60)


@pytest.mark.parametrize(("few", "n_passing", "route"), [
    (4, 4, "filtered"), (4, 5, "cells"), (30, 29, "filtered"), (30, 30, "cells"),
])  # fmt: skip
def test_a_filter_that_passes_less_than_a_fiftieth_is_scanned_beside_cells(
    tmp_path, monkeypatch, few, n_passing, route
):
    monkeypatch.setattr(routes_module, "_FEW", few)
    query, vectors = random_units(1, DIM, seed=9), random_units(250, DIM, seed=3)
    opened = NearestRows(Store.open(with_index(tmp_path, CELLS, vectors)))
    (answer,) = nearest(opened, query, 3, where=[f"size < {100 + n_passing}"])
    assert answer.rows.tolist() == by_arithmetic(vectors, query[0], 3, lambda row: row < n_passing)
    assert (answer.route, answer.n_candidates) == (route, n_passing)


def test_a_filter_over_cells_follows_what_is_added_and_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(routes_module, "_FEW", 10)
    vectors, later = random_units(N, DIM, seed=3), random_units(20, DIM, seed=4)
    opened = NearestRows(Store.open(with_index(tmp_path, CELLS, vectors)))
    everything, query, where = np.concatenate([vectors, later]), later[11:12], ["size >= 150"]
    (before,) = nearest(opened, query, 30, where)
    assert before.rows.tolist() == by_arithmetic(vectors, query[0], 30, lambda row: row >= 50)
    removed = before.rows.tolist()[:5]
    with Store.writer(tmp_path) as store:
        store.commit(Changes(stored=[file(N + i, vector) for i, vector in enumerate(later)]))
        store.remove_images([ids_of(store)[row] for row in removed])
    (after,) = nearest(opened, query, 30, where)
    assert after.rows.tolist() == by_arithmetic(
        everything, query[0], 30, lambda row: row >= 50 and row not in removed
    )
    assert after.rows[0] == N + 11  # of the rows that are in no cell yet
    assert (after.route, after.n_candidates) == ("cells", N - 50 + 20 - 5)


def test_several_queries_with_one_filter_are_each_answered_as_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(routes_module, "_FEW", 10)
    vectors, queries = random_units(N, DIM, seed=3), random_units(4, DIM, seed=9)
    for kind in (GRAPH, CELLS):
        opened = NearestRows(Store.open(with_index(tmp_path / kind.name, kind, vectors)))
        for where in (["size >= 100"], ["size < 120"], ["size < 105"]):
            together = nearest(opened, queries, 7, where)
            for query, answer in zip(queries, together, strict=True):
                (alone,) = nearest(opened, query[None], 7, where)
                assert (answer.route, answer.rows.tolist()) == (alone.route, alone.rows.tolist())


def one_of_each_cell(vectors):
    """Return a row of each of the first 90 cells that an index of these vectors has."""
    index = CellsIndex(DIM, PROBES[::2])
    index.build(vectors.astype(np.float16))
    filled_cells = np.flatnonzero(index._cells.sizes)[:90]
    return index._cells.rows[index._cells.starts[filled_cells]].tolist()


def test_too_few_that_pass_in_the_cells_of_an_effort_are_no_answer(tmp_path, monkeypatch):
    """With an effort of 3 sixty hits are looked for among about 620 rows, of 14 in a cell: in half of the cells."""
    little = Ladder(((3, Recall(1.0, 1.0, 1.0, 0.0, 0.0), 0.0001),), exact_ms=1.0, n_queries=5)
    monkeypatch.setattr(indexes_module, "measured_efforts", lambda index, probes, target: little)
    monkeypatch.setattr(routes_module, "_FEW", 10)
    vectors, query = random_units(3000, DIM, seed=3), random_units(1, DIM, seed=9)
    passing = set(one_of_each_cell(vectors))
    with Store.writer(tmp_path, create=META) as store:
        store.commit(
            Changes(stored=[replace(file(i, v), width=641 if i in passing else 640) for i, v in enumerate(vectors)])
        )
        assert store.indexes.update(GraphSettings(graph_from=5), PROBES, kinds=[CELLS])
    opened = NearestRows(Store.open(tmp_path))
    for k, route in ((3, "cells"), (60, "filtered")):
        (answer,) = nearest(opened, query, k, where=["width > 640"])
        assert answer.route == route
    assert answer.rows.tolist() == by_arithmetic(vectors, query[0], 60, lambda row: row in passing)


# -- several kinds, and several that search -------------------------------------------------------------


def with_both(folder, vectors):
    """As `with_index`, with a graph and cells, which are as good."""
    with_index(folder, GRAPH, vectors)
    with Store.writer(folder) as store:
        assert store.indexes.update(GraphSettings(graph_from=5, tail_share=0.5), PROBES)
    return folder


def test_a_search_from_the_shell_goes_by_cells_and_never_loads_a_graph(tmp_path, loaded):
    vectors = random_units(N, DIM, seed=3)
    with_both(tmp_path, vectors)
    loaded.clear()
    asked_once = NearestRows(Store.open(tmp_path), is_asked_once=True)
    for modality in ("text", "image"):
        (answer,) = nearest(asked_once, vectors[7:8], 5, modality=modality)
        assert (answer.route, answer.rows.tolist()) == ("cells", by_arithmetic(vectors, vectors[7], 5))
    assert loaded == ["cells"]
    with Store.writer(tmp_path) as store:
        store.indexes.update(GraphSettings(graph_from=5), PROBES, kinds=[GRAPH])
    loaded.clear()
    assert nearest(asked_once, vectors[7:8], 5)[0].route == "exact"
    assert loaded == []


def test_where_there_are_both_a_filter_goes_to_the_cells_and_what_is_not_filtered_to_the_graph(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(routes_module, "_FEW", 10)
    vectors, query = random_units(N, DIM, seed=3), random_units(1, DIM, seed=9)
    opened = NearestRows(Store.open(with_both(tmp_path, vectors)))
    assert nearest(opened, query, 5)[0].route == "graph"  # of equals the first
    (answer,) = nearest(opened, query, 5, where=["size >= 150"])
    assert answer.rows.tolist() == by_arithmetic(vectors, query[0], 5, lambda row: row >= 50)
    assert (answer.route, answer.n_candidates) == ("cells", N - 50)


@of_any_kind
def test_all_that_search_in_a_process_share_one_index(tmp_path, loaded, kind):
    vectors = random_units(N, DIM, seed=3)
    with_index(tmp_path, kind, vectors)
    loaded.clear()
    several = [NearestRows(Store.open(tmp_path)) for _ in range(3)]
    for opened in several:
        assert nearest(opened, vectors[7:8], 5)[0].route == kind.name
    assert loaded == [kind.name]
    assert len({id(opened._published[kind.name].index) for opened in several}) == 1


@of_any_kind
def test_a_copy_of_a_library_shares_no_index_with_it(tmp_path, kind):
    vectors = random_units(N, DIM, seed=3)
    with_index(tmp_path / "library", kind, vectors)
    shutil.copytree(tmp_path / "library", tmp_path / "copy")
    opened, copied = (NearestRows(Store.open(tmp_path / name)) for name in ("library", "copy"))
    for neighbours in (opened, copied):
        assert nearest(neighbours, vectors[7:8], 1)[0].route == kind.name
    with Store.writer(tmp_path / "copy") as store:
        store.remove_images([ids_of(store)[7]])
    assert nearest(copied, vectors[7:8], 1)[0].rows.tolist() != [7]
    assert nearest(opened, vectors[7:8], 1)[0].rows.tolist() == [7]


@of_any_kind
def test_what_is_removed_stays_away_from_whoever_shares_an_index(tmp_path, kind):
    vectors = random_units(N, DIM, seed=3)
    first = NearestRows(Store.open(with_index(tmp_path / "library", kind, vectors)))
    query, before = vectors[7:8], by_arithmetic(vectors, vectors[7], 5)
    assert nearest(first, query, 5)[0].rows.tolist() == before
    behind = NearestRows(Store.open(tmp_path / "library"))
    with behind.store.catalog.reading():
        assert behind.store.revision == first.store.revision  # the state that it reads from now on
        with Store.writer(tmp_path / "library") as store:
            store.remove_images([ids_of(store)[row] for row in before])
        after = by_arithmetic(vectors, vectors[7], 5, lambda row: row not in before)
        later = NearestRows(Store.open(tmp_path / "library"))
        assert nearest(later, query, 5)[0].rows.tolist() == after
        behind.refresh()
        behind.of(query, 5, condition_of([]), "text")
        assert nearest(later, query, 5)[0].rows.tolist() == after
    assert nearest(behind, query, 5)[0].rows.tolist() == after
    assert nearest(first, query, 5)[0].rows.tolist() == after


# -- plans ---------------------------------------------------------------------------------------------


def finds_pictures_alone(index, probes, target):
    """Say that an index finds all at once where pictures are asked for, and else nothing."""
    if len(probes.queries) == N // 10:
        return finds_all_at_once(index, probes, target)
    return Ladder(((1000, Recall(0.0, 0.0, 0.0, 1.0, 1.0), 0.0001),), exact_ms=1.0, n_queries=len(probes.queries))


def test_each_modality_goes_by_its_own_plan(tmp_path, monkeypatch, loaded):
    vectors = random_units(N, DIM, seed=3)
    monkeypatch.setattr(indexes_module, "measured_efforts", finds_pictures_alone)
    with_index(tmp_path, GRAPH, vectors)
    loaded.clear()
    opened = NearestRows(Store.open(tmp_path))
    for modality, route, n in (("text", "exact", 0), ("image", "graph", 1), ("text", "exact", 1)):
        assert nearest(opened, vectors[:1], 3, modality=modality)[0].route == route
        assert len(loaded) == n


def test_without_an_index_a_broad_filter_is_scanned_for(tmp_path, monkeypatch):
    monkeypatch.setattr(routes_module, "_FEW", 10)
    query, vectors = far_and_near()
    opened = NearestRows(Store.open(with_index(tmp_path, GRAPH, vectors)), use_index=False)
    (answer,) = nearest(opened, query, 5, where=["size >= 150"])
    assert (answer.rows.tolist(), answer.route, answer.n_candidates) == ([50, 51, 52, 53, 54], "filtered", N - 50)


@pytest.mark.parametrize(("kind", "index_class"), [(GRAPH, HnswIndex), (CELLS, CellsIndex)])
def test_an_index_is_searched_with_the_effort_of_its_plan(tmp_path, monkeypatch, kind, index_class):
    vectors, efforts = random_units(N, DIM, seed=3), []
    search = index_class.search

    def noted(index, queries, k, effort=None):
        efforts.append(effort)
        return search(index, queries, k, effort)

    opened = NearestRows(Store.open(with_index(tmp_path, kind, vectors)))
    monkeypatch.setattr(index_class, "search", noted)
    nearest(opened, vectors[:1], 3)
    assert efforts == [1000]


@of_any_kind
def test_a_damaged_index_is_looked_at_once_for_each_state_of_the_library(tmp_path, loaded, kind):
    vectors = random_units(N, DIM, seed=3)
    with_index(tmp_path, kind, vectors)
    path = tmp_path / f"{kind.stem}-1.bin"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    loaded.clear()
    opened = NearestRows(Store.open(tmp_path))
    for _ in range(3):
        (answer,) = nearest(opened, vectors[:1], 5)
        assert (answer.route, answer.rows.tolist()) == ("exact", by_arithmetic(vectors, vectors[0], 5))
    assert len(loaded) == 1
    path.write_bytes(whole)
    with Store.writer(tmp_path) as store:
        store.remove_images([ids_of(store)[N - 1]])
    for _ in range(3):
        assert nearest(opened, vectors[:1], 5)[0].route == kind.name
    assert len(loaded) == 2


def test_a_library_without_rows_has_nothing_near_a_query(tmp_path):
    with Store.writer(tmp_path, create=META) as store:
        store.commit(Changes(stored=[file(0, random_units(1, DIM)[0])]))
        store.remove_images([ids_of(store)[0]])
    opened = NearestRows(Store.open(tmp_path))
    answers = nearest(opened, random_units(3, DIM), 5)
    assert [(answer.route, answer.n_candidates, len(answer.rows), len(answer.scores)) for answer in answers] == [
        ("empty", 0, 0, 0)
    ] * 3


@of_any_kind
def test_a_condition_that_asks_for_nothing_is_none(tmp_path, kind):
    vectors = random_units(N, DIM, seed=3)
    opened = NearestRows(Store.open(with_index(tmp_path, kind, vectors)))
    with opened.store.catalog.reading():
        opened.refresh()
        (answer,) = opened.of(vectors[:1], 3, SqlCondition(), "text")
    assert answer.route == kind.name
