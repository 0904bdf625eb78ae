from __future__ import annotations

import numpy as np
from PIL import Image

from mmsearch.duplicates.align import best_windows, fine_agreement
from mmsearch.duplicates.same_picture import AGREEING, FINE_SIDE
from mmsearch.images import decode_grey
from mmsearch.records import SIGNATURE_SIDE, luminance_layout
from tests.pictures import photo, saved


def grids_of(image, side):
    packed = decode_grey(saved(image, "PNG"), longer_side=256, luminance_side=side).luminances
    return np.frombuffer(packed, luminance_layout(side))["grid"][:1]


def picture(seed):
    """A picture with detail as fine as a 32nd of a side."""
    detail = np.random.default_rng(seed).normal(0, 40, (32, 32, 1)).repeat(8, axis=0).repeat(8, axis=1)
    return Image.fromarray(np.clip(np.asarray(photo(256, 256, seed)) + detail, 0, 255).astype(np.uint8))


def test_the_window_that_a_crop_shows_is_found_and_agrees_with_it():
    whole = picture(0)
    crop = whole.crop((13, 0, 243, 218))  # 0.05 to 0.95, 0 to 0.85
    windows, likeness = best_windows(grids_of(whole, SIGNATURE_SIDE), grids_of(crop, SIGNATURE_SIDE))
    np.testing.assert_allclose(windows[0], [0.05, 0.95, 0, 0.85], atol=0.051)
    assert likeness[0] > 0.9
    windows, agreement = fine_agreement(grids_of(whole, FINE_SIDE), grids_of(crop, FINE_SIDE), windows)
    np.testing.assert_allclose(windows[0], [0.05, 0.95, 0, 0.85], atol=0.012)
    assert agreement[0] > AGREEING


def test_two_pictures_that_only_share_their_coarse_light_do_not_agree():
    one, other = picture(0), photo(256, 256, 0)
    windows, likeness = best_windows(grids_of(one, SIGNATURE_SIDE), grids_of(other, SIGNATURE_SIDE))
    assert likeness[0] > 0.9
    assert fine_agreement(grids_of(one, FINE_SIDE), grids_of(other, FINE_SIDE), windows)[1][0] < AGREEING
