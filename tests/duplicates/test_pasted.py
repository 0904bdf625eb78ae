from __future__ import annotations

import numpy as np
from PIL import ImageDraw

from mmsearch.duplicates.pasted import agreement_beside, n_in_place
from mmsearch.local.sift import extract_rootsift
from tests.duplicates.test_align import grids_of, picture


def with_box(image, box):
    pasted = image.copy()
    ImageDraw.Draw(pasted).rectangle(box, fill="white")
    return pasted


def test_what_is_beside_a_pasted_box_agrees_and_another_picture_does_not():
    one = picture(0)
    for side, cells in ((16, 1), (64, 4)):
        grids = grids_of(one, side)
        beside = agreement_beside(grids, grids_of(with_box(one, (20, 20, 120, 100)), side), cells)
        assert beside[0] > 0.99
        assert agreement_beside(grids, grids_of(picture(1), side), cells)[0] < 0.9


def test_more_than_a_quarter_that_was_pasted_is_too_much():
    one = picture(0)
    covered = with_box(one, (0, 0, 255, 110))
    assert agreement_beside(grids_of(one, 64), grids_of(covered, 64), 4)[0] < 0.95


def test_local_features_count_at_the_same_places_alone():
    features = extract_rootsift(np.asarray(picture(0)))
    shifted = extract_rootsift(np.roll(np.asarray(picture(0)), 40, axis=1))
    assert n_in_place(features, features) == len(features) > 100
    assert n_in_place(features, shifted) < len(features) / 20
    nothing = extract_rootsift(np.zeros((64, 64), np.uint8))
    assert n_in_place(features, nothing) == n_in_place(nothing, features) == 0
