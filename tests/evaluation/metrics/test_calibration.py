from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from mmsearch.errors import GroundTruthError
from mmsearch.evaluation.metrics.calibration import calibration_error, calibration_error_of_counts, reliability

PREDICTIONS = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40).map(
    lambda pairs: tuple(np.array(column, dtype=float) for column in zip(*pairs, strict=True))
)


def test_the_error_is_the_mean_gap_of_the_bins_each_as_heavy_as_it_is_full():
    probabilities, is_true = np.array([0.1, 0.2, 0.3, 0.8]), np.array([0, 0, 1, 1])
    # Below one half: 0.2 on average, and a third is true; above: 0.8, and all are.
    assert calibration_error(probabilities, is_true, n_bins=2) == pytest.approx((3 * (1 / 3 - 0.2) + 0.2) / 4)


def test_sure_and_right_answers_have_no_calibration_error():
    assert calibration_error(np.array([1.0, 1.0, 0.0]), np.array([1, 1, 0])) == 0


@given(PREDICTIONS)
def test_the_error_is_between_zero_and_one(predictions):
    assert 0 <= calibration_error(*predictions) <= 1


@given(PREDICTIONS)
def test_the_error_is_that_of_the_diagram(predictions):
    diagram = reliability(*predictions)
    gaps = np.nan_to_num(np.abs(diagram.predicted - diagram.observed))
    assert calibration_error(*predictions) == pytest.approx(gaps @ diagram.counts / diagram.counts.sum())


@given(predictions=PREDICTIONS, seed=st.integers(0, 99))
def test_predictions_that_are_counted_several_times_are_as_good_as_written_so_often(predictions, seed):
    drawn = np.random.default_rng(seed).integers(0, 4, len(predictions[0]))
    drawn[0] += 1
    expected = calibration_error(*(np.repeat(column, drawn) for column in predictions))
    assert calibration_error_of_counts(*predictions)(drawn.astype(float)) == pytest.approx(expected)


def test_the_diagram_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    probabilities = rng.random(500)
    is_true = (rng.random(500) < probabilities**2).astype(float)
    diagram = reliability(probabilities, is_true, n_bins=10)
    observed, predicted = calibration_curve(is_true, probabilities, n_bins=10)
    np.testing.assert_allclose(diagram.observed, observed)
    np.testing.assert_allclose(diagram.predicted, predicted)
    assert diagram.counts.sum() == 500


def test_an_empty_bin_of_the_diagram_has_no_values():
    diagram = reliability(np.array([0.0, 1.0]), np.array([0, 1]), n_bins=3)
    assert diagram.counts.tolist() == [1, 0, 1]
    assert np.isnan(diagram.predicted[1])
    assert np.isnan(diagram.observed[1])


@pytest.mark.parametrize(
    ("probabilities", "is_true", "said"),
    [
        ([], [], "there are 0 probabilities and 0 truths"),
        ([0.5], [1, 0], "there are 1 probabilities and 2 truths"),
        ([1.5], [1], "not a number from 0 to 1"),
        ([np.nan], [1], "not a number from 0 to 1"),
    ],
)
def test_what_are_no_predictions_is_refused(probabilities, is_true, said):
    with pytest.raises(GroundTruthError, match=said):
        calibration_error(np.array(probabilities), np.array(is_true))
