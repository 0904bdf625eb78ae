"""Colours are those that the profile of a picture means, in sRGB, wherever pixels come out."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from mmsearch.images import decode, decode_for_both, decode_grey, part_of_picture
from mmsearch.images.colours import adobe_rgb
from mmsearch.images.copies import thumbnail
from mmsearch.records import Preprocessing
from tests import pictures

SMALL = Preprocessing(size=(16, 16), resize=16)
RED, GREEN, BLUE = (0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141)  # of sRGB
TURNED = pictures.screen_profile(GREEN, BLUE, RED)
WIDE = pictures.screen_profile((0.7977, 0.288, 0.0), (0.1352, 0.7119, 0.0), (0.0313, 0.0001, 0.8249), 1.8)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def flat(colour=(255, 0, 0), mode="RGB", size=(64, 48)):
    return Image.new(mode, size, colour)


def opened(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), dtype=int)


def pixels(data):
    return decode(data, SMALL).pixels.astype(int)


def assert_flat(found, colour):
    assert np.abs(found - np.array(colour)).max() <= 3


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_red_that_its_profile_means_as_green_is_green(format_):
    options = {} if format_ in ("PNG", "TIFF") else {"quality": 100}
    assert_flat(pixels(pictures.saved(flat(), format_, icc_profile=TURNED, **options)), (0, 255, 0))


def test_every_consumer_sees_the_same_colours():
    data = pictures.saved(flat(), "PNG", icc_profile=TURNED)
    picture, grey = decode_for_both(data, SMALL, longer_side=64)
    assert_flat(picture.pixels.astype(int), (0, 255, 0))
    assert_flat(grey.astype(int), 150)  # 0.587 of 255
    np.testing.assert_array_equal(decode_grey(data, longer_side=64).pixels, grey)
    for copy in (thumbnail(data, 32).jpeg, thumbnail(data, 32, box=(0, 0, 9, 9)).jpeg,
                 part_of_picture(data, (0, 0, 9, 9))):  # fmt: skip
        assert_flat(opened(copy), (0, 255, 0))
        assert "icc_profile" not in Image.open(io.BytesIO(copy)).info


def test_large_picture_is_reduced_before_its_colours_are_changed_for_local_features():
    large = pictures.photo(1_000, 750)
    changed, plain = (
        decode_grey(pictures.saved(large, "PNG", icc_profile=profile), longer_side=100).pixels
        for profile in (TURNED, SRGB)
    )
    assert (changed.shape, plain.shape) == ((150, 200), (750, 1_000))


def test_profile_is_never_kept_though_nothing_was_changed():
    data = pictures.saved(flat(), "PNG", icc_profile=SRGB)
    for copy in (thumbnail(data, 32).jpeg, part_of_picture(data, (0, 0, 9, 9))):
        assert "icc_profile" not in Image.open(io.BytesIO(copy)).info


@pytest.mark.parametrize("use_draft", [True, False])
def test_photograph_has_the_colours_that_lcms_gives_it(use_draft):
    source = ImageCms.ImageCmsProfile(io.BytesIO(WIDE))
    small = pictures.photo().resize((21, 16), Image.Resampling.BICUBIC)
    square = ImageCms.profileToProfile(small, source, ImageCms.createProfile("sRGB")).crop((2, 0, 18, 16))
    data = pictures.saved(pictures.photo(), "JPEG", quality=95, icc_profile=WIDE)
    difference = np.abs(decode(data, SMALL, use_draft=use_draft).pixels.astype(int) - np.asarray(square))
    assert difference.mean() < 3
    assert np.abs(pixels(pictures.saved(pictures.photo(), "JPEG", quality=95)) - np.asarray(square)).mean() > 15


def test_picture_is_padded_with_the_fill_of_the_tower():
    wanted = Preprocessing((16, 16), 16, "longest", fill=100)
    found = decode(pictures.saved(flat(size=(64, 16)), "PNG", icc_profile=WIDE), wanted).pixels
    assert (found[0] == 100).all()


@pytest.mark.parametrize("mode", ["P", "RGBA", "LA"])
def test_palette_and_alpha_do_not_hide_the_profile(mode):
    image = pictures.photo().convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    image = image.convert(mode)
    profile = pictures.grey_profile(1.0) if mode == "LA" else WIDE
    with_it, without = (pictures.saved(image, "PNG", **options) for options in ({"icc_profile": profile}, {}))
    assert np.abs(pixels(with_it) - pixels(without)).mean() > 5
    if mode != "P":  # what is seen through is white
        assert_flat(pixels(with_it)[0], pixels(without)[0])


def test_grey_samples_follow_a_profile_of_greys():
    data = pictures.saved(flat(128, "L"), "PNG", icc_profile=pictures.grey_profile(1.0))
    assert_flat(pixels(data), 188)  # half the light, in sRGB
    assert_flat(decode_grey(data, longer_side=64).pixels.astype(int), 188)
    deep = Image.fromarray(np.full((48, 64), 32_896, dtype=np.uint16))
    assert_flat(pixels(pictures.saved(deep, "PNG", icc_profile=pictures.grey_profile(1.0))), 188)


def test_inks_are_those_of_the_press():
    red, white = (138, 209, 198), (255, 128, 128)  # Lab of sRGB's red, and of white
    data = pictures.saved(flat((255, 0, 0, 0), "CMYK"), "JPEG", icc_profile=pictures.press_profile(white, red))
    assert_flat(pixels(data), (255, 0, 0))
    paper = pictures.saved(flat((0, 0, 0, 0), "CMYK"), "JPEG", icc_profile=pictures.press_profile(white, red))
    assert_flat(pixels(paper), (255, 255, 255))


def named(index, space):
    exif = Image.Exif()
    exif[0x8769] = {0xA001: space, 0xA005: {1: index}}
    return exif


def test_camera_that_only_names_adobe_rgb_is_believed():
    linear = (np.array([100, 200, 100]) / 255) ** 2.19921875
    linear = np.array([[1.39836, -0.39836, 0], [0, 1, 0], [0, -0.04293, 1.04293]]) @ linear
    linear = np.clip(linear, 0, 1)
    expected = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055) * 255
    data = pictures.saved(flat((100, 200, 100)), "PNG", exif=named("R03", 65_535))
    assert_flat(pixels(data), expected)
    np.testing.assert_array_equal(
        pixels(pictures.saved(flat((100, 200, 100)), "PNG", icc_profile=adobe_rgb())), pixels(data)
    )
    for exif in (named("R98", 1), named("R03", 1)):  # sRGB, the second written by an editor that forgot the first
        assert_flat(pixels(pictures.saved(flat((100, 200, 100)), "PNG", exif=exif)), (100, 200, 100))


def sampled_srgb():
    """The profile of sRGB as makers write it: a curve of 1,024 points, primaries a little aside."""
    x = np.linspace(0, 1, 1_024)
    points = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4) * 65_535
    curve = struct.pack(">4s4xI", b"curv", 1_024) + points.round().astype(">u2").tobytes()
    return pictures.screen_profile((0.4365, 0.2225, 0.0139), GREEN, BLUE, curve=curve)


ORDINARY = {
    "sRGB": SRGB,
    "sRGB by points": sampled_srgb(),
    "cut": TURNED[:200],
    "nonsense": b"nonsense" * 100,
    "empty": b"",
    "of greys": pictures.grey_profile(1.0),
    "of a press": pictures.press_profile((255, 128, 128), (138, 209, 198)),
    "of a device link": TURNED[:12] + b"link" + TURNED[16:],
    "without tags": pictures.profile(b"RGB ", {}),
    "larger than is believed": TURNED.ljust(5 << 20, b"\0"),
}


@pytest.mark.parametrize("name", ORDINARY)
def test_profile_that_changes_nothing_or_makes_no_sense_leaves_every_pixel(name):
    data = pictures.saved(pictures.photo(), "TIFF", icc_profile=ORDINARY[name])
    np.testing.assert_array_equal(pixels(data), pixels(pictures.saved(pictures.photo(), "TIFF")))


def test_damaged_profile_costs_no_picture():
    rng = np.random.default_rng(0)
    for profile, mode in ((TURNED, "RGB"), (ORDINARY["of a press"], "CMYK"), (ORDINARY["of greys"], "L")):
        image = pictures.photo(20, 20).convert(mode)
        for _ in range(12):
            damaged = bytearray(profile)
            for at in rng.integers(0, min(len(profile), 400), 4):
                damaged[at] = rng.integers(0, 256)
            data = pictures.saved(image, "TIFF", icc_profile=bytes(damaged))
            assert pixels(data).shape == (16, 16, 3)
