"""A kill inside a film, or while one is moved, copied or removed, leaves all of a film or none of it."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mmsearch import Library
from tests.films import copy_filmed, film, frames_in, moments_in, shots

PROGRAM = Path(__file__).parent / "killed_films.py"
NAMES = ("cat", "dam", "fig", "moose", "coffee", "creek")
pytestmark = pytest.mark.full


def kill(filmed, cache, task, point, count, *, folder=None):
    paths = filmed / "library", folder or filmed / "films", cache
    done = subprocess.run(
        [sys.executable, PROGRAM, *map(str, paths), task, point, str(count)], capture_output=True, text=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    return dict(line.split() for line in done.stdout.splitlines())


def index(filmed, cache):
    with Library.open(filmed / "library", cache=cache) as library:
        return library.index([filmed / "films"], local=False).films


@pytest.fixture(scope="module")
def long_film():
    return film(shots(*NAMES, seconds=1.5))


@pytest.fixture(scope="module")
def undisturbed(filmed_once, long_film, cache, tmp_path_factory):
    filmed = copy_filmed(filmed_once, tmp_path_factory.mktemp("undisturbed") / "filmed")
    (filmed / "films" / "long.mp4").write_bytes(long_film)
    index(filmed, cache)
    return moments_in(filmed / "library", "long.mp4")


@pytest.mark.parametrize(
    ("point", "count"),
    [("film:before", 1), ("film:after", 1), ("frame:before", 2), ("frame:after", 3), ("append:after", 2),
     ("history:after", 2), ("film:after", 2), ("film:before", 2)],
)  # fmt: skip
def test_a_kill_inside_a_film_keeps_what_was_acknowledged_and_the_next_run_goes_on(
    filmed, cache, long_film, undisturbed, point, count
):
    (filmed / "films" / "long.mp4").write_bytes(long_film)
    read_to = float(kill(filmed, cache, "index", point, count).get("long.mp4", -1))
    before = frames_in(filmed / "library", is_whole=False).get("long.mp4", [])
    whole = [at for at, _, _ in undisturbed]
    assert before == whole[: len(before)]
    assert len(before) >= sum(at <= read_to for at in whole)
    report = index(filmed, cache)
    assert moments_in(filmed / "library", "long.mp4") == undisturbed
    assert report.n_frames == len(undisturbed) - len(before)
    assert frames_in(filmed / "library").keys() == {"long.mp4", "trip.mp4", "zoo.mkv"}


@pytest.mark.parametrize("point", ["rejected:before", "film:after", "frame:after", "history:before"])
def test_a_kill_while_films_move_and_are_copied_leaves_each_before_or_after(filmed, cache, point):
    films, before = filmed / "films", frames_in(filmed / "library")
    (films / "trip.mp4").rename(films / "moved.mp4")
    shutil.copyfile(films / "zoo.mkv", films / "copy.mkv")
    kill(filmed, cache, "index", point, 1)
    between = frames_in(filmed / "library", is_whole=False)
    assert all(times in before.values() for times in between.values())
    report = index(filmed, cache)
    assert report.n_frames == 0
    after = {"moved.mp4": before["trip.mp4"], "zoo.mkv": before["zoo.mkv"], "copy.mkv": before["zoo.mkv"]}
    assert frames_in(filmed / "library") == after


@pytest.mark.parametrize("point", ["rejected:before", "rejected:after", "history:before"])
def test_a_kill_while_a_film_is_removed_leaves_it_or_takes_it(filmed, cache, point):
    before = frames_in(filmed / "library")
    kill(filmed, cache, "rm", point, 1, folder=filmed / "films" / "trip.mp4")
    left = frames_in(filmed / "library", is_whole=False)
    assert left in (before, {"zoo.mkv": before["zoo.mkv"]})
    with Library.open(filmed / "library", cache=cache) as library:
        library.remove([filmed / "films" / "trip.mp4"])
    assert frames_in(filmed / "library") == {"zoo.mkv": before["zoo.mkv"]}
