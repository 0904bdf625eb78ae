"""What every index must do, with the exact scan as the oracle. A new kind is one more line in `KINDS`."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from mmsearch.errors import DimensionError
from mmsearch.indexes.base import leave_out
from mmsearch.indexes.cells import CellsIndex
from mmsearch.indexes.exact import ExactIndex
from mmsearch.indexes.hnsw import HnswIndex
from mmsearch.indexes.plans import ann_recall_at_k
from mmsearch.vectors import l2_normalize
from tests.contracts.blocks import Blocks

DIM = 16
KINDS = {
    "exact": lambda: ExactIndex(np.zeros((0, DIM), dtype=np.float16)),
    "hnsw": lambda: HnswIndex(DIM),
    "cells": lambda: CellsIndex(DIM, asked(clustered(40, seed=11))),
    "cells without texts": lambda: CellsIndex(DIM, np.zeros((0, DIM), np.float32)),
    "blocks": lambda: Blocks(DIM),
}


def clustered(n, seed=0):
    """Rows as a library has them: float16 (n, dim), nearly unit, in twelve clusters."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((12, DIM))
    vectors = centres[rng.integers(0, 12, n)] + 0.5 * rng.standard_normal((n, DIM))
    return l2_normalize(vectors.astype(np.float32)).astype(np.float16)


def asked(rows):
    return l2_normalize(rows.astype(np.float32))


@pytest.fixture(params=KINDS)
def make(request):
    """What makes an index of a matrix, of each kind in turn."""

    def made(matrix):
        index = KINDS[request.param]()
        index.build(matrix)
        return index

    return made


def best_effort(index):
    return index.efforts[-1] if index.efforts else None


def agrees(index, oracle, k=10):
    """Whether an index finds what the oracle does, nearly, and never what the oracle does not hold."""
    queries = asked(clustered(50, seed=7))
    _, expected = oracle.search(queries, k)
    _, rows = index.search(queries, k, best_effort(index))
    return rows.shape == expected.shape and ann_recall_at_k(rows, expected).mean() >= 0.99


def test_an_index_without_rows_answers_with_nothing(make):
    index = make(np.zeros((0, DIM), np.float16))
    scores, rows = index.search(asked(clustered(3)), 5)
    assert scores.shape == rows.shape == (3, 0)
    assert (len(index), index.n_rows, index.dead, index.facts.n_held) == (0, 0, frozenset(), 0)


def test_the_ten_nearest_are_those_of_the_oracle(make):
    matrix = clustered(1500)
    assert agrees(make(matrix), ExactIndex(matrix))


def test_a_row_is_nearest_to_itself_with_its_cosine_first(make):
    matrix = clustered(300)
    scores, rows = make(matrix).search(asked(matrix[:40]), 3)
    assert (scores.dtype, rows.dtype) == (np.float64, np.int64)
    np.testing.assert_array_equal(rows[:, 0], np.arange(40))
    wide = asked(matrix).astype(np.float64)
    np.testing.assert_allclose(scores, np.einsum("qd,qkd->qk", wide[:40], wide[rows]), atol=1e-5)
    assert (np.diff(scores, axis=1) <= 1e-6).all()


@pytest.mark.parametrize("n_queries", [1, 7, 8, 30])
def test_queries_answered_together_have_the_rows_of_each_alone(make, n_queries):
    index, queries = make(clustered(400)), asked(clustered(n_queries, seed=3))
    scores, rows = index.search(queries, 5)
    for query, own_scores, own_rows in zip(queries, scores, rows, strict=True):
        alone_scores, alone_rows = index.search(query[None], 5)
        np.testing.assert_array_equal(alone_rows[0], own_rows)
        np.testing.assert_allclose(alone_scores[0], own_scores, atol=1e-6)


def test_more_effort_finds_no_less(make):
    matrix, queries = clustered(1500), asked(clustered(100, seed=7))
    index = make(matrix)
    _, expected = ExactIndex(matrix).search(queries, 10)
    recalls = [
        ann_recall_at_k(index.search(queries, 10, effort)[1], expected).mean() for effort in (*index.efforts, None)
    ]
    assert list(index.efforts) == sorted(set(index.efforts))
    assert all(later >= earlier - 0.005 for earlier, later in itertools.pairwise(recalls[:-1]))
    assert recalls[-1] >= 0.9  # of its own choice


@pytest.mark.parametrize("k", [30, 1000])
def test_all_rows_come_back_where_as_many_or_more_are_asked_for(make, k):
    scores, rows = make(clustered(30)).search(asked(clustered(2, seed=1)), k)
    assert scores.shape == (2, 30)
    np.testing.assert_array_equal(np.sort(rows, axis=1), np.tile(np.arange(30), (2, 1)))


def test_no_queries_have_no_answers(make):
    scores, rows = make(clustered(30)).search(np.zeros((0, DIM), np.float32), 5)
    assert len(scores) == len(rows) == 0


def test_queries_of_another_width_are_an_error(make):
    with pytest.raises(DimensionError, match="queries have 5 dimensions, the index has 16"):
        make(clustered(20)).search(np.ones((1, 5), np.float32), 3)


