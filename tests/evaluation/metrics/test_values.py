"""Every ranking metric: hand-computed numbers, laws, the edges, and equality with other implementations."""

from __future__ import annotations

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, ndcg_score

from mmsearch.errors import QueryError
from mmsearch.evaluation.metrics.average_precision import (
    average_precision,
    average_precision_at_k,
    average_precision_trapezoidal,
)
from mmsearch.evaluation.metrics.curves import LEVELS, precision_recall_curve
from mmsearch.evaluation.metrics.first_rank import first_relevant_rank, reciprocal_rank
from mmsearch.evaluation.metrics.instance import ns_score, precision_at_k_revisited
from mmsearch.evaluation.metrics.ndcg import ndcg
from mmsearch.evaluation.metrics.ranks import Qrels, rank_relevant
from mmsearch.evaluation.metrics.recall import hit_at_k, precision_at_k, recall_at_k

from .rankings import random_case, random_ranked, ranked

seeds = st.integers(0, 2**32 - 1)
AT_K = {
    "precision": precision_at_k,
    "recall": recall_at_k,
    "hit": hit_at_k,
    "ap": average_precision_at_k,
    "ndcg": lambda ranking, k: ndcg(ranking, k),
    "precision revisited": precision_at_k_revisited,
}
WHOLE = {
    "ap": average_precision,
    "trapezoidal ap": average_precision_trapezoidal,
    "rr": reciprocal_rank,
    "ndcg": ndcg,
}
every_at_k = pytest.mark.parametrize("metric", AT_K.values(), ids=AT_K.keys())
every_whole = pytest.mark.parametrize("metric", WHOLE.values(), ids=WHOLE.keys())

# -- hand-computed numbers -------------------------------------------------------------------------------

ONE_SECOND = ranked("xa", relevant="a")
SPREAD = ranked("axbyzc")  # relevant at ranks 1, 3, 6
ONE_MISSING = ranked("xayb")  # relevant at ranks 2, 4; c is not in the list


def test_average_precision_is_one_half_when_the_only_relevant_image_is_second():
    assert average_precision(ONE_SECOND) == [0.5]


def test_trapezoidal_average_precision_is_one_quarter_when_the_only_relevant_image_is_second():
    assert average_precision_trapezoidal(ONE_SECOND) == [0.25]


def test_average_precision_is_the_mean_precision_at_the_relevant_ranks():
    np.testing.assert_allclose(average_precision(SPREAD), (1 + 2 / 3 + 3 / 6) / 3)


def test_average_precision_counts_an_image_never_found_as_zero():
    np.testing.assert_allclose(average_precision(ONE_MISSING), (1 / 2 + 2 / 4) / 3)
    np.testing.assert_allclose(average_precision_trapezoidal(ONE_MISSING), (1 / 4 + (1 / 3 + 2 / 4) / 2) / 3)


def test_average_precision_at_k_divides_by_all_relevant_unless_capped():
    np.testing.assert_allclose(average_precision_at_k(SPREAD, 2), 1 / 3)
    np.testing.assert_allclose(average_precision_at_k(SPREAD, 2, is_capped=True), 1 / 2)


def test_precision_recall_and_hits_at_k():
    assert precision_at_k(ONE_MISSING, 4) == [0.5]
    assert precision_at_k(ONE_MISSING, 8) == [0.25]  # the list ends at 4: what is not there is not relevant
    np.testing.assert_allclose(recall_at_k(ONE_MISSING, 4), 2 / 3)
    assert hit_at_k(ONE_MISSING, 1) == [0]
    assert hit_at_k(ONE_MISSING, 4) == [1]


def test_first_rank_and_its_reciprocal():
    nothing = ranked("xyz")
    assert first_relevant_rank(ONE_MISSING) == [2]
    assert reciprocal_rank(ONE_MISSING) == [0.5]
    assert first_relevant_rank(nothing) == [np.inf]
    assert reciprocal_rank(nothing) == [0]


