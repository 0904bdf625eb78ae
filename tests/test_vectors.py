import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.errors import DimensionError, VectorError
from mmsearch.vectors import check_directions, inner_products, l2_normalize, top_k, widen_f16

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
