from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from mmsearch.errors import GroundTruthError
from mmsearch.evaluation.metrics.separation import (
    auroc,
    auroc_of_counts,
    rejected_at_loss,
    rejected_of_counts,
)

SCORES = st.lists(st.integers(-8, 8), min_size=1, max_size=30).map(lambda values: np.array(values, dtype=float))


@pytest.mark.parametrize("decimals", [1, 9])
def test_auroc_is_that_of_scikit_learn(decimals):
    rng = np.random.default_rng(0)
    positives, negatives = rng.normal(1, 1, 300).round(decimals), rng.normal(0, 1, 500).round(decimals)
    truth = np.repeat([1, 0], [300, 500])
    assert auroc(positives, negatives) == pytest.approx(
        roc_auc_score(truth, np.concatenate([positives, negatives]))
    )


@pytest.mark.parametrize(("positives", "negatives"), [([], [1.0]), ([1.0], []), ([np.nan], [1.0])])
@pytest.mark.parametrize("measure", [auroc, rejected_at_loss])
def test_what_cannot_be_told_apart_is_refused(measure, positives, negatives):
    with pytest.raises(GroundTruthError):
        measure(np.array(positives), np.array(negatives))


def test_equal_scores_count_half():
    assert auroc(np.array([1.0, 1.0]), np.array([1.0, 0.0])) == 0.75


@given(positives=SCORES, negatives=SCORES)
def test_both_measures_are_the_same_for_a_rising_function_of_the_scores(positives, negatives):
    for measure in (auroc, rejected_at_loss):
        assert measure(positives, negatives) == measure(np.exp(positives / 3) - 5, np.exp(negatives / 3) - 5)


@given(positives=SCORES, negatives=SCORES)
def test_auroc_the_other_way_round_is_what_is_missing_to_one(positives, negatives):
    assert auroc(positives, negatives) + auroc(negatives, positives) == pytest.approx(1)


@pytest.mark.parametrize("lost", [0.0, 0.05, 0.3])
def test_the_share_that_is_rejected_is_that_at_the_highest_threshold_which_loses_few_enough(lost):
    rng = np.random.default_rng(1)
    positives, negatives = rng.normal(1, 1, 200).round(1), rng.normal(0, 1, 300).round(1)
    truth = np.repeat([1, 0], [200, 300])
    false, true, _ = roc_curve(truth, np.concatenate([positives, negatives]), drop_intermediate=False)
    assert rejected_at_loss(positives, negatives, lost=lost) == pytest.approx(1 - false[true >= 1 - lost].min())


def test_at_five_percent_the_lowest_of_twenty_positives_may_be_lost():
    positives = np.arange(1.0, 21.0)
    assert rejected_at_loss(positives, np.array([1.5, 2.0])) == 0.5  # a score at the threshold is kept
    assert rejected_at_loss(positives[1:], np.array([1.5, 2.0])) == 0.5  # of nineteen none
    assert rejected_at_loss(positives[2:], np.array([1.5, 2.0])) == 1


@given(positives=SCORES, negatives=SCORES, seed=st.integers(0, 99))
def test_scores_that_are_counted_several_times_are_as_good_as_written_so_often(positives, negatives, seed):
    counts = np.random.default_rng(seed).integers(0, 4, len(positives) + len(negatives)).astype(float)
    drawn = counts.astype(int)
    many = np.repeat(positives, drawn[: len(positives)]), np.repeat(negatives, drawn[len(positives) :])
    for measure, of_counts in ((auroc, auroc_of_counts), (rejected_at_loss, rejected_of_counts)):
        value = of_counts(positives, negatives)(counts)
        if all(map(len, many)):
            assert value == pytest.approx(measure(*many))
        else:
            assert np.isnan(value)
