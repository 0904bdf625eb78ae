from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from mmsearch.logistic import fit_logistic


def logistic_sample(weights, n=4000, seed=0):
    rng = np.random.default_rng(seed)
    statistics = rng.normal(0.3, 0.2, (n, len(weights) - 1))
    odds = 1 / (1 + np.exp(-(weights[0] + statistics @ np.array(weights[1:]))))
    return statistics, (rng.random(n) < odds).astype(float)


def test_a_logistic_model_is_that_of_scikit_learn():
    statistics, truths = logistic_sample((-1.0, 3.0, 2.0))
    shares = np.random.default_rng(1).random(len(truths))
    known = LogisticRegression(C=1e6, tol=1e-10).fit(statistics, truths, sample_weight=shares)
    fitted = fit_logistic(statistics, truths, shares)
    assert fitted == pytest.approx([known.intercept_[0], *known.coef_[0]], abs=0.02)


def test_a_weight_below_zero_is_zero_and_the_others_are_fitted_without_it():
    statistics, truths = logistic_sample((-1.0, 3.0, -2.0))
    constant, first, second = fit_logistic(statistics, truths, np.ones(len(truths)))
    assert second == 0
    assert (constant, first) == pytest.approx(fit_logistic(statistics[:, :1], truths, np.ones(len(truths))))


def test_a_statistic_that_is_always_the_same_has_no_weight():
    statistics, truths = logistic_sample((-1.0, 3.0))
    with_constant = np.column_stack([statistics, np.full(len(truths), 7.0)])
    assert fit_logistic(with_constant, truths, np.ones(len(truths)))[2] == 0


def test_what_can_be_told_apart_wholly_has_finite_weights():
    fitted = fit_logistic(np.array([[0.0], [1.0]] * 50), np.array([0.0, 1.0] * 50), np.ones(100))
    assert np.isfinite(fitted).all()
    assert fitted[1] > 5
