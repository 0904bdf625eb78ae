"""A backup or a restore that is killed or refused by the disk leaves nothing half done under its name."""

from __future__ import annotations

import errno
import os
import signal
import sys
from pathlib import Path

import pytest

from mmsearch import Library
from mmsearch.errors import MmsearchError, StorageError
from mmsearch.store.folder import Store
from mmsearch.store.verify import verify
from tests import warm
from tests.conftest import mounted
from tests.faults.test_disk_errors import failing
from tests.store.test_store import filled

PROGRAM = Path(__file__).parent / "killed_backup.py"
BACKUP = [("link:before", 1), ("link:after", 1), ("copy:before", 1), ("member:before", 2), ("report:before", 1)]
RESTORE = [
    ("replace:before", 4), ("replace:after", 4), ("sync:before", 1), ("sync:after", 2), ("catalog:after", 1),
    ("move:after", 1), ("note:before", 1), ("note:after", 1), ("replace:after", 2), ("replace:after", 3),
    ("folder:before", 1), ("folder:after", 1),
]  # fmt: skip
CALLS = ["fdatasync", "fsync", "replace", "mkdir", "open"]


def small_and_full(points, n):
    """Every point; those after the first n in the long tier alone."""
    return [*points[:n], *(pytest.param(*point, marks=pytest.mark.full) for point in points[n:])]


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept")
    filled(folder / "library")
    with Library.open(folder / "library") as library:
        library.backup(folder / "a.backup")
    return folder


def killed(*arguments):
    done = warm.run([sys.executable, PROGRAM, *map(str, arguments)], text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr


def assert_whole(library):
    """Expect the ten pictures of the backup where they were moved to."""
    with Store.writer(library) as store:
        assert [image.path for image in store.catalog.images()] == [f"/moved/{i}.jpg" for i in range(10)]
        assert verify(store).problems == ()
    assert sorted(os.listdir(library)) == ["catalog.sqlite", "history.json", "lock", "vectors-0.f16"]


@pytest.mark.parametrize(("point", "count"), small_and_full(BACKUP, 1))
def test_a_backup_that_is_killed_has_its_name_whole_or_not_at_all(kept, tmp_path, point, count):
    killed("backup", kept / "library", tmp_path / "a.backup", point, count)
    with Library.open(tmp_path / "back") as library:
        if (tmp_path / "a.backup").exists():
            assert point == "link:after"
            assert library.restore(tmp_path / "a.backup").n_pictures == 10
        with Library.open(kept / "library") as again:
            assert again.backup(tmp_path / "b.backup").n_pictures == 10


@pytest.mark.parametrize(("point", "count"), small_and_full(RESTORE, 2))
def test_a_restore_that_is_killed_leaves_a_whole_library_or_none(kept, tmp_path, point, count):
    library = tmp_path / "library"
    killed("restore", library, kept / "a.backup", point, count)
    if not (library / "catalog.sqlite").exists():
        with Library.open(library) as opened:
            opened.restore(kept / "a.backup", move={"/photos": "/moved"})
    assert_whole(library)


@pytest.mark.parametrize("call", CALLS)
def test_a_disk_that_refuses_at_any_call_leaves_nothing_half_done(kept, tmp_path, monkeypatch, call):
    library, k, is_over = tmp_path / "library", 0, False
    while not is_over:
        k += 1
        refusing = failing(getattr(os, call), k, errno.ENOSPC)
        with monkeypatch.context() as patched, Library.open(library) as opened:
            patched.setattr(os, call, refusing)
            try:
                opened.restore(kept / "a.backup", move={"/photos": "/moved"})
            except (MmsearchError, OSError) as error:
                assert isinstance(error, StorageError), (k, error)
            is_over = refusing.n < k
        if (library / "catalog.sqlite").exists():
            assert_whole(library)
            for path in library.iterdir():
                path.unlink()
        assert not (library / "restoring").exists()
    assert k > 1


def test_a_full_disk_refuses_a_backup_in_a_sentence_and_keeps_no_part_of_it(kept, tmp_path):
    with mounted(tmp_path / "disk", "96k") as disk, Library.open(kept / "library") as library:
        with pytest.raises(StorageError, match=r"No space left on device.*; free some space"):
            library.backup(disk / "a.backup")
        assert os.listdir(disk) == []
