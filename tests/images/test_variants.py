"""Sound pictures in variants that Pillow refuses or misreads: read all the same, or called by their name."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from mmsearch.errors import PictureError
from mmsearch.images import decode
from mmsearch.records import Preprocessing
from tests import pictures

WHOLE = Preprocessing(size=(120, 160), resize=120)
PHOTO = pictures.photo(160, 120)
EIGHT = np.asarray(PHOTO)
FLOAT = EIGHT.astype(np.float32) / 255
DEEP = EIGHT.astype(np.uint16) * 257


def decoded(data):
    return decode(data, WHOLE).pixels.astype(int)


def packed(compression):
    """Return a function that packs bytes as a TIFF does, by libtiff itself."""

    def pack(strip):
        image = Image.frombytes("L", (len(strip), 1), strip)
        data = pictures.saved(image, "TIFF", compression=compression)
        with Image.open(pictures.io.BytesIO(data)) as found:
            start, length = found.tag_v2[273][0], found.tag_v2[279][0]
        return data[start : start + length]

    return pack


def differences(samples):
    """Return samples as the horizontal predictor keeps them."""
    whole = samples.view(f"u{samples.dtype.itemsize}")
    return np.diff(whole, axis=1, prepend=np.zeros_like(whole[:, :1]))


def float_differences(samples):
    """Return floats as the floating-point predictor keeps them: bytes by significance, then differences."""
    height, width, n = samples.shape
    by_byte = samples.astype(">f4").view(np.uint8).reshape(height, width * n, 4).transpose(0, 2, 1)
    rows = by_byte.reshape(height, -1, n)
    return (
        np.diff(rows, axis=1, prepend=np.zeros_like(rows[:, :1])).reshape(height, width, n, 4).view("<f4")[..., 0]
    )


VARIANTS = {
    "float": pictures.tiff(FLOAT),
    "half": pictures.tiff(FLOAT.astype(np.float16)),
    "double-big-endian": pictures.tiff(FLOAT.astype(">f8")),
    "deflate": pictures.tiff(FLOAT, pack=zlib.compress, t259=8),
    "lzw": pictures.tiff(DEEP.astype(np.uint32) * 65_537, pack=packed("tiff_lzw"), t259=5),
    "zstd": pictures.tiff(FLOAT, pack=packed("zstd"), t259=50000),
    "packbits-planes": pictures.tiff(DEEP, pack=packed("packbits"), t259=32773, t284=2),
    "float-predictor": pictures.tiff(float_differences(FLOAT), t317=3),
    "predictor": pictures.tiff(differences(FLOAT).view(np.float32), t317=2),
    "big-endian-predictor": pictures.tiff(differences(FLOAT).astype(">u4").view(">f4"), t317=2),
    "deep-planes": pictures.tiff(DEEP, t284=2),
    "tile": pictures.tiff(FLOAT, rows=120, t322=160, t323=120, t324=8, t325=FLOAT.nbytes),
    "opaque": pictures.tiff(np.dstack([FLOAT, np.ones((120, 160), np.float32)]), t338=2),
    "five-samples": pictures.tiff(np.dstack([DEEP, DEEP[..., :2]]), t338=0),
    "webp": pictures.tiff(EIGHT, rows=120, pack=lambda _: pictures.saved(PHOTO, "WEBP", lossless=True), t259=50001),
}  # fmt: skip


@pytest.mark.parametrize("name", VARIANTS)
def test_unusual_tiff_has_the_pixels_of_the_usual_one(name):
    assert np.abs(decoded(VARIANTS[name]) - EIGHT).max() <= 1


def test_deep_grey_and_cmyk_tiff_keep_their_meaning():
    grey = FLOAT[..., :1]
    expected = np.repeat(EIGHT[..., :1].astype(int), 3, axis=-1)
    assert np.abs(decoded(pictures.tiff(1 - grey, colour=0)) - expected).max() <= 1
    assert np.abs(decoded(pictures.tiff(np.dstack([grey, grey * 0 + 1]), colour=1, t338=2)) - expected).max() <= 1
    ink = np.dstack([1 - FLOAT, grey * 0])
    assert np.abs(decoded(pictures.tiff(ink, colour=5)) - EIGHT).max() <= 1


@pytest.mark.parametrize("kind", [1, 2])  # premultiplied, and not
def test_transparent_tiff_shows_white_under_its_colours(kind):
    clear = np.dstack([FLOAT * (kind == 2), np.zeros((120, 160), np.float32)])
    assert (decoded(pictures.tiff(clear, t338=kind)) == 255).all()


def test_turn_and_date_of_an_unusual_tiff_are_kept():
    data = pictures.tiff(np.ascontiguousarray(np.rot90(FLOAT)), rows=160, t274=6)
    picture = decode(data, WHOLE)
    assert (picture.width, picture.height, picture.format) == (160, 120, "TIFF")
    assert np.abs(picture.pixels.astype(int) - EIGHT).max() <= 1


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"t259": 34887}, "LERC compression"),
        ({"t259": 50002}, "JPEG XL compression"),
        ({"t258": 24}, "3 x 24-bit floating-point RGB samples"),
        ({"colour": 8}, "Lab samples"),
    ],
)
def test_tiff_that_cannot_be_read_is_not_called_damaged(tags, words):
    with pytest.raises(PictureError, match="this variant of TIFF cannot be read") as caught:
        decode(pictures.tiff(FLOAT, **tags), WHOLE)
    assert caught.value.code == "unsupported"
    assert words in str(caught.value)


@pytest.mark.parametrize("tags", [{"colour": 32803}, {"t50706": 1}, {"t254": 1, "t330": 8}])
def test_raw_file_in_a_tiff_is_called_raw(tags):
    with pytest.raises(PictureError, match="this is a RAW picture") as caught:
        decode(pictures.tiff(EIGHT, **tags), WHOLE)
    assert caught.value.code == "unsupported"


def test_damaged_tiff_of_an_unusual_variant_is_called_damaged():
    data = pictures.tiff(FLOAT, pack=zlib.compress, t259=8)
    with pytest.raises(PictureError, match="the picture data is damaged") as caught:
        decode(data[:8] + b"\xff" * 40 + data[48:], WHOLE)
    assert caught.value.code == "corrupt"
    for cut in (pictures.tiff(FLOAT, t279=9), pictures.tiff(FLOAT, pack=lambda strip: strip[:-1])):
        with pytest.raises(PictureError, match="ends before the picture does") as caught:
            decode(cut, WHOLE)
        assert caught.value.code == "truncated"


def test_samples_that_take_too_much_memory_are_too_large():
    with pytest.raises(PictureError, match="samples of the picture take 0 MB to decode, the limit is 0") as caught:
        decode(pictures.tiff(FLOAT.astype(np.float64)), WHOLE, max_megapixels=0.02)
    assert caught.value.code == "too_large"


MASKS = {
    "4-4-4-4": (16, (0x0F00, 0x00F0, 0x000F, 0)),
    "opaque-4-4-4-4": (16, (0x0F00, 0x00F0, 0x000F, 0xF000)),
    "2-3-1": (16, (0x60, 0x1C, 0x02)),
    "10-10-10": (32, (0x3FF << 20, 0x3FF << 10, 0x3FF)),
}


@pytest.mark.parametrize("name", MASKS)
def test_bmp_with_odd_bit_fields_is_read(name):
    depth, masks = MASKS[name]
    value = np.full((120, 160), masks[3] if len(masks) == 4 else 0, dtype=np.uint32)
    expected = np.zeros_like(FLOAT)
    for channel, mask in enumerate(masks[:3]):
        low = mask & -mask
        share = (FLOAT[..., channel] * (mask // low)).round().astype(np.uint32)
        value |= share * np.uint32(low)
        expected[..., channel] = share * (255 / (mask // low))
    data = pictures.bmp(value.astype(f"<u{depth // 8}").view(np.uint8), depth, masks=masks)
    assert np.abs(decoded(data) - expected).max() <= 1


def test_bmp_of_two_bits_is_read():
    palette = bytes((0, 0, 255, 0, 0, 255, 0, 0, 255, 0, 0, 0, 255, 255, 255, 0))  # red, green, blue, white
    found = decoded(pictures.bmp(np.full((120, 40), 0b00011011, dtype=np.uint8), 2, palette=palette))
    assert found[0, :4].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]


def test_bmp_that_cannot_be_read_is_not_called_damaged_and_a_damaged_one_is():
    rows = np.zeros((120, 160 * 8), dtype=np.uint8)
    for data, code in (
        (pictures.bmp(rows, 64), "unsupported"),
        (pictures.bmp(rows, 5), "corrupt"),
        (pictures.bmp(rows[:, :40], 2)[:-1], "truncated"),
    ):
        with pytest.raises(PictureError) as caught:
            decode(data, WHOLE)
        assert caught.value.code == code


def with_frame(marker, bits=8, components=3):
    """A JPEG whose frame header says something else."""
    data = pictures.saved(PHOTO, "JPEG")
    at = data.index(b"\xff\xc0")
    body = struct.pack(">BHHB", bits, 120, 160, components) + b"\1\x11\0" * components
    (length,) = struct.unpack(">H", data[at + 2 : at + 4])
    return data[:at] + bytes((0xFF, marker)) + struct.pack(">H", 2 + len(body)) + body + data[at + 2 + length :]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (with_frame(0xC1, bits=12), "JPEG cannot be read (12 bits a sample)"),
        (with_frame(0xC5), "JPEG cannot be read (hierarchical)"),
        (with_frame(0xF7), "JPEG cannot be read (JPEG-LS)"),
        (with_frame(0xC0, components=2), "JPEG cannot be read (2 components)"),
        (pictures.png(10, 10).replace(b"\0\0\0\rIHDR", pictures.chunk(b"CgBI", b"\0\0\0\0") + b"\0\0\0\rIHDR"),
         "PNG cannot be read (made for iPhone programs)"),
    ],
)  # fmt: skip
def test_jpeg_and_png_variants_that_cannot_be_read_are_named(data, words):
    with pytest.raises(PictureError) as caught:
        decode(data, WHOLE)
    assert caught.value.code == "unsupported"
    assert words in str(caught.value)
