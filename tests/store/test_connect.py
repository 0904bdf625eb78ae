"""Libraries that their reader may not write to: every committed picture is found, and nothing is written."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import tempfile
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from mmsearch import Library, Query
from mmsearch.errors import StorageError
from mmsearch.store.catalog import CATALOG
from mmsearch.store.changes import Changes
from mmsearch.store.connect import connect_to_read
from mmsearch.store.folder import Store
from mmsearch.store.verify import verify
from mmsearch.system import is_on_read_only_disk
from tests.conftest import mounted, random_units
from tests.store.test_store import DIM, file, filled

NOBODY = 65534


@pytest.fixture
def place():
    """A folder that another user can reach, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="mmsearch-test-"))
    folder.chmod(0o755)
    yield folder
    subprocess.run(["chmod", "-R", "u+w", folder], check=True)
    shutil.rmtree(folder)


@contextmanager
def as_another_user():
    """Give up root's rights for a while; others have none to give up."""
    is_root = os.geteuid() == 0
    if is_root:
        os.setegid(NOBODY)
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
            os.setegid(0)


def write_protect(folder):
    for suffix in ("-shm", "-wal"):
        if (folder / (CATALOG + suffix)).exists() and not (folder / (CATALOG + suffix)).stat().st_size:
            (folder / (CATALOG + suffix)).unlink()
    subprocess.run(["chmod", "-R", "a+rX,a-w", folder], check=True)


def with_log(folder):
    """A library whose last commit is in the log alone, as after a kill; without the file beside it."""
    source = folder.with_name("source")
    filled(source, 10)
    with Store.writer(source) as store:
        store.commit(Changes(stored=[file(50, random_units(1, DIM, seed=5)[0])]))
        shutil.copytree(source, folder)
    shutil.rmtree(source)
    (folder / (CATALOG + "-shm")).unlink()
    assert (folder / (CATALOG + "-wal")).stat().st_size


def n_pictures(folder):
    store = Store.open(folder)
    try:
        with store.catalog.reading():
            return store.catalog.count("image")
    finally:
        store.close()


def test_library_of_another_user_is_read_and_left_as_it_was(place):
    filled(place / "another", 1)
    with closing(Store.open(place / "another")) as store:
        verify(store)  # modules are loaded while they can be read
    filled(place / "library", 10)
    write_protect(place / "library")
    before = sorted(os.listdir(place / "library"))
    with as_another_user():
        assert n_pictures(place / "library") == 10
        with closing(Store.open(place / "library")) as store:
            assert verify(store).problems == ()
    assert sorted(os.listdir(place / "library")) == before


def test_commit_that_is_in_the_log_alone_is_read_too(place):
    with_log(place / "library")
    write_protect(place / "library")
    with as_another_user():
        assert n_pictures(place / "library") == 11


def test_file_beside_the_catalog_is_not_made_by_who_may_not_write_the_catalog(place):
    """Its owner could not write to that file, and so not to the library."""
    filled(place / "library", 10)
    (place / "library").chmod(0o777)
    (place / "library" / CATALOG).chmod(0o644)
    before = sorted(os.listdir(place / "library"))
    with as_another_user():
        assert n_pictures(place / "library") == 10
    if os.geteuid() == 0:
        assert sorted(os.listdir(place / "library")) == before


def test_reader_of_a_copy_sees_what_the_owner_writes_later(place):
    filled(place / "library", 10)
    write_protect(place / "library")
    if os.geteuid() != 0:
        pytest.skip("needs root, to be two users")
    with as_another_user():
        store = Store.open(place / "library")
    with Store.writer(place / "library") as writer:
        writer.commit(Changes(stored=[file(50, random_units(1, DIM, seed=5)[0])]))
        subprocess.run(["chmod", "-R", "a+rX", place / "library"], check=True)
        with as_another_user():
            assert store.consistently(lambda: store.catalog.count("image")) == 11
    with Store.writer(place / "library") as writer:
        writer.remove_images([1])
        writer.compact()
    subprocess.run(["chmod", "-R", "a+rX", place / "library"], check=True)
    with as_another_user():
        assert store.consistently(lambda: (store.catalog.count("image"), len(store.matrix()))) == (10, 10)
        store.close()


def test_catalog_that_may_not_be_read_is_said_so(place):
    filled(place / "library", 1)
    (place / "library" / CATALOG).chmod(0)
    (place / "library").chmod(0o555)
    with as_another_user(), pytest.raises(StorageError, match=r"Permission denied.*change the permissions"):
        Store.open(place / "library")
    (place / "library").chmod(0)
    with as_another_user(), pytest.raises(StorageError, match="no library can be seen here"):
        Store.open(place / "library")


