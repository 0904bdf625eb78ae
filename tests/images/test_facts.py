"""What the EXIF of a file says of its photograph, and what it says that cannot be."""

from __future__ import annotations

import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from mmsearch.images import photo_facts
from tests import pictures

PHOTO = {0x829A: IFDRational(1, 250), 0x829D: IFDRational(28, 10), 0x8827: 400, 0x920A: IFDRational(35, 1),
         0xA434: "XF35mmF1.4 R"}  # fmt: skip
GPS = {1: "N", 2: (52.0, 22.0, 12.9), 3: "E", 4: (4.0, 53.0, 42.6)}
POSITION = {"latitude": 52.37025, "longitude": 4.895167}


def facts(main=None, photo=None, gps=None, *, format_="JPEG"):
    exif = Image.Exif()
    exif.update({} if main is None else main)
    exif.get_ifd(0x8769).update({} if photo is None else photo)
    exif.get_ifd(0x8825).update({} if gps is None else gps)
    return photo_facts(pictures.saved(pictures.photo(32, 24), format_, exif=exif))


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
def test_facts_are_those_of_the_exif(format_):
    said = facts({0x010F: "FUJIFILM", 0x0110: "X-T3"}, PHOTO, GPS, format_=format_)
    assert said == {
        "camera": "FUJIFILM X-T3", "lens": "XF35mmF1.4 R", "exposure_s": 1 / 250, "f_number": 2.8, "iso": 400,
        "focal_length_mm": 35, **POSITION,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("make", "model", "camera"),
    [("Canon", "Canon EOS R5", "Canon EOS R5"), ("NIKON CORPORATION", "NIKON D850", "NIKON D850"),
     ("\0 \0", " Pixel\n7 ", "Pixel 7"), ("Apple", "x" * 5_000, "Apple " + "x" * 100)],
)  # fmt: skip
def test_a_camera_is_named_once_and_shortly(make, model, camera):
    assert facts({0x010F: make, 0x0110: model}) == {"camera": camera}


@pytest.mark.parametrize(
    ("tag", "value"),
    [(0x829A, IFDRational(1, 0)), (0x829A, IFDRational(0, 1)), (0x829D, IFDRational(10**9, 1)), (0x8827, 0),
     (0x920A, "wide"), (0xA434, "   "), (0xA434, b"\xff\xfe\0")],
)  # fmt: skip
def test_a_damaged_fact_is_left_out_and_hides_no_other(tag, value):
    names = dict(zip(PHOTO, ("exposure_s", "f_number", "iso", "focal_length_mm", "lens"), strict=True))
    assert set(facts(photo=PHOTO | {tag: value})) == set(names.values()) - {names[tag]}


@pytest.mark.parametrize(
    "wrong",
    [{1: "Q"}, {2: (52.0, 22.0)}, {2: (91.0, 0.0, 0.0)}, {4: (181.0, 0.0, 0.0)}, {4: (4.0, IFDRational(0, 0), 0.0)},
     {9: "V"}, {2: (0.0, 0.0, 0.0), 4: (0.0, 0.0, 0.0)}],
)  # fmt: skip
def test_a_place_that_cannot_be_is_left_out(wrong):
    assert facts(gps=GPS | wrong) == {}


def test_south_and_west_are_negative():
    there = facts(gps=GPS | {1: "S", 3: "W"})
    assert there == {name: -angle for name, angle in POSITION.items()}


def test_a_file_without_exif_or_with_nonsense_for_it_says_nothing():
    assert facts() == {}
    assert photo_facts(pictures.saved(pictures.photo(32, 24), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")) == {}