def test_ndcg_discounts_by_the_logarithm_of_the_rank():
    ideal = 1 + 1 / np.log2(3) + 1 / np.log2(4)
    np.testing.assert_allclose(ndcg(ONE_MISSING), (1 / np.log2(3) + 1 / np.log2(5)) / ideal)
    np.testing.assert_allclose(ndcg(SPREAD, 2), 1 / (1 + 1 / np.log2(3)))


def test_ndcg_wants_the_larger_gain_first():
    scores = np.array([[3, 2, 1]], dtype=np.float32)
    ranking = rank_relevant(scores, Qrels.from_lists([[0, 1]], gains=[[1, 3]]))
    np.testing.assert_allclose(ndcg(ranking), (1 + 3 / np.log2(3)) / (3 + 1 / np.log2(3)))


def test_precision_recall_curve_is_interpolated_from_the_right():
    curve = precision_recall_curve(ONE_MISSING, np.array([0, 1 / 3, 2 / 3, 1]))
    np.testing.assert_allclose(curve, [0.5, 0.5, 0.5, 0])


def test_ns_score_counts_the_group_in_the_top_four():
    assert ns_score(ranked("abxcd", relevant="abcd")) == [3]


def test_revisited_precision_looks_no_further_than_the_last_relevant_image():
    assert precision_at_k_revisited(ranked("axbyz", relevant="ab"), 10) == [2 / 3]
    assert precision_at_k_revisited(ranked("axbyz", relevant="ab"), 2) == [1 / 2]


# -- edges -----------------------------------------------------------------------------------------------


@every_whole
def test_a_query_without_relevant_images_scores_zero(metric):
    assert metric(ranked("xy", "yx", relevant="")).tolist() == [0, 0]


@every_at_k
def test_a_query_without_relevant_images_scores_zero_at_k(metric):
    assert metric(ranked("xy", relevant=""), 3) == [0]


@every_whole
def test_an_empty_list_scores_zero(metric):
    assert metric(ranked("", relevant="a")) == [0]


@every_at_k
def test_a_perfect_ranking_scores_one_where_k_is_the_number_of_relevant_images(metric):
    np.testing.assert_allclose(metric(ranked("cabxy"), 3), 1)


@every_whole
def test_a_perfect_ranking_scores_one(metric):
    np.testing.assert_allclose(metric(ranked("cabxy")), 1)


@every_at_k
def test_k_below_one_is_refused(metric):
    with pytest.raises(QueryError, match="k is 0; expected at least 1"):
        metric(SPREAD, 0)


def test_no_queries_give_no_values():
    assert average_precision(random_ranked(0, n_queries=0)).tolist() == []


# -- laws ------------------------------------------------------------------------------------------------


@given(seed=seeds)
def test_every_metric_stays_between_zero_and_one(seed):
    ranking = random_ranked(seed, with_ties=True)
    values = [metric(ranking) for metric in WHOLE.values()] + [metric(ranking, 5) for metric in AT_K.values()]
    assert ((np.array(values) >= 0) & (np.array(values) <= 1 + 1e-12)).all()


@given(seed=seeds, k=st.integers(1, 60))
def test_recall_and_hits_never_fall_as_k_grows(seed, k):
    ranking = random_ranked(seed)
    for metric in (recall_at_k, hit_at_k):
        assert (metric(ranking, k + 1) >= metric(ranking, k)).all()


@given(seed=seeds)
def test_metrics_ignore_how_scores_are_scaled(seed):
    scores, qrels, _ = random_case(seed)
    for metric in WHOLE.values():
        np.testing.assert_array_equal(
            metric(rank_relevant(scores, qrels)), metric(rank_relevant(scores**3 - 7, qrels))
        )