def test_writer_is_told_that_the_library_cannot_be_written_and_why(place):
    filled(place / "library", 1)
    write_protect(place / "library")
    said = r"Permission denied.*permissions"
    with as_another_user(), pytest.raises(StorageError, match=said) as refused, Store.writer(place / "library"):
        pass
    assert "space" not in str(refused.value)


def test_remembered_queries_that_are_damaged_and_cannot_be_replaced_cost_nothing(place):
    filled(place / "library", 1)
    (place / "library" / "queries.sqlite").write_bytes(b"x" * 4096)
    write_protect(place / "library")
    with as_another_user():
        remembered = Store.open(place / "library").remembered
        remembered.put("a text", random_units(1, DIM)[0], "f")
        assert remembered.get("a text") is None


def test_all_that_reads_works_on_a_library_that_cannot_be_written(place, checkpoint, cache, tiny_folder, photos):
    with Library.open(place / "library", cache=cache) as library:
        library.index([photos], model=str(checkpoint), local=False)
        expected = library.search(Query(text="a cat"), k=3)
        library.search(Query(images=[photos / "cat.jpg"]))  # modules are loaded while they can be read
        library.classify([photos / "cat.jpg"], ["a cat"])
        library.status()
        library.verify()
    shutil.copytree(photos, place / "photos")
    write_protect(place / "library")
    subprocess.run(["chmod", "-R", "a+rX", place / "photos"], check=True)
    with as_another_user(), Library.open(place / "library", cache=place / "no-cache") as library:
        assert [hit.path for hit in library.search(Query(text="a cat"), k=3).hits] == [
            hit.path for hit in expected.hits
        ]
        assert library.search(Query(images=[place / "photos" / "cat.jpg"]), k=1).hits[0].path.endswith("cat.jpg")
        assert library.classify([place / "photos" / "cat.jpg"], ["a cat", "a dog"])[0].predictions
        assert library.status().n_images == 8
        assert library.verify().problems == ()
        with pytest.raises(StorageError, match="permissions"):
            library.remove([photos])


@pytest.mark.parametrize("make", [lambda folder: filled(folder, 11), with_log], ids=["whole", "with a log"])
def test_library_on_a_read_only_file_system_is_read(tmp_path, make):
    with mounted(tmp_path / "mount", "64m") as mount:
        make(mount / "library")
        subprocess.run(["mount", "-o", "remount,ro", mount], check=True)
        assert is_on_read_only_disk(mount / "library" / CATALOG)
        assert n_pictures(mount / "library") == 11
        said = "this file system is read-only"
        with pytest.raises(StorageError, match=said) as refused, Store.writer(mount / "library"):
            pass
        assert "free some space" not in str(refused.value)


def test_read_only_mount_beside_one_that_is_not_does_not_make_a_library_immutable(tmp_path):
    with mounted(tmp_path / "mount", "64m") as mount:
        filled(mount / "library", 10)
        (tmp_path / "view").mkdir()
        subprocess.run(["mount", "--bind", mount, tmp_path / "view"], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", tmp_path / "view"], check=True)
        try:
            assert not is_on_read_only_disk(tmp_path / "view" / "library" / CATALOG)
            store = Store.open(tmp_path / "view" / "library")
            assert store.consistently(lambda: store.catalog.count("image")) == 10
            with Store.writer(mount / "library") as writer:
                writer.commit(Changes(stored=[file(50, random_units(1, DIM, seed=5)[0])]))
            assert store.consistently(lambda: store.catalog.count("image")) == 11
            store.close()
        finally:
            subprocess.run(["umount", tmp_path / "view"], check=True)


def test_library_on_a_full_disk_is_read(tmp_path):
    with mounted(tmp_path / "mount", "64m") as mount:
        filled(mount / "library", 10)
        with suppress(OSError), (mount / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(bytes(4096))
        assert n_pictures(mount / "library") == 10


def test_place_for_the_copy_is_named_where_there_is_none(place, monkeypatch):
    filled(place / "library", 1)
    write_protect(place / "library")
    monkeypatch.setattr(tempfile, "tempdir", str(place / "nothing"))
    monkeypatch.setattr("mmsearch.store.connect._MEMORY", place / "nothing")
    with as_another_user(), pytest.raises(StorageError, match="let TMPDIR name a folder that can be written"):
        connect_to_read(place / "library" / CATALOG)


def test_file_that_is_no_catalog_is_no_refusal(place):
    (place / CATALOG).write_bytes(b"x" * 8192)
    write_protect(place)
    with as_another_user(), pytest.raises(sqlite3.DatabaseError, match="not a database"):
        connect_to_read(place / CATALOG)
