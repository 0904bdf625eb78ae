"""Errors of the operating system: each has its own advice, wherever it is met."""

from __future__ import annotations

import errno
import os
import re
import resource
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import mmsearch
from mmsearch import Library
from mmsearch.encoders.whole import verify_encoder
from mmsearch.errors import (
    LibraryLockedError,
    PictureError,
    QueryError,
    StorageError,
    VocabularyError,
    advice,
)
from mmsearch.evaluation.cache import write_kept
from mmsearch.images import read_file
from mmsearch.store.catalog import Catalog
from mmsearch.store.folder import Store
from mmsearch.store.publish import storage_errors
from tests.conftest import limited
from tests.store.test_store import filled

WORDS = {
    "ENOSPC": "free some space", "EDQUOT": "free some space", "EFBIG": "ulimit -f", "EACCES": "permissions",
    "EPERM": "permissions", "EROFS": "read-only", "EEXIST": "something else has this name",
    "ENOTDIR": "a file has the name of a folder", "EISDIR": "a folder has the name of a file",
    "ENOENT": "make it, or correct the name", "EMFILE": "ulimit -n", "ENFILE": "ulimit -n", "EIO": "failing",
    "ENAMETOOLONG": "too long", "ELOOP": "symbolic links",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(errno.errorcode.values()))
def test_advice_to_free_space_is_given_for_no_other_error_than_a_lack_of_it(name):
    code = getattr(errno, name)
    given = advice(OSError(code, os.strerror(code)))
    assert WORDS.get(name, "") in given
    assert ("space" in given) == (name in ("ENOSPC", "EDQUOT"))


def test_no_module_but_the_one_of_errors_tells_people_to_free_space():
    package = Path(mmsearch.__file__).parent
    found = [path for path in package.rglob("*.py") if re.search(r"free (some )?space", path.read_text())]
    assert found == [package / "errors.py"]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: (folder / "kept").write_text("a file"), "something else has this name"),
        (lambda folder: (folder / "kept" / "a.npy").mkdir(parents=True), "a folder has the name of a file"),
    ],
)
def test_kept_file_that_cannot_be_written_says_what_lies_there(tmp_path, make, said):
    make(tmp_path)
    with pytest.raises(StorageError, match=said):
        write_kept(tmp_path / "kept" / "a.npy", b"data")


def test_refused_write_to_the_library_says_what_to_do_about_that_refusal(tmp_path):
    said = r"graph \(Read-only file system\).* mount it for writing, and run again"
    with pytest.raises(StorageError, match=said), storage_errors(tmp_path, "the graph"):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def test_catalog_that_grows_beyond_the_limit_of_file_size_says_so(tmp_path):
    filled(tmp_path, 40)
    said = r"disk I/O error: File too large.*`ulimit -f`"
    with (
        Store.writer(tmp_path) as store,
        limited(resource.RLIMIT_FSIZE, 8192),
        pytest.raises(StorageError, match=said),
        store.catalog.writing(),
    ):
        store.catalog.set_meta({"long": "x" * 100_000})


def test_folder_in_place_of_a_catalog_says_what_lies_there(tmp_path):
    (tmp_path / "catalog.sqlite").mkdir()
    with pytest.raises(StorageError, match="a folder has the name of a file"):
        Catalog.open(tmp_path / "catalog.sqlite")


def test_catalog_that_another_program_writes_to_is_not_called_damaged(tmp_path):
    filled(tmp_path, 1)
    with Store.writer(tmp_path) as store, closing(sqlite3.connect(tmp_path / "catalog.sqlite")) as other:
        other.execute("UPDATE meta SET value = value")
        store.catalog.db.execute("PRAGMA busy_timeout = 1")
        with pytest.raises(LibraryLockedError, match="another program holds the catalog"), store.catalog.writing():
            pass


def test_catalog_that_is_refused_while_it_is_made_says_what_was_refused(tmp_path):
    with limited(resource.RLIMIT_FSIZE, 4096), pytest.raises(StorageError, match=r"File too large.*`ulimit -f`"):
        filled(tmp_path, 1)
    lowest = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest)
    with limited(resource.RLIMIT_NOFILE, lowest + 3), pytest.raises(StorageError, match="Too many open files"):
        filled(tmp_path, 1)


def test_name_that_no_file_can_have_is_a_sentence_wherever_it_is_given(tmp_path):
    filled(tmp_path / "library", 1)
    library = Library.open(tmp_path / "library")
    for call, error in (
        (lambda: library.index(["a\0b"]), QueryError),
        (lambda: library.index([tmp_path], vocabulary="a\0b"), VocabularyError),
        (lambda: read_file(b"a\0b"), PictureError),
        (lambda: Library.open("a\0b").status(), StorageError),
    ):
        with pytest.raises(error, match=r"NUL|null"):
            call()


def test_encoder_that_cannot_be_read_for_want_of_descriptors_is_not_called_damaged(tiny_folder):
    lowest = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest)
    with limited(resource.RLIMIT_NOFILE, lowest), pytest.raises(StorageError, match="Too many open files"):
        verify_encoder(tiny_folder)
