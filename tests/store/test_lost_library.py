"""A writer whose library is removed, replaced, moved or taken over stops with a sentence and harms no other one."""

from __future__ import annotations

import os
import shutil

import pytest

from mmsearch.errors import LibraryDamagedError, LibraryLockedError, LibraryLostError, StorageError
from mmsearch.store.catalog import Catalog
from mmsearch.store.changes import Changes
from mmsearch.store.folder import Store
from mmsearch.store.indexes import GraphSettings
from mmsearch.store.progress import shown_progress
from mmsearch.store.verify import verify
from tests.conftest import random_units
from tests.store.test_store import DIM, META, file, filled
from tests.store.test_words import VOCABULARY, words_of

SETTINGS = GraphSettings(graph_from=5)


def batch(seed, n=10):
    return Changes(stored=[file(1000 * seed + i, v) for i, v in enumerate(random_units(n, DIM, seed=seed))])


def all_files(folder):
    """Every file but the lock, which a second writer writes its process into."""
    return {
        path.name: path.read_bytes() for path in folder.iterdir() if path.name not in ("lock", "catalog.sqlite-shm")
    }


def assert_stops(store, folder):
    """Every way to write ends with a sentence and changes nothing that lies at the path of the library."""
    before = all_files(folder) if folder.is_dir() else None
    for write in (
        lambda: store.commit(batch(7)),
        lambda: store.remove_images([1]),
        lambda: store.indexes.update(SETTINGS, random_units(5, DIM)),
        store.compact,
        lambda: store.publish("vocabulary", "vocabulary-9", VOCABULARY.save, {}),
    ):
        with pytest.raises(LibraryLostError, match="this run"):
            write()
    assert (all_files(folder) if folder.is_dir() else None) == before


def test_writer_of_a_removed_library_does_not_touch_the_one_made_in_its_place(tmp_path):
    folder = tmp_path / "library"
    filled(folder, 20)
    with Store.writer(folder) as first:
        first.remove_images([1])
        shutil.rmtree(folder)
        with Store.writer(folder, create=META) as second:
            second.commit(batch(1, 30))
        assert_stops(first, folder)
        assert verify(Store.open(folder)).problems == ()
        assert Store.open(folder).catalog.count("image") == 30


def test_writer_whose_lock_was_deleted_stops_before_it_meets_the_next_writer(tmp_path):
    filled(tmp_path, 20)
    with Store.writer(tmp_path) as first:
        first.remove_images([1])
        (tmp_path / "lock").unlink()
        with Store.writer(tmp_path) as second:
            second.commit(batch(1))
            assert_stops(first, tmp_path)
            second.commit(batch(2))
    assert verify(Store.open(tmp_path)).problems == ()
    assert Store.open(tmp_path).catalog.count("image") == 39


def test_writer_of_a_moved_library_stops(tmp_path):
    filled(tmp_path / "library", 20)
    with Store.writer(tmp_path / "library") as store:
        store.remove_images([1])
        (tmp_path / "library").rename(tmp_path / "elsewhere")
        assert_stops(store, tmp_path / "library")
    assert Store.open(tmp_path / "elsewhere").catalog.count("image") == 19


def test_writer_whose_catalog_was_replaced_stops(tmp_path):
    filled(tmp_path / "other", 5, seed=3)
    filled(tmp_path / "library", 20)
    with Store.writer(tmp_path / "library") as store:
        os.replace(tmp_path / "other" / "catalog.sqlite", tmp_path / "library" / "catalog.sqlite")
        with pytest.raises(LibraryLostError, match=r"catalog\.sqlite was removed, moved or replaced"):
            store.commit(batch(8))
    assert Store.open(tmp_path / "library").catalog.count("image") == 5


def test_commit_of_another_process_under_the_same_lock_stops_a_writer(tmp_path):
    filled(tmp_path, 20)
    with Store.writer(tmp_path) as store:
        intruder = type(store.catalog).open(tmp_path / "catalog.sqlite", write=True)
        with intruder.writing():
            intruder.set_meta({"x": 1})
        intruder.close()
        with pytest.raises(LibraryLostError, match="another process has written"):
            store.commit(batch(8))
    assert Store.open(tmp_path).catalog.count("image") == 20


def test_files_of_a_writer_stay_in_the_folder_that_it_locked(tmp_path):
    folder = tmp_path / "library"
    filled(folder, 20)
    with Store.writer(folder) as store:
        folder.rename(tmp_path / "elsewhere")
        folder.mkdir()
        (store.files / "kept").write_bytes(b"x")
        assert (tmp_path / "elsewhere" / "kept").exists()
    assert list(folder.iterdir()) == []


def test_library_is_made_in_the_folder_that_was_locked(tmp_path, monkeypatch):
    folder, create = tmp_path / "library", Catalog.create

    def create_late(path, meta):
        folder.rename(tmp_path / "elsewhere")
        monkeypatch.undo()
        filled(folder, 3)
        create(path, meta)

    monkeypatch.setattr(Catalog, "create", create_late)
    with pytest.raises(LibraryLostError, match="was removed, moved or replaced"), Store.writer(folder, create=META):
        pass
    assert Store.open(folder).catalog.count("image") == 3
    assert verify(Store.open(folder)).problems == ()


@pytest.mark.parametrize("how", ["removed", "cut", "other vectors"])
def test_writer_whose_vectors_are_gone_stops_before_it_writes_beyond_them(tmp_path, how):
    filled(tmp_path, 20)
    path = tmp_path / "vectors-0.f16"
    with Store.writer(tmp_path) as store:
        store.commit(batch(1))
        if how == "other vectors":
            path.write_bytes(random_units(30, DIM, seed=9).astype("<f2").tobytes())
        else:
            path.unlink() if how == "removed" else os.truncate(path, 100)
        before = path.read_bytes() if path.exists() else None
        with pytest.raises((LibraryLostError, LibraryDamagedError), match=r"cut or removed|not the vectors"):
            store.commit(batch(2))
    assert (path.read_bytes() if path.exists() else None) == before
    assert Store.open(tmp_path).catalog.count("image") == 30


def test_vectors_that_cannot_be_made_room_for_are_not_given_up(tmp_path):
    filled(tmp_path, 20)
    (tmp_path / "vectors-0.f16").unlink()
    (tmp_path / "vectors-0.f16").mkdir()
    with Store.writer(tmp_path) as store, pytest.raises(StorageError, match="the vectors"):
        store.give_up_lost_rows()
    assert Store.open(tmp_path).catalog.count("image") == 20


def test_progress_held_by_another_process_is_not_waited_for(tmp_path):
    told = []
    with (
        shown_progress(tmp_path, lambda *stage: told.append(stage)),
        shown_progress(tmp_path, lambda *_: None) as second,
    ):
        second("embed", 1, 2)


def test_second_writer_is_still_refused_while_the_lock_is_there(tmp_path):
    filled(tmp_path, 3)
    with Store.writer(tmp_path), pytest.raises(LibraryLockedError), Store.writer(tmp_path):
        pass


def test_words_at_hand_are_not_published_into_a_library_made_anew(tmp_path):
    folder = tmp_path / "library"
    filled(folder, 20)
    with Store.writer(folder) as first:
        writer = first.words.writer()
        writer.publish_vocabulary(VOCABULARY)
        writer.add(1, words_of(1))
        shutil.rmtree(folder)
        filled(folder, 3)
        with pytest.raises(LibraryLostError, match="lock was removed"):
            writer.flush()
    assert [path.name for path in folder.glob("*.bin")] == []
