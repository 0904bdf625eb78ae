"""Faces in the catalog: with their pictures, for copies, damaged, unwanted, and erased so that nothing is left."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import numpy as np
import pytest

from mmsearch.errors import GroupNotFoundError, LibraryLockedError, VectorError
from mmsearch.records import READING, FileLook
from mmsearch.store import faces as store_faces
from mmsearch.store import text_index
from mmsearch.store.changes import Changes, StoredFile, TouchedFile
from mmsearch.store.folder import Store
from tests.faces.packed import face, packed


@pytest.fixture
def store(tmp_path):
    settings = {"dim": 0, "fingerprint": "f" * 64, "model": "any"}
    with Store.writer(tmp_path / "library", create=settings) as writer:
        writer.faces.want(True)
        yield writer


def picture(path, contents, faces=None):
    return StoredFile(path.encode(), FileLook(1, 2, 3), contents.encode(), 1, 1, "JPEG", None, READING, faces=faces)


def add(store, *files):
    store.commit(Changes(stored=list(files)))


def kept(store):
    """How many faces each picture has, by path."""
    faces = store.faces.load()
    paths = {image.image_id: image.path for image in store.images_of_ids(faces.image_ids.tolist())}
    counts = dict(zip(*np.unique(faces.image_ids, return_counts=True), strict=True))
    return {paths[image_id]: n for image_id, n in counts.items()}


def unseen(store):
    return [path for path, _ in store.faces.missing()]


def test_pictures_come_and_leave_with_their_faces(store):
    add(store, picture("/a", "1", packed(face(1), face(2), n_too_small=3)), picture("/b", "2", packed(face(1, 1))))
    assert kept(store) == {"/a": 2, "/b": 1}
    np.testing.assert_array_equal(store.faces.load().records["vector"][1], face(2).vector)
    assert vars(store.faces.facts()) == {"n_images": 2, "n_faces": 3, "n_too_small": 3}
    store.remove_images([store.image_at(b"/a").image_id])
    assert kept(store) == {"/b": 1}
    assert store.catalog.count("item") == 2  # the face, and that its picture was looked at


def test_a_picture_without_faces_is_not_looked_at_again_and_one_of_before_is(store):
    add(store, picture("/none", "1", packed(n_too_small=1)), picture("/before", "2"))
    assert (kept(store), unseen(store)) == ({}, [b"/before"])
    store.faces.keep({b"2": packed(face(1))})
    assert (kept(store), unseen(store)) == ({"/before": 1}, [])


def test_copies_share_faces_moves_keep_and_changes_replace_them(store):
    add(store, picture("/a", "1", packed(face(1))))
    store.people.group(lambda *_: None)
    add(store, picture("/copy", "1"), picture("/other", "2", packed()))
    assert kept(store) == {"/a": 1, "/copy": 1}
    assert (store.faces.load().groups == store.faces.load().groups[0]).all()
    moved = TouchedFile(store.image_at(b"/a").image_id, b"/moved", FileLook(1, 2, 3))
    store.commit(Changes(touched=[moved]))
    assert kept(store) == {"/moved": 1, "/copy": 1}
    add(store, picture("/copy", "3"))
    assert (kept(store), unseen(store)) == ({"/moved": 1}, [b"/copy"])


def test_a_damaged_face_does_not_count_and_is_found_anew_after_a_repair(store):
    add(store, picture("/a", "1", packed(face(1), face(2))), picture("/b", "2", packed(face(3))))
    with closing(sqlite3.connect(store.catalog.path)) as db, db:
        db.execute("UPDATE item SET vector = zeroblob(540) WHERE made_of = CAST('1' AS BLOB) AND part = 1")
    assert kept(store) == {"/a": 1, "/b": 1}
    assert any("differ from their checksums" in problem for problem in store.verify().problems)
    store.verify(is_repair=True)
    assert (store.verify().problems, unseen(store)) == ((), [b"/a"])


def test_a_library_that_was_not_asked_keeps_no_faces(tmp_path):
    with Store.writer(tmp_path / "plain", create={"dim": 0, "fingerprint": "f" * 64, "model": "any"}) as plain:
        add(plain, picture("/a", "1", packed(face(1))))
        assert (plain.catalog.count("item"), plain.faces.facts()) == (0, None)


def test_faces_that_were_described_in_another_way_are_forgotten(store, monkeypatch):
    add(store, picture("/a", "1", packed(face(1))))
    assert store.faces.want(True) == 0
    monkeypatch.setattr(store_faces, "kind_of_faces", lambda: {"version": 2})
    assert store.faces.want(True) == 1
    assert (kept(store), unseen(store)) == ({}, [b"/a"])


@pytest.mark.parametrize("value", [np.nan, np.inf, 0])
def test_a_vector_without_direction_is_refused(value):
    unfit = face(1)
    unfit.vector[:] = value
    with pytest.raises(VectorError, match="faces: row 0 of 1 is zero or not finite"):
        packed(unfit)


def left_in_files(store, *traces):
    """Names of the files of a library in which one of some bytes stands."""
    files = [path for path in store.folder.rglob("*") if path.is_file()]
    return {path.name for path in files for trace in traces if trace in path.read_bytes()}


def named_library(store):
    """Give a library many faces, two people and their names; return what must not be left of it."""
    for person in range(2):
        add(store, *(picture(f"/{person}-{n}", f"{person}-{n}", packed(face(person, n))) for n in range(40)))
    add(store, picture("/0-39", "changed", packed(face(7))))  # what was there before is in a free page
    store.people.group(lambda *_: None)
    for person, name in zip(store.people.all(), ("Wilhelmina", "Cassiopeia"), strict=False):
        store.people.name(person.group, name)
    store.annotations.settle()
    return [face(0, n).vector.tobytes()[:64] for n in (0, 39)] + [b"ilhelmina", b"assiopeia"]


def test_of_faces_that_are_not_wanted_any_more_nothing_is_left_in_any_file(store, monkeypatch):
    monkeypatch.setattr(text_index, "_LEAST", 0)  # so that words are published, too
    store.catalog.db.execute("PRAGMA secure_delete = OFF")  # as some builds of SQLite have it
    traces = named_library(store)
    assert all(left_in_files(store, trace) for trace in traces)
    assert any(name.endswith(".bin") for name in left_in_files(store, b"wilhelmina"))
    assert store.faces.want(False) == 80
    assert left_in_files(store, *traces, b"wilhelmina") == set()
    store.annotations.settle()
    assert left_in_files(store, *traces) == set()
    assert (store.verify().problems, store.faces.facts()) == ((), None)


def test_verify_names_what_is_left_of_faces(store):
    named_library(store)
    store.keep({"faces": False})
    assert store.verify().problems == (
        "80 faces are kept, although none are to be",
        "80 groups of faces are kept, although none are to be",
        "79 names of faces are kept, although none are to be",
    )


def test_what_cannot_be_erased_while_another_reads_is_said_and_erased_later(store, monkeypatch):
    traces = named_library(store)
    store.catalog.db.execute("PRAGMA busy_timeout = 0")
    with closing(sqlite3.connect(store.catalog.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM item").fetchone()
        with pytest.raises(LibraryLockedError, match="is still in the log, as another process reads"):
            store.faces.want(False)
        (problem,) = store.verify().problems
        assert problem.startswith("faces that were forgotten are still in the catalog")
    store.faces.want(False)
    assert (store.verify().problems, left_in_files(store, *traces)) == ((), set())


def test_a_group_that_could_be_forgotten_but_not_erased_is_erased_when_that_is_asked_again(store):
    traces = named_library(store)
    forgotten = store.people.all()[0].group
    store.catalog.db.execute("PRAGMA busy_timeout = 0")
    with closing(sqlite3.connect(store.catalog.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM item").fetchone()
        with pytest.raises(LibraryLockedError):
            store.people.forget(forgotten)
        (problem,) = store.verify().problems
        assert problem.endswith("; the next `mmsearch index` erases them")
    with pytest.raises(GroupNotFoundError):
        store.people.forget(forgotten)
    assert (store.verify().problems, left_in_files(store, traces[2])) == ((), set())