@given(seed=seeds)
def test_moving_a_relevant_image_up_never_lowers_a_metric(seed):
    scores, qrels, _ = random_case(seed, n_queries=1)
    better = scores.copy()
    better[0, qrels.ids[0]] = 1000
    single = Qrels.from_lists([qrels.ids])  # ungraded: a smaller gain first may be worse
    for metric in WHOLE.values():
        assert metric(rank_relevant(better, single)) >= metric(rank_relevant(scores, single)) - 1e-12


@given(seed=seeds)
def test_precision_recall_curve_never_rises(seed):
    curve = precision_recall_curve(random_ranked(seed))
    assert curve.shape == LEVELS.shape
    assert (np.diff(curve) <= 1e-12).all()


@given(seed=seeds)
def test_trapezoidal_average_precision_never_exceeds_the_mean_precision(seed):
    ranking = random_ranked(seed)
    assert (average_precision_trapezoidal(ranking) <= average_precision(ranking) + 1e-12).all()


# -- oracles ---------------------------------------------------------------------------------------------


def test_ranking_metrics_equal_trec_eval_on_thousands_of_random_runs():
    n = 3000
    scores, qrels, grades = random_case(1, n_queries=n, n_images=30)
    listed = scores >= 6  # a run of 24 of 30 images: some relevant ones are missing from it
    truth = {f"q{q}": {f"d{i}": int(grades[q, i]) for i in np.flatnonzero(grades[q])} for q in range(n)}
    run = {f"q{q}": {f"d{i}": float(scores[q, i]) for i in np.flatnonzero(listed[q])} for q in range(n)}
    measures = {"map", "recip_rank", "ndcg", "ndcg_cut_5", "P_5", "recall_5", "map_cut_5", "success_5"}
    expected = pytrec_eval.RelevanceEvaluator(truth, measures).evaluate(run)
    ranking = rank_relevant_of_run(scores, listed, qrels)
    ours = {
        "map": average_precision(ranking),
        "recip_rank": reciprocal_rank(ranking),
        "ndcg": ndcg(ranking),
        "ndcg_cut_5": ndcg(ranking, 5),
        "P_5": precision_at_k(ranking, 5),
        "recall_5": recall_at_k(ranking, 5),
        "map_cut_5": average_precision_at_k(ranking, 5),
        "success_5": hit_at_k(ranking, 5),
    }
    assert set(ours) == measures
    for name, values in ours.items():
        np.testing.assert_allclose(values, [expected[f"q{q}"][name] for q in range(n)], atol=1e-9, err_msg=name)


def rank_relevant_of_run(scores, listed, qrels):
    from mmsearch.evaluation.metrics.ranks import rank_relevant_of_lists

    lists = [np.flatnonzero(keep)[np.argsort(-row[keep])] for row, keep in zip(scores, listed, strict=True)]
    return rank_relevant_of_lists(lists, qrels)


def test_average_precision_and_ndcg_equal_scikit_learn_on_random_runs():
    scores, qrels, grades = random_case(2, n_queries=1000)
    ranking = rank_relevant(scores, qrels)
    expected = [
        average_precision_score(row > 0, row_scores) for row, row_scores in zip(grades, scores, strict=True)
    ]
    np.testing.assert_allclose(average_precision(ranking), expected, atol=1e-9)
    each = [ndcg_score(row[None], row_scores[None], k=7) for row, row_scores in zip(grades, scores, strict=True)]
    np.testing.assert_allclose(ndcg(ranking, 7), each, atol=1e-9)


@given(seed=seeds)
def test_trapezoidal_average_precision_equals_the_published_loop(seed):
    ranking = random_ranked(seed, n_queries=1)
    total, n_relevant = 0.0, len(ranking.ranks)
    for place, rank in enumerate(ranking.ranks - 1):  # from 0, as in the protocol's own evaluation
        before = 1.0 if rank == 0 else place / rank
        total += (before + (place + 1) / (rank + 1)) / 2 / n_relevant
    np.testing.assert_allclose(average_precision_trapezoidal(ranking), total, atol=1e-12)
