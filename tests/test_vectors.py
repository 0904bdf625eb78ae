import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.errors import DimensionError, VectorError
from mmsearch.vectors import (
    check_directions,
    contenders,
    inner_products,
    l2_normalize,
    leading,
    stored_cosines,
    top_k,
    widen_f16,
)

seeds = st.integers(0, 2**32 - 1)


def random_matrix(seed, n=5, dim=4):
    return np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)


def test_inner_products_rejects_queries_of_another_width():
    with pytest.raises(DimensionError, match=r"queries have 3 dimensions, the index has 4"):
        inner_products(random_matrix(0, dim=3), random_matrix(0, dim=4))


@given(seed=seeds, scale=st.floats(1e-3, 1e3))
def test_l2_normalize_ignores_positive_scale(seed, scale):
    v = random_matrix(seed)
    np.testing.assert_allclose(l2_normalize(np.float32(scale) * v), l2_normalize(v), atol=1e-5)


def test_l2_normalize_keeps_a_zero_row_zero_and_the_argument_as_it_was():
    v = np.array([[0, 0], [3, 4]], dtype=np.float32)
    np.testing.assert_array_equal(l2_normalize(v), np.array([[0, 0], [0.6, 0.8]], dtype=np.float32))
    np.testing.assert_array_equal(v, [[0, 0], [3, 4]])


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_check_directions_names_the_row_without_a_direction(value):
    v = random_matrix(1)
    v[3] = value
    with pytest.raises(VectorError, match=r"row 3 of 5 is zero or not finite"):
        check_directions(v)


def test_top_k_breaks_ties_by_the_smaller_id():
    scores = np.array([[0.5, 0.9, 0.5, 0.5]], dtype=np.float32)
    best, ids = top_k(scores, np.array([40, 30, 20, 10]), 3)
    assert ids.tolist() == [[30, 10, 20]]
    np.testing.assert_allclose(best, [[0.9, 0.5, 0.5]])


@given(seed=seeds, k=st.integers(1, 400), n=st.integers(1, 3000), levels=st.integers(2, 1000))
def test_top_k_equals_a_full_sort(seed, k, n, levels):
    rng = np.random.default_rng(seed)
    scores = (rng.integers(0, levels, size=(2, n)) / levels).astype(np.float32)  # many ties
    ids = rng.permutation(n)
    best, found = top_k(scores, ids, k)
    for row in range(2):
        expected = sorted(zip(-scores[row], ids, strict=True))[:k]
        assert found[row].tolist() == [i for _, i in expected]
        assert best[row].tolist() == [-s for s, _ in expected]


def test_top_k_of_nothing_is_empty():
    best, ids = top_k(np.zeros((2, 0), np.float32), np.zeros(0, np.int64), 5)
    assert best.shape == ids.shape == (2, 0)


def test_widen_f16_gives_the_same_bits_as_a_cast_for_every_finite_value():
    half = np.arange(65536, dtype=np.uint16).view(np.float16)
    half = half[np.isfinite(half)]
    wide = widen_f16(half, np.empty(len(half), dtype=np.float32))
    np.testing.assert_array_equal(wide.view(np.uint32), half.astype(np.float32).view(np.uint32))


@given(seed=seeds, k=st.integers(1, 40), n=st.integers(1, 3000), margin=st.sampled_from([0.0, 0.01, 0.3]))
def test_contenders_are_all_within_a_margin_of_the_k_th_best(seed, k, n, margin):
    scores = np.random.default_rng(seed).random((2, n), dtype=np.float32)
    for row, places in zip(scores, contenders(scores, k, margin), strict=True):
        least = np.sort(row)[-min(k, n)] - np.float32(margin)
        np.testing.assert_array_equal(places, np.flatnonzero(row >= least))


@given(seed=seeds, n=st.integers(1, 20), n_others=st.integers(0, 20))
def test_a_stored_cosine_has_the_same_bits_whatever_is_scored_beside_it(seed, n, n_others):
    query = l2_normalize(random_matrix(seed, n=1, dim=70))
    rows = random_matrix(seed + 1, n=n + n_others, dim=70).astype(np.float16)
    scores = stored_cosines(query[0], rows)
    np.testing.assert_array_equal(scores[:n], stored_cosines(query[0], rows[:n]))
    np.testing.assert_array_equal(scores[0], stored_cosines(query, rows[:1])[0])
    wide = rows.astype(np.float64)
    np.testing.assert_allclose(scores, wide @ query[0] / np.linalg.norm(wide, axis=1), atol=1e-12)


@pytest.mark.parametrize("value", [0, np.inf, 6e-8, 65504])
def test_a_stored_cosine_of_any_row_is_a_number_of_at_most_one(value):
    row = np.zeros((1, 4), dtype=np.float16)
    row[0, 1] = value
    for query in np.eye(2, 4, dtype=np.float32):
        assert stored_cosines(query, row)[0] in (0, 1)


def test_leading_part_of_unit_vectors_has_unit_length_and_all_of_them_are_themselves():
    vectors = np.float32([[0.6, 0, 0.8], [0, 1, 0]])
    assert leading(vectors, 0) is vectors
    np.testing.assert_array_equal(leading(vectors, 2), np.float32([[1, 0, 0], [0, 1, 0]]))
    assert vectors[0, 2] == np.float32(0.8)
