"""Fitting what cosines mean: the logistic model against known ones, and libraries drawn from pictures."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from mmsearch.query.relevance import relevance_of
from mmsearch.training.relevance import Kind, answers_of, fit_logistic, fit_relevance
from tests.conftest import random_units

EYE = np.eye(4, dtype=np.float32)


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


def test_a_text_is_asked_with_its_answers_in_the_library_and_without():
    kind = Kind(EYE[:2], np.array([0.1, 0.2]), [np.array([0]), np.array([1, 3])], (1.0, 2.0))
    there, gone = answers_of(kind, np.array([0, 1]), EYE, np.array([0, 1, 2]), 0.5)
    assert (there.holds_match, gone.holds_match) == (True, False)
    assert there.cosines.tolist() == [[1, 0, 0], [1, 0, 0]]
    assert there.is_match.tolist() == [[True, False, False], [True, False, False]]
    assert gone.cosines.tolist() == [[0, 0, -np.inf], [0, 0, -np.inf]]
    assert not gone.is_match.any()
    assert (there.weights, gone.weights) == ((0.5, 1.0), (0.5, 0.0))


def test_a_text_whose_answers_are_all_pictures_is_not_asked_without_them():
    kind = Kind(EYE[:2], np.array([0.1, 0.2]), [np.array([0, 1]), np.array([0])], (1.0, 1.0))
    there, gone = answers_of(kind, np.array([0, 1]), EYE, np.array([0, 1]))
    assert (len(there.cosines), gone.familiar.tolist()) == (2, [0.2])


def test_texts_that_nothing_answers_are_asked_once():
    (asked,) = answers_of(Kind(EYE[:1], np.array([0.1]), None, (1.0, 1.0)), np.array([0]), EYE, np.arange(4))
    assert (asked.holds_match, asked.is_match.any(), asked.n_pictures) == (False, False, 4)


def near(vectors, spread, seed):
    noisy = vectors + spread * random_units(len(vectors), vectors.shape[1], seed=seed)
    return (noisy / np.linalg.norm(noisy, axis=1, keepdims=True)).astype(np.float32)


def test_what_is_fitted_tells_texts_with_a_picture_from_others_and_comes_true():
    pictures, probes = random_units(80, 16, seed=1), random_units(64, 16, seed=2)
    own = [np.array([row]) for row in range(80)]
    kinds = [
        Kind.of(near(pictures, 0.7, 3), probes, own, (1.0, 1.0)),
        Kind.of(random_units(60, 16, seed=4), probes, None, (1.0, 0.5)),
    ]
    model = fit_relevance(kinds, pictures, seed=0)
    assert astuple(model) == astuple(fit_relevance(kinds, pictures, seed=0))
    there, _ = answers_of(kinds[0], np.arange(80), pictures, np.arange(80))
    answers, hits = relevance_of(model, there.cosines, there.familiar, 80)
    (others,) = answers_of(kinds[1], np.arange(60), pictures, np.arange(80))
    assert answers.mean() > relevance_of(model, others.cosines, others.familiar, 80)[0].mean() + 0.2
    assert hits.mean() == pytest.approx(there.is_match.mean(), abs=0.03)


def test_random_texts_give_a_model_that_knows_nothing_and_is_allowed():
    pictures, probes = random_units(40, 16, seed=1), random_units(64, 16, seed=2)
    kind = Kind.of(random_units(40, 16, seed=3), probes, [np.array([row]) for row in range(40)], (1.0, 1.0))
    model = fit_relevance([kind], pictures)
    assert min(astuple(model)[1:4]) >= 0
