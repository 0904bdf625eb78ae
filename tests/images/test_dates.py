"""The date of the photograph comes from what says it, and from nothing else."""

from __future__ import annotations

import zlib

import pytest
from PIL import Image

from mmsearch.images import decode
from mmsearch.records import Preprocessing
from tests import pictures

SMALL = Preprocessing(size=(16, 16), resize=16)
ORIGINAL, DIGITIZED, CHANGED = 0x9003, 0x9004, 0x0132


def exif_of(tags):
    """EXIF whose directory of the photograph has these tags."""
    exif = Image.Exif()
    exif[CHANGED] = "2024:02:02 10:00:00"
    exif.get_ifd(0x8769).update(tags)
    return exif


def taken(tags, packet=b"", format_="JPEG"):
    options = {"xmp": packet} if packet and format_ != "TIFF" else {}
    exif = exif_of(tags)
    if format_ == "TIFF":
        exif[0x8769] = 0  # Pillow writes the directory then, and where it stands
        if packet:
            exif[700] = packet
    data = pictures.saved(pictures.photo(32, 24), format_, exif=exif, **options)
    if format_ == "PNG" and packet:
        data = pictures.with_chunk(data, b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet)
    return decode(data, SMALL).taken_at


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2019:03:04 05:06:07", "2019-03-04T05:06:07"),
        ("2019-03-04 05:06:07", "2019-03-04T05:06:07"),
        ("2019/03/04 5:06:07", "2019-03-04T05:06:07"),
        ("2019.03.04 05:06:07", "2019-03-04T05:06:07"),
        ("2019-03-04T05:06:07.250+09:00", "2019-03-04T05:06:07"),
        ("2019-03-04T05:06Z", "2019-03-04T05:06:00"),
        ("20190304T050607", "2019-03-04"),
        ("  2019:03:04 05:06:07\0\0", "2019-03-04T05:06:07"),
        ("2019:03:04 05:06:07 PM", "2019-03-04T17:06:07"),
        ("2019:03:04 12:06:07 am", "2019-03-04T00:06:07"),
        ("2019:03:04 24:00:00", "2019-03-04T00:00:00"),
        ("2019:03:04 99:00:00", "2019-03-04"),
        ("2019:03:04   :  :  ", "2019-03-04"),
        ("2019:03:04", "2019-03-04"),
        ("2019: 3: 4  5: 6: 7", "2019-03-04T05:06:07"),  # as some cameras fill up what has one digit
        ("2019:12: 4 05:06:07", "2019-12-04T05:06:07"),
        ("2019-03", "2019-03"),
        ("1985", "1985"),
        ("1826:06:01 12:00:00", "1826-06-01T12:00:00"),
        ("2020:02:29 00:00:00", "2020-02-29T00:00:00"),
    ],
)
def test_date_is_read_as_precisely_as_it_is_written(written, expected):
    assert taken({ORIGINAL: written}) == expected


NO_DATES = [
    "0000:00:00 00:00:00", "", " ", "    :  :     :  :  ", "\0" * 19, "2019:02:29 00:00:00", "2019:13:01 00:00:00",
    "2019:00:00 00:00:00", "1825:01:01 00:00:00", "2100:01:01 00:00:00", "9999:12:31 23:59:59", "unknown",
    "2019 or so", "2019 12:00", "2019:  :  ",
]  # fmt: skip


@pytest.mark.parametrize("written", NO_DATES)
def test_what_is_no_date_does_not_hide_the_next_one(written):
    assert taken({ORIGINAL: written, DIGITIZED: "2003:09:10 20:59:18"}) == "2003-09-10T20:59:18"
    packet = pictures.xmp('xmp:CreateDate="2001-01-01"')
    assert taken({ORIGINAL: written, DIGITIZED: written}, packet) == "2001-01-01"


def test_time_of_a_change_is_never_the_date():
    assert taken({}) is None
    assert taken({}, pictures.xmp('xmp:ModifyDate="2024-01-01" xmp:MetadataDate="2024-01-01"')) is None


def test_digitized_stands_behind_the_original_and_before_xmp():
    packet = pictures.xmp('photoshop:DateCreated="2001-01-01"')
    assert taken({DIGITIZED: "2003:07:01 08:00:00"}, packet) == "2003-07-01T08:00:00"
    assert taken({DIGITIZED: "2003:07:01 08:00:00", ORIGINAL: "2002:07:01 08:00:00"})[:4] == "2002"


def test_date_stands_in_the_main_directory_of_some_files():
    exif = Image.Exif()
    exif[ORIGINAL] = "2019:03:04 05:06:07"  # as TIFF/EP has it
    assert (
        decode(pictures.saved(pictures.photo(32, 24), "TIFF", exif=exif), SMALL).taken_at == "2019-03-04T05:06:07"
    )


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_every_format_has_its_date_in_exif_or_xmp(format_):
    assert taken({ORIGINAL: "2019:03:04 05:06:07"}, format_=format_) == "2019-03-04T05:06:07"
    assert taken({}, pictures.xmp('photoshop:DateCreated="2019-03-04"'), format_) == "2019-03-04"


def test_properties_of_xmp_have_their_order():
    names = ["photoshop:DateCreated", "exif:DateTimeOriginal", "exif:DateTimeDigitized", "xmp:CreateDate"]
    for first in range(len(names)):
        listed = [f'{name}="200{number}-01-01"' for number, name in enumerate(names) if number >= first]
        assert taken({}, pictures.xmp(" ".join(reversed(listed)))) == f"200{first}-01-01"
    blank = 'photoshop:DateCreated="" exif:DateTimeOriginal="0000-00-00" xmp:CreateDate="2005-01-01"'
    assert taken({}, pictures.xmp(blank)) == "2005-01-01"


def test_damaged_exif_leaves_the_date_to_xmp_and_the_picture_to_itself():
    packet = pictures.xmp('xmp:CreateDate="2005-01-01"')
    data = pictures.saved(pictures.photo(32, 24), "JPEG", exif=b"Exif\0\0" + b"\xff" * 60, xmp=packet)
    assert decode(data, SMALL).taken_at == "2005-01-01"


def test_date_in_a_history_that_is_too_long_to_keep_is_kept():
    entries = "<xmpMM:History>%s</xmpMM:History>" % ("saved with a name that repeats itself " * 40_000)
    packet = pictures.xmp('xmp:CreateDate="2005-01-01" xmlns:tiff="t" tiff:Orientation="6"', entries)
    body = b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(packet)
    picture = decode(pictures.with_chunk(pictures.saved(pictures.photo(32, 24), "PNG"), b"iTXt", body), SMALL)
    assert (picture.taken_at, picture.width, picture.height) == ("2005-01-01", 24, 32)
