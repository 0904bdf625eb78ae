"""F3: the disk refuses at the k-th call; a clear error, and the library opens again with all it had."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys

import pytest

from mmsearch.errors import MmsearchError, StorageError
from mmsearch.store.folder import Changes, Store
from mmsearch.store.graph import GraphSettings, load_graph, update_graph
from mmsearch.store.proof import verify
from tests.conftest import random_units
from tests.store.test_store import DIM, file, filled

CALLS = ["open", "pwrite", "write", "fdatasync", "fsync", "replace", "ftruncate"]
SETTINGS = GraphSettings(graph_from=30)


def work(store):
    """One batch and one publication of the graph."""
    store.commit(Changes(stored=[file(500 + i, v) for i, v in enumerate(random_units(30, DIM, seed=3))]))
    update_graph(store, SETTINGS, random_units(5, DIM, seed=4))


def failing(real, k, code):
    calls = 0

    def call(*arguments, **options):
        nonlocal calls
        calls += 1
        if calls == k:
            raise OSError(code, os.strerror(code))
        return real(*arguments, **options)

    return call


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EMFILE], ids=errno.errorcode.get)
@pytest.mark.parametrize("name", CALLS)
def test_refused_call_is_a_sentence_and_nothing_stored_is_lost(tmp_path, name, code):
    n_failed = 0
    for k in range(1, 12):
        folder = tmp_path / f"{name}-{k}"
        filled(folder, 40)
        with Store.writer(folder) as store, pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, name, failing(getattr(os, name), k, code))
            try:
                work(store)
            except StorageError as error:
                n_failed += 1
                assert os.strerror(code) in str(error)  # what was found
                assert str(folder) in str(error)
            except MmsearchError as error:
                pytest.fail(f"call {k} of {name}: {error!r}")
        with Store.writer(folder) as store:
            assert verify(store).problems == ()
            assert store.catalog.count("image") in (40, 70)
            work(store)
            assert store.catalog.count("image") == 70
            assert load_graph(store).covered == 70
    assert n_failed, f"os.{name} is never called; the test shows nothing"


def test_full_database_is_a_sentence_and_nothing_stored_is_lost(tmp_path):
    filled(tmp_path, 40)
    with Store.writer(tmp_path) as store:
        (pages,) = store.catalog.db.execute("PRAGMA page_count").fetchone()
        store.catalog.db.execute(f"PRAGMA max_page_count = {pages}")
        files = [file(1000 + i, v) for i, v in enumerate(random_units(2000, DIM, seed=3))]
        with pytest.raises(StorageError, match=r"database or disk is full.* nothing that was stored is lost"):
            store.commit(Changes(stored=files))
    with Store.writer(tmp_path) as store:
        assert verify(store).problems == ()
        assert store.catalog.count("image") == 40


@pytest.mark.parametrize("limit_kb", [64, 256, 700])
def test_file_size_limit_ends_index_with_one_sentence(tmp_path, photos, checkpoint, cache, tiny_folder, limit_kb):
    library = tmp_path / "library"
    command = [
        sys.executable,
        "-m",
        "mmsearch.cli.app",
        "index",
        photos,
        "--library",
        library,
        "--model",
        checkpoint,
    ]
    environment = os.environ | {"MMSEARCH_CACHE": str(cache), "PYTHONDONTWRITEBYTECODE": "1"}

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_kb << 10, limit_kb << 10))

    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit, env=environment)
    assert "Traceback" not in done.stderr
    if done.returncode:
        assert done.returncode == 1
        assert done.stderr.count("error: ") == 1
    again = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert again.returncode == 0, again.stderr
