"""Global descriptors of convolutional maps, each against plain loops over positions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.encoders.pooling import gem, mac, regions, rmac, spoc, sub_windows
from mmsearch.errors import DimensionError

seeds = st.integers(0, 2**32 - 1)
sides = st.integers(3, 12)


def random_maps(seed, n=2, channels=5, height=7, width=7):
    """Activations as after a rectifier: zero or above."""
    values = np.random.default_rng(seed).standard_normal((n, channels, height, width))
    return torch.from_numpy(values.clip(0).astype(np.float32))


def unit(vector):
    length = sum(value * value for value in vector) ** 0.5
    return [value / length for value in vector] if length else vector


def by_hand(maps, of_values):
    """Reduce the values of every map to one number in a plain loop, then divide by the length."""
    return np.array([
        unit([of_values([float(value) for row in channel for value in row]) for channel in picture])
        for picture in maps.numpy()
    ])  # fmt: skip


def generalised_mean(power):
    return lambda values: (sum(max(value, 1e-6) ** power for value in values) / len(values)) ** (1 / power)


POOLINGS = {"spoc": (spoc, sum), "mac": (mac, max), "gem": (gem, generalised_mean(3))}


@pytest.mark.parametrize("name", POOLINGS)
@given(seed=seeds, height=sides, width=sides)
def test_pooling_equals_a_plain_loop(name, seed, height, width):
    pooled, of_values = POOLINGS[name]
    maps = random_maps(seed, height=height, width=width)
    np.testing.assert_allclose(pooled(maps), by_hand(maps, of_values), atol=1e-5)


@given(seed=seeds, height=sides, width=sides, levels=st.integers(1, 4))
def test_rmac_is_the_sum_of_the_maxima_of_its_regions(seed, height, width, levels):
    maps = random_maps(seed, height=height, width=width)
    summed = 0
    for top, left, side in regions(height, width, levels):
        summed += by_hand(maps[:, :, top : top + side, left : left + side], max)
    expected = np.array([unit(vector) for vector in summed])
    np.testing.assert_allclose(rmac(maps, levels), expected, atol=1e-5)


@given(seed=seeds)
def test_gem_goes_from_the_average_to_the_maximum(seed):
    maps = random_maps(seed)
    np.testing.assert_allclose(gem(maps, 1.0), spoc(maps), atol=1e-5)
    cosines = [float((gem(maps, power) * mac(maps)).sum(dim=1).min()) for power in (1.0, 3.0, 20.0)]
    assert cosines[2] > 0.99
    assert cosines == sorted(cosines)


@pytest.mark.parametrize("pooled", [spoc, mac, gem, rmac])
@given(seed=seeds, scale=st.floats(0.1, 10))
def test_descriptors_are_unit_and_ignore_scale(pooled, seed, scale):
    maps = random_maps(seed) + 0.01
    vectors = pooled(maps)
    np.testing.assert_allclose(vectors.norm(dim=1), 1, atol=1e-5)
    np.testing.assert_allclose(pooled(scale * maps), vectors, atol=1e-4)


@pytest.mark.parametrize("pooled", [spoc, mac, gem, rmac])
@given(seed=seeds)
def test_descriptors_do_not_change_when_the_picture_is_mirrored(pooled, seed):
    maps = random_maps(seed)
    np.testing.assert_allclose(pooled(maps.flip(3)), pooled(maps), atol=1e-5)


def test_regions_of_a_square_are_1_4_and_9():
    boxes = regions(9, 9, levels=3)
    assert [side for _, _, side in boxes] == [9] + 4 * [6] + 9 * [4]
    assert boxes[1:5] == [(0, 0, 6), (0, 3, 6), (3, 0, 6), (3, 3, 6)]
    assert [left for top, left, side in boxes[5:] if top == 0] == [0, 2, 5]


def test_regions_of_a_wide_map_overlap_by_about_two_fifths():
    assert regions(10, 16, levels=1) == [(0, 0, 10), (0, 6, 10)]  # they share 4 of 10
    assert regions(16, 10, levels=1) == [(0, 0, 10), (6, 0, 10)]
    assert len(regions(10, 16, levels=3)) == 1 * 2 + 2 * 3 + 3 * 4


@given(height=st.integers(2, 30), width=st.integers(2, 30), levels=st.integers(1, 3))
def test_regions_lie_inside_and_cover_the_map(height, width, levels):
    boxes = regions(height, width, levels)
    covered = np.zeros((height, width), dtype=bool)
    for top, left, side in boxes:
        assert 0 <= top <= height - side
        assert 0 <= left <= width - side
        covered[top : top + side, left : left + side] = True
    assert covered[0, 0]
    assert covered[-1, -1]
    if max(height, width) <= 3 * min(height, width):
        assert covered.all()


@pytest.mark.parametrize("levels", [0, 6])
def test_map_too_small_for_its_regions_is_refused(levels):
    with pytest.raises(DimensionError, match=f"a map of 3 x 9 has no {levels} scales of regions; expected 1 to 5"):
        regions(3, 9, levels)


def test_sub_windows_are_the_parts_of_a_picture():
    picture = torch.arange(36, dtype=torch.float32).reshape(1, 1, 6, 6)
    windows = sub_windows(picture, 4, levels=2)
    assert windows.shape == (5, 1, 4, 4)
    np.testing.assert_array_equal(windows[1, 0], picture[0, 0, :4, :4])
    np.testing.assert_array_equal(windows[4, 0], picture[0, 0, 2:, 2:])
    np.testing.assert_allclose(windows[0].mean(), picture.mean(), atol=1e-4)  # the whole, made smaller


def test_sub_windows_of_several_pictures_come_window_by_window():
    pictures = torch.stack([torch.zeros(3, 6, 6), torch.ones(3, 6, 6)])
    assert sub_windows(pictures, 4, levels=2)[:, 0, 0, 0].tolist() == [0, 1] * 5
