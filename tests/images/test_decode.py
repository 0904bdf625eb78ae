from __future__ import annotations

import io
import re
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from open_clip.transform import image_transform
from PIL import Image, WebPImagePlugin

from mmsearch.errors import PictureError
from mmsearch.images import decode, decode_for_both, decode_grey
from mmsearch.records import Preprocessing
from tests import pictures

SQUARE = Preprocessing(size=(64, 64), resize=64)


@pytest.mark.parametrize("name", pictures.REJECTED)
def test_bad_picture_is_rejected_with_its_reason(name):
    data, code = pictures.rejected()[name]
    with pytest.raises(PictureError) as caught:
        decode(data, SQUARE)
    assert caught.value.code == code


@pytest.mark.parametrize("name", pictures.ACCEPTED)
def test_unusual_picture_is_read(name):
    picture = decode(pictures.accepted()[name], SQUARE)
    assert picture.pixels.shape == (64, 64, 3)
    assert picture.pixels.dtype == np.uint8


def test_picture_above_the_limit_is_rejected_and_below_is_read():
    data = pictures.saved(pictures.photo(1000, 1000), "PNG")
    with pytest.raises(PictureError, match=r"has 1 megapixels, the limit is 0\.5; --max-megapixels"):
        decode(data, SQUARE, max_megapixels=0.5)
    assert decode(data, SQUARE, max_megapixels=1.0).width == 1000


def test_limit_is_on_the_pixels_that_are_decoded():
    data = pictures.large_jpeg()
    assert decode(data, SQUARE).pixels.shape == (64, 64, 3)
    assert decode_grey(data, longer_side=640).pixels.shape == (1125, 1500)
    with pytest.raises(PictureError, match="has 108 megapixels, the limit is 64") as caught:
        decode(data, SQUARE, use_draft=False)
    assert caught.value.code == "too_large"


@pytest.mark.parametrize("size", [(16_384, 12_288), (60_000, 3_000)])
def test_jpeg_of_a_phone_or_a_panorama_is_read_at_a_smaller_scale(size):
    picture = decode(pictures.large_jpeg(*size, quality=30), SQUARE)
    assert (picture.width, picture.height) == size
    assert picture.pixels[:, 0].mean() + 2 < picture.pixels[:, -1].mean()


def test_large_jpeg_is_turned_like_a_small_one():
    picture = decode(pictures.large_jpeg(orientation=6), SQUARE)
    assert (picture.width, picture.height) == (9_000, 12_000)
    assert picture.pixels[0].mean() + 100 < picture.pixels[-1].mean()


def claiming(data, width, height):
    """The same JPEG, whose header claims another size."""
    frame = re.search(rb"\xff[\xc0\xc2]\0.\x08", data, re.DOTALL)
    return data[: frame.end()] + struct.pack(">HH", height, width) + data[frame.end() + 4 :]


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0"}])
def test_large_webp_is_refused_before_its_canvas_is_made(options, monkeypatch):
    data = pictures.saved(pictures.photo(1000, 1200), "WEBP", **options)
    monkeypatch.setattr(WebPImagePlugin.WebPImageFile, "_open", lambda self: pytest.fail("opened"))
    with pytest.raises(PictureError, match=r"has 1\.2 megapixels, the limit is 1;"):
        decode(data, SQUARE, max_megapixels=1)


def test_jpeg_beyond_what_any_scale_makes_bearable_is_too_large():
    small = pictures.saved(pictures.photo(), "JPEG")
    for size, words in (((65_535, 10), "65500 at most"), ((60_000, 20_000), "1200 megapixels, the limit is 1000")):
        with pytest.raises(PictureError, match=words) as caught:
            decode(claiming(small, *size), SQUARE)
        assert caught.value.code == "too_large"


def test_progressive_jpeg_is_refused_where_its_coefficients_exceed_the_limit():
    small = pictures.saved(pictures.photo(), "JPEG", progressive=True, subsampling=0)
    with pytest.raises(
        PictureError, match="progressive JPEG of 200 megapixels take 1200 MB to decode, the limit is 768"
    ) as caught:
        decode(claiming(small, 20_000, 10_000), SQUARE)
    assert caught.value.code == "too_large"
    assert decode(pictures.large_jpeg(3_000, 2_000, progressive=True), SQUARE, max_megapixels=1).width == 3_000


