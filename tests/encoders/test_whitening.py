from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from mmsearch.encoders.whitening import fit_whitening, whiten
from mmsearch.errors import DimensionError, VectorError

seeds = st.integers(0, 2**32 - 1)


def correlated(seed, n=200, dim=6):
    """Descriptors whose dimensions go together, some wide and some narrow, round a mean that is not 0."""
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((dim, dim)) * np.geomspace(1, 0.05, dim)
    return (rng.standard_normal((n, dim)) @ mixing + rng.standard_normal(dim)).astype(np.float32)


@given(seed=seeds, n_components=st.integers(1, 6))
def test_whitened_dimensions_are_uncorrelated_with_variance_one(seed, n_components):
    descriptors = correlated(seed)
    learned = fit_whitening(descriptors, n_components)
    projected = (descriptors - learned.mean) @ learned.projection
    np.testing.assert_allclose(projected.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(projected.T @ projected / len(descriptors), np.eye(n_components), atol=1e-2)


@given(seed=seeds)
def test_whitened_cosines_ignore_any_affine_map_of_the_descriptors(seed):
    descriptors = correlated(seed)
    rng = np.random.default_rng(seed)
    turned = np.linalg.qr(rng.standard_normal((6, 6)))[0] * rng.uniform(0.5, 2, 6)
    moved = (descriptors @ turned + rng.standard_normal(6)).astype(np.float32)
    one, other = (whiten(x, fit_whitening(x, 6)) for x in (descriptors, moved))
    np.testing.assert_allclose(one @ one.T, other @ other.T, atol=5e-3)


@given(seed=seeds)
def test_whitening_equals_scikit_learn_up_to_signs_and_length(seed):
    descriptors = correlated(seed)
    theirs = PCA(4, whiten=True, svd_solver="full").fit_transform(descriptors.astype(np.float64))
    theirs /= np.linalg.norm(theirs, axis=1, keepdims=True)
    ours = whiten(descriptors, fit_whitening(descriptors, 4))
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=2e-3)


def test_whitened_descriptors_are_unit_and_the_mean_is_zero():
    descriptors = correlated(0)
    learned = fit_whitening(descriptors, 3)
    np.testing.assert_allclose(np.linalg.norm(whiten(descriptors, learned), axis=1), 1, atol=1e-6)
    assert not whiten(learned.mean[None], learned).any()


def test_whitening_does_not_depend_on_the_order_of_the_descriptors():
    descriptors = correlated(1)
    one, other = fit_whitening(descriptors, 6), fit_whitening(descriptors[::-1], 6)
    np.testing.assert_allclose(one.projection, other.projection, rtol=1e-3, atol=1e-4)


def test_full_shrinkage_only_subtracts_the_mean():
    descriptors = correlated(2)
    shrunk = whiten(descriptors, fit_whitening(descriptors, 6, shrinkage=1.0))
    centred = descriptors - descriptors.mean(axis=0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    np.testing.assert_allclose(shrunk @ shrunk.T, centred @ centred.T, atol=1e-4)


def test_fewer_descriptors_than_dimensions_are_refused_unless_shrunk():
    few = correlated(3, n=5, dim=8)
    with pytest.raises(VectorError, match="5 descriptors vary along 4 dimensions, 6 are to be kept; give more"):
        fit_whitening(few, 6)
    assert fit_whitening(few, 4).projection.shape == (8, 4)
    learned = fit_whitening(few, 8, shrinkage=0.1)
    np.testing.assert_allclose(np.linalg.norm(whiten(few, learned), axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("descriptors", "n_components", "shrinkage", "sentence"),
    [
        (correlated(0), 7, 0.0, "7 dimensions are to be kept of 6; expected 1 to 6"),
        (correlated(0), 0, 0.0, "0 dimensions are to be kept of 6"),
        (correlated(0), 2, 1.5, "the shrinkage is 1.5; expected 0 to 1"),
        (correlated(0)[:1], 2, 0.5, "learned from 1 descriptors; expected at least 2"),
        (np.full((3, 6), np.nan, np.float32), 2, 0.0, "descriptors that are not finite"),
        (np.ones((9, 6), np.float32), 2, 0.5, "all 9 descriptors are the same"),
    ],
)
def test_whitening_that_cannot_be_learned_says_why(descriptors, n_components, shrinkage, sentence):
    with pytest.raises(VectorError, match=sentence):
        fit_whitening(descriptors, n_components, shrinkage=shrinkage)


def test_descriptors_of_another_width_are_refused():
    with pytest.raises(DimensionError, match="descriptors have 4 dimensions, the whitening was learned on 6"):
        whiten(correlated(0, dim=4), fit_whitening(correlated(0), 2))
