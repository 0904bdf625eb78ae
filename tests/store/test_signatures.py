"""Signatures in the catalog: with their pictures, for copies, and of another kind after a change of version."""

from __future__ import annotations

import sqlite3

import numpy as np
import pytest

from mmsearch.records import READING, SIGNATURE_SIDE, FileLook, luminance_layout
from mmsearch.store import signatures
from mmsearch.store.changes import Changes, StoredFile
from mmsearch.store.folder import Store

LAYOUT = luminance_layout(SIGNATURE_SIDE)


@pytest.fixture
def store(tmp_path):
    with Store.writer(tmp_path / "library", create={"dim": 0, "fingerprint": "f" * 64, "model": "any"}) as writer:
        yield writer


def signature(number):
    packed = np.zeros((), LAYOUT)
    packed["grid"] = np.random.default_rng(number).integers(-127, 128, (SIGNATURE_SIDE, SIGNATURE_SIDE))
    return packed.tobytes()


def picture(path, contents, made=None):
    return StoredFile(
        path.encode(), FileLook(1, 2, 3), contents.encode(), 1, 1, "JPEG", None, READING, signature=made
    )


def kept(store):
    """The signatures by the paths of their pictures."""
    paths = {image.image_id: image.path for image in store.images_of_ids(list(store.signatures.load()))}
    return {paths[image_id]: light.tobytes() for image_id, light in store.signatures.load().items()}


def add(store, *files):
    store.commit(Changes(stored=list(files)))


def test_pictures_come_and_leave_with_their_signatures(store):
    add(store, picture("/a", "1", signature(1)), picture("/b", "2", signature(2)))
    assert kept(store) == {"/a": signature(1), "/b": signature(2)}
    store.remove_images([store.image_at(b"/a").image_id])
    assert kept(store) == {"/b": signature(2)}
    assert store.catalog.count("item") == 1


def test_contents_that_change_bring_their_own_signature_or_none(store):
    add(store, picture("/a", "1", signature(1)))
    add(store, picture("/a", "2", signature(2)))
    assert kept(store) == {"/a": signature(2)}
    add(store, picture("/a", "3"))
    assert kept(store) == {}
    assert store.signatures.unsigned() == [(b"/a", b"3")]


def test_a_copy_takes_the_signature_that_its_contents_have(store):
    add(store, picture("/a", "1", signature(1)))
    add(store, picture("/copy", "1"), picture("/other", "2"))
    assert kept(store) == {"/a": signature(1), "/copy": signature(1)}
    store.signatures.keep({b"2": signature(2)})
    assert kept(store)["/other"] == signature(2)
    assert store.signatures.unsigned() == []


def test_a_picture_of_one_colour_is_signed_and_has_no_light(store):
    add(store, picture("/plain", "1", b""))
    assert (kept(store), store.signatures.unsigned()) == ({}, [])


def test_a_signature_that_is_damaged_does_not_count_and_is_made_anew_after_a_repair(store):
    add(store, picture("/a", "1", signature(1)), picture("/b", "2", signature(2)))
    with sqlite3.connect(store.catalog.path) as db:
        db.execute("UPDATE item SET vector = zeroblob(267) WHERE made_of = CAST('1' AS BLOB)")
    assert kept(store) == {"/b": signature(2)}
    assert any("differ from their checksums" in problem for problem in store.verify().problems)
    store.verify(is_repair=True)
    assert store.verify().problems == ()
    assert store.signatures.unsigned() == [(b"/a", b"1")]


def test_signatures_that_another_version_made_in_another_way_do_not_count(store, monkeypatch):
    add(store, picture("/a", "1", signature(1)), picture("/b", "2", signature(2)))
    monkeypatch.setattr(signatures, "_KEY", (signatures.CHANNEL, "another"))
    monkeypatch.setattr(signatures, "_FACTS", "another")
    assert (kept(store), len(store.signatures.unsigned())) == ({}, 2)
    add(store, picture("/c", "3", signature(3)))
    assert kept(store) == {"/c": signature(3)}
    assert store.catalog.count("item") == 1
