"""Sidecars that are written, read again by what reads those of other programs."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from mmsearch.annotations.base import Annotation, Kind, annotation
from mmsearch.annotations.xmp import xmp_annotations
from mmsearch.annotations.xmp_sidecar import xmp_sidecar

LISTED = (Kind.CREATOR, Kind.TAG, Kind.PERSON)


def said(annotations, kind):
    return [text.text for text in annotations if text.kind is kind]


def test_what_is_written_is_read_again():
    annotations = [
        Annotation(Kind.NAME, "file name", "sunset over Rome"),
        Annotation(Kind.TITLE, "user", "Rome <2019> & more"),
        Annotation(Kind.CAPTION, "user", "Anna's wedding"),
        Annotation(Kind.TAG, "user", "wedding"),
        Annotation(Kind.TAG, "user", "Places > Italy > Rome"),
        Annotation(Kind.PERSON, "user", "Anna"),
        Annotation(Kind.PLACE, "user", "Roma"),
        Annotation(Kind.CREATOR, "user", "José"),
    ]
    texts = xmp_annotations(xmp_sidecar(annotations)).texts
    assert said(texts, Kind.TITLE) == ["Rome <2019> & more"]
    assert said(texts, Kind.CAPTION) == ["Anna's wedding"]
    assert said(texts, Kind.TAG) == ["wedding", "Rome", "Places > Italy > Rome"]
    assert said(texts, Kind.PERSON) == ["Anna"]
    assert said(texts, Kind.PLACE) == ["Roma"]
    assert said(texts, Kind.CREATOR) == ["José"]
    assert not said(texts, Kind.NAME)


@given(st.lists(st.tuples(st.sampled_from(LISTED), st.text(min_size=1)), max_size=6))
def test_no_text_is_lost_or_changed(wanted):
    annotations = [one for kind, text in wanted for one in annotation(kind, "user", text.replace(">", ""))]
    document = xmp_sidecar(annotations)
    document.decode("utf-8")
    texts = xmp_annotations(document).texts
    for kind in LISTED:
        assert set(said(texts, kind)) == set(said(annotations, kind))
    assert all(unicodedata.is_normalized("NFC", text.text) for text in texts)


def test_of_nothing_a_sidecar_says_nothing():
    assert not xmp_annotations(xmp_sidecar([])).texts
