from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.errors import DimensionError, GroundTruthError
from mmsearch.evaluation.metrics.ranks import (
    UNRANKED,
    Qrels,
    rank_relevant,
    rank_relevant_of_lists,
    rank_relevant_of_rows,
)

from .rankings import random_case

seeds = st.integers(0, 2**32 - 1)
SCORES = np.array([[0.9, 0.5, 0.7], [0.1, 0.2, 0.3]], dtype=np.float32)


def test_ranks_of_relevant_images_ascend():
    assert rank_relevant(SCORES, Qrels.from_lists([[1, 2], [0]])).ranks.tolist() == [2, 3, 3]


def test_ties_go_to_the_smaller_id():
    tied = np.full((1, 4), 0.5, dtype=np.float32)
    assert rank_relevant(tied, Qrels.from_lists([[3, 1]])).ranks.tolist() == [2, 4]


@given(seed=seeds, with_ties=st.booleans(), most_relevant=st.sampled_from([5, 100]))
def test_ranks_equal_those_of_a_sorted_list(seed, with_ties, most_relevant):
    scores, qrels, grades = random_case(seed, with_ties=with_ties, n_images=120, most_relevant=most_relevant)
    ranked = rank_relevant(scores, qrels)
    for query, row in enumerate(scores):
        order = sorted(range(len(row)), key=lambda i: (-row[i], i))
        expected = [rank for rank, image in enumerate(order, 1) if grades[query, image]]
        of_query = slice(ranked.offsets[query], ranked.offsets[query + 1])
        assert ranked.ranks[of_query].tolist() == expected
        gains = [grades[query, image] for image in order if grades[query, image]]
        assert ranked.gains[of_query].tolist() == gains


@given(seed=seeds)
def test_ranks_by_scores_and_by_lists_are_the_same(seed):
    scores, qrels, _ = random_case(seed, with_ties=True)
    lists = [np.lexsort((np.arange(len(row)), -row)) for row in scores]
    np.testing.assert_array_equal(rank_relevant(scores, qrels).ranks, rank_relevant_of_lists(lists, qrels).ranks)


@given(seed=seeds, most_relevant=st.sampled_from([5, 100]))
def test_ranks_with_ties_are_those_of_a_list_sorted_for_or_against_the_relevant(seed, most_relevant):
    scores, qrels, grades = random_case(seed, with_ties=True, n_images=120, most_relevant=most_relevant)
    junk = [np.flatnonzero(row == 0)[::3] for row in grades]
    gains = np.split(qrels.gains, qrels.offsets[1:-1])
    with_junk = Qrels.from_lists(np.split(qrels.ids, qrels.offsets[1:-1]), gains=gains, junk=junk)
    ranked = rank_relevant(scores, with_junk)
    for sign, sided in ((-1, ranked.with_ties(relevant_first=True)), (1, ranked.with_ties(relevant_first=False))):
        for query, row in enumerate(scores):
            grade = grades[query]
            order = [
                i for i in sorted(range(len(row)), key=lambda i: (-row[i], sign * grade[i])) if i not in junk[query]
            ]
            of_query = slice(sided.offsets[query], sided.offsets[query + 1])
            assert sided.ranks[of_query].tolist() == [rank for rank, i in enumerate(order, 1) if grade[i]]
            assert sided.gains[of_query].tolist() == [grade[i] for i in order if grade[i]]


def test_lists_with_scores_have_ties_and_what_they_do_not_hold_has_none():
    qrels = Qrels.from_lists([[8, 7]])
    listed, scores = [np.array([9, 8, 6])], [np.array([0.5, 0.5, 0.1])]
    ranked = rank_relevant_of_lists(listed, qrels, scores=scores)
    assert ranked.ranks.tolist() == [2, UNRANKED]
    assert ranked.with_ties(relevant_first=True).ranks.tolist() == [1, UNRANKED]
    assert ranked.with_ties(relevant_first=False).ranks.tolist() == [2, UNRANKED]
    assert rank_relevant_of_lists(listed, qrels).with_ties(relevant_first=True).ranks.tolist() == [2, UNRANKED]


