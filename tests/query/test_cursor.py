"""Cursors as text: what goes in comes out, and what strangers make of them is refused."""

from __future__ import annotations

import struct
import tracemalloc
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import replace
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch import PictureBytes, Query, Term
from mmsearch.errors import QueryError
from mmsearch.query.cursor import _HEAD, Cursor, read, written
from tests.conftest import random_units

QUERY, FINGERPRINT = Query(text="a cat", where="width > 100"), "f" * 64
CURSOR = Cursor(random_units(1, 8)[0], frozenset(range(1, 1_001)), 1_000, 0.5)
ids = st.frozensets(st.integers(1, 2**63 - 1), max_size=30)
keys = st.none() | st.tuples(st.booleans(), st.floats(-1, 1), st.integers(1, 2**63 - 1))


@given(
    first_page=ids,
    last=keys,
    n=st.integers(0, 2**40),
    best=st.floats(-1, 1),
    example=st.sampled_from([b"", b"e" * 32]),
)
def test_a_cursor_comes_back_as_it_was_written(first_page, last, n, best, example):
    cursor = Cursor(random_units(1, 5)[0], first_page, n, best, last, example)
    same = read(written(cursor, QUERY, FINGERPRINT), QUERY, FINGERPRINT, 5)
    assert replace(same, vector=cursor.vector) == cursor
    assert same.vector.tobytes() == cursor.vector.tobytes()


def test_a_thousand_ids_of_a_library_take_a_byte_each():
    assert len(written(CURSOR, QUERY, FINGERPRINT)) < 4 / 3 * 1_150


@pytest.mark.parametrize(
    "other",
    [
        Query(text="a dog", where="width > 100"), Query(text="a cat"), Query(text="a cat", where="width > 101"),
        Query(text=Term("a cat", 2), where="width > 100"), Query(images="a cat", where="width > 100"),
        Query(text="a cat", where="width > 100", exclude="a cat"), Query(exclude="a cat", where="width > 100"),
        Query(text="a cat", where="width > 100", irrelevant=1), Query("a cat", where="width > 100", relevant=1),
        Query(text="a cat", where="width > 100", vector=[1]),
    ],
)  # fmt: skip
def test_a_cursor_of_another_query_is_refused(other):
    with pytest.raises(QueryError, match="after is the `next` of another query, or of other filters"):
        read(written(CURSOR, QUERY, FINGERPRINT), other, FINGERPRINT, 8)


def test_a_picture_in_memory_is_known_by_its_bytes_and_not_by_its_name():
    def asked(data, name, **options):
        return Query(images=Term(PictureBytes(data, name), **options))

    text = written(CURSOR, asked(b"one", "a.jpg"), FINGERPRINT)
    assert read(text, asked(b"one", "b.jpg"), FINGERPRINT, 8).n_hits == 1_000
    for other in (asked(b"two", "a.jpg"), asked(b"one", "a.jpg", box=(0, 0, 5, 5))):
        with pytest.raises(QueryError, match="another query"):
            read(text, other, FINGERPRINT, 8)


def test_a_cursor_of_another_encoder_is_refused():
    with pytest.raises(QueryError, match="vectors of another encoder than when `after` was given"):
        read(written(CURSOR, QUERY, FINGERPRINT), QUERY, "e" * 64, 8)
    with pytest.raises(QueryError, match="vectors of another encoder"):
        read(written(CURSOR, QUERY, FINGERPRINT), QUERY, FINGERPRINT, 9)


@given(data=st.binary(max_size=400) | st.text(max_size=40))
def test_what_no_search_gave_is_refused_by_a_sentence(data):
    text = data if isinstance(data, str) else urlsafe_b64encode(data).decode()
    with pytest.raises(QueryError, match="expected the `next` of a search, as it was given"):
        read(text, QUERY, FINGERPRINT, 8)


@given(place=st.integers(0), change=st.integers(1, 255), cut=st.none() | st.integers(0, 1_200))
def test_a_cursor_of_which_a_byte_is_changed_or_lost_is_refused(place, change, cut):
    said = bytearray(urlsafe_b64decode(written(CURSOR, QUERY, FINGERPRINT)))
    said[place % len(said)] ^= change
    with pytest.raises(QueryError):
        read(urlsafe_b64encode(said[:cut]).decode(), QUERY, FINGERPRINT, 8)


def made_by_hand(**changes):
    """A cursor whose checksum is right, whatever is in it."""
    said = urlsafe_b64decode(written(CURSOR, QUERY, FINGERPRINT))[:-4]
    names = ("version", "asked", "encoder", "n_hits", "best", "dim", "is_later", "is_other", "negative", "image_id",
             "example", "width")  # fmt: skip
    fields = dict(zip(names, _HEAD.unpack(said[: _HEAD.size]), strict=True))
    head = _HEAD.pack(*(fields | {name: changes[name] for name in names if name in changes}).values())
    vector = changes.get("vector", said[_HEAD.size : _HEAD.size + 32])
    said = head + vector + changes.get("steps", said[_HEAD.size + 32 :])
    return urlsafe_b64encode(said + struct.pack("<I", crc32(said))).decode()


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2}, {"dim": 2**32 - 1}, {"width": 255}, {"width": 3}, {"best": np.nan}, {"best": 1e308},
        {"negative": np.inf, "is_later": True}, {"negative": -1.1, "is_later": True}, {"n_hits": 2**64 - 1},
        {"image_id": 2**63, "is_later": True}, {"vector": b"\xff" * 32}, {"vector": bytes(32)},
        {"vector": np.full(8, 1e38, np.float32).tobytes()}, {"steps": bytes(5)}, {"steps": b"\x01\x00"},
        {"steps": bytes(5), "width": 2},
        {"steps": b"\xff" * 16, "width": 8}, {"steps": bytes(7) + b"\x80", "width": 8},
    ],
)  # fmt: skip
def test_a_cursor_that_somebody_made_up_is_refused_and_takes_no_memory(changes):
    assert read(made_by_hand(), QUERY, FINGERPRINT, 8).first_page == CURSOR.first_page
    text = made_by_hand(**changes)
    tracemalloc.start()
    with pytest.raises(QueryError, match="expected the `next` of a search, as it was given"):
        read(text, QUERY, FINGERPRINT, 8)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
