"""F1: a writer killed at any instruction loses at most the batch in flight."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmsearch import Library, Query
from mmsearch.store.folder import Store
from tests import pictures, warm
from tests.conftest import small_samples
from tests.faults.killed_index import SETTINGS
from tests.tiers import tiered

PROGRAM = Path(__file__).parent / "killed_index.py"
POINTS = [
    ("append:before", 1), ("append:before", 3), ("append:after", 2), ("transaction:before", 5),
    ("transaction:after", 40), ("sync_folder:before", 1), ("publish:before", 1), ("sha256:after", 1),
    ("write_file:before", 1), ("write_file:after", 1), ("write_file:after", 2), ("publish:after", 1),
    ("create:before", 1), ("install:before", 1), ("install:after", 1), ("history:before", 1),
    ("history:after", 1), ("history:before", 2), ("history:after", 3),
    # The graph is published, the cells are not yet.
    ("learn:after", 1), ("cells:after", 1),
    # A kill here leaves the files that one above leaves, or does after another batch: to sync or hash changes none.
    ("sync:before", 2), ("sync:after", 3), ("sha256:before", 1), ("write_file:before", 2),
    ("learn:before", 1), ("cells:before", 1), ("publish:before", 2), ("sha256:after", 2), ("write_file:before", 3),
    ("write_file:after", 3), ("write_file:before", 4), ("write_file:after", 4), ("publish:after", 2),
]  # fmt: skip
N_PICTURES = 80


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    folder = tmp_path_factory.mktemp("many")
    for seed in range(N_PICTURES):
        pictures.photo(40, 30, seed).save(folder / f"{seed}.png")
    return folder


def command(library, folder, checkpoint, cache, point="never", count=0):
    return [sys.executable, PROGRAM, *map(str, (library, folder, checkpoint, cache, point, count))]


def ranking(library, cache):
    """The exact top 10 for some texts: those need no process that decodes pictures."""
    with Library.open(library, cache=cache, use_graph=False) as opened:
        results = [opened.search(Query(text=f"the number {i}"), k=10) for i in range(8)]
    return [[(hit.path, round(hit.score, 3)) for hit in result.hits] for result in results]


@pytest.fixture(scope="module")
def expected(many, checkpoint, cache, tiny_folder, tmp_path_factory):
    library = tmp_path_factory.mktemp("uninterrupted") / "library"
    warm.run(command(library, many, checkpoint, cache), check=True)
    return ranking(library, cache)


def assert_nothing_acknowledged_is_lost(library, cache, acknowledged):
    if not (library / "catalog.sqlite").exists():
        assert acknowledged == 0
        return
    with Library.open(library, cache=cache) as opened:
        assert opened.status().n_images >= acknowledged
        problems = opened.verify().problems
        # The next run installs an encoder that is not there yet, and cuts off vectors that were not acknowledged.
        known = ("encoder", "vectors more than the catalog lists")
        assert [problem for problem in problems if not any(words in problem for words in known)] == []


def assert_resumes(library, many, checkpoint, cache, expected):
    with Library.open(library, cache=cache) as opened:
        opened.index([many], model=str(checkpoint), settings=SETTINGS)
    assert ranking(library, cache) == expected
    with Library.open(library, cache=cache) as opened:
        assert opened.verify().problems == ()
    covered = {kind: facts["covered"] for kind, facts in Store.open(library).indexes.facts().items()}
    assert covered == {"graph": N_PICTURES, "cells": N_PICTURES}
    assert not [*library.glob("*.tmp"), *library.glob("*.old")]


def acknowledged_in(out):
    numbers = [int(line) for line in out.split() if line.isdigit()]
    return max(numbers, default=0)


@pytest.mark.parametrize(
    ("point", "count"), tiered(POINTS, [("append:after", 2), ("learn:after", 1)]), ids=lambda value: str(value)
)
def test_kill_at_a_named_point_loses_nothing_acknowledged(
    tmp_path, many, checkpoint, cache, expected, point, count
):
    library = tmp_path / "library"
    done = warm.run(command(library, many, checkpoint, cache, point, count), text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert_nothing_acknowledged_is_lost(library, cache, acknowledged_in(done.stdout))
    assert_resumes(library, many, checkpoint, cache, expected)


@pytest.mark.parametrize("count", tiered([1, 2], [2]))
def test_kill_while_compacting_loses_nothing(tmp_path, many, checkpoint, cache, expected, count):
    library, gallery = tmp_path / "library", tmp_path / "gallery"
    gallery.mkdir()
    for seed in range(N_PICTURES):
        pictures.photo(40, 30, seed + 1000).save(gallery / f"{seed}.png")
    warm.run(command(library, gallery, checkpoint, cache), check=True)
    for path in sorted(gallery.iterdir())[:40]:
        path.unlink()
    done = warm.run(command(library, gallery, checkpoint, cache, "compact:after", count), text=True)
    assert done.returncode in (0, -signal.SIGKILL)
    with Library.open(library, cache=cache) as opened:
        assert opened.status().n_images == 40
        # The graph of before the compaction is stale then, and rebuilt by the next run.
        assert [problem for problem in opened.verify().problems if "graph" not in problem] == []


def kill_at_random(seed, tmp_path, many, checkpoint, cache, expected):
    library = tmp_path / f"library-{seed}"
    delay = random.Random(seed).uniform(0.2, 4.0)
    with subprocess.Popen(
        command(library, many, checkpoint, cache), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        out = process.stdout.read()
    assert_nothing_acknowledged_is_lost(library, cache, acknowledged_in(out))
    assert_resumes(library, many, checkpoint, cache, expected)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(2))
def test_kill_at_a_random_time_loses_nothing_acknowledged(seed, tmp_path, many, checkpoint, cache, expected):
    kill_at_random(seed, tmp_path, many, checkpoint, cache, expected)


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_198_kills_lose_nothing_acknowledged(tmp_path, many, checkpoint, cache, expected):
    for seed in range(2, 200):
        kill_at_random(seed, tmp_path, many, checkpoint, cache, expected)


@pytest.mark.parametrize(
    ("point", "count"),
    tiered(
        [("sync_folder:before", 1), ("transaction:after", 20), ("sha256:before", 2), ("transaction:before", 5),
         ("write_file:after", 1), ("sync_folder:after", 5)],
        [("transaction:after", 20)],
    ),
)  # fmt: skip
def test_kill_of_a_run_without_an_encoder_loses_nothing_acknowledged(tmp_path, point, count):
    library, folder, cache = tmp_path / "library", small_samples(tmp_path / "photos"), tmp_path / "no-cache"
    done = warm.run(command(library, folder, "none", cache, point, count), text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert_nothing_acknowledged_is_lost(library, cache, acknowledged_in(done.stdout))
    with Library.open(library, cache=cache) as opened:
        opened.index([folder], model="none", settings=SETTINGS)
        status = opened.status()
        assert (status.n_images, status.local["n_images"], opened.verify().problems) == (29, 29, ())
        for path in sorted(folder.glob("*.jpg")):
            assert opened.search(Query(images=[path]), k=1).hits[0].path == str(path)
    assert not list(library.glob("*.tmp"))


ANEW_POINTS = [
    ("append:after", 3), ("copy:after", 1), ("beside:after", 1), ("take:after", 1), ("adopt:after", 1),
    ("publish:before", 1), ("append:before", 2), ("install:after", 1), ("copy:before", 1), ("beside:before", 1),
    ("move:before", 2), ("take:before", 1), ("tidy:before", 2), ("publish:after", 1),
]  # fmt: skip


@pytest.fixture(scope="module")
def with_old_vectors(many, other_checkpoint, cache, other_folder, tmp_path_factory):
    """A library of the same pictures by another encoder."""
    library = tmp_path_factory.mktemp("old") / "library"
    warm.run(command(library, many, other_checkpoint, cache), check=True)
    return library


def ends_as_before_or_after(library, cache, old, new):
    """A library whose vectors were being made anew answers by the old ones or by the new, and is whole."""
    answers = ranking(library, cache)
    assert answers in (old, new)
    with Library.open(library, cache=cache) as opened:
        assert opened.status().n_images == N_PICTURES
        # A graph of before the new vectors is stale, and rebuilt by the next run.
        assert [problem for problem in opened.verify().problems if "graph" not in problem] == []
    return answers


def becomes_new(library, checkpoint, cache, expected):
    warm.run(command(library, "-", checkpoint, cache), check=True)
    assert ranking(library, cache) == expected
    with Library.open(library, cache=cache) as opened:
        assert opened.verify().problems == ()
        assert (opened.status().n_in_graph, opened.status().next_model) == (N_PICTURES, None)
    names = {path.name for path in library.iterdir()}
    assert names & {"encoder", "vectors-0.f16", "next"} == set()


@pytest.mark.parametrize(
    ("point", "count"), tiered(ANEW_POINTS, [("adopt:after", 1)]), ids=lambda value: str(value)
)
def test_kill_while_vectors_are_made_anew_leaves_those_of_before_or_after(
    tmp_path, with_old_vectors, checkpoint, cache, expected, point, count
):
    library = shutil.copytree(with_old_vectors, tmp_path / "library")
    done = warm.run(command(library, "-", checkpoint, cache, point, count), text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    answers = ends_as_before_or_after(library, cache, ranking(with_old_vectors, cache), expected)
    is_taken_over = point.partition(":")[0] in ("adopt", "tidy", "publish")
    assert answers == (expected if is_taken_over else ranking(with_old_vectors, cache))
    becomes_new(library, checkpoint, cache, expected)


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_100_kills_while_vectors_are_made_anew_leave_those_of_before_or_after(
    tmp_path, with_old_vectors, checkpoint, cache, expected
):
    old = ranking(with_old_vectors, cache)
    for seed in range(100):
        library = shutil.copytree(with_old_vectors, tmp_path / f"library-{seed}")
        with subprocess.Popen(
            command(library, "-", checkpoint, cache), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            time.sleep(random.Random(seed).uniform(0.5, 6.0))
            process.send_signal(signal.SIGKILL)
        ends_as_before_or_after(library, cache, old, expected)
        if seed % 5 == 0:
            becomes_new(library, checkpoint, cache, expected)
        shutil.rmtree(library)


def test_worker_processes_end_with_the_killed_writer(tmp_path, many, checkpoint, cache, expected):
    library = tmp_path / "library"
    done = subprocess.run(command(library, many, checkpoint, cache, "append:after", 2), capture_output=True)
    assert done.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and workers_of(library):
        time.sleep(0.1)
    assert workers_of(library) == []


def workers_of(library):
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if b"start_worker.py" in line and os.fsencode(library) in line:
                found.append(entry.name)
    return found
