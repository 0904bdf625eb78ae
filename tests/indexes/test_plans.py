from __future__ import annotations

import time

import numpy as np
import pytest

from mmsearch.indexes.exact import ExactIndex
from mmsearch.indexes.hnsw import HnswIndex
from mmsearch.indexes.plans import EXACT, ann_recall_at_k, choose_plan, picture_queries
from tests.conftest import random_units


class Slow:
    """An index of which every search takes half a millisecond longer."""

    def __init__(self, index):
        self._index = index

    def __getattr__(self, name):
        return getattr(self._index, name)

    def search(self, queries, k, effort=None):
        time.sleep(0.0005)
        return self._index.search(queries, k, effort)


def indexes_over(stored, **options):
    graph = HnswIndex(stored.shape[1], **options)
    graph.build(stored, n_threads=1)
    return graph, ExactIndex(stored)


def test_ann_recall_is_the_share_of_exact_neighbours_found():
    expected = np.array([[1, 2, 3, 4], [5, 6, 7, 8]])
    found = np.array([[4, 3, 9, 9], [8, 7, 6, 5]])
    assert ann_recall_at_k(found, expected).tolist() == [0.5, 1]
    nothing = np.zeros((2, 0), np.int64)
    assert ann_recall_at_k(nothing, expected).tolist() == [0, 0]
    assert ann_recall_at_k(found, nothing).tolist() == [1, 1]  # there was nothing to be found


def test_picture_queries_are_near_a_stored_vector_and_not_equal_to_it():
    stored = random_units(300, 64)
    queries = picture_queries(stored.astype(np.float16), 50)
    best = (queries @ stored.T).max(axis=1)
    assert np.all((best > 0.9) & (best < 0.99))
    assert best.mean() == pytest.approx(np.sqrt(0.9), abs=0.01)  # a step of 1/3 across: 1 / sqrt(1 + 1/9)
    assert len(np.unique((queries @ stored.T).argmax(axis=1))) == 50


def test_there_are_no_more_picture_queries_than_vectors():
    assert picture_queries(random_units(7, 16).astype(np.float16), 50).shape == (7, 16)


def test_chosen_effort_is_the_smallest_that_reaches_the_target_against_exact_search():
    graph, exact = indexes_over(random_units(2000, 16).astype(np.float16), m=4, ef_construction=20)
    queries = random_units(100, 16, seed=3)
    plan = choose_plan("graph", graph, Slow(exact), queries, target=0.9)
    recalls = {
        effort: ann_recall_at_k(graph.search(queries, 10, effort)[1], exact.search(queries, 10)[1]).mean()
        for effort in graph.efforts
    }
    assert plan.effort == next(effort for effort in graph.efforts if recalls[effort] >= 0.9)
    assert graph.efforts[0] < plan.effort == plan.measured.effort
    assert plan.measured.recall == pytest.approx(recalls[plan.effort], abs=1e-4)
    assert (plan.measured.target, plan.measured.n_queries) == (0.9, 100)


def test_plan_is_to_scan_where_the_index_cannot_reach_the_target():
    graph, exact = indexes_over(random_units(3000, 64).astype(np.float16), m=2, ef_construction=4)
    plan = choose_plan("graph", graph, Slow(exact), random_units(30, 64, seed=3), target=1.0)
    assert (plan.index, plan.effort) == (EXACT, None)
    assert plan.measured.effort == graph.efforts[-1]
    assert plan.measured.recall < 1


@pytest.mark.parametrize(("is_graph_slow", "chosen"), [(False, ("graph", 16)), (True, (EXACT, None))])
def test_of_two_indexes_that_find_all_the_faster_is_chosen(is_graph_slow, chosen):
    graph, exact = indexes_over(random_units(100, 16).astype(np.float16))
    graph, exact = (Slow(graph), exact) if is_graph_slow else (graph, Slow(exact))
    plan = choose_plan("graph", graph, exact, random_units(20, 16, seed=3), target=1.0)
    assert (plan.index, plan.effort) == chosen
    assert plan.measured.recall == 1
    assert (plan.measured.index_ms > 0.5, plan.measured.exact_ms > 0.5) == (is_graph_slow, not is_graph_slow)
