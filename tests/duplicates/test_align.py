from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from mmsearch.duplicates.align import agreement, best_windows, moved
from mmsearch.duplicates.verdicts import AGREEING, FINE_SIDE, RESIDUE
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
    fine = grids_of(whole, FINE_SIDE), grids_of(crop, FINE_SIDE)
    windows = moved(*fine, windows)
    np.testing.assert_allclose(windows[0], [13 / 256, 243 / 256, 0, 218 / 256], atol=0.002)
    correlations, residues = agreement(*fine, windows)
    assert correlations[0] > AGREEING
    assert residues[0] < RESIDUE


def test_a_window_is_found_from_one_that_is_a_tenth_of_a_side_away():
    whole = picture(0)
    crop = whole.crop((26, 20, 240, 236))
    windows = moved(grids_of(whole, FINE_SIDE), grids_of(crop, FINE_SIDE), np.array([[0, 0.95, 0, 1]], np.float32))
    np.testing.assert_allclose(windows[0], [26 / 256, 240 / 256, 20 / 256, 236 / 256], atol=0.004)


def test_a_drawing_with_another_detail_agrees_on_the_whole_and_not_in_that_place():
    one = picture(0)
    other = one.copy()
    ImageDraw.Draw(other).ellipse((150, 100, 174, 124), fill="white", outline="black", width=4)
    (correlation,), (residue,) = agreement(
        grids_of(one, FINE_SIDE), grids_of(other, FINE_SIDE), np.array([[0, 1, 0, 1]], np.float32)
    )
    assert correlation > AGREEING
    assert residue > RESIDUE


def test_two_pictures_that_only_share_their_coarse_light_do_not_agree():
    one, other = picture(0), photo(256, 256, 0)
    windows, likeness = best_windows(grids_of(one, SIGNATURE_SIDE), grids_of(other, SIGNATURE_SIDE))
    assert likeness[0] > 0.9
    assert agreement(grids_of(one, FINE_SIDE), grids_of(other, FINE_SIDE), windows)[0][0] < AGREEING
