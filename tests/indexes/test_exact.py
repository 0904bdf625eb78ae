import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.errors import DimensionError
from mmsearch.indexes.exact import ExactIndex, merge
from mmsearch.vectors import l2_normalize


def unit_halves(seed, n, dim=8):
    vectors = np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)
    return l2_normalize(vectors).astype(np.float16)


def by_full_sort(matrix, query, k, rows):
    scores = matrix[rows].astype(np.float32) @ query
    order = np.lexsort((rows, -scores))[:k]
    return rows[order], scores[order]


@given(
    seed=st.integers(0, 1000),
    n=st.integers(1, 2000),
    k=st.integers(1, 30),
    n_queries=st.sampled_from([1, 3, 9]),
    n_dead=st.integers(0, 40),
)
def test_exact_search_equals_a_full_sort_of_the_live_rows(seed, n, k, n_queries, n_dead):
    matrix = unit_halves(seed, n)
    dead = np.random.default_rng(seed).integers(0, n, size=n_dead)
    live = np.setdiff1d(np.arange(n), dead)
    queries = unit_halves(seed + 1, n_queries).astype(np.float32)
    scores, rows = ExactIndex(matrix, dead).search(queries, k)
    assert rows.shape == (n_queries, min(k, len(live)))
    for found, found_scores, query in zip(rows, scores, queries, strict=True):
        _, expected_scores = by_full_sort(matrix, query, k, live)
        np.testing.assert_allclose(found_scores, expected_scores, atol=1e-6)
        assert not set(found) & set(dead)


def test_exact_search_crosses_blocks(monkeypatch):
    matrix, queries = unit_halves(0, 5000), unit_halves(1, 2).astype(np.float32)
    scores, rows = ExactIndex(matrix).search(queries, 10)
    monkeypatch.setattr("mmsearch.indexes.exact._CANDIDATES", 1000)
    monkeypatch.setattr("mmsearch.indexes.exact._BLOCK", 77)
    again_scores, again = ExactIndex(matrix).search(queries, 10)
    np.testing.assert_array_equal(rows, again)
    np.testing.assert_allclose(scores, again_scores, atol=1e-6)


def test_search_among_answers_only_from_the_given_rows():
    matrix, query = unit_halves(2, 500), unit_halves(3, 1).astype(np.float32)
    among = np.array([400, 3, 77, 12])
    _, rows = ExactIndex(matrix, dead=[12]).search_among(query, 10, among)
    assert sorted(rows[0].tolist()) == [3, 77, 400]


def test_search_tail_and_the_rest_together_are_the_whole_answer():
    matrix, query = unit_halves(4, 300), unit_halves(5, 1).astype(np.float32)
    index = ExactIndex(matrix, dead=[250])
    head = ExactIndex(matrix[:200]).search(query, 7)
    tail = index.search_tail(query, 7, first_row=200)
    np.testing.assert_array_equal(merge(head, tail, 7)[1], index.search(query, 7)[1])


def test_exact_search_says_when_widths_differ():
    with pytest.raises(DimensionError, match="queries have 3 dimensions, the index has 8"):
        ExactIndex(unit_halves(0, 5)).search(np.ones((1, 3), np.float32), 2)
