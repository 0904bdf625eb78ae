"""What changed, judged by pictures that chose nothing: intervals, a test, and distances by hand."""

from __future__ import annotations

import numpy as np
import pytest

from mmsearch.training.judge import distances_of, improvement


def test_the_gain_is_the_mean_over_pictures_of_the_mean_over_measures():
    before = [np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0])]
    after = [np.array([1.0, 0.0, 1.0]), np.array([1.0, 1.0])]
    gain = improvement(before, after, [np.array([0, 0, 1]), np.array([0, 1])])
    assert gain.value == pytest.approx(((0.5 + 1) / 2 + 0) / 2)


def test_a_gain_of_all_of_five_pictures_is_not_certain_and_that_of_twenty_is():
    few, many = (improvement([np.zeros(n)], [np.ones(n)], [np.arange(n)]) for n in (5, 20))
    assert few.low > 0
    assert not few.is_certain
    assert many.is_certain


def test_what_is_by_chance_is_hardly_ever_certain():
    rng = np.random.default_rng(0)
    certain = [improvement([np.zeros(30)], [rng.normal(0, 1, 30)], [np.arange(30)]).is_certain for _ in range(200)]
    assert np.mean(certain) < 0.06


def test_distances_are_those_of_unit_vectors():
    vectors = np.eye(2, dtype=np.float32)[[0, 0, 1]]
    things = np.array([0, 0, 1])
    distances = distances_of(vectors, vectors, np.array([[0, 1]]), is_same=lambda a, b: things[a] == things[b])
    assert distances.mean_similar == 0
    assert distances.mean_dissimilar == pytest.approx(2**0.5)
    assert distances.auroc == 1
    assert sum(distances.similar) == pytest.approx(1, abs=1e-3)
