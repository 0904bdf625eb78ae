"""What was made from another state, or for another library, is not believed; what is lost is named."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import sys
from pathlib import Path

import numpy as np
import pytest

from mmsearch.errors import LibraryDamagedError
from mmsearch.indexes.hnsw import GRAPH
from mmsearch.records import Unusable
from mmsearch.store import verify as proof
from mmsearch.store.changes import Changes
from mmsearch.store.folder import Store
from mmsearch.store.history import sidecar_problem
from mmsearch.store.indexes import GraphSettings
from mmsearch.store.note import HISTORY
from mmsearch.store.verify import verify
from tests import warm
from tests.conftest import random_units
from tests.store.test_store import DIM, META, file, filled

SETTINGS = GraphSettings(graph_from=5, tail_share=0.0)
ACKNOWLEDGED_AND_KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from mmsearch.store.folder import Store
from mmsearch.store import verify as proof
from mmsearch.store.changes import Changes
from tests.conftest import random_units
from tests.store.test_store import DIM, file
with Store.writer(Path(sys.argv[1])) as store:
    vectors = random_units(20, DIM, seed=5)
    store.commit(Changes(stored=[file(100 + i, vector) for i, vector in enumerate(vectors)]))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def add(folder, first, n, seed):
    with Store.writer(folder) as store:
        vectors = random_units(n, DIM, seed)
        store.commit(Changes(stored=[file(first + i, vector) for i, vector in enumerate(vectors)]))
        store.indexes.update(SETTINGS, random_units(5, DIM, seed=4))
    return vectors


def restored(folder):
    """A library whose catalog is an older copy: 10 pictures, where 20 were acknowledged with a graph over all."""
    filled(folder, 10)
    shutil.copyfile(folder / "catalog.sqlite", folder.with_name("copy"))
    add(folder, 100, 10, seed=1)
    shutil.copyfile(folder.with_name("copy"), folder / "catalog.sqlite")
    return folder


def test_restored_catalog_is_told_from_the_latest(tmp_path):
    problem, *of_indexes = verify(Store.open(restored(tmp_path / "library"))).problems
    assert "the catalog is older than what was acknowledged here" in problem
    assert "(10 vectors are not listed any more)" in problem
    for kind, of_index in zip(("graph", "cells"), of_indexes, strict=True):
        assert (
            f"the file of the {kind} was made from a state that is not in the history of this catalog" in of_index
        )


def test_restored_catalog_that_lists_every_vector_is_not_said_to_have_lost_one(tmp_path):
    filled(tmp_path / "library", 10)
    shutil.copyfile(tmp_path / "library" / "catalog.sqlite", tmp_path / "copy")
    with Store.writer(tmp_path / "library") as store:
        store.remove_images([1])
    shutil.copyfile(tmp_path / "copy", tmp_path / "library" / "catalog.sqlite")
    (problem,) = Store.open(tmp_path / "library").problems()
    assert "it ends before commit 2; restore" in problem


def test_cache_whose_history_cannot_be_read_is_not_believed(tmp_path):
    filled(tmp_path, 10)
    catalog = Store.open(tmp_path).catalog
    for history in (None, 7, ["one"]):
        problem = sidecar_problem(tmp_path, catalog, "graph", {"history": history})
        assert "the file of the graph has a history that cannot be read" in problem


def test_as_many_pictures_as_were_lost_do_not_make_the_old_graph_fit_a_restored_catalog(tmp_path):
    folder = restored(tmp_path / "library")
    with Store.writer(folder) as store:
        store.note_history()
        vectors = random_units(10, DIM, seed=2)
        store.commit(Changes(stored=[file(200 + i, vector) for i, vector in enumerate(vectors)]))
        assert "is not in the history" in store.indexes.load(GRAPH).reason
        assert store.indexes.facts() == {}
        store.indexes.update(SETTINGS, random_units(5, DIM, seed=4))
        graph = store.indexes.load(GRAPH).index
    _, rows = graph.search(vectors, 1)
    assert rows[:, 0].tolist() == list(range(10, 20))
    assert verify(Store.open(folder)).problems == ()


def test_forgetting_in_a_restored_library_deletes_nothing_that_was_acknowledged_and_hides_nothing(tmp_path):
    folder = restored(tmp_path / "library")
    for image_id in (1, 2):
        with Store.writer(folder) as store:
            store.remove_images([image_id])
    assert (folder / "vectors-0.f16").stat().st_size == 20 * DIM * 2
    assert "older than what was acknowledged" in Store.open(folder).problems()[0]


def test_repair_of_a_restored_library_leaves_a_whole_one(tmp_path):
    folder = restored(tmp_path / "library")
    with Store.writer(folder) as store:
        assert len(verify(store, is_repair=True).problems) == 3  # of the catalog, the graph and the cells
    assert verify(Store.open(folder)).problems == ()


def test_catalog_that_is_found_damaged_by_a_writer_is_a_sentence_that_names_its_log(tmp_path):
    filled(tmp_path, 10)
    malformed = sqlite3.DatabaseError("database disk image is malformed")
    with (
        pytest.raises(LibraryDamagedError, match=r"move away catalog\.sqlite-wal and catalog\.sqlite-shm"),
        Store.writer(tmp_path),
    ):
        raise malformed


def test_commit_while_a_library_is_looked_at_is_no_problem(tmp_path):
    filled(tmp_path, 10)
    reader = Store.open(tmp_path)
    with reader.catalog.reading():
        assert reader.n_rows == 10
        add(tmp_path, 100, 10, seed=1)
        assert reader.n_rows == 10
        assert reader.problems() == []
        assert not isinstance(reader.sidecar("graph"), Unusable)


def test_commits_while_a_library_is_verified_are_no_problem(tmp_path, monkeypatch):
    filled(tmp_path, 10)
    add(tmp_path, 100, 10, seed=1)
    real = proof.damaged_rows

    def while_written(store):
        add(tmp_path, 200, 10, seed=2)
        return real(store)

    monkeypatch.setattr(proof, "damaged_rows", while_written)
    assert verify(Store.open(tmp_path)).problems == ()


def test_write_ahead_log_that_went_after_a_kill_is_noticed(tmp_path):
    filled(tmp_path, 10)
    root = str(Path(__file__).parents[2])
    done = warm.run([sys.executable, "-c", ACKNOWLEDGED_AND_KILLED, str(tmp_path), root])
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "catalog.sqlite-wal").stat().st_size > 0
    for name in ("catalog.sqlite-wal", "catalog.sqlite-shm"):
        (tmp_path / name).unlink()
    store = Store.open(tmp_path)
    assert store.catalog.count("image") == 10
    assert "(20 vectors are not listed any more)" in verify(store).problems[0]


def test_graph_of_another_library_of_the_same_encoder_is_not_used(tmp_path):
    for name, seed in (("one", 1), ("two", 2)):
        filled(tmp_path / name, 10, seed)
        add(tmp_path / name, 100, 10, seed + 10)
    for path in (tmp_path / "one").iterdir():
        if path.name.startswith(("hnsw", "manifest")):
            shutil.copyfile(path, tmp_path / "two" / path.name)
    store = Store.open(tmp_path / "two")
    assert store.indexes.load(GRAPH) == Unusable("the file of the graph was made for another library")
    assert "the file of the graph was made for another library" in verify(store).problems[0]


def test_vectors_of_another_library_are_told_from_damage(tmp_path):
    for name, seed in (("one", 1), ("two", 2)):
        filled(tmp_path / name, 10, seed)
    shutil.copyfile(tmp_path / "one" / "vectors-0.f16", tmp_path / "two" / "vectors-0.f16")
    with pytest.raises(LibraryDamagedError, match="these are not the vectors that the catalog lists"):
        Store.open(tmp_path / "two").matrix()


def test_catalog_of_another_library_is_told_by_the_files_beside_it(tmp_path):
    for name, seed in (("one", 1), ("two", 2)):
        filled(tmp_path / name, 10, seed)
    shutil.copyfile(tmp_path / "one" / "catalog.sqlite", tmp_path / "two" / "catalog.sqlite")
    assert "the catalog is that of another library" in Store.open(tmp_path / "two").problems()[0]


def test_copy_of_a_library_is_whole_and_its_caches_stay_its_own_as_the_two_part(tmp_path):
    filled(tmp_path / "one", 10)
    add(tmp_path / "one", 100, 10, seed=1)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    assert verify(Store.open(tmp_path / "two")).problems == ()
    for name, seed in (("one", 5), ("two", 6)):
        add(tmp_path / name, 200, 10, seed)
    for path in (tmp_path / "one").iterdir():
        if path.name.startswith(("hnsw", "manifest")):
            shutil.copyfile(path, tmp_path / "two" / path.name)
    assert "is not in the history" in Store.open(tmp_path / "two").indexes.load(GRAPH).reason


def test_older_graph_of_the_same_history_is_used(tmp_path):
    filled(tmp_path, 10)
    add(tmp_path, 100, 10, seed=1)
    kept = {
        path.name: path.read_bytes() for path in tmp_path.iterdir() if path.name.startswith(("hnsw", "manifest"))
    }
    add(tmp_path, 200, 10, seed=2)
    for path in tmp_path.glob("hnsw-*"):
        path.unlink()
    for name, data in kept.items():
        (tmp_path / name).write_bytes(data)
    assert Store.open(tmp_path).indexes.load(GRAPH).index.n_rows == 20


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"library": 1}', b"\xff\xfe", b'{"number": "x"}'])
def test_damaged_note_of_the_last_commit_is_said_and_written_again(tmp_path, data):
    filled(tmp_path, 5)
    (tmp_path / HISTORY).write_bytes(data)
    assert HISTORY in verify(Store.open(tmp_path)).problems[0]
    with Store.writer(tmp_path) as store:
        store.note_history()
    add(tmp_path, 100, 2, seed=1)
    assert verify(Store.open(tmp_path)).problems == ()


def test_missing_note_of_the_last_commit_is_said(tmp_path):
    filled(tmp_path, 5)
    (tmp_path / HISTORY).unlink()
    assert f"{HISTORY} is missing" in verify(Store.open(tmp_path)).problems[0]


def test_every_commit_has_a_number_and_a_token_of_its_own(tmp_path):
    moments = []
    with Store.writer(tmp_path, create=META) as store:
        for i, vector in enumerate(random_units(3, DIM)):
            store.commit(Changes(stored=[file(i, vector)]))
            moments.append(store.catalog.moment())
            noted = json.loads((tmp_path / HISTORY).read_text())
            assert (noted["number"], noted["token"]) == (moments[-1].number, moments[-1].token)
        assert all(map(store.catalog.is_in_history, moments))
        assert not store.catalog.is_in_history(moments[0]._replace(token="00" * 8))
    assert len({moment.token for moment in moments}) == 3
    assert [moment.number for moment in moments] == [1, 2, 3]
    assert np.unique([moment.library for moment in moments]).size == 1
    assert os.stat(tmp_path / HISTORY).st_mode & 0o777 == 0o600
