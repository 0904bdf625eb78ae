"""Names of files and folders say what people wrote there, and nothing that a camera or clock did."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.annotations import Annotation, Kind
from mmsearch.annotations.names import of_file, of_folder, words_in


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("two_dogs-in.the snow", "two dogs in the snow"),
        ("myHolidayPhoto", "my Holiday Photo"),
        ("HTMLPage", "HTML Page"),
        ("iPhone and eBay", "iPhone and eBay"),
        ("Apollo11landing", "Apollo 11 landing"),
        ("Anna's birthday, Köln!", "Anna's birthday Köln"),
        ("Cafe\u0301", "Café"),
        ("小狗在雪地里_2", "小狗在雪地里 2"),
        ("हिन्दी_ภาษาไทย", "हिन्दी ภาษาไทย"),
        ("Красная-площадь", "Красная площадь"),
        ("犬", "犬"),
        ("Italy 2019", "Italy 2019"),
        ("2019-07-04 Rome", "Rome"),
        ("20190704_Rome", "Rome"),
        ("2019-07 Rome", "Rome"),
        ("04.07.2019 Rome", "Rome"),
        ("Screenshot 2023-05-01 at 10.00.00", "Screenshot at"),
        ("beach (2)", "beach"),
        ("beach_00017", "beach"),
        ("IMG_1234 wedding", "wedding"),
        ("wedding_DSC00012", "wedding"),
    ],
)
def test_words_of_a_name_are_what_people_wrote(name, words):
    assert words_in(name.encode()) == words


@pytest.mark.parametrize(
    "name",
    [
        "IMG_1234", "img_1234", "IMG_E1234", "DSC00012", "DSC_0012", "_DSC0012", "DSCN1234", "DSCF1234", "_MG_1234",
        "P1010001", "GX010123", "GOPR0123", "DJI_0012", "MVI_1234", "100_1234", "CIMG1234", "SAM_0123", "_A7R1234",
        "PXL_20230501_123456789.MP", "IMG_20230501_123456", "IMG-20230501-WA0001", "VID_20230501_123456",
        "20230501_123456", "2023-05-01 12.34.56", "2023", "05", "12345", "FB_IMG_1583412345678", "DCIM", "100CANON",
        "101_PANA", "2513260012_03d33305cf", "0f8fad5b-d9cb-469f-a165-70867728950e", "a", "", "...", "IMG_1234 (1)",
    ],
)  # fmt: skip
def test_names_that_cameras_and_programs_give_have_no_words(name):
    assert words_in(name.encode()) == ""


def test_file_has_the_words_of_its_name():
    assert of_file(b"IMG_1234-Trevi.jpg") == (Annotation(Kind.NAME, "file name", "Trevi"),)


def test_folder_has_the_words_of_its_path_from_the_outermost_root_on():
    roots = {b"/home/Anna/Reisen", b"/home/Anna/Reisen/DCIM"}
    assert of_folder(b"/home/Anna/Reisen/DCIM/Rom_2019", roots) == (
        Annotation(Kind.FOLDER, "folder", "Rom 2019"),
        Annotation(Kind.FOLDER, "folder", "Reisen"),
    )
    assert of_folder(b"/home/Anna/elsewhere", roots) == ()


def test_name_that_is_not_utf_8_is_read_as_latin_1():
    assert [text.text for text in of_file("Grüße.jpg".encode("latin-1"))] == ["Grüße"]


@given(st.text(max_size=60) | st.binary(max_size=60).map(os.fsdecode))
def test_any_name_has_words_without_punctuation(name):
    words = words_in(name.encode("utf-8", "surrogatepass"))
    assert "_" not in words
    assert words == " ".join(words.split())
