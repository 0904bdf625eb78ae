"""Nobody but the user of a library may read it, whatever the umask and whatever was there before."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager

import pytest

from mmsearch import Library
from mmsearch.samples import sample_folder
from mmsearch.store.thumbnails import KeptThumbnails


@contextmanager
def umask(mask):
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def modes(folder):
    """The mode of everything in a folder, by its name."""
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")}


@pytest.fixture
def ten(tmp_path):
    """A folder of as many pictures as make a vocabulary."""
    folder = tmp_path / "ten"
    folder.mkdir()
    for name in ("cat", "dam", "fig", "moose", "panda", "rocket", "louvre", "drum", "creek", "coffee"):
        (folder / f"{name}.jpg").symlink_to(sample_folder() / f"{name}.jpg")
    return folder


@pytest.mark.parametrize("mask", [0, 0o022])
def test_all_that_a_library_writes_is_its_users_alone(tmp_path, ten, checkpoint, cache, tiny_folder, mask):
    (tmp_path / "library").mkdir(mode=0o755)
    with umask(mask), Library.open(tmp_path / "library", cache=cache) as library:
        library.index(ten, model=str(checkpoint), follow_links=True)
        library.search("a cat")
        KeptThumbnails(library.folder / "thumbnails.sqlite").put(b"h" * 32, 160, b"\xff\xd8")
        modes_seen = modes(library.folder)
        assert {"catalog.sqlite", "catalog.sqlite-wal", "queries.sqlite", "thumbnails.sqlite", "words-1.bin",
                "vectors-0.f16", "image.onnx"} <= set(modes_seen)  # fmt: skip
        assert {mode & 0o077 for mode in modes_seen.values()} == {0}
        assert stat.S_IMODE(library.folder.stat().st_mode) == 0o700


def test_what_others_may_read_is_named_and_closed_by_the_next_writer(indexed, photos):
    indexed.folder.chmod(0o755)
    (indexed.folder / "catalog.sqlite").chmod(0o644)
    (problem,) = indexed.status().problems
    assert "other users of this machine may read catalog.sqlite" in problem
    report = indexed.verify()
    assert (report.problems, report.notices) == ((), (problem,))
    indexed.index(photos, local=False)
    assert (indexed.status().problems, indexed.verify().notices) == ((), ())
    assert stat.S_IMODE(indexed.folder.stat().st_mode) == 0o700
    assert modes(indexed.folder)["catalog.sqlite"] == 0o600


def test_closed_files_in_an_open_folder_and_open_files_in_a_closed_one_are_nobodys_business(indexed):
    indexed.folder.chmod(0o755)
    assert indexed.status().problems == ()
    indexed.folder.chmod(0o700)
    (indexed.folder / "catalog.sqlite").chmod(0o644)
    assert indexed.status().problems == ()


def test_folder_that_holds_other_things_too_is_left_as_it_is(indexed, photos):
    (indexed.folder / "notes.txt").write_text("of another program")
    for path in (indexed.folder, indexed.folder / "catalog.sqlite", indexed.folder / "notes.txt"):
        path.chmod(path.stat().st_mode | 0o055)
    indexed.index(photos, local=False)
    assert stat.S_IMODE(indexed.folder.stat().st_mode) == 0o755
    modes_seen = modes(indexed.folder)
    assert (modes_seen["notes.txt"] & 0o055, modes_seen["catalog.sqlite"]) == (0o055, 0o600)
    assert indexed.status().problems == ()
