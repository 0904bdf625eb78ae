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


@pytest.mark.parametrize("seed", range(50))
def test_power_loss_loses_nothing_acknowledged(runs, checkpoint, cache, seed, tmp_path):
    survives(runs, RUNS[seed % 2], checkpoint, cache, seed // 2, tmp_path / "library")


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("run", RUNS)
def test_500_power_losses_lose_nothing_acknowledged(runs, checkpoint, cache, run, tmp_path):
    for seed in range(25, 250 + 25):
        survives(runs, run, checkpoint, cache, seed, tmp_path / "library")
        shutil.rmtree(tmp_path / "library")
