"""Fitting what cosines mean: libraries drawn from pictures."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest

from mmsearch.query.relevance import relevance_of
from mmsearch.training.relevance import Kind, answers_of, fit_relevance
from tests.conftest import random_units

EYE = np.eye(4, dtype=np.float32)


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
