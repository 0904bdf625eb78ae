"""Pictures as callers hold them find what their files find."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps

from mmsearch import PictureBytes, Query, Term
from mmsearch.errors import ArgumentError, PictureError
from mmsearch.held import held_file
from mmsearch.images import decode
from mmsearch.records import Preprocessing
from mmsearch.samples import sample_folder
from tests import pictures

CAT = sample_folder() / "cat.jpg"
AS_IT_IS = Preprocessing((12, 16), 12)


def turned(orientation, mode="RGB"):
    """A photograph of Pillow that lies as a camera wrote it, and says so."""
    image = pictures.photo(16, 12, seed=3).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.info["exif"] = exif.tobytes()
    return image


def saved(image, format_):
    buffer = io.BytesIO()
    image.save(buffer, format_)
    return buffer.getvalue()


def pixels_of(held):
    """What an image tower sees of a picture that somebody holds."""
    return decode(held_file(held, "images").data, AS_IT_IS).pixels


@given(
    seed=st.integers(0, 2**32 - 1), height=st.integers(1, 9), width=st.integers(1, 9), n=st.sampled_from([1, 3, 4])
)
def test_an_array_is_written_as_the_png_that_has_its_very_pixels(seed, height, width, n):
    array = np.random.default_rng(seed).integers(0, 256, (height, width, n), dtype=np.uint8)
    read = np.asarray(Image.open(io.BytesIO(held_file(array, "images").data)))
    np.testing.assert_array_equal(read.reshape(array.shape), array)
    turned_round = held_file(array[::-1, ::-1], "images")  # of a view, whose lines do not follow one another
    np.testing.assert_array_equal(
        np.asarray(Image.open(io.BytesIO(turned_round.data))).reshape(array.shape), array[::-1, ::-1]
    )


def test_an_array_of_greys_is_one_of_equal_colours():
    grey = np.asarray(pictures.photo(16, 12, seed=1).convert("L"))
    np.testing.assert_array_equal(pixels_of(grey), pixels_of(np.stack([grey] * 3, axis=-1)))
    np.testing.assert_array_equal(pixels_of(grey), pixels_of(grey[..., None]))


def test_what_can_be_seen_through_lies_on_white_as_in_a_file():
    array = np.zeros((12, 16, 4), np.uint8)
    array[:, 8:, 3] = 255
    seen = pixels_of(array)
    assert (seen[:, :7] == 255).all()
    assert (seen[:, 9:] == 0).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_of_pillow_is_turned_by_its_exif_and_one_that_was_turned_is_left_alone(orientation):
    image = turned(orientation)
    expected = ImageOps.exif_transpose(image)
    np.testing.assert_array_equal(pixels_of(image), pixels_of(np.asarray(expected)))
    np.testing.assert_array_equal(pixels_of(expected), pixels_of(image))


@pytest.mark.parametrize("exif", [b"garbage", b"Exif\0\0garbage", b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01"])
@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
def test_a_damaged_exif_block_of_an_image_does_not_cost_the_picture(exif, mode):
    image = pictures.photo(16, 12, seed=3).convert(mode)
    expected = pixels_of(image)
    image.info["exif"] = exif
    np.testing.assert_array_equal(pixels_of(image), expected)


@pytest.mark.parametrize("mode", ["L", "CMYK", "F", "I;16"])
def test_an_image_of_any_mode_is_turned(mode):
    image = turned(6, "RGB").convert("L" if mode == "I;16" else mode)
    image = Image.fromarray(256 * np.asarray(image, np.uint16)) if mode == "I;16" else image
    image.info["exif"] = turned(6).info["exif"]
    np.testing.assert_array_equal(pixels_of(image), pixels_of(ImageOps.exif_transpose(image)))


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "La", "P", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "F"]
)
def test_an_image_of_pillow_of_any_mode_shows_what_pillow_shows_in_it(mode):
    photo, through = pictures.photo(16, 12, seed=2), {"La": "LA", "RGBa": "RGBA"}
    image = photo
    if mode == "LAB":
        image = ImageCms.applyTransform(image, screen_to_lab())
    elif mode in through:  # nothing else becomes that at once
        image = image.convert(through[mode]).convert(mode)
    else:
        image = image.convert(mode)
    shown = photo if mode == "LAB" else image.convert(through.get(mode, "RGB")).convert("RGB")
    assert np.abs(pixels_of(image).astype(int) - np.asarray(shown)).mean() < 2


def screen_to_lab():
    return ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")


def test_an_image_of_more_than_8_bits_is_one_of_16():
    levels = np.linspace(0, 65_535, 16 * 12).reshape(12, 16)
    seen = pixels_of(Image.fromarray(levels.astype(np.int32)))[..., 0].astype(int)
    assert np.abs(seen - levels / 257).max() <= 1
    np.testing.assert_array_equal(pixels_of(Image.fromarray(levels.astype(np.uint16)))[..., 0], seen)


def test_the_profile_of_an_image_of_pillow_is_that_of_its_colours():
    swapped = pictures.screen_profile((0.15, 0.06, 0.79), (0.3, 0.6, 0.1), (0.64, 0.33, 0.03))  # its red is a blue
    image = Image.new("RGB", (16, 12), (255, 0, 0))
    image.info["icc_profile"] = swapped
    red, _, blue = pixels_of(image)[6, 8].tolist()
    assert blue > red


def test_bytes_are_a_picture_unless_they_can_be_a_path():
    for path in (b"/photos/cat.jpg", b"cat.jpg", b"x" * 4096):
        assert held_file(path, "images") is None
    for data in (CAT.read_bytes(), b"RIFF\0", b"x" * 4097, bytearray(b"cat.jpg"), memoryview(b"cat.jpg")):
        assert held_file(data, "images").data == bytes(data)


def test_an_open_file_is_read_from_where_it_stands_and_goes_by_its_name(tmp_path):
    with CAT.open("rb") as file:
        assert held_file(file, "images")[:2] == (CAT.read_bytes(), str(CAT))
        assert Query(images=io.BytesIO(CAT.read_bytes())).images == (PictureBytes(CAT.read_bytes()),)
        problem = held_file(file, "images").problem  # it is at its end now
    assert "nothing is left to be read in this file; file.seek(0) goes back" in str(problem)
    assert "closed file" in str(held_file(file, "images").problem)


@pytest.mark.parametrize(
    ("held", "sentence"),
    [
        (
            np.zeros((2, 2, 3)),
            r"images is an array of float64 \(2, 2, 3\); .* uint8: .*\(255 \* array\)\.round",
        ),
        (np.zeros((3, 8, 8), np.uint8), r"np.moveaxis\(array, 0, -1\) puts the colours last"),
        (np.zeros((8, 8, 2), np.uint8), r"an array of uint8 \(8, 8, 2\); expected a picture as uint8: RGB"),
        (np.zeros((0, 8, 3), np.uint8), r"an array of uint8 \(0, 8, 3\)"),
        (np.zeros((8, 8), bool), r"an array of bool \(8, 8\)"),
        ([np.zeros((1, 8, 8, 3), np.uint8)], r"images\[0\] is an array of uint8 \(1, 8, 8, 3\)"),
        (io.StringIO("text"), r"expected a file that is open in binary mode: open\(path, 'rb'\)"),
    ],
)
def test_what_is_no_picture_is_refused_by_a_sentence(held, sentence):
    with pytest.raises(ArgumentError, match=sentence):
        Query(images=held)


def test_an_array_of_four_axes_is_several_pictures():
    array = np.stack([np.full((4, 6, 3), n, np.uint8) for n in range(3)])
    assert Query(images=array) == Query(images=list(array))
    assert len(Query(images=array).images) == 3


@pytest.mark.parametrize("form", ["image", "array", "bytes", "file", "term"])
def test_a_picture_in_memory_finds_what_its_file_finds(indexed, tmp_path, form):
    with Image.open(sample_folder() / "rocket.jpg") as image:
        image.load()
    (path := tmp_path / "rocket.png").write_bytes(saved(image, "PNG"))
    held = {
        "image": image,
        "array": np.asarray(image),
        "bytes": path.read_bytes(),
        "file": io.BytesIO(path.read_bytes()),
        "term": Term(np.asarray(image), 2.0),
    }[form]
    assert indexed.search(Query(images=held), k=8).hits == indexed.search(Query(images=path), k=8).hits


def test_a_part_of_a_picture_in_memory_is_given_in_pixels_of_the_upright_one(indexed):
    whole = np.asarray(pictures.photo(400, 300, seed=4))
    of_box, of_part = indexed.encoder.encode_images([Term(whole, box=(100, 40, 300, 240)), whole[40:240, 100:300]])
    np.testing.assert_allclose(of_box, of_part, atol=1e-6)


def test_bytes_of_a_picture_of_the_library_are_that_picture(indexed, photos):
    assert indexed.search(Query(images=(photos / "cat.jpg").read_bytes()), k=1).hits[0].path.endswith("cat.jpg")


def test_an_image_that_pillow_cannot_load_is_named_and_hurts_no_other(indexed, photos, tmp_path):
    (tmp_path / "half.jpg").write_bytes(CAT.read_bytes()[:3000])
    with Image.open(tmp_path / "half.jpg") as half, Image.open(photos / "cat.jpg") as whole:
        bad, good = indexed.classify([half, whole], ["cat", "dog"])
        with pytest.raises(PictureError, match="truncated"):
            indexed.search(Query(images=half))
    assert "half.jpg: Pillow cannot load this image (" in bad.error
    assert (good.error, len(good.predictions)) == (None, 2)


def test_a_large_picture_in_memory_is_within_the_limits_of_a_library(indexed):
    assert len(indexed.search(Query(images=np.zeros((5_000, 8_000), np.uint8)), k=2).hits) == 2
