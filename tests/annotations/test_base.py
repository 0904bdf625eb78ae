"""Texts of strangers become short clean lines, and a picture keeps a bounded number of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.annotations import LIMIT_BYTES, Annotation, Annotations, Kind, merge
from mmsearch.annotations.text import cleaned, decoded


def tags(*texts):
    return Annotations(tuple(Annotation(Kind.TAG, "xmp:dc:subject", text) for text in texts))


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("two\r\ndogs\tplay ", "two dogs play"),
        ("\x1b[31mred\x1b[0m\x07", "[31mred [0m"),
        ("<b>two</b> & <script>", "<b>two</b> & <script>"),
        ("cut\0 off", "cut off"),
        ("half \ud83d of a pair", "half of a pair"),
        ("Cafe\u0301", "Café"),
        ("一只狗\u2028हिन्दी\u0085ไทย", "一只狗 हिन्दी ไทย"),
        ("\N{DOG FACE}", "\N{DOG FACE}"),
        (" .,- \n", ""),
        ("\ufeffdog\ufeff", "dog"),
    ],
)
def test_text_becomes_one_line_without_controls(written, expected):
    assert cleaned(written) == expected


@given(st.text())
def test_cleaned_text_is_its_own_cleaned_form_and_can_be_stored(text):
    line = cleaned(text)
    assert cleaned(line) == line
    line.encode()


@given(st.binary())
def test_any_bytes_are_decoded(data):
    decoded(data)


def test_merge_drops_the_same_text_of_the_same_kind_and_keeps_the_first_source():
    title = Annotation(Kind.TITLE, "xmp:dc:title", "dog")
    again = Annotation(Kind.TITLE, "iptc:ObjectName", "dog")
    assert merge(tags("dog"), Annotations((title, again))).texts == (*tags("dog").texts, title)


def test_merge_takes_the_first_position_and_the_last_camera_and_lens_that_are_there():
    first = Annotations(camera="X-T3 of a copy", lens="35 mm", position=(1.0, 2.0))
    second = Annotations(camera="X-T3", position=(3.0, 4.0))
    assert merge(first, second) == Annotations((), "X-T3", "35 mm", (1.0, 2.0))


def test_merge_leaves_out_what_does_not_fit_and_keeps_shorter_texts_behind_it():
    half, more = "ä" * (LIMIT_BYTES // 4), "ö" * (LIMIT_BYTES // 4 + 1)
    assert merge(tags(half, more, "dog")).texts == tags(half, "dog").texts
    assert merge(tags(half), tags(half[1:] + "dd")).texts == tags(half, half[1:] + "dd").texts
