"""F2: a disk that loses its power at any moment leaves a library that opens, with all that was acknowledged."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from mmsearch import Library, Query
from mmsearch.errors import MmsearchError
from tests.conftest import small_samples
from tests.faults.power_loss import MANNERS, SETTINGS, acknowledged, recorded, write_state
from tests.faults.test_kill import assert_nothing_acknowledged_is_lost
from tests.tiers import tiered

N_BEFORE, N_LEFT, N_AFTER = 20, 12, 24
RUNS = ("first", "second")


@pytest.fixture(scope="module")
def runs(strace, checkpoint, cache, tiny_folder, tmp_path_factory):
    """What two runs did to the disk: one makes a library, after the other pictures have gone and others come."""
    base = tmp_path_factory.mktemp("power")
    library, photos = base / "library", small_samples(base / "photos")
    waiting = base / "waiting"
    waiting.mkdir()
    for path in sorted(photos.iterdir())[N_BEFORE:]:
        path.rename(waiting / path.name)
    disks, results = {}, {}
    for run in RUNS:
        if run == "second":
            for path in sorted(photos.iterdir())[N_LEFT:]:
                path.unlink()
            for path in sorted(waiting.iterdir()):
                path.rename(photos / path.name)
        disks[run] = recorded(library, photos, checkpoint, cache, base / "log")
        results[run] = shutil.copytree(library, base / run)
    assert {"vocabulary-1.bin", "words-1.bin", "hnsw-1.bin"} <= {path.name for path in (base / "first").iterdir()}
    return disks, results, sorted(photos.iterdir())


def whole(folder: Path):
    """The files of a library but for those that no run needs: the log of SQLite is folded into the catalog."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder): path.read_bytes()
        for path in files
        if not path.name.startswith(("lock", "catalog"))
    }


@pytest.mark.parametrize("run", RUNS)
def test_all_that_a_run_writes_is_recorded(runs, run, tmp_path):
    disk = runs[0][run]
    write_state(disk, len(disk.operations), "kept", random.Random(0), tmp_path / "library")
    assert whole(tmp_path / "library") == whole(runs[1][run])


def survives(runs, run, checkpoint, cache, seed, target):
    """Lose the power at a random moment, look at what is left, and index again in some cases."""
    (disk, photos), rng = (runs[0][run], runs[2]), random.Random(seed)
    moment = rng.randrange(len(disk.operations) + 1)
    write_state(disk, moment, MANNERS[seed % len(MANNERS)], rng, target)
    n = acknowledged(disk, moment)
    if run == "first" and n == 0:
        opens(target, cache)
    else:
        n_least = {"first": min(n, N_BEFORE), "second": N_LEFT + min(n, len(photos) - N_LEFT)}[run]
        assert_nothing_acknowledged_is_lost(target, cache, n_least)
    if n == 0 or seed % 5 == 0:
        with Library.open(target, cache=cache) as library:
            library.index([photos[0].parent], model=str(checkpoint), settings=SETTINGS, local=True)
            assert library.status().n_images == len(photos)
            assert library.status().n_in_graph >= len(photos)
            assert library.verify().problems == ()
            for path in photos[::6]:
                assert library.search(Query(images=[path]), k=1).hits[0].path == str(path)


def opens(target, cache):
    """Nothing was acknowledged: there may be no library, but no surprise."""
    try:
        with Library.open(target, cache=cache) as library:
            library.status()
    except MmsearchError:
        pass


# By default a disk loses what it was told in each manner once, after the first run or the second.
@pytest.mark.parametrize("seed", tiered(range(50), [0, 3, 4, 7]))
def test_power_loss_loses_nothing_acknowledged(runs, checkpoint, cache, seed, tmp_path):
    survives(runs, RUNS[seed % 2], checkpoint, cache, seed // 2, tmp_path / "library")


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("run", RUNS)
def test_500_power_losses_lose_nothing_acknowledged(runs, checkpoint, cache, run, tmp_path):
    for seed in range(25, 250 + 25):
        survives(runs, run, checkpoint, cache, seed, tmp_path / "library")
        shutil.rmtree(tmp_path / "library")


@pytest.fixture(scope="module")
def anew(strace, checkpoint, other_checkpoint, cache, tiny_folder, other_folder, tmp_path_factory):
    """What a run did to the disk that gave a library the vectors of another encoder, and the answers around it."""
    base = tmp_path_factory.mktemp("anew")
    library, photos = base / "library", small_samples(base / "photos")
    with Library.open(library, cache=cache) as opened:
        opened.index([photos], model=str(other_checkpoint), settings=SETTINGS, local=True)
    old = answers(library, cache)
    disk = recorded(library, "-", checkpoint, cache, base / "log")
    return disk, old, answers(library, cache)


def answers(library, cache):
    with Library.open(library, cache=cache, use_graph=False) as opened:
        results = [opened.search(Query(text=f"the number {i}"), k=10) for i in range(4)]
    return [[(hit.path, round(hit.score, 3)) for hit in result.hits] for result in results]


def is_of_one_encoder(anew, checkpoint, cache, seed, target):
    """Lose the power while all vectors are made anew, look at what is left, and go on in some cases."""
    (disk, old, new), rng = anew, random.Random(seed)
    moment = rng.randrange(len(disk.operations) + 1)
    write_state(disk, moment, MANNERS[seed % len(MANNERS)], rng, target)
    assert_nothing_acknowledged_is_lost(target, cache, 29)
    left = answers(target, cache)
    assert left in (old, new)
    if acknowledged(disk, moment) == 10**6:
        assert left == new
    if seed % 5 == 0:
        with Library.open(target, cache=cache) as library:
            library.index([], model=str(checkpoint), re_embed=True)
            assert library.verify().problems == ()
        assert answers(target, cache) == new


@pytest.mark.parametrize("seed", tiered(range(8), [1]))
def test_power_loss_while_vectors_are_made_anew_leaves_those_of_before_or_after(
    anew, checkpoint, cache, seed, tmp_path
):
    is_of_one_encoder(anew, checkpoint, cache, seed, tmp_path / "library")


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_200_power_losses_while_vectors_are_made_anew_leave_those_of_before_or_after(
    anew, checkpoint, cache, tmp_path
):
    for seed in range(8, 208):
        is_of_one_encoder(anew, checkpoint, cache, seed, tmp_path / "library")
        shutil.rmtree(tmp_path / "library")
