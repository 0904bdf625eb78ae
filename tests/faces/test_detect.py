from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from mmsearch.faces.detect import detect_faces, frame_size
from tests.faces.conftest import FACE, sample


def overlap(box, other):
    """Intersection over union of two boxes."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    both = max(0, width) * max(0, height)
    areas = [(right - left) * (bottom - top) for left, top, right, bottom in (box, other)]
    return both / (sum(areas) - both)


def boxes(image, **options):
    return [detection.box for detection in detect_faces(np.asarray(image), **options)]


def test_a_face_is_found_where_it_is():
    assert overlap(boxes(sample("astronaut"))[0], FACE) > 0.7


def test_a_mirrored_face_is_found_on_the_other_side(portrait):
    ((left, top, right, bottom),) = boxes(ImageOps.mirror(portrait))
    ((left_before, *_),) = boxes(portrait)
    assert overlap((1 - right, top, 1 - left, bottom), (left_before, top, 1 - left, bottom)) > 0.85


def test_a_face_without_colours_is_found(portrait):
    assert len(boxes(portrait.convert("L").convert("RGB"))) == 1


@pytest.mark.parametrize("side", ["left", "top", "right", "bottom"])
def test_a_face_at_the_border_is_found_and_its_box_lies_there(portrait, side):
    left, top, right, bottom = 178, 82, 268, 172
    edges = {"left": (left + 4, 20, 360, 280), "top": (90, top + 12, 360, 280), "right": (90, 20, right - 4, 280),
             "bottom": (90, 0, 360, bottom - 4)}  # fmt: skip
    (box,) = boxes(portrait.crop(edges[side]))
    place = ("left", "top", "right", "bottom").index(side)
    assert box[place] > 0.9 if place >= 2 else box[place] < 0.1


def test_the_same_pixels_have_the_same_faces(portrait):
    assert boxes(portrait) == boxes(portrait)


def test_several_threads_see_the_same(portrait):
    parts = [portrait.crop((left, 0, 512, 300)) for left in (0, 40, 80)] * 2
    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(boxes, parts)) == [boxes(part) for part in parts]


def test_photographs_of_things_have_no_faces():
    assert [boxes(sample(name)) for name in ("coffee", "creek", "louvre")] == [[], [], []]


def test_a_drawn_face_is_taken_for_one_by_a_narrow_margin_at_most():
    drawing = Image.new("RGB", (400, 400), "white")
    draw = ImageDraw.Draw(drawing)
    draw.ellipse((60, 60, 340, 340), outline="black", width=6)
    for left in (140, 230):
        draw.ellipse((left, 150, left + 30, 180), fill="black")
    draw.arc((130, 180, 270, 280), 20, 160, fill="black", width=6)
    assert max((detection.score for detection in detect_faces(np.asarray(drawing))), default=0) < 0.6


@pytest.mark.parametrize("size", [(1, 1), (1, 20_000), (20_000, 1), (15, 400)])
def test_a_picture_that_is_too_thin_for_a_face_has_none(size):
    assert boxes(Image.new("RGB", size, "grey")) == []


def test_two_hundred_faces_are_found_in_a_large_picture_that_is_looked_at_closely(portrait):
    tile = portrait.crop((148, 52, 298, 202))
    picture = Image.new("RGB", (20 * tile.width, 10 * tile.height))
    for place in range(200):
        picture.paste(tile, (place % 20 * tile.width, place // 20 * tile.height))
    places = {(int(20 * (left + right) / 2), int(10 * (top + bottom) / 2))
              for left, top, right, bottom in boxes(picture, n_pixels=picture.width * picture.height)}  # fmt: skip
    assert len(places) == 200


def test_a_frame_has_bounds_and_is_no_more_than_five_times_as_large_as_the_picture():
    assert frame_size((2000, 1000)) == (894, 447)
    assert frame_size((8000, 4000)) == frame_size((16_000, 8000))
    assert frame_size((20, 30)) == (100, 150)
    assert frame_size((8000, 4000), 8_000_000) == (4000, 2000)


def test_pixels_that_are_no_upright_rgb_are_refused():
    with pytest.raises(ValueError, match=r"pixels are uint8 \(4, 4\), expected uint8 \(height, width, 3\)"):
        detect_faces(np.zeros((4, 4), np.uint8))
