"""IPTC blocks are read as far as their lengths fit, whatever program wrote them in whatever encoding."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.annotations.iptc import iptc_annotations
from tests.annotations.files import UTF_8, dataset

CAPTION = 2, 120


def texts(block):
    return [(text.kind.value, text.source, text.text) for text in iptc_annotations(block)]


def test_every_field_has_its_kind():
    fields = {
        (2, 5): "A walk", (2, 105): "Dogs", CAPTION: "Two dogs.\rIn the snow.", (2, 25): "dog", (2, 90): "Oslo",
        (2, 92): "Frogner", (2, 95): "Oslo fylke", (2, 101): "Norway", (2, 27): "the park", (2, 80): "Anna",
        (2, 55): "20190704", (1, 0): "\0\4",
    }  # fmt: skip
    assert texts(b"".join(dataset(*field, value.encode()) for field, value in fields.items())) == [
        ("title", "iptc:ObjectName", "A walk"), ("title", "iptc:Headline", "Dogs"),
        ("caption", "iptc:Caption-Abstract", "Two dogs. In the snow."), ("tag", "iptc:Keywords", "dog"),
        ("place", "iptc:City", "Oslo"), ("place", "iptc:Sub-location", "Frogner"),
        ("place", "iptc:Province-State", "Oslo fylke"), ("place", "iptc:Country-PrimaryLocationName", "Norway"),
        ("place", "iptc:ContentLocationName", "the park"), ("creator", "iptc:By-line", "Anna"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("block", "text"),
    [
        (UTF_8 + dataset(*CAPTION, "Köln".encode()), "Köln"),
        (UTF_8 + dataset(*CAPTION, "dog Köln".encode()[:-3]), "dog K"),  # cut off inside of a letter
        (dataset(*CAPTION, "Köln".encode()), "Köln"),
        (dataset(*CAPTION, "Köln".encode("latin-1")), "Köln"),
        (dataset(1, 90, b"\x1b.A") + dataset(*CAPTION, "Köln".encode("latin-1")), "Köln"),
    ],
)
def test_block_is_read_in_the_encoding_that_it_declares_or_has(block, text):
    assert [said for _, _, said in texts(block)] == [text]


def test_extended_length_is_read():
    value = b"dog " * 10_000
    block = struct.pack(">BBBHI", 0x1C, *CAPTION, 0x8004, len(value)) + value
    assert texts(block + dataset(2, 25, b"snow"))[1] == ("tag", "iptc:Keywords", "snow")


@pytest.mark.parametrize(
    "damaged",
    [
        struct.pack(">BBBH", 0x1C, *CAPTION, 500) + b"cut off",
        struct.pack(">BBBH", 0x1C, *CAPTION, 0x8004) + b"\xff\xff\xff\xff dogs",
        struct.pack(">BBBH", 0x1C, *CAPTION, 0xFFFF) + b"\xff" * 40,
        b"\x1c\x02",
        b"nothing",
        b"\0\0\x1c",
    ],
)
def test_what_stands_before_a_wrong_length_is_read(damaged):
    assert texts(dataset(2, 25, b"dog") + damaged) == [("tag", "iptc:Keywords", "dog")]


@given(st.binary(max_size=80), st.integers(0, 30))
def test_any_bytes_are_read_as_far_as_they_go(junk, at):
    block = UTF_8 + dataset(2, 25, b"dog") + dataset(*CAPTION, b"two dogs")
    texts(block[:at] + junk + block[at:])
    texts(junk)
