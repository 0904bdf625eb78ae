"""F3: the disk refuses at the k-th call; a clear error, and the library opens again with all it had."""

from __future__ import annotations

import contextlib
import errno
import io
import itertools
import os
import resource
import shutil
import signal
import subprocess
import sys
from itertools import product

import pytest

from mmsearch import Library
from mmsearch.errors import MmsearchError, StorageError
from mmsearch.ingest.words import Gathered
from mmsearch.local.extractors import DEFAULT
from mmsearch.local.packing import Packed
from mmsearch.samples import sample_folder
from mmsearch.store import vocabulary as vocabulary_module
from mmsearch.store.changes import Changes
from mmsearch.store.folder import Store
from mmsearch.store.indexes import GraphSettings
from mmsearch.store.verify import verify
from tests.conftest import copied_samples, limited, mounted, random_units
from tests.store.test_store import DIM, file, filled
from tests.store.test_words import N_WORDS, VOCABULARY, found_by_their_words, words_of
from tests.tiers import tiered

CALLS = ["pwrite", "write", "fdatasync", "fsync", "replace", "ftruncate"]
MANY_CALLS = ["open", "file.write"]  # 30 and more
SETTINGS = GraphSettings(graph_from=30)
COVERED = {"graph": 70, "cells": 70}


def work(store):
    """One batch, one publication of the graph and one of the cells."""
    store.commit(Changes(stored=[file(500 + i, v) for i, v in enumerate(random_units(30, DIM, seed=3))]))
    store.indexes.update(SETTINGS, random_units(5, DIM, seed=4))


def failing(real, k, code):
    def call(*arguments, **options):
        call.n += 1
        if call.n == k:
            raise OSError(code, os.strerror(code))
        return real(*arguments, **options)

    call.n = 0
    return call


def work_on_words(store):
    """Publish a vocabulary with its graph, a base, a fresh segment beside it, and both merged."""
    writer = store.words.writer()
    if writer.vocabulary is None:
        writer.publish_vocabulary(VOCABULARY)
    for last_id in (20, 22, 40):
        for image_id in sorted(set(range(1, last_id + 1)) - writer.covered):
            writer.add(image_id, words_of(image_id))
        writer.flush()


def failing_writes(k, code):
    """Return an `open` whose files refuse the k-th of all writes, as the disk would, and what counts them."""

    refused = failing(io.FileIO.write, k, code)

    class Refusing(io.FileIO):
        write = refused

    real = io.open

    def open_(path, mode="r", *rest, **options):
        is_written = "w" in mode and "b" in mode
        return io.BufferedRandom(Refusing(path, "w+")) if is_written else real(path, mode, *rest, **options)

    return open_, refused


WORD_CALLS = ["open", "write", "fdatasync", "fsync", "replace", "unlink"]
CODES = tiered([errno.ENOSPC, errno.EIO, errno.EMFILE], [errno.ENOSPC])
NAMES = ["ENOSPC", "EIO", "EMFILE"]
EVERY = pytest.param(1, marks=[pytest.mark.full, pytest.mark.timeout(3600)])


@pytest.mark.parametrize("step", [6, EVERY])
@pytest.mark.parametrize("code", CODES, ids=NAMES)
@pytest.mark.parametrize("name", ["file.write", *WORD_CALLS])
def test_refused_call_while_words_are_published_is_a_sentence_and_no_word_is_wrong(
    tmp_path, monkeypatch, name, code, step
):
    monkeypatch.setattr(vocabulary_module, "MAX_EXACT", N_WORDS - 1)
    n_failed, k = 0, 1
    while n_failed == (k - 1) // step:  # up to the first call that is never made
        folder = tmp_path / f"{name}-{k}"
        filled(folder, 40)
        with Store.writer(folder) as store, pytest.MonkeyPatch.context() as patch:
            if name == "file.write":
                patch.setattr(io, "open", failing_writes(k, code)[0])
            else:
                patch.setattr(os, name, failing(getattr(os, name), k, code))
            try:
                work_on_words(store)
            except StorageError as error:
                n_failed += 1
                assert os.strerror(code) in str(error)
                assert str(folder) in str(error)
        with Store.writer(folder) as store:
            assert verify(store).problems == ()
            work_on_words(store)
            assert verify(store).problems == ()
        assert found_by_their_words(folder) == set(range(1, 41))
        shutil.rmtree(folder)
        k += step
    assert n_failed, f"{name} is never called; the test shows nothing"


