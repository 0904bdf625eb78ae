"""What losses cost by hand, by finite differences, by their laws, and beside open_clip's own."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.errors import DimensionError, TrainingError
from mmsearch.training.losses import batch_loss, contrastive_loss, info_nce, logit_scale_of, triplet_loss
from tests.conftest import random_units

distances = st.floats(0.0, 2.0)
margins = st.floats(0.01, 2.0)


def cosines_of(n=6, dim=4, dtype=torch.float64):
    return torch.from_numpy(random_units(n, dim) @ random_units(n, dim, seed=1).T).to(dtype)


def alone(n):
    """No two of a batch belong together."""
    return torch.eye(n, dtype=torch.bool)


def test_the_contrastive_loss_is_that_of_the_formula():
    d, y = np.array([0.6, 0.6, 1.2, 1.0]), np.array([1, 0, 0, 0], dtype=bool)
    expected = [0.5 * 0.36, 0.5 * 0.4**2, 0.0, 0.0]  # 1/2 y d^2 + (1 - y) 1/2 max(0, m - d)^2
    np.testing.assert_allclose(contrastive_loss(d, y, margin=1.0), expected, atol=1e-12)


def test_a_larger_margin_reaches_pairs_farther_apart():
    d, y = np.array([1.2]), np.array([False])
    np.testing.assert_allclose(contrastive_loss(d, y, margin=1.5), [0.5 * 0.3**2])


@given(margins)
def test_similar_pairs_at_distance_zero_cost_nothing(margin):
    assert contrastive_loss(np.zeros(3), np.ones(3, dtype=bool), margin).tolist() == [0, 0, 0]


@given(distances, margins)
def test_dissimilar_pairs_beyond_the_margin_cost_nothing(beyond, margin):
    assert contrastive_loss(np.array([margin + beyond]), np.array([False]), margin).tolist() == [0]


@given(distances, distances, margins)
def test_nearer_is_cheaper_for_similar_pairs_and_dearer_for_others(first, second, margin):
    near, far = sorted((first, second))
    d = np.array([near, far])
    similar = contrastive_loss(d, np.ones(2, dtype=bool), margin)
    other = contrastive_loss(d, np.zeros(2, dtype=bool), margin)
    assert similar[0] <= similar[1]
    assert other[0] >= other[1]


def test_the_triplet_loss_is_that_of_the_formula():
    np.testing.assert_allclose(
        triplet_loss(np.array([0.5, 0.5, 0.9]), np.array([0.6, 0.7, 0.2]), 0.2), [0.1, 0, 0.9]
    )


@given(distances, distances, margins)
def test_a_negative_that_is_farther_by_the_margin_costs_nothing(to_positive, further, margin):
    to_negative = to_positive + margin + further
    assert triplet_loss(np.array([to_positive]), np.array([to_negative]), margin)[0] == pytest.approx(0, abs=1e-12)


def test_info_nce_of_two_pairs_is_the_one_computed_by_hand():
    logits = np.array([[2.0, 1.0], [0.5, 3.0]])
    rows = [math.log(math.exp(2) + math.exp(1)) - 2, math.log(math.exp(0.5) + math.exp(3)) - 3]
    columns = [math.log(math.exp(2) + math.exp(0.5)) - 2, math.log(math.exp(1) + math.exp(3)) - 3]
    assert info_nce(logits) == pytest.approx((sum(rows) / 2 + sum(columns) / 2) / 2)


def test_info_nce_of_equal_scores_is_the_log_of_their_number():
    assert info_nce(np.zeros((7, 7))) == pytest.approx(math.log(7))


def test_captions_of_the_same_picture_are_no_negatives():
    logits = np.array([[2.0, 9.0, 0.0], [9.0, 2.0, 0.0], [0.0, 0.0, 2.0]])
    is_same = np.array([[True, True, False], [True, True, False], [False, False, True]])
    two, three = math.log(1 + math.exp(-2)), math.log(1 + 2 * math.exp(-2))
    assert info_nce(logits, is_same) == pytest.approx((2 * two + three) / 3)


def test_info_nce_is_the_loss_of_open_clip():
    from open_clip.loss import ClipLoss

    images = torch.from_numpy(random_units(16, 8))
    texts = torch.from_numpy(random_units(16, 8, seed=1))
    scale = torch.tensor(14.3)
    ours = batch_loss("infonce", images @ texts.T, alone(16), logit_scale=scale, margin=0.0)
    assert float(ours) == pytest.approx(float(ClipLoss()(images, texts, scale)), abs=1e-6)


def test_arrays_and_tensors_give_the_same():
    cosines = cosines_of()
    assert info_nce(cosines.numpy()) == pytest.approx(float(info_nce(cosines)))
    d, y = torch.tensor([0.3, 0.7]), torch.tensor([True, False])
    np.testing.assert_allclose(contrastive_loss(d, y, 1.0), contrastive_loss(d.numpy(), y.numpy(), 1.0))


def test_the_contrastive_loss_of_a_batch_is_over_all_its_pairs():
    cosines = cosines_of(4)
    d = np.sqrt(2 - 2 * cosines.numpy())
    expected = contrastive_loss(d, np.eye(4, dtype=bool), 1.3).sum() / 4
    got = batch_loss("contrastive", cosines, alone(4), logit_scale=torch.tensor(1.0), margin=1.3)
    assert float(got) == pytest.approx(expected)


def test_the_triplets_of_a_batch_have_the_hardest_negatives():
    cosines = torch.tensor([[0.9, 0.8, 0.1], [0.2, 0.5, 0.6], [0.0, 0.1, 0.7]], dtype=torch.float64)
    rows = [0.2 + 0.8 - 0.9, 0.2 + 0.6 - 0.5, 0]
    columns = [0, 0.2 + 0.8 - 0.5, 0.2 + 0.6 - 0.7]
    got = batch_loss("triplet", cosines, alone(3), logit_scale=torch.tensor(1.0), margin=0.2)
    assert float(got) == pytest.approx((sum(rows) + sum(columns)) / 3)


@pytest.mark.parametrize("loss", ["infonce", "contrastive", "triplet"])
def test_gradients_are_those_of_finite_differences(loss):
    images = torch.from_numpy(random_units(5, 4)).double().requires_grad_()
    texts = torch.from_numpy(random_units(5, 4, seed=1)).double()

    def cost(vectors):
        return batch_loss(loss, vectors @ texts.T, alone(5), logit_scale=torch.tensor(5.0), margin=1.0)

    assert torch.autograd.gradcheck(cost, (images,), eps=1e-6, atol=1e-6)


@pytest.mark.parametrize("loss", ["infonce", "contrastive", "triplet"])
def test_what_belongs_together_besides_the_diagonal_changes_nothing(loss):
    cosines, is_same = cosines_of(4), alone(4)
    is_same[0, 1] = is_same[1, 0] = True
    moved = cosines.clone()
    moved[0, 1] = moved[1, 0] = 0.99
    costs = [batch_loss(loss, c, is_same, logit_scale=torch.tensor(5.0), margin=1.0) for c in (cosines, moved)]
    assert float(costs[0]) == pytest.approx(float(costs[1]))


def test_scores_of_other_shapes_are_refused():
    with pytest.raises(DimensionError, match="as many columns as rows"):
        info_nce(np.zeros((2, 3)))


@pytest.mark.parametrize("margin", [0.0, -1.0, math.nan])
def test_a_margin_is_above_zero(margin):
    with pytest.raises(TrainingError, match="expected a number above 0"):
        contrastive_loss(np.zeros(1), np.ones(1, dtype=bool), margin)


def test_a_logit_scale_ends_at_100_and_can_fall_again():
    log_scale = torch.nn.Parameter(torch.tensor([7.0]))
    scale = logit_scale_of(log_scale)
    assert scale.shape == ()
    assert scale.item() == pytest.approx(100, rel=1e-5)
    scale.backward()
    assert float(log_scale.grad) == pytest.approx(100, rel=1e-5)  # the slope of exp, not 0