def test_junk_takes_no_rank():
    listed = [np.array([9, 4, 8, 5])]
    ranked = rank_relevant_of_lists(listed, Qrels.from_lists([[4, 5, 6]], junk=[[8, 9, 7]]))
    assert ranked.ranks.tolist() == [1, 2, UNRANKED]


@given(seed=seeds)
def test_junk_is_as_if_it_were_not_there(seed):
    scores, qrels, grades = random_case(seed, with_ties=True)
    junk = [np.flatnonzero(row == 0)[::3] for row in grades]
    with_junk = Qrels.from_lists(np.split(qrels.ids, qrels.offsets[1:-1]), junk=junk)
    without = scores.copy()
    for row, junk_ids in zip(without, junk, strict=True):
        row[junk_ids] = -1  # behind everything
    np.testing.assert_array_equal(rank_relevant(scores, with_junk).ranks, rank_relevant(without, qrels).ranks)


def test_a_query_without_relevant_images_has_no_ranks():
    ranked = rank_relevant(SCORES, Qrels.from_lists([[], [2]]))
    assert ranked.n_relevant.tolist() == [0, 1]
    assert ranked.ranks.tolist() == [1]


def test_an_image_named_twice_is_refused():
    with pytest.raises(GroundTruthError, match="image 5 is named twice for query 1"):
        Qrels.from_lists([[5], [5, 5]])
    with pytest.raises(GroundTruthError, match="image 5 is named twice for query 0"):
        Qrels.from_lists([[5]], junk=[[5]])
    with pytest.raises(GroundTruthError, match="the answer to query 0 names an image twice"):
        rank_relevant_of_lists([np.array([1, 1])], Qrels.from_lists([[1]]))


@pytest.mark.parametrize("gain", [0.0, -1.0, np.nan, np.inf])
def test_a_gain_that_is_not_above_zero_is_refused(gain):
    with pytest.raises(GroundTruthError, match="a gain is not a number above 0"):
        Qrels.from_lists([[1]], gains=[[gain]])


@pytest.mark.parametrize("ids", [[1.7], ["1"], [True], np.array([1.0])])
def test_an_id_that_is_no_integer_is_refused(ids):
    with pytest.raises(TypeError, match=r"a list of ids is .*; expected integers"):
        Qrels.from_lists([[2], ids])


def test_a_score_that_is_nan_is_refused_with_its_query():
    scores = SCORES.copy()
    scores[1, 0] = np.nan
    with pytest.raises(GroundTruthError, match="a score of query 1 is NaN"):
        rank_relevant(scores, Qrels.from_lists([[0], [1]]))


def test_scores_and_ground_truth_of_other_sizes_are_refused():
    with pytest.raises(DimensionError, match="answers to 2 queries and ground truth of 1"):
        rank_relevant(SCORES, Qrels.from_lists([[0]]))
    with pytest.raises(DimensionError, match="names image 3, there are scores of 3 images"):
        rank_relevant(SCORES, Qrels.from_lists([[0], [3]]))


def test_ranks_of_rows_are_those_of_the_whole_matrix():
    scores = np.random.default_rng(0).standard_normal((4, 9)).astype(np.float32)
    qrels = Qrels.from_lists([[1], [2, 3], [], [0]], gains=[[1], [2, 1], [], [3]], junk=[[], [7], [], [1, 2]])
    whole, by_row = rank_relevant(scores, qrels), rank_relevant_of_rows(iter(scores), 9, qrels)
    np.testing.assert_array_equal(by_row.ranks, whole.ranks)
    np.testing.assert_array_equal(by_row.gains, whole.gains)
    assert by_row.n_relevant.tolist() == [1, 2, 0, 1]