@pytest.mark.parametrize("code", CODES, ids=NAMES)
@pytest.mark.parametrize(
    ("name", "step"),
    tiered(
        [*product(CALLS + MANY_CALLS, [1]), *product(MANY_CALLS, [5])],
        [*product(CALLS, [1]), *product(MANY_CALLS, [5])],
    ),
)
def test_refused_call_is_a_sentence_and_nothing_stored_is_lost(tmp_path, name, step, code):
    n_failed = 0
    for k in itertools.count(1, step):
        folder = tmp_path / f"{name}-{k}"
        filled(folder, 40)
        with Store.writer(folder) as store, pytest.MonkeyPatch.context() as patch:
            if name == "file.write":  # the cells go by it
                opened, refused = failing_writes(k, code)
                patch.setattr(io, "open", opened)
            else:
                refused = failing(getattr(os, name), k, code)
                patch.setattr(os, name, refused)
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
            assert {kind: facts["covered"] for kind, facts in store.indexes.facts().items()} == COVERED
        if refused.n < k:
            break  # it is not called so often
    assert n_failed, f"{name} is never called; the test shows nothing"


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


@pytest.mark.parametrize("limit_kb", tiered([64, 256, 700], [256]))
def test_file_size_limit_ends_index_with_one_sentence(tmp_path, photos, checkpoint, cache, tiny_folder, limit_kb):
    library = tmp_path / "library"
    command = [
        sys.executable,
        "-m",
        "mmsearch",
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
        assert sum(line.startswith("error: ") for line in done.stderr.splitlines()) == 1
    with Library.open(library, cache=cache) as opened:
        opened.index([photos], model=str(checkpoint))
        assert opened.status().n_images == 8


def test_features_that_the_disk_refuses_are_one_error_also_when_their_file_is_closed(tmp_path):
    filled(tmp_path, 1)
    packed = Packed("features", 1, bytes(5_000))  # less than a buffer, which would be written again at the end
    with Store.writer(tmp_path) as store, limited(resource.RLIMIT_FSIZE, 4_096):
        gathered = Gathered(store, DEFAULT)
        try:
            with pytest.raises(StorageError, match="could not write local features"):
                gathered.append(1, packed)
            assert len(gathered) == 0
        finally:
            gathered.close()


@pytest.mark.full
@pytest.mark.parametrize("size_kb", [32, 100, 170, 300, 600, 1_000, 2_300, 2_500])
def test_disk_that_fills_while_words_are_made_ends_index_with_one_sentence(tmp_path, size_kb):
    with mounted(tmp_path / "mount", f"{size_kb}k") as mount:
        command = [sys.executable, "-m", "mmsearch", "index", sample_folder(), "--model", "none"]
        command += ["--library", mount / "library"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert done.stderr.lstrip().startswith("error: ")
        assert done.stderr.strip().count("\n") == 0
        assert "No space left on device); free some space" in done.stderr
        subprocess.run(["mount", "-o", "remount,size=64m", mount], check=True)
        again = subprocess.run(command, capture_output=True, text=True)
        assert again.returncode == 0, again.stderr
        with Library.open(mount / "library") as library:
            assert library.status().local["n_images"] == 29
            assert library.verify().problems == ()


@pytest.mark.parametrize("n_files", tiered([16, 5, 8, 12, 24], [16]))
def test_too_few_open_files_end_every_command_with_one_sentence(tmp_path, n_files):
    library = tmp_path / "library"
    with Library.open(library) as opened:
        opened.index([copied_samples(tmp_path / "photos", 12)], model="none")

    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (n_files, n_files))

    for arguments in (
        ["search", "-i", tmp_path / "photos" / "cat.jpg"],
        ["verify"],
        ["index", tmp_path / "photos"],
    ):
        command = [sys.executable, "-m", "mmsearch", *arguments, "--library", library]
        done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit)
        assert "Traceback" not in done.stderr
        assert done.returncode in (0, 1), done.stderr
        if done.returncode:
            assert "Too many open files" in done.stderr
            assert "`ulimit -n`" in done.stderr
            assert "problem: " not in done.stderr  # nothing is damaged
    with Library.open(library) as opened:
        assert opened.verify().problems == ()
        assert opened.status().local["n_images"] == 12


@pytest.mark.parametrize("size_kb", tiered(range(40, 200, 16), [40, 104, 184]))
def test_catalog_that_a_full_disk_let_begin_is_whole_or_not_there(tmp_path, size_kb):
    with mounted(tmp_path / "mount", f"{size_kb}k") as mount:
        with contextlib.suppress(StorageError):
            filled(mount / "library", 1)
        subprocess.run(["mount", "-o", "remount,size=64m", mount], check=True)
        filled(mount / "library", 10)
        with Store.writer(mount / "library") as store:
            assert store.catalog.count("image") == 10
