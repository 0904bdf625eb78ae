from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from mmsearch.errors import PictureError
from mmsearch.images.copies import part_of_picture, thumbnail
from tests import pictures


def opened(data):
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_thumbnail_is_small_and_upright_and_tells_nothing_of_the_original(orientation):
    picture = opened(thumbnail(pictures.turned(orientation), 64).jpeg)
    assert picture.size == (64, 48)
    assert not picture.getexif()
    upright = opened(thumbnail(pictures.turned(1), 64).jpeg)
    assert np.abs(np.asarray(picture, dtype=int) - np.asarray(upright)).mean() < 5


def test_a_small_picture_is_not_enlarged():
    assert opened(thumbnail(pictures.saved(pictures.photo(20, 10), "PNG"), 64).jpeg).size == (20, 10)


def test_a_part_is_cut_from_the_upright_picture_without_loss():
    image = pictures.photo(320, 240)
    picture = opened(part_of_picture(pictures.saved(image, "PNG"), (10.2, 20.4, 110.0, 90.0)))
    np.testing.assert_array_equal(np.asarray(picture), np.asarray(image.crop((10, 20, 110, 90))))


def test_a_part_that_reaches_beyond_the_picture_is_cut_off_there():
    data = pictures.saved(pictures.photo(320, 240), "PNG")
    assert opened(part_of_picture(data, (-5, 200, 50, 999))).size == (50, 40)
    assert opened(thumbnail(data, 20, box=(-5, 200, 50, 999)).jpeg).size == (20, 16)


def test_a_part_outside_of_the_picture_is_refused():
    with pytest.raises(PictureError, match="lies outside of a picture of 320 x 240 pixels"):
        part_of_picture(pictures.saved(pictures.photo(320, 240), "PNG"), (400, 0, 500, 100))


def test_a_broken_picture_has_no_thumbnail_but_a_reason():
    with pytest.raises(PictureError) as caught:
        thumbnail(b"<html></html>", 64)
    assert caught.value.code == "not_an_image"


def test_picture_that_is_decoded_at_a_smaller_scale_has_thumbnails_and_parts():
    data = pictures.large_jpeg(12_001, 9_001)
    small = thumbnail(data, 640)
    assert (opened(small.jpeg).size, small.original_size) == ((640, 480), (12_001, 9_001))
    box = (10_001, 5_000, 12_001, 6_000)
    part = opened(part_of_picture(data, box))
    assert part.size == (2_000, 1_000)
    assert np.asarray(part)[:, 0].mean() < np.asarray(part)[:, -1].mean() > 250
    assert opened(thumbnail(data, 100, box=box).jpeg).size == (100, 50)


def test_part_above_the_limit_is_refused():
    with pytest.raises(PictureError, match="the part has 80 megapixels, the limit is 64; --max-megapixels"):
        part_of_picture(pictures.large_jpeg(), (0, 0, 10_000, 8_000))
