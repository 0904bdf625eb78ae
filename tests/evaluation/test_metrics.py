from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.errors import DimensionError
from mmsearch.evaluation.metrics import first_relevant_ranks, hit_rate_at_k

SCORES = np.array([[0.9, 0.5, 0.7], [0.1, 0.2, 0.3]], dtype=np.float32)


def test_rank_is_that_of_the_best_relevant_image():
    relevant = np.array([[False, True, True], [True, False, False]])
    assert first_relevant_ranks(SCORES, relevant).tolist() == [2, 3]


def test_ties_go_to_the_smaller_id():
    tied = np.full((1, 4), 0.5, dtype=np.float32)
    assert first_relevant_ranks(tied, np.array([[False, False, True, True]])).tolist() == [3]


def test_hit_rate_is_the_share_of_queries_with_a_relevant_image_in_the_top_k():
    assert hit_rate_at_k(np.array([1, 2, 10, 11]), 10) == 0.75


@given(seed=st.integers(0, 2**32 - 1))
def test_ranks_equal_those_of_a_sorted_list(seed):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 5, (6, 9)).astype(np.float32)
    relevant = rng.random((6, 9)) < 0.3
    relevant[:, 4] = True
    for row, is_relevant, rank in zip(scores, relevant, first_relevant_ranks(scores, relevant), strict=True):
        order = sorted(range(9), key=lambda i: (-row[i], i))
        assert rank == 1 + min(order.index(i) for i in np.flatnonzero(is_relevant))


def test_query_without_relevant_images_is_an_error():
    with pytest.raises(ValueError, match="query 1 has no relevant image"):
        first_relevant_ranks(SCORES, np.array([[True, False, False], [False, False, False]]))


def test_shapes_must_agree():
    with pytest.raises(DimensionError, match="they must agree"):
        first_relevant_ranks(SCORES, np.ones((2, 2), dtype=bool))


def test_nan_is_an_error():
    with pytest.raises(ValueError, match="NaN"):
        first_relevant_ranks(np.array([[np.nan]], dtype=np.float32), np.ones((1, 1), dtype=bool))