def test_hidden_colours_show_as_white():
    assert (decode(pictures.accepted()["hidden.png"], SQUARE).pixels == 255).all()


def test_deep_grey_keeps_its_whole_range():
    for name in ("deep.png", "deep.tif", "float.tif"):
        pixels = decode(pictures.accepted()[name], SQUARE).pixels
        assert pixels[0].mean() < 30, name
        assert pixels[-1].mean() > 225, name


@pytest.mark.parametrize("orientation", range(1, 9))
def test_picture_is_turned_upright_by_its_exif_orientation(orientation):
    upright = decode(pictures.turned(1), SQUARE)
    found = decode(pictures.turned(orientation), SQUARE)
    assert (found.width, found.height) == (320, 240)
    assert np.abs(found.pixels.astype(int) - upright.pixels).mean() < 3


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_orientation_at_the_end_of_a_long_history_turns_the_picture(orientation):
    packed = zlib.compress(pictures.history(orientation))
    data = pictures.saved(Image.open(io.BytesIO(pictures.turned(orientation))), "PNG")
    data = pictures.with_chunk(data, b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + packed)
    found, upright = decode(data, SQUARE), decode(pictures.turned(1), SQUARE)
    assert (found.width, found.height) == (320, 240)
    assert np.abs(found.pixels.astype(int) - upright.pixels).mean() < 3


def test_texts_longer_than_pillow_bears_are_left_alone():
    text = b"Comment\0" + b"x" * (10 << 20)
    data = pictures.saved(pictures.photo(), "PNG")
    plain = decode(data, SQUARE)
    for _ in range(8):  # 80 MB in all, none of it packed
        data = pictures.with_chunk(data, b"tEXt", text)
    np.testing.assert_array_equal(decode(data, SQUARE).pixels, plain.pixels)


@pytest.mark.parametrize("format_", ["JPEG", "WEBP", "TIFF", "AVIF", "GIF"])
def test_long_metadata_cost_no_picture_in_other_formats(format_):
    image = pictures.photo()
    history = pictures.history(n_bytes=50_000 if format_ == "JPEG" else 3_000_000)
    options = {"comment": history} if format_ == "GIF" else {"xmp": history}
    if format_ == "TIFF":
        options = {"tiffinfo": {700: history}}
    with_it, without = pictures.saved(image, format_, **options), pictures.saved(image, format_)
    assert len(with_it) > len(without) + 40_000
    np.testing.assert_array_equal(decode(with_it, SQUARE).pixels, decode(without, SQUARE).pixels)


def test_date_taken_comes_from_exif():
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = "2023:05:01 12:30:00"
    assert decode(pictures.saved(pictures.photo(), "JPEG", exif=exif), SQUARE).taken_at == "2023-05-01T12:30:00"


