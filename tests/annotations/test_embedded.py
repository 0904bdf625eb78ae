"""What stands in the XMP, IPTC, EXIF and PNG texts of a file is read; what is malformed costs nothing else."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin, TiffImagePlugin

from mmsearch.annotations import Annotations
from mmsearch.annotations.embedded import embedded
from mmsearch.images import decode_grey
from tests import pictures
from tests.annotations.files import UTF_8, dataset, exif, items, with_iptc, with_xmp

DESCRIPTION = 0x010E
PACKET = pictures.xmp(elements=items("dc:subject", "dog"))
EXIF = exif((DESCRIPTION, b"two dogs"))
JPEG = pictures.saved(pictures.photo(32, 24), "JPEG", exif=EXIF, xmp=PACKET)
BLOCK = UTF_8 + dataset(2, 25, b"snow") + dataset(2, 25, b"dog")
PNG = pictures.saved(pictures.photo(32, 24), "PNG")


def texts(data):
    return [(text.source, text.text) for text in embedded(data).texts]


def test_xmp_comes_first_and_the_same_tag_of_iptc_is_dropped():
    assert texts(with_iptc(JPEG, BLOCK)) == [
        ("xmp:dc:subject", "dog"), ("iptc:Keywords", "snow"), ("exif:ImageDescription", "two dogs"),
    ]  # fmt: skip


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_every_format_has_its_xmp_and_its_exif(format_):
    tags = Image.Exif()
    tags[DESCRIPTION] = "two dogs"
    if format_ == "TIFF":
        tags[700] = PACKET
    options = {"xmp": PACKET} if format_ not in ("TIFF", "PNG") else {}
    data = pictures.saved(pictures.photo(32, 24), format_, exif=tags, **options)
    if format_ == "PNG":
        data = pictures.with_chunk(data, b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + PACKET)
    assert texts(data) == [("xmp:dc:subject", "dog"), ("exif:ImageDescription", "two dogs")]


def test_exif_that_was_read_already_is_not_read_again():
    other = Image.Exif()
    other[DESCRIPTION] = "three dogs"
    said = embedded(JPEG, exif=other)
    assert [text.text for text in said.texts] == ["dog", "three dogs"]


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_file_says_the_same_by_the_exif_of_its_decoded_picture(format_):
    tags = Image.Exif()
    tags[DESCRIPTION] = "two dogs"
    tags.get_ifd(0x8769)[0xA434] = "a lens"
    tags.get_ifd(0x8825).update({1: "N", 2: (52.0, 22.0, 0.0), 3: "E", 4: (4.0, 54.0, 0.0)})
    data = pictures.saved(pictures.photo(32, 24), format_, exif=tags.tobytes())
    said = embedded(data)
    assert said.lens == "a lens"
    assert said.position == (pytest.approx(52.366667), 4.9)
    assert embedded(data, exif=decode_grey(data, longer_side=32).exif) == said


def test_gif_has_its_xmp():
    data = pictures.saved(Image.new("P", (8, 8)), "GIF")
    at = 13 + 3 * 2 ** ((data[10] & 7) + 1)  # behind the colours
    block = b"!\xff\x0bXMP DataXMP" + PACKET + b"\1" + bytes(range(255, -1, -1)) + b"\0"
    assert texts(data[:at] + block + data[at:]) == [("xmp:dc:subject", "dog")]


def test_tiff_has_its_iptc_whether_as_bytes_or_as_numbers():
    block = BLOCK + b"\0" * (-len(BLOCK) % 4)
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[33723] = block
    tags.tagtype[33723] = 7
    data = pictures.saved(pictures.photo(32, 24), "TIFF", tiffinfo=tags)
    as_bytes, as_numbers = (struct.pack("<HHI", 33723, *kind) for kind in ((7, len(block)), (4, len(block) // 4)))
    assert data.count(as_bytes) == 1
    for written in (data, data.replace(as_bytes, as_numbers)):
        assert texts(written) == [("iptc:Keywords", "snow"), ("iptc:Keywords", "dog")]


def test_tiff_has_its_iptc_among_what_photoshop_keeps():
    jpeg = with_iptc(JPEG, BLOCK)
    resources = jpeg[jpeg.index(b"8BIM") : jpeg.index(BLOCK) + len(BLOCK) + len(BLOCK) % 2]
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[34377] = resources
    tags.tagtype[34377] = 1
    data = pictures.saved(pictures.photo(32, 24), "TIFF", tiffinfo=tags)
    assert texts(data) == [("iptc:Keywords", "snow"), ("iptc:Keywords", "dog")]
    assert texts(data.replace(b"8BIM", b"8BXX")) == []


def test_camera_of_exif_counts_before_that_of_xmp_and_each_where_it_is_alone():
    packet = pictures.xmp('tiff:Model="of a program" aux:Lens="35 mm"')
    tags = Image.Exif()
    tags[0x0110] = "X-T3"
    for options, camera in (({}, "of a program"), ({"exif": tags.tobytes()}, "X-T3")):
        said = embedded(pictures.saved(pictures.photo(32, 24), "JPEG", xmp=packet, **options))
        assert (said.camera, said.lens) == (camera, "35 mm")


def test_texts_of_a_png_are_read_wherever_they_stand_and_its_pixels_are_not():
    written = PngImagePlugin.PngInfo()
    written.add_text("Title", "A walk")
    written.add_itxt("Author", "Änna")
    written.add_text("Software", "a program")
    data = pictures.saved(pictures.photo(32, 24), "PNG", pnginfo=written)
    late = pictures.chunk(b"zTXt", b"Description\0\0" + zlib.compress("zwei Hünde".encode()))
    late += pictures.chunk(b"eXIf", EXIF[6:])
    end = data.index(b"IEND") - 4
    damaged = pictures.with_flipped_data(data[:end] + late + data[end:])
    assert texts(damaged) == [
        ("exif:ImageDescription", "two dogs"), ("png:Title", "A walk"), ("png:Description", "zwei Hünde"),
        ("png:Author", "Änna"),
    ]  # fmt: skip


def test_png_has_exif_as_image_magick_wrote_it_before_there_was_a_place_for_it():
    profile = b"\nexif\n%8d\n%s\n" % (len(EXIF), EXIF.hex().encode())
    data = pictures.with_chunk(PNG, b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(profile))
    assert texts(data) == [("exif:ImageDescription", "two dogs")]
    assert texts(pictures.with_chunk(PNG, b"tEXt", b"Raw profile type exif\0\nexif\n 9\nno digits")) == []


def test_packet_longer_than_all_that_is_read_is_read_at_its_beginning():
    packet = PACKET.replace(b"</rdf:RDF>", b"<!-- " + b" " * (17 << 20))
    body = b"XML:com.adobe.xmp\0\0\0\0\0" + packet
    assert texts(pictures.with_chunk(PNG, b"iTXt", body)) == [("xmp:dc:subject", "dog")]


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"not a picture",
        pictures.saved(pictures.photo(32, 24), "JPEG", exif=b"Exif\0\0" + b"\xff" * 60),
        with_iptc(pictures.saved(pictures.photo(32, 24), "JPEG"), b"\x1c\2\x78\xff\xff" + b"\xff" * 40),
        with_xmp(b"<x:xmpmeta"),
        pictures.text_bomb(),
        pictures.png(50_000, 50_000),
    ],
    ids=["empty", "text", "exif", "iptc", "xmp", "bomb", "huge"],
)
def test_file_that_is_damaged_or_no_picture_says_nothing(damaged):
    assert embedded(damaged) == Annotations()


def test_damaged_exif_hides_neither_iptc_nor_xmp():
    data = pictures.saved(pictures.photo(32, 24), "JPEG", exif=b"Exif\0\0" + b"\xff" * 60, xmp=PACKET)
    assert texts(with_iptc(data, BLOCK)) == [("xmp:dc:subject", "dog"), ("iptc:Keywords", "snow")]


@given(st.binary(max_size=200), st.integers(6, len(EXIF)))
def test_any_exif_raises_nothing(junk, at):
    block = EXIF[:at] + junk + EXIF[at + len(junk) :]
    embedded(JPEG[:2] + struct.pack(">HH", 0xFFE1, len(block) + 2) + block + JPEG[2:])


@given(st.binary(max_size=100), st.integers(0, len(JPEG)))
def test_any_bytes_in_a_file_raise_nothing(junk, at):
    embedded(JPEG[:at] + junk + JPEG[at + len(junk) :])
    embedded(PNG[: at % len(PNG)] + junk + PNG[at % len(PNG) :])
