"""Paths of pictures that lie elsewhere now."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsearch.errors import QueryError
from mmsearch.store.moves import Moves, move_paths
from tests.store.conftest import list_only

NAMES = st.lists(st.sampled_from([b"a", b"b", b"ab", b"\xff"]), min_size=1, max_size=4)
PATHS = NAMES.map(lambda names: b"/" + b"/".join(names))


def moved(catalog, *moves):
    """Move folders of a catalog, and return how many pictures were moved, and where all lie now."""
    with catalog.writing():
        n = move_paths(catalog, Moves.of({old.encode(): new.encode() for old, new in moves}))
    return n, [image.path for image in catalog.images()]


def typed(catalog):
    return catalog.db.execute("SELECT path, image, text FROM typed ORDER BY path, text").fetchall()


def type_words(catalog, path, text, kind="tag"):
    """List what was typed of a picture, or of a file that is not in the library."""
    image = catalog.image_at(path)
    values = (None if image is None else image.image_id, path, b"h", kind, text)
    with catalog.writing():
        catalog.db.execute("INSERT INTO typed (image, path, hash, kind, text) VALUES (?, ?, ?, ?, ?)", values)


@pytest.fixture
def empty(catalog):
    with catalog.writing():
        for table in ("image", "typed", "bad", "root"):
            catalog.db.execute(f"DELETE FROM {table}")
    return catalog


@settings(max_examples=40)
@given(path=PATHS, old=PATHS, new=PATHS)
def test_a_move_takes_a_folder_and_what_is_below_it_and_no_name_that_begins_alike(path, old, new):
    now = Moves.of({old: new}).moved(path)
    is_below = path.split(b"/")[: old.count(b"/") + 1] == old.split(b"/")
    assert now == (new + path[len(old) :] if is_below else path)


@settings(max_examples=40)
@given(path=PATHS, old=PATHS, new=PATHS)
def test_a_move_and_the_one_back_leave_every_path_as_it_was(path, old, new):
    there = Moves.of({old: new}).moved(path)
    assert there == path or Moves.of({new: old}).moved(there) == path


def test_the_longest_of_several_folders_counts_and_each_path_is_moved_once(empty):
    list_only(empty, ["/a/1.jpg", "/a/b/2.jpg", "/c/3.jpg"])
    assert moved(empty, ("/a", "/c"), ("/a/b", "/x"), ("/c", "/y")) == (3, ["/c/1.jpg", "/x/2.jpg", "/y/3.jpg"])


def test_two_folders_change_places_with_what_was_typed_of_their_pictures(empty):
    list_only(empty, ["/a/1.jpg", "/b/1.jpg"])
    type_words(empty, b"/a/1.jpg", "first")
    type_words(empty, b"/b/1.jpg", "second")
    before = {text: image for _, image, text in typed(empty)}
    assert moved(empty, ("/a", "/b"), ("/b", "/a"))[0] == 2
    assert typed(empty) == [(b"/a/1.jpg", before["second"], "second"), (b"/b/1.jpg", before["first"], "first")]
    assert empty.image_at(b"/a/1.jpg").image_id == before["second"]


def test_what_was_typed_of_a_file_that_is_away_moves_too_and_is_kept_once(empty):
    list_only(empty, ["/a/1.jpg"])
    type_words(empty, b"/a/1.jpg", "cat")
    type_words(empty, b"/b/1.jpg", "cat")
    type_words(empty, b"/b/1.jpg", "dog")
    moved(empty, ("/a", "/c"), ("/b", "/c"))
    image_id = empty.image_at(b"/c/1.jpg").image_id
    assert typed(empty) == [(b"/c/1.jpg", image_id, "cat"), (b"/c/1.jpg", None, "dog")]


def test_rejected_files_and_folders_move_too(empty):
    list_only(empty, ["/a/1.jpg"])
    with empty.writing():
        for path in (b"/a/1.jpg", b"/b/2.jpg", b"/c/2.jpg"):
            empty.db.execute(
                "INSERT INTO bad (path, size, mtime_ns, code, message) VALUES (?, 1, 1, '', '')", (path,)
            )
        empty.db.executemany("INSERT INTO root VALUES (?)", [(b"/a",), (b"/b",)])
    moved(empty, ("/b", "/c"))
    assert [bad.path for bad in empty.bad_pictures()] == ["/c/2.jpg"]  # of a picture there is nothing to reject
    assert empty.roots() == [b"/a", b"/c"]


def test_rejected_recordings_move_too_and_of_a_recording_there_is_nothing_to_reject(empty):
    with empty.writing():
        empty.db.execute(
            "INSERT INTO sound (path, size, mtime_ns, hash, seconds, problem, n_frames, crc32, peaks) "
            "VALUES (?, 1, 1, x'00', 1, '', 1, 0, x'')",
            (b"/a/1.mp3",),
        )
        for path in (b"/a/1.mp3", b"/b/2.mp3"):
            empty.db.execute("INSERT INTO bad_sound VALUES (?, 1, 1, NULL, '', '', 1)", (path,))
    moved(empty, ("/a", "/c"), ("/b", "/a"))
    assert empty.db.execute("SELECT path FROM bad_sound").fetchall() == [(b"/a/2.mp3",)]


def test_everything_moves_below_another_folder_whatever_bytes_names_have(empty):
    list_only(empty, [os.fsdecode(b"/a\xff/1=2.jpg")])
    assert moved(empty, ("/", "/mnt/old disk/"))[1] == [os.fsdecode(b"/mnt/old disk/a\xff/1=2.jpg")]
    assert moved(empty, ("/mnt/old disk", "/"))[1] == [os.fsdecode(b"/a\xff/1=2.jpg")]


@pytest.mark.parametrize(
    ("moves", "sentence"),
    [
        ([("/d", "/e")], "nothing in the backup is at or below /d, .*; it holds /a, /b"),
        ([("/a", "/b")], "/a/1.jpg and /b/1.jpg would both be /b/1.jpg; move them to different places"),
        ([("a", "/b")], "a is no absolute path"),
        ([("/a", "b")], "b is no absolute path"),
    ],
)
def test_moves_that_cannot_be_meant_are_refused_and_nothing_moves(empty, moves, sentence):
    list_only(empty, ["/a/1.jpg", "/b/1.jpg"])
    with empty.writing():
        empty.db.executemany("INSERT INTO root VALUES (?)", [(b"/a",), (b"/b",)])
    with pytest.raises(QueryError, match=sentence):
        moved(empty, *moves)
    assert [image.path for image in empty.images()] == ["/a/1.jpg", "/b/1.jpg"]


def test_two_captions_that_were_typed_for_one_path_are_refused(empty):
    list_only(empty, ["/a/1.jpg"])
    type_words(empty, b"/a/1.jpg", "a cat", "caption")
    type_words(empty, b"/b/1.jpg", "a dog", "caption")
    with pytest.raises(QueryError, match=r"the captions of /a/1.jpg and /b/1.jpg would both be /b/1.jpg"):
        moved(empty, ("/a", "/b"))