def test_impossible_date_is_no_date():
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = "0000:00:00 00:00:00"
    assert decode(pictures.saved(pictures.photo(), "JPEG", exif=exif), SQUARE).taken_at is None


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@given(width=st.integers(5, 400), height=st.integers(5, 400))
def test_pixels_equal_those_of_open_clips_transform(mode, interpolation, width, height):
    if max(width, height) > 20 * min(width, height):
        return  # the far ends are cut first there: see the next test
    image = pictures.photo(width, height)
    reference = image_transform(
        (64, 64), False, mean=(0, 0, 0), std=(1, 1, 1), resize_mode=mode, interpolation=interpolation
    )
    expected = (reference(image) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    wanted = Preprocessing((64, 64), 64, mode, interpolation)
    np.testing.assert_array_equal(decode(pictures.saved(image, "PNG"), wanted, use_draft=False).pixels, expected)


def test_very_long_strip_is_read_without_growing():
    data = pictures.saved(Image.new("L", (1, 30_000), 90), "PNG")
    assert (decode(data, SQUARE).pixels == 90).all()


@pytest.mark.parametrize("size", [(4000, 3000), (400, 300), (520, 390)])
def test_draft_gives_nearly_the_pixels_of_the_full_decode(size):
    cells = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    detailed = Image.fromarray(cells).resize(size, Image.Resampling.NEAREST)
    data = pictures.saved(detailed, "JPEG", quality=90)
    full, scaled = (decode(data, SQUARE, use_draft=use).pixels.astype(int) for use in (False, True))
    assert np.abs(full - scaled).mean() < 2


def test_decoding_never_looks_beyond_the_first_frame():
    first = Image.open(io.BytesIO(pictures.accepted()["frames.gif"])).convert("RGB")
    expected = np.asarray(first)[0, 0]
    assert (decode(pictures.accepted()["frames.gif"], SQUARE).pixels == expected).all()


def test_bytes_are_never_changed():
    data = pictures.turned(6)
    copy = bytes(bytearray(data))
    decode(data, SQUARE)
    assert data == copy


@pytest.mark.parametrize("orientation", range(1, 9))
def test_one_decode_gives_the_tower_its_pixels_and_an_upright_grey_picture(orientation):
    data, wanted = pictures.turned(orientation), Preprocessing((32, 32), 32)
    picture, grey = decode_for_both(data, wanted, longer_side=640)
    plain = decode(data, wanted, use_draft=False)
    np.testing.assert_array_equal(picture.pixels, plain.pixels)
    alone = decode_grey(data, longer_side=640)
    np.testing.assert_array_equal(grey, alone.pixels)
    assert (alone.format, alone.taken_at) == (picture.format, picture.taken_at)
    assert (grey.shape, alone.width, alone.height) == ((240, 320), 320, 240)
    assert (alone.format, alone.taken_at) == (picture.format, picture.taken_at)
    upright = np.asarray(pictures.photo().convert("L"), dtype=np.float64)
    assert np.abs(grey - upright).mean() < 3


def test_large_photograph_is_decoded_at_a_scale_that_suits_tower_and_local_features():
    data = pictures.saved(pictures.photo(4000, 3000), "JPEG")
    _, grey = decode_for_both(data, Preprocessing((32, 32), 32), longer_side=640)
    assert grey.shape == (750, 1000)  # a quarter; an eighth would have 500 pixels
    picture, grey = decode_for_both(data, Preprocessing((800, 800), 800), longer_side=640)
    assert grey.shape == (3000, 4000)  # half would be too few for the tower
    assert (picture.width, picture.height) == (4000, 3000)


def test_picture_that_is_bad_for_one_is_bad_for_both():
    for data, code in pictures.rejected().values():
        for read in (decode_grey, lambda data, **size: decode_for_both(data, Preprocessing((32, 32), 32), **size)):
            with pytest.raises(PictureError) as caught:
                read(data, longer_side=640)
            assert caught.value.code == code


# -- views ---------------------------------------------------------------------------------------------------

FIVE = replace(SQUARE, views=5)


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
def test_five_views_are_the_whole_and_four_windows_as_if_they_were_pictures(mode):
    photo, wanted = pictures.photo(200, 100), replace(SQUARE, mode=mode)
    boxes = [(0, 0, 140, 70), (60, 0, 200, 70), (0, 30, 140, 100), (60, 30, 200, 100)]
    alone = [decode(pictures.saved(part, "PNG"), wanted).pixels for part in (photo, *map(photo.crop, boxes))]
    views = decode(pictures.saved(photo, "PNG"), replace(wanted, views=5)).pixels
    np.testing.assert_array_equal(views, np.stack(alone))


@pytest.mark.parametrize("orientation", range(2, 9))
def test_windows_are_those_of_the_upright_picture(orientation):
    given, upright = (decode(pictures.turned(o), FIVE, use_draft=False).pixels for o in (orientation, 1))
    assert np.abs(given.astype(float) - upright).mean() < 3  # JPEG blocks lie otherwise


def test_a_window_of_a_large_photograph_is_decoded_at_twice_its_size_too():
    data = pictures.saved(pictures.photo(1600, 1200), "JPEG")
    at_half, whole = (decode(data, FIVE, use_draft=use).pixels.astype(float) for use in (True, False))
    assert [decode_for_both(data, SQUARE, longer_side=1)[1].shape] == [(150, 200)]
    assert [decode_for_both(data, FIVE, longer_side=1)[1].shape] == [(300, 400)]
    assert np.abs(at_half - whole).mean() < 2


@pytest.mark.parametrize("size", [(1, 1), (1, 20_000), (20_000, 1), (9, 50)])
def test_a_picture_too_thin_for_windows_is_seen_whole_each_time(size):
    data = pictures.saved(pictures.photo(*size), "PNG")
    whole = decode(data, SQUARE).pixels
    np.testing.assert_array_equal(decode(data, FIVE).pixels, np.stack([whole] * 5))
