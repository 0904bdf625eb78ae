from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.errors import GroundTruthError
from mmsearch.evaluation.metrics.selective import area_of_counts, area_under_risk_coverage, risk_coverage

ANSWERS = st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=1, max_size=30).map(
    lambda pairs: tuple(np.array(column, dtype=float) for column in zip(*pairs, strict=True))
)


def test_the_surest_answers_come_first():
    coverage, risk = risk_coverage(np.array([0.1, 0.9, 0.5]), np.array([0, 1, 0]))
    np.testing.assert_allclose(coverage, [1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(risk, [0, 1 / 2, 2 / 3])


@given(ANSWERS)
def test_the_risk_at_full_coverage_is_the_error(answers):
    coverage, risk = risk_coverage(*answers)
    assert coverage[-1] == 1
    assert risk[-1] == pytest.approx(1 - answers[1].mean())


@given(ANSWERS)
def test_the_curve_is_the_same_for_a_rising_function_of_the_confidences(answers):
    confidences, is_right = answers
    for first, second in zip(
        risk_coverage(confidences, is_right), risk_coverage(np.exp(confidences), is_right), strict=True
    ):
        np.testing.assert_array_equal(first, second)


@given(ANSWERS)
def test_what_is_right_and_sure_leaves_the_least_area_and_the_opposite_the_most(answers):
    confidences, is_right = answers
    area = area_under_risk_coverage(confidences, is_right)
    assert area_under_risk_coverage(is_right, is_right) - 1e-9 <= area
    assert area <= area_under_risk_coverage(-is_right, is_right) + 1e-9


def test_answers_of_one_confidence_have_the_error_as_their_area():
    assert area_under_risk_coverage(np.zeros(4), np.array([1, 0, 1, 1])) == pytest.approx(0.25)


@given(answers=ANSWERS, seed=st.integers(0, 99))
def test_answers_that_are_counted_several_times_are_as_good_as_written_so_often(answers, seed):
    drawn = np.random.default_rng(seed).integers(0, 4, len(answers[0]))
    drawn[0] += 1
    expected = area_under_risk_coverage(*(np.repeat(column, drawn) for column in answers))
    assert area_of_counts(*answers)(drawn.astype(float)) == pytest.approx(expected)


@pytest.mark.parametrize(("confidences", "is_right"), [([], []), ([1.0], []), ([np.nan], [1.0])])
def test_what_are_no_answers_is_refused(confidences, is_right):
    with pytest.raises(GroundTruthError):
        risk_coverage(np.array(confidences), np.array(is_right))
