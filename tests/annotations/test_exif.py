"""Texts of EXIF are read in the encodings that programs really use; what cameras write by rote is not."""

from __future__ import annotations

import pytest
from PIL import Image

from mmsearch.annotations import Kind
from mmsearch.annotations.embedded import embedded
from mmsearch.annotations.exif import user_comment
from tests import pictures
from tests.annotations.files import exif

DESCRIPTION, ARTIST, COMMENT = 0x010E, 0x013B, 0x9286
TITLE, WINDOWS_COMMENT, AUTHOR, KEYWORDS, SUBJECT = 0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F


def texts(*entries, photo=(), order="<"):
    data = pictures.saved(pictures.photo(32, 24), "JPEG", exif=exif(*entries, photo=photo, order=order))
    return [(text.kind.value, text.source, text.text) for text in embedded(data).texts]


def said(main=None, photo=None, gps=None, format_="JPEG"):
    """What is read from a picture with these tags."""
    tags = Image.Exif()
    tags.get_ifd(0x8769).update({} if photo is None else photo)
    tags.get_ifd(0x8825).update({} if gps is None else gps)
    tags.update({} if main is None else main)
    return embedded(pictures.saved(pictures.photo(32, 24), format_, exif=tags))


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (b"two dogs\0\0\0\0", "two dogs"),
        ("Straße in Köln".encode(), "Straße in Köln"),
        ("Straße in Köln".encode("latin-1"), "Straße in Köln"),
        ("a “dog”".encode("cp1252"), "a “dog”"),
        (b"two dogs\0garbage of a buffer", "two dogs"),
        (b"<b>two</b>\r\ndogs \x1b[31m", "<b>two</b> dogs [31m"),
    ],
)
def test_description_is_read_in_the_encodings_that_are_written(written, text):
    for order in "<>":
        assert texts((DESCRIPTION, written), order=order) == [("caption", "exif:ImageDescription", text)]


@pytest.mark.parametrize(
    "written",
    [
        "OLYMPUS DIGITAL CAMERA         ", "SONY DSC", "DCIM\\100MEDIA\\DJI_0001.JPG", "default", "   ", "\0" * 31,
        "Exif_JPEG_PICTURE", "<Digimax S500 / Kenox S500 / Digimax Cyber 530>", "Created with GIMP",
        "filter: 0; fileterIntensity: 0.0; filterMask: 0;", '{"filter":0}',
    ],
)  # fmt: skip
def test_what_cameras_write_into_every_picture_is_left_out(written):
    comment = b"ASCII\0\0\0" + written.encode()
    assert texts((DESCRIPTION, written.encode()), photo=((COMMENT, comment),)) == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"ASCII\0\0\0two dogs", "two dogs"),
        (b"ASCII\0\0\0" + b" " * 40, " " * 40),
        (b"ASCII\0\0\0" + "Köln".encode(), "Köln"),
        (b"ASCII\0\0\0" + "Köln".encode("latin-1"), "Köln"),
        (b"\0" * 8 + b"two dogs\0\0", "two dogs"),
        (b"\0" * 8 + b"\x01\x02\x80\x07garbage\x00\x01", ""),
        (b"JIS\0\0\0\0\0" + "二匹の犬".encode("iso2022_jp"), "二匹の犬"),
        (b"JIS\0\0\0\0\0" + "二匹の犬".encode("shift_jis"), "二匹の犬"),
        (b"JIS\0\0\0\0\0" + "二匹の犬".encode("euc_jp"), "二匹の犬"),
        (b"JIS\0\0\0\0\0\xff\xff\xff", ""),
        (b"UNICODE\0" + "\ufefftwo dogs".encode("utf-16-le"), "two dogs"),
        (b"UNICODE\0" + "\ufefftwo dogs".encode("utf-16-be"), "two dogs"),
        (b"UNICODE\0" + "two dogs\0\0".encode("utf-16-le") + b"\0", "two dogs"),
        (b"UNICODE\0\0d", "d"),
        (b"two dogs without a code", "two dogs without a code"),
        (b"", ""),
    ],
)
def test_comment_says_its_encoding(value, text):
    assert user_comment(value, ">") == text


@pytest.mark.parametrize(
    "text", ["two dogs in Köln", "两只狗在雪地里玩耍", "Две собаки играют", "犬が二匹、雪の中で遊ぶ"]
)
def test_comment_in_unicode_is_read_in_the_byte_order_that_it_has_not_the_one_that_the_file_says(text):
    for encoding in ("utf-16-le", "utf-16-be"):
        for order in "<>":
            assert user_comment(b"UNICODE\0" + text.encode(encoding), order) == text


def test_windows_writes_utf_16_whose_last_byte_may_be_missing():
    def written(text):
        return text.encode("utf-16-le")

    assert texts(
        (TITLE, written("Köln\0")), (SUBJECT, written("a walk\0")), (AUTHOR, written("Anna") + b"\0"),
        (KEYWORDS, written("dog;snow; two\ndogs ;;")[:-1]), (WINDOWS_COMMENT, b"\x41"),
    ) == [
        ("title", "exif:XPTitle", "Köln"), ("caption", "exif:XPSubject", "a walk"),
        ("tag", "exif:XPKeywords", "dog"),
        ("tag", "exif:XPKeywords", "snow"), ("tag", "exif:XPKeywords", "two dogs"),
        ("creator", "exif:XPAuthor", "Anna"),
    ]  # fmt: skip


def test_half_of_a_surrogate_pair_in_a_title_costs_one_letter():
    assert [text for _, _, text in texts((TITLE, b"\x3d\xd8d\0o\0g\0"))] == ["\N{REPLACEMENT CHARACTER}dog"]


def test_comment_stands_in_the_directory_of_the_photograph():
    comment = (COMMENT, b"ASCII\0\0\0two dogs")
    assert texts(photo=(comment,), order=">") == [("caption", "exif:UserComment", "two dogs")]


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_camera_lens_place_and_author_are_read_in_every_format(format_):
    main = {0x010F: "Canon", 0x0110: "Canon EOS R5", ARTIST: "Anna"}
    if format_ == "TIFF":
        main |= {0x8769: 0, 0x8825: 0}  # Pillow writes the directories then, and where they stand
    gps = {1: "S", 2: (52.0, 22.0, 12.9), 3: "W", 4: (4.0, 53.0, 42.6)}
    there = said(main, {0xA434: "RF35mm F1.8"}, gps, format_)
    assert (there.camera, there.lens, there.position) == ("Canon EOS R5", "RF35mm F1.8", (-52.37025, -4.895167))
    assert [(text.kind, text.text) for text in there.texts] == [(Kind.CREATOR, "Anna")]


def test_position_that_cannot_be_is_none():
    for wrong in ({2: (91.0, 0.0, 0.0)}, {3: "Q"}, {4: (0.0, 0.0, 0.0), 2: (0.0, 0.0, 0.0)}):
        assert said(gps={1: "N", 2: (52.0, 0.0, 0.0), 3: "E", 4: (4.0, 0.0, 0.0)} | wrong).position is None
