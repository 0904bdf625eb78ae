"""Caches are opened once: what was checked is what is loaded, and a shortage of this process is no damage."""

from __future__ import annotations

import os
import resource
import shutil
from functools import partial

import numpy as np
import pytest

from mmsearch.errors import StorageError
from mmsearch.indexes.hnsw import GRAPH, HnswIndex
from mmsearch.records import Unusable
from mmsearch.store import indexes as indexes_module
from mmsearch.store import publish as publish_module
from mmsearch.store.folder import Store
from mmsearch.store.indexes import GraphSettings
from mmsearch.store.publish import current, load_matching
from mmsearch.store.verify import verify
from tests.conftest import limited, random_units
from tests.faults.stand_in import finds_all_at_once
from tests.store.test_store import DIM, filled
from tests.store.test_words import with_words

SETTINGS = GraphSettings(graph_from=10)


@pytest.fixture
def with_graph(tmp_path, monkeypatch):
    monkeypatch.setattr(indexes_module, "measured_efforts", finds_all_at_once)
    vectors = filled(tmp_path / "library", 40)
    with Store.writer(tmp_path / "library") as store:
        store.indexes.update(SETTINGS, random_units(5, DIM, seed=1))
    return tmp_path / "library", vectors


def publish_again(folder):
    """What another process does meanwhile: a new generation of the graph; the one before is deleted."""
    with Store.writer(folder) as store:
        loaded = store.indexes.load(GRAPH)
        store.graph._publish(loaded)


def test_graph_that_a_writer_replaces_between_check_and_load_is_the_one_that_was_checked(with_graph, monkeypatch):
    folder, vectors = with_graph
    real = HnswIndex.load

    def load(path, *rest, **options):
        monkeypatch.setattr(HnswIndex, "load", real)
        name = current(folder, "graph")
        publish_again(folder)
        assert not (folder / f"{name}.bin").exists()
        (folder / f"{name}.bin").write_bytes(b"something else altogether")
        return real(path, *rest, **options)

    monkeypatch.setattr(HnswIndex, "load", load)
    loaded = Store.open(folder).indexes.load(GRAPH)
    rows = loaded.index.search(vectors.astype(np.float16).astype(np.float32), 1)[1]
    np.testing.assert_array_equal(rows[:, 0], np.arange(40))


def test_graph_that_a_writer_replaces_before_it_is_opened_is_looked_for_again(with_graph, monkeypatch):
    folder, _ = with_graph
    real = publish_module._load_named

    def opened_late(*arguments, **options):
        monkeypatch.setattr(publish_module, "_load_named", real)
        publish_again(folder)
        return real(*arguments, **options)

    monkeypatch.setattr(publish_module, "_load_named", opened_late)
    assert Store.open(folder).indexes.load(GRAPH).index.n_rows == 40


def test_words_that_a_writer_replaces_between_check_and_opening_are_those_that_were_checked(tmp_path, monkeypatch):
    with_words(tmp_path / "library")
    store = Store.open(tmp_path / "library")
    expected = store.words.load().inverted.segments[0].signatures[:]
    real = publish_module.file_digest

    def digest(file, name):
        loaded = real(file, name)
        if "words" in str(file.name):
            shutil.copyfile(file.name, tmp_path / "other")
            (tmp_path / "other").write_bytes((tmp_path / "other").read_bytes()[::-1])
            os.replace(tmp_path / "other", file.name)
        return loaded

    os.utime(tmp_path / "library" / "words-1.bin")  # touched, so that it is hashed
    monkeypatch.setattr(publish_module, "file_digest", digest)
    np.testing.assert_array_equal(store.words.load().inverted.segments[0].signatures[:], expected)


def test_too_many_open_files_are_no_damage_that_a_repair_would_drop(with_graph, tmp_path):
    folder, _ = with_graph
    store = Store.open(folder)
    assert verify(store).problems == ()
    lowest = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest)
    with limited(resource.RLIMIT_NOFILE, lowest):
        for read in (store.indexes.load, store.words.load, partial(verify, store)):
            with pytest.raises(StorageError, match=r"Too many open files.*ulimit -n"):
                read()
    assert store.indexes.load(GRAPH).index.n_rows == 40


def test_segment_of_postings_is_mapped_once(tmp_path):
    with_words(tmp_path)
    store = Store.open(tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    words = store.words.load()
    assert len(os.listdir("/proc/self/fd")) - before <= 2  # the vocabulary and one segment
    assert words.inverted.segments


def test_cache_that_is_cut_while_it_is_loaded_is_not_believed(tmp_path):
    with_words(tmp_path)

    def cut(file, facts):
        os.truncate(tmp_path / "words-1.bin", facts["length"] // 2)
        return file.read()

    found = load_matching(tmp_path, "words", {}, cut)
    assert found == Unusable("words-1.bin was written to or cut while it was read")
