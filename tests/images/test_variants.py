"""Sound pictures in variants that Pillow refuses or misreads are called by their name; the others are read."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest

from mmsearch.errors import PictureError
from mmsearch.images import decode
from mmsearch.images.jpeg import jpeg_frame, n_scans
from mmsearch.records import Preprocessing
from tests import pictures

WHOLE = Preprocessing(size=(120, 160), resize=120)
PHOTO = pictures.photo(160, 120)
EIGHT = np.asarray(PHOTO)
FLOAT = EIGHT.astype(np.float32) / 255
DEEP = EIGHT.astype(np.uint16) * 257
GREY_FLOAT = FLOAT[..., :1]
WIDE = DEEP[..., :1].astype(np.uint32)
DEFLATED = {"pack": zlib.compress, "t259": 8}


def decoded(data):
    return decode(data, WHOLE).pixels.astype(int)


def refused(data):
    with pytest.raises(PictureError) as caught:
        decode(data, WHOLE)
    return caught.value.code, str(caught.value)


READ = {
    "grey float": pictures.tiff(GREY_FLOAT, colour=1),
    "packed grey float": pictures.tiff(GREY_FLOAT, colour=1, **DEFLATED),
    "big-endian grey float": pictures.tiff(GREY_FLOAT.astype(">f4"), colour=1),
    "unsigned grey": pictures.tiff(WIDE, colour=1),
    "deep": pictures.tiff(DEEP),
    "planes": pictures.tiff(EIGHT, t284=2),
    "packed deep planes": pictures.tiff(DEEP, t284=2, **DEFLATED),
    "premultiplied grey": pictures.tiff(np.dstack([EIGHT[..., 0], EIGHT[..., 0] * 0 + 255]), colour=1, t338=1),
}
UNREAD = {
    "3 x 32-bit floating-point RGB samples, no compression": pictures.tiff(FLOAT),
    "3 x 16-bit floating-point RGB samples, no compression": pictures.tiff(FLOAT.astype(np.float16)),
    "3 x 64-bit big-endian floating-point RGB samples, no compression": pictures.tiff(FLOAT.astype(">f8")),
    "3 x 32-bit floating-point RGB samples, Deflate compression": pictures.tiff(FLOAT, **DEFLATED),
    "3 x 32-bit floating-point RGB samples, LERC compression": pictures.tiff(FLOAT, t259=34887),
    "3 x 8-bit RGB samples, WebP compression": pictures.tiff(EIGHT, t259=50001),
    "3 x 8-bit RGB samples, JPEG XL compression": pictures.tiff(EIGHT, t259=50002),
    "3 x 8-bit RGB samples, JPEG 2000 compression": pictures.tiff(EIGHT, t259=34712),
    "5 x 16-bit RGB samples, no compression": pictures.tiff(np.dstack([DEEP, DEEP[..., :2]]), t338=0),
    "3 x 24-bit RGB samples, no compression": pictures.tiff(EIGHT, t258=24),
    "3 x 16-bit Lab samples, no compression": pictures.tiff(DEEP, colour=8),
}
MISREAD = {
    "3 x 16-bit RGB samples in planes, no compression": pictures.tiff(DEEP, t284=2),
    "2 x 8-bit grey samples in planes, Deflate": pictures.tiff(
        EIGHT[..., :2], colour=1, t284=2, t338=2, **DEFLATED
    ),
    "1 x 32-bit big-endian floating-point grey": pictures.tiff(GREY_FLOAT.astype(">f4"), colour=1, **DEFLATED),
    "1 x 16-bit inverted grey samples": pictures.tiff(DEEP[..., :1], colour=0),
    "1 x 8-bit signed grey samples": pictures.tiff(EIGHT[..., :1].view(np.int8), colour=1),
    "1 x 32-bit grey samples": pictures.tiff(WIDE * 65_537, colour=1),
}


@pytest.mark.parametrize("name", READ)
def test_tiff_that_pillow_reads_has_its_pixels(name):
    expected = EIGHT[..., :1] if "grey" in name else EIGHT
    assert np.abs(decoded(READ[name]) - expected).max() <= 1


@pytest.mark.parametrize("words", [*UNREAD, *MISREAD])
def test_tiff_that_pillow_refuses_or_misreads_is_called_by_its_name(words):
    code, said = refused((UNREAD | MISREAD)[words])
    assert code == "unsupported"
    assert f"this variant of TIFF cannot be read ({words}" in said
    assert "save it as JPEG, PNG or 8-bit TIFF" in said


def test_big_endian_bigtiff_is_called_by_its_name():
    assert "(big-endian BigTIFF)" in refused(b"MM\0+\0\x08\0\0" + struct.pack(">QQ", 16, 0))[1]


@pytest.mark.parametrize("tags", [{"colour": 32803}, {"t50706": 1}, {"t254": 1, "t330": 8}])
def test_raw_file_in_a_tiff_is_called_raw(tags):
    code, said = refused(pictures.tiff(EIGHT, **tags))
    assert code == "unsupported"
    assert "this is a RAW picture" in said


def test_damaged_tiff_is_called_damaged():
    whole = pictures.tiff(FLOAT)
    assert refused(pictures.tiff(FLOAT, t273=8, t279=1 << 20))[0] == "truncated"
    assert refused(pictures.tiff(FLOAT, t259=12_345))[0] == "corrupt"
    assert refused(pictures.tiff(FLOAT, t256=0))[0] == "corrupt"
    assert refused(pictures.tiff(FLOAT, t258=[8, 8], t277=7))[0] == "corrupt"
    assert refused(whole[: len(whole) // 2])[0] == "corrupt"  # what the header points at is gone


@pytest.mark.parametrize("data", [*READ.values(), *UNREAD.values(), *MISREAD.values()][::3])
def test_mutated_header_is_read_or_refused_in_words(data):
    rng = np.random.default_rng(0)
    (header,) = struct.unpack("<I" if data[:2] == b"II" else ">I", data[4:8])
    for _ in range(40):
        mutated = bytearray(data)
        for at in rng.integers(header, len(data), 3):
            mutated[at] = rng.integers(0, 256)
        try:
            decode(bytes(mutated), WHOLE, max_megapixels=1)
        except PictureError as error:
            assert error.code in ("corrupt", "truncated", "unsupported", "too_large", "out_of_memory")


BMP_ROWS = np.zeros((120, 160 * 8), dtype=np.uint8)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (pictures.bmp(BMP_ROWS[:, :40], 2), "2 bits a pixel"),
        (pictures.bmp(BMP_ROWS, 64), "64 bits a pixel"),
        (pictures.bmp(BMP_ROWS[:, :320], 16, masks=(0xF00, 0xF0, 0xF)), "16 bits a pixel in odd bit fields"),
        (pictures.bmp(BMP_ROWS[:, :320], 16, masks=(0xF00, 0xF0, 0xF, 0)), "16 bits a pixel in odd bit fields"),
        (pictures.bmp(BMP_ROWS[:, :640], 32, masks=(0x3FF << 20, 0x3FF << 10, 0x3FF)), "32 bits a pixel in odd"),
    ],
)
def test_bmp_that_pillow_refuses_is_called_by_its_name(data, words):
    code, said = refused(data)
    assert code == "unsupported"
    assert f"this variant of BMP cannot be read ({words}" in said


def test_damaged_bmp_is_called_damaged():
    assert refused(pictures.bmp(BMP_ROWS, 5))[0] == "corrupt"
    assert refused(pictures.bmp(BMP_ROWS[:, :40], 2)[:-1])[0] == "truncated"
    assert refused(pictures.bmp(BMP_ROWS[:, :40], 2)[:20])[0] == "corrupt"


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
    code, said = refused(data)
    assert code == "unsupported"
    assert words in said


def test_fill_bytes_before_a_marker_are_passed_over():
    jpeg = pictures.saved(pictures.photo(), "JPEG", progressive=True)
    filled = jpeg[:2] + b"\xff" * 2_000_000 + jpeg[2:]
    assert jpeg_frame(filled) == jpeg_frame(jpeg)
    assert n_scans(filled, 500) == n_scans(jpeg, 500) == jpeg.count(b"\xff\xda")
