"""PARTS of a picture: which windows are taken, in which order, and what their bytes are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.encoders.parts import NOVEL_BELOW, farthest_first, packed_parts
from mmsearch.images.windows import PART_WINDOWS
from mmsearch.records import BOX_STEPS, parts_layout, place_text
from tests.conftest import random_units

WHOLE = np.float32([1, 0, 0])


def at_cosines(*cosines):
    """Unit vectors in a plane with the whole, at these cosines to it."""
    return np.float32([[cosine, np.sqrt(1 - cosine**2), 0] for cosine in cosines])


def unpacked(parts, dim):
    records = np.frombuffer(parts, parts_layout(dim))
    return records["box"] / BOX_STEPS, records["vector"] * records["scale"][:, None]


@pytest.mark.parametrize(
    ("cosines", "most", "expected"),
    [
        ((0.5, 0.1, 0.9), 1, [1]),
        ((0.2, -1.0, 0.9), 3, [1, 0, 2]),  # then .2 is nearest to the whole by .2, and .9 by .9
        ((0.2, 0.2), 2, [0]),  # of equal ones the first, as the other says nothing new then
        ((0.96, 0.99, 1.0), 3, []),
        ((0.94, 0.96), 2, [0]),
        ((0.5, 0.1), 0, []),
    ],
)
def test_the_window_that_is_least_like_all_before_is_taken_until_none_says_anything_new(cosines, most, expected):
    assert farthest_first(WHOLE, at_cosines(*cosines), most).tolist() == expected


def test_a_window_like_an_earlier_part_is_left_out_however_far_it_is_from_the_whole():
    windows = np.float32([[0, 1, 0], [0, 0.99, 0.141], [0, 0, 1]])
    assert farthest_first(WHOLE, windows, 3).tolist() == [0, 2]


def test_a_window_without_a_direction_is_no_part():
    windows = np.float32([[0, 0, 0], [0, 1, 0]])
    with np.errstate(all="raise"):
        assert farthest_first(WHOLE, windows, 2).tolist() == [1]
        assert len(unpacked(packed_parts(WHOLE, windows, PART_WINDOWS[:2], 2), 3)[1]) == 1


seeds = st.integers(0, 2**32 - 1)


@given(seed=seeds, spread=st.floats(0, 2), n=st.integers(1, 13), most=st.integers(0, 13))
def test_each_part_is_novel_and_the_farthest_and_what_is_left_is_not_novel(seed, spread, n, most):
    rng = np.random.default_rng(seed)
    vectors = np.float32([1, 0, 0, 0, 0]) + spread * rng.standard_normal((n + 1, 5)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    whole, windows = vectors[0], vectors[1:]
    taken, kept = farthest_first(whole, windows, most).tolist(), [whole]
    left = set(range(n))
    for place in taken:
        nearest = {i: max(float(windows[i] @ other) for other in kept) for i in left}
        assert nearest[place] == pytest.approx(min(nearest.values()), abs=1e-6)
        assert nearest[place] <= NOVEL_BELOW + 1e-6
        left.remove(place)
        kept.append(windows[place])
    if len(taken) < most:
        assert all(max(float(windows[i] @ other) for other in kept) > NOVEL_BELOW - 1e-6 for i in left)
    assert len(taken) <= most


@given(seed=seeds, few=st.integers(0, 13), many=st.integers(0, 13))
def test_fewer_parts_are_the_first_of_more(seed, few, many):
    few, many = sorted((few, many))
    whole, *windows = random_units(14, 6, seed)
    ranked = farthest_first(whole, np.stack(windows), many).tolist()
    assert farthest_first(whole, np.stack(windows), few).tolist() == ranked[:few]


@pytest.mark.parametrize("dim", [8, 32, 512])
def test_packed_parts_come_back_within_half_a_step_of_every_value(dim):
    vectors = random_units(14, dim, seed=dim)
    places = farthest_first(vectors[0], vectors[1:], 13)
    boxes, parts = unpacked(packed_parts(vectors[0], vectors[1:], PART_WINDOWS, 13), dim)
    expected = vectors[1:][places]
    assert len(parts) == len(places) > 4
    step = np.abs(expected).max(axis=1, keepdims=True) / 127
    assert (np.abs(parts - expected) <= step / 2 * 1.001).all()
    cosines = (parts * expected).sum(axis=1) / np.linalg.norm(parts, axis=1)
    assert cosines.min() > 0.999
    np.testing.assert_allclose(boxes, np.array(PART_WINDOWS)[places], atol=0.5 / BOX_STEPS)


def test_a_picture_whose_windows_are_its_whole_has_no_parts():
    assert packed_parts(WHOLE, np.stack([WHOLE] * 13), PART_WINDOWS, 13) == b""


def test_places_of_all_windows_are_said_in_words():
    corners = ["top left", "top right", "bottom left", "bottom right"]
    grid = ["top left", "top", "top right", "left", "middle", "right", "bottom left", "bottom", "bottom right"]
    assert list(map(place_text, PART_WINDOWS)) == corners + grid
    steps = [tuple(np.rint(np.array(box) * BOX_STEPS) / BOX_STEPS) for box in PART_WINDOWS]
    assert list(map(place_text, steps)) == corners + grid
