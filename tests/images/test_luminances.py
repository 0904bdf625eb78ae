from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from mmsearch.images import decode_grey
from mmsearch.records import SIGNATURE_SIDE, luminance_layout
from mmsearch.samples import sample_folder
from tests.pictures import saved

LAYOUT = luminance_layout(SIGNATURE_SIDE)


def light(image, format_="PNG", **options):
    packed = decode_grey(
        saved(image, format_, **options), longer_side=256, luminance_side=SIGNATURE_SIDE
    ).luminances
    return np.frombuffer(packed, LAYOUT)[-1] if packed else None


def cosine(one, other):
    a, b = (np.asarray(grid, np.float64).ravel() for grid in (one, other))
    return a @ b / np.sqrt((a @ a) * (b @ b))


@pytest.fixture(scope="module")
def cat():
    with Image.open(sample_folder() / "cat.jpg") as image:
        return image.convert("RGB")


def test_the_light_of_a_ramp_rises_from_one_side_to_the_other():
    ramp = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (64, 1))  # of which no column is a border
    grid = light(Image.fromarray(ramp))["grid"]
    assert (np.diff(grid.astype(int), axis=1) > 0).all()
    assert grid[:, 0].tolist() == [-127] * 16
    assert grid[:, -1].tolist() == [127] * 16


@pytest.mark.parametrize(
    ("copy", "options", "least"),
    [
        (lambda image: image, {"format_": "JPEG", "quality": 30}, 0.998),
        (lambda image: image.resize((image.width // 3, image.height // 3)), {}, 0.998),
        (lambda image: image.convert("L"), {}, 0.998),
        (lambda image: ImageEnhance.Contrast(image).enhance(0.7), {}, 0.998),
        (lambda image: ImageOps.expand(image, 30, "#902010"), {}, 0.99),
    ],
    ids=["encoded anew", "smaller", "grey", "paler", "framed"],
)
def test_a_copy_has_the_light_of_its_original(cat, copy, options, least):
    assert cosine(light(copy(cat), **options)["grid"], light(cat)["grid"]) > least


def test_a_picture_that_is_mirrored_or_turned_has_its_light_so(cat):
    grid = light(cat)["grid"]
    assert cosine(light(ImageOps.mirror(cat))["grid"], grid[:, ::-1]) > 0.999
    assert cosine(light(cat.rotate(90, expand=True))["grid"], np.rot90(grid)) > 0.999


def test_what_a_border_leaves_is_said_in_shares_of_the_sides(cat):
    framed = ImageOps.expand(cat.resize((300, 200)), (100, 50), "black")  # 500 x 300
    box = light(framed)["box"] / 65_535
    np.testing.assert_allclose(box, [0.2, 1 / 6, 0.8, 5 / 6], atol=2.5 / 256)  # of a copy of 256 pixels


def test_tone_is_mean_contrast_and_colour():
    halves = np.zeros((32, 32, 3), np.uint8)
    halves[:, :16], halves[:, 16:] = (50, 50, 50), (150, 110, 90)
    grey = 0.299 * 150 + 0.587 * 110 + 0.114 * 90
    tone = light(Image.fromarray(halves))["tone"]
    np.testing.assert_allclose(tone, [(50 + grey) / 2, (grey - 50) / 2, (0 + 60) / 2], atol=1)


@pytest.mark.parametrize("size", [(1, 1), (300, 200), (1, 20_000)], ids=str)
def test_a_picture_of_one_colour_has_none(size):
    assert light(Image.new("RGB", size, (90, 140, 20))) is None


@pytest.mark.parametrize("size", [(1, 20_000), (20_000, 1), (2, 3)], ids=str)
def test_pictures_of_any_shape_have_light_if_it_varies(size):
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0]), dtype=np.uint8)
    assert np.abs(light(Image.fromarray(noise))["grid"].astype(int)).max() == 127