def test_deleted_rows_never_come_back_and_the_others_do(make):
    matrix = clustered(300)
    index, dead = make(matrix), range(0, 300, 3)
    index.delete(dead)
    assert (len(index), index.n_rows, index.dead) == (200, 300, frozenset(dead))
    _, rows = index.search(asked(matrix[:30]), 200)
    assert rows.shape == (30, 200)
    assert set(rows.ravel().tolist()) == set(range(300)) - set(dead)
    assert agrees(index, ExactIndex(matrix, dead))


def test_restored_rows_are_found_again(make):
    matrix = clustered(100)
    index = make(matrix)
    index.delete([5, 6, 7])
    index.restore([5, 7])
    assert (len(index), index.dead) == (99, {6})
    nearest = index.search(asked(matrix[5:8]), 1)[1][:, 0].tolist()
    assert (nearest[0], nearest[2]) == (5, 7)
    assert nearest[1] != 6


def test_deleting_and_restoring_twice_or_what_is_not_held_changes_nothing(make):
    matrix = clustered(50)
    index = make(matrix)
    index.restore([3, 400])
    for _ in range(2):
        index.delete([3, 50, 400])
        assert (len(index), index.dead) == (49, {3})
    for _ in range(2):
        index.restore([3, 50, 4])
        assert (len(index), index.dead) == (50, frozenset())
    assert index.search(asked(matrix[3:4]), 1)[1].tolist() == [[3]]


def test_exactly_the_rows_that_are_named_are_left_out(make):
    index = make(clustered(40))
    for dead in ([1, 2], [2, 3, 99], [], range(40)):
        leave_out(index, dead)
        assert index.dead == {row for row in dead if row < 40}
        assert len(index) == 40 - len(index.dead)
    scores, rows = index.search(asked(clustered(2)), 5)
    assert scores.shape == rows.shape == (2, 0)


def test_an_index_that_grows_answers_as_one_built_at_once(make):
    matrix = clustered(900)
    index = make(matrix[:500])
    index.search(asked(matrix[:3]), 4)
    index.delete([8, 499])
    index.build(matrix)
    assert (len(index), index.n_rows, index.dead, index.facts.n_held) == (898, 900, {8, 499}, 900)
    assert agrees(index, ExactIndex(matrix, [8, 499]))
    index.delete([700])
    assert 700 not in index.search(asked(matrix[700:701]), 898)[1]


def test_building_from_what_is_held_changes_nothing(make):
    matrix = clustered(60)
    index = make(matrix)
    index.build(matrix)
    assert (len(index), index.n_rows) == (60, 60)


def test_progress_of_building_never_falls_and_ends_with_the_new_rows(make):
    matrix, seen = clustered(5000), []
    index = make(matrix[:500])
    index.build(matrix, on_progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 4500


def test_rows_count_at_unit_length(make):
    matrix = clustered(200)
    changed = matrix.copy()
    changed[50] *= np.float16(0.25)
    scores, rows = make(changed).search(asked(matrix[50:51]), 1)
    assert rows.tolist() == [[50]]
    np.testing.assert_allclose(scores, 1, atol=1e-3)


def test_rows_without_a_direction_are_near_nothing_and_harm_no_other(make):
    matrix = clustered(300)
    matrix[[7, 299]] = 0
    index = make(matrix)
    assert index.n_rows == 300
    live = np.setdiff1d(np.arange(300), [7, 299])
    np.testing.assert_array_equal(index.search(asked(matrix[live]), 1)[1][:, 0], live)
    index.build(np.concatenate([matrix, clustered(10, seed=5)]))
    assert index.search(asked(clustered(10, seed=5)), 1)[1][:, 0].tolist() == list(range(300, 310))


def test_the_facts_can_be_written_down(make):
    small, large = make(clustered(100)).facts, make(clustered(1000)).facts
    assert (small.n_held, large.n_held) == (100, 1000)
    assert 0 < small.size_bytes < large.size_bytes
    assert json.loads(json.dumps(large.settings)) == large.settings


def test_rows_that_wait_are_taken_in_by_the_next_call(make):
    matrix = clustered(600)
    index, waiting = make(matrix[:200]), np.array([207, 300, 599])
    index.build(matrix, without=waiting)
    assert (len(index), index.n_rows, index.dead, index.facts.n_held) == (597, 600, frozenset(), 597)
    assert not np.isin(waiting, index.search(asked(matrix[waiting]), 597)[1]).any()
    index.build(matrix)
    assert (len(index), index.n_rows) == (600, 600)
    assert index.search(asked(matrix[waiting]), 1)[1][:, 0].tolist() == waiting.tolist()


def test_rows_can_be_deleted_while_all_that_are_new_wait(make):
    matrix = clustered(60)
    index = make(matrix[:0])
    for n, first in ((40, 0), (60, 40)):
        waiting = np.arange(first, n)
        index.build(matrix[:n], without=waiting)
        index.delete(waiting.tolist())  # it holds none of them
        assert (len(index), index.n_rows, index.dead) == (first, n, frozenset())
        index.build(matrix[:n])
    assert len(index) == 60
