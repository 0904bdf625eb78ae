"""Processes that load shards into a real Milvus server: killed at any time, and several at once."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from mmsearch import Library
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.errors import LibraryNotFoundError
from mmsearch.places import place_of
from mmsearch.samples import sample_folder
from mmsearch.shards.format import ShardFacts
from tests.conftest import random_units
from tests.faults.killed_shards import ROWS
from tests.shards.shards import STRANGE, picture, write_shards

ROOT = Path(__file__).parents[2]
N = 320
N_BATCHES = N // ROWS


@pytest.fixture(scope="module")
def shards(tiny_folder, tmp_path_factory):
    """Two shards of pictures, one of which is in both, in the order of their rows."""
    facts = ShardFacts.of(OnnxEncoder.open(tiny_folder))
    folder = tmp_path_factory.mktemp("shards")
    vectors = random_units(N, facts.dim)
    pictures = [picture(n, vector, path=STRANGE if n == 7 else None) for n, vector in enumerate(vectors)]
    write_shards(folder, [*pictures[:100], picture(N, vectors[200], path=pictures[200].path)], facts=facts)
    return write_shards(folder, pictures[100:], facts=facts)


@pytest.fixture(scope="module")
def library(milvus, shards, cache):
    """A library whose pictures a test removes or loads as it likes."""
    address = milvus.address("loaders")
    with Library.open(address, cache=cache) as opened:
        opened.load(shards)
        yield opened
    milvus.drop("loaders")


@pytest.fixture
def new(milvus):
    """Return the address of a library that is not there yet, dropped at the end."""
    yield milvus.address("new_loaders")
    milvus.drop("new_loaders")


@pytest.mark.full
def test_films_need_a_folder_and_it_is_said(new, tmp_path, checkpoint, cache):
    (tmp_path / "a.mp4").write_bytes(b"\0\0\0\x18ftypisom")
    with Library.open(new, cache=cache) as library:
        with pytest.raises(LibraryNotFoundError, match=r"no picture was found at or below .* \(1 film not read\)"):
            library.index([tmp_path], model=str(checkpoint))
        shutil.copyfile(sample_folder() / "fig.jpg", tmp_path / "fig.jpg")
        report = library.index([tmp_path], model=str(checkpoint))
    assert report.notices == ("1 film not read", f"{new} stands at an address, where films are not kept yet")


@contextmanager
def loading(address, shards, checkpoint, cache):
    """Load shards in a process of its own, a few rows at a time; it is ended at the end."""
    arguments = ["load", address, shards, checkpoint, cache, "never", 0]
    with subprocess.Popen(
        [sys.executable, "-m", "tests.faults.killed_shards", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def kill_in_the_middle(process, chance):
    """Kill a process that loads after some batches and a moment; return how many rows it has acknowledged."""
    acknowledged = [process.stdout.readline() for _ in range(chance.randrange(N_BATCHES - 3))]
    time.sleep(chance.uniform(0, 0.1) if acknowledged else chance.uniform(0.5, 2.0))
    process.kill()
    acknowledged += process.stdout.readlines()
    assert "done\n" not in acknowledged, "it was loaded before it was killed"
    return int(acknowledged[-1]) if acknowledged else 0


def assert_all_is_there_once(address, cache):
    with place_of(address, cache).writer() as store:  # which waits until all that was written can be seen
        files = list(store.known_files(b"/"))
        assert len({file.image_id for file in files}) == len({file.path for file in files}) == len(files) == N
        assert store.n_pictures == N
        assert store.verify().problems == ()


def assert_load_goes_on(address, shards, cache, acknowledged):
    with place_of(address, cache).writer() as store:
        assert store.n_pictures >= acknowledged - 1  # one row does not count
    with Library.open(address, cache=cache) as opened:
        report = opened.load(shards)
        assert (report.new + report.unchanged, report.changed, report.bad) == (N, 0, ())
        assert report.unchanged >= acknowledged - 1
    assert_all_is_there_once(address, cache)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(20))
def test_load_that_is_killed_loses_nothing_acknowledged_and_once_more_every_picture_is_there_once(
    library, shards, checkpoint, cache, seed
):
    library.remove([Path("/")])
    with loading(library.address, shards, checkpoint, cache) as process:
        acknowledged = kill_in_the_middle(process, random.Random(seed))
    assert_load_goes_on(library.address, shards, cache, acknowledged)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(10))
def test_load_that_is_killed_while_it_makes_a_library_leaves_one_that_is_loaded_into(
    new, shards, checkpoint, cache, seed
):
    with loading(new, shards, checkpoint, cache):
        time.sleep(random.Random(seed).uniform(0.8, 4))
    with Library.open(new, cache=cache) as opened:
        report = opened.load(shards, model=checkpoint)
        assert report.new + report.unchanged == N
    assert_all_is_there_once(new, cache)


@pytest.mark.full
def test_processes_that_make_a_library_and_load_the_same_pictures_at_once_store_each_once(
    new, shards, checkpoint, cache
):
    with (
        loading(new, shards, checkpoint, cache) as one,
        loading(new, shards, checkpoint, cache) as other,
    ):
        for process in (one, other):
            printed, said = process.communicate(timeout=60)
            assert (process.returncode, printed.splitlines()[-1]) == (0, "done"), said
    assert_all_is_there_once(new, cache)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(5))
def test_loader_goes_on_when_another_beside_it_is_killed(library, shards, checkpoint, cache, seed):
    library.remove([Path("/")])
    with (
        loading(library.address, shards, checkpoint, cache) as one,
        loading(library.address, shards, checkpoint, cache) as other,
    ):
        kill_in_the_middle(other, random.Random(seed))
        _, said = one.communicate(timeout=60)
        assert one.returncode == 0, said
    assert_all_is_there_once(library.address, cache)
