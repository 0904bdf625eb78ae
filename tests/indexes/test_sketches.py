"""Sketches: products that are exact integers, and near the cosines that they stand for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsearch.indexes.cells import WIDTHS
from mmsearch.indexes.sketches import LARGEST, Projection, fitted, largest_of_query
from mmsearch.vectors import l2_normalize

NO_TEXTS = np.zeros((0, 64), np.float32)


def pictures(n, dim=64, seed=0):
    """Unit rows whose variance falls from the first direction to the last, as that of pictures does."""
    rng = np.random.default_rng(seed)
    spread = np.arange(1, dim + 1) ** -0.7
    return l2_normalize((0.3 + rng.standard_normal((n, dim)) * spread).astype(np.float32))


def texts(n, dim=64, seed=1):
    """Unit rows that lie where pictures vary least."""
    spread = np.arange(dim, 0, -1) ** -1.0
    return l2_normalize((np.random.default_rng(seed).standard_normal((n, dim)) * spread).astype(np.float32))


def plain(width, dim):
    """The projection to the first dimensions, by steps of a hundredth."""
    first = np.eye(dim, width, dtype=np.float32)
    return Projection(np.zeros(dim, np.float32), first, first, np.full(width, 0.01, np.float32))


def test_a_sketch_is_the_difference_from_the_mean_in_steps():
    projection = Projection(
        mean=np.float32([0.5, 0]), of_queries=np.eye(2, dtype=np.float32),
        of_pictures=np.float32([[1, 0], [0, 2]]), steps=np.float32([0.25, 0.5]),
    )  # fmt: skip
    rows = np.float32([[1, 0], [0, 1], [0.5, 0], [-0.6, -0.8]])
    assert projection.of(rows).tolist() == [[2, 0], [-2, 4], [0, 0], [-4, -3]]
    assert projection.of(100 * rows)[:2].tolist() == [[127, 0], [-2, 127]]  # what is too large is cut off
    assert projection.narrowed(1).of(rows).tolist() == [[2], [-2], [0], [-4]]


def test_the_largest_value_of_a_query_is_as_large_as_exact_products_allow():
    projection, rows = plain(128, 200), np.zeros((3, 200), np.float32)
    rows[0, 5], rows[1, :3], rows[2, 190] = -0.3, [1, 0.5, 0.25], 1
    queries = projection.queries(rows)
    assert largest_of_query(128) == 2**24 // (127 * 128) == 1032
    assert (queries[0, 5], np.abs(queries[0]).sum()) == (-1032, 1032)
    assert queries[1, :3].tolist() == [1032, 516, 258]
    assert not queries[2].any()  # it asks for what no sketch keeps


@pytest.mark.parametrize("width", [1, 2, 64, *WIDTHS])
def test_no_product_of_a_query_and_a_sketch_reaches_what_float32_cannot_count_to(width):
    largest = largest_of_query(width)
    query = np.full(width, largest, np.float32)
    sketch = np.full(width, LARGEST, np.int8)
    exact = int(query.astype(np.int64) @ sketch.astype(np.int64))
    assert exact == largest * LARGEST * width < 2**24
    assert exact > 2**24 - LARGEST * width  # a larger one would
    assert query @ sketch.astype(np.float32) == exact


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), width=st.sampled_from([1, 3, *WIDTHS]))
def test_products_are_those_of_whole_numbers_alone_and_together(seed, width):
    rng = np.random.default_rng(seed)
    sketches = rng.integers(-LARGEST, LARGEST + 1, (40, width)).astype(np.int8)
    queries = plain(width, width).queries(l2_normalize(rng.standard_normal((9, width)).astype(np.float32)))
    np.testing.assert_array_equal(queries, np.rint(queries))
    exact = queries.astype(np.int64) @ sketches.T.astype(np.int64)
    wide = sketches.astype(np.float32)
    np.testing.assert_array_equal(queries @ wide.T, exact)
    np.testing.assert_array_equal([wide @ query for query in queries], exact)


def pca(rows, width):
    """The projection to the directions that the rows vary most in, unrounded."""
    mean = rows.mean(axis=0)
    directions = np.linalg.svd(rows - mean, full_matrices=False)[2][:width].T
    return lambda queries, others: (queries @ directions) @ ((others - mean) @ directions).T


def kept(scores, exact):
    """Share of the order of each row of scores that is kept: the mean of their correlations."""
    return np.mean([np.corrcoef(row, expected)[0, 1] for row, expected in zip(scores, exact, strict=True)])


def test_sketches_keep_the_order_of_pictures_for_texts_that_are_unlike_any_and_axes_of_variance_do_not():
    rows, new, asked = pictures(2000), pictures(300, seed=5), texts(50, seed=6)
    projection = fitted(rows, texts(200), 24)
    exact = asked @ (new - projection.mean).T
    by_sketches = projection.queries(asked) @ projection.of(new).T.astype(np.float32)
    by_variance = pca(rows, 24)(asked, new)
    assert kept(by_sketches, exact) > 0.9
    assert kept(by_variance, exact) < 0.55


def test_sketches_keep_the_order_of_pictures_for_a_picture():
    rows, new, asked = pictures(2000), pictures(300, seed=5), pictures(50, seed=6)
    for typical in (texts(200), NO_TEXTS):
        projection = fitted(rows, typical, 32)
        scores = projection.queries(asked) @ projection.of(new).T.astype(np.float32)
        assert kept(scores, asked @ (new - projection.mean).T) > 0.98


def test_all_dimensions_keep_products_to_the_rounding():
    rows, asked = pictures(500, 16), texts(20, 16)
    projection = fitted(rows, texts(50, 16, seed=3), 16)
    products = (asked @ projection.of_queries) @ ((rows - projection.mean) @ projection.of_pictures).T
    np.testing.assert_allclose(products, asked @ (rows - projection.mean).T, atol=1e-3)


def test_the_first_dimensions_are_those_of_a_narrower_projection():
    wide, narrow = (fitted(pictures(300), texts(50), width) for width in (40, 12))
    for name in ("mean", "of_queries", "of_pictures", "steps"):
        np.testing.assert_array_equal(getattr(wide.narrowed(12), name), getattr(narrow, name))
    assert (wide.width, narrow.width) == (40, 12)


def test_sketches_of_the_sample_are_not_cut_off_and_leave_a_quarter_of_room():
    rows = pictures(400)
    sketches = fitted(rows, NO_TEXTS, 64).of(rows)
    assert np.abs(sketches).max(axis=0).tolist() == pytest.approx([127 / 1.25] * 64, abs=1)


@pytest.mark.parametrize("n", [1, 7])
def test_pictures_that_are_all_the_same_have_the_same_empty_sketch(n):
    rows = np.repeat(pictures(1), n, axis=0)
    projection = fitted(rows, texts(20), 64)
    assert not projection.of(rows).any()
    assert np.isfinite(projection.queries(texts(3))).all()


def test_directions_that_no_picture_differs_in_carry_nothing():
    rows = np.zeros((300, 64), np.float32)
    rows[:, :20] = pictures(300, 20)
    projection = fitted(rows, texts(30), 64)
    has_values = projection.of_pictures.any(axis=0)
    # Any turn of the axes is as good for the others: which one it is would depend on the number of threads.
    assert has_values.sum() == projection.of_queries.any(axis=0).sum() <= 20
    assert (projection.steps[~has_values] == 1).all()


@pytest.mark.parametrize("sign", [1, -1])
def test_one_dimension_is_enough(sign):
    rows = sign * np.float32([[1], [1], [-1]])
    projection = fitted(rows, np.zeros((0, 1), np.float32), 1)
    scores = projection.queries(np.float32([[1], [-1]])) @ projection.of(rows).T.astype(np.float32)
    assert (np.sign(scores) == np.sign(np.float32([[1], [-1]]) * rows.T)).all()


def test_values_of_the_maps_are_few_enough_to_hide_the_last_bits():
    projection = fitted(pictures(300), texts(50), 32)
    for column in (*projection.of_queries.T, *projection.of_pictures.T):
        unit = 2.0 ** np.frexp(np.abs(column).max())[1] / 2**14
        np.testing.assert_array_equal(column / unit, np.rint(column / unit))
