from __future__ import annotations

import numpy as np
import pytest

from mmsearch.indexes.calibrate import ann_recall_at_k, calibrate, picture_queries
from mmsearch.indexes.exact import ExactIndex
from mmsearch.indexes.hnsw import HnswIndex
from tests.conftest import random_units


def test_ann_recall_is_the_share_of_exact_neighbours_found():
    expected = np.array([[1, 2, 3, 4], [5, 6, 7, 8]])
    found = np.array([[4, 3, 9, 9], [8, 7, 6, 5]])
    assert ann_recall_at_k(found, expected).tolist() == [0.5, 1]


def test_picture_queries_are_near_a_stored_vector_and_not_equal_to_it():
    stored = random_units(300, 64)
    queries = picture_queries(stored.astype(np.float16), 50)
    best = (queries @ stored.T).max(axis=1)
    assert np.all((best > 0.9) & (best < 0.99))


def test_chosen_beam_reaches_the_target_against_exact_search():
    stored = random_units(2000, 16).astype(np.float16)
    graph, exact = HnswIndex(16), ExactIndex(stored)
    graph.add([(np.arange(2000), stored.astype(np.float32))], 2000, n_threads=1)
    queries = random_units(100, 16, seed=3)
    chosen = calibrate(graph, exact, queries, target=0.9)
    with graph.beam(chosen.ef):
        recall = ann_recall_at_k(graph.search(queries, 10)[1], exact.search(queries, 10)[1]).mean()
    assert recall >= 0.9
    assert chosen.recall == pytest.approx(recall, abs=1e-4)


def test_route_is_exact_where_the_graph_cannot_reach_the_target():
    stored = random_units(3000, 64).astype(np.float16)
    graph, exact = HnswIndex(64, m=2, ef_construction=4), ExactIndex(stored)
    graph.add([(np.arange(3000), stored.astype(np.float32))], 3000, n_threads=1)
    assert calibrate(graph, exact, random_units(30, 64, seed=3), target=1.0).route == "exact"
