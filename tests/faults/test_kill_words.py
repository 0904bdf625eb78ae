"""F1 for visual words: a writer killed while it publishes them loses no picture and leaves no half-made state."""

from __future__ import annotations

import shutil
import signal
import sys
from pathlib import Path

import pytest

from mmsearch import Library, Query
from mmsearch.errors import QueryError
from tests import warm
from tests.conftest import small_samples
from tests.faults.killed_words import STEPS
from tests.faults.test_kill import acknowledged_in
from tests.tiers import tiered

PROGRAM = Path(__file__).parent / "killed_words.py"
N_BASE, N_FRESH, N_ALL = 12, 2, 18  # of a base, of a fresh segment beside it, and so many that they are merged
FIRST = [(kind, step) for kind in ("vocabulary", "centres", "fresh", "words") for step in STEPS]
LATER = [(kind, step) for kind in ("fresh", "words") for step in STEPS]
QUERIES = ("astronaut", "cat", "dandelions", "goldfish")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """The first 18 sample photographs, made small."""
    return small_samples(tmp_path_factory.mktemp("pictures") / "photos", N_ALL, longer_side=200)


@pytest.fixture(scope="module")
def run(pictures, checkpoint, cache, tiny_folder):
    """A function that indexes the first n photographs into a library, and dies at a point."""

    def index(library, n, point="never"):
        arguments = [PROGRAM, library, pictures, checkpoint, cache, n, point]
        return warm.run([sys.executable, *map(str, arguments)], text=True)

    return index


@pytest.fixture(scope="module")
def small(run, tmp_path_factory):
    """A library of 14 photographs, two of them in the fresh segment."""
    library = tmp_path_factory.mktemp("small") / "library"
    for n in (N_BASE, N_BASE + N_FRESH):
        done = run(library, n)
        assert done.returncode == 0, done.stderr
    assert {"words-1.bin", "fresh-1.bin", "centres-1.bin"} <= {path.name for path in library.iterdir()}
    return library


def answers(library, cache, pictures):
    """What the visual words of some photographs find, or why there are none."""
    with Library.open(library, cache=cache) as opened:
        try:
            queries = [pictures / f"{name}.jpg" for name in QUERIES]
            results = [opened.search(Query(images=[query]), k=30, mode="local") for query in queries]
        except QueryError as error:
            return str(error)
    return [[(Path(hit.path).name, hit.score, hit.local.n_inliers) for hit in found.hits] for found in results]


@pytest.fixture(scope="module")
def first_run(run, cache, pictures, tmp_path_factory):
    """The answers of a library that 12 photographs were indexed into without interruption."""
    library = tmp_path_factory.mktemp("first") / "library"
    assert run(library, N_BASE).returncode == 0
    return answers(library, cache, pictures)


@pytest.fixture(scope="module")
def later_run(run, cache, pictures, small, tmp_path_factory):
    """The answers of a library that 12, then two, then four photographs were indexed into."""
    library = tmp_path_factory.mktemp("later") / "library"
    shutil.copytree(small, library)
    assert run(library, N_ALL).returncode == 0
    assert (library / "words-2.bin").exists()
    return answers(library, cache, pictures)


def assert_nothing_is_lost(run, cache, pictures, library, n, point, allowed, expected):
    done = run(library, n, ":".join(point))
    assert done.returncode == -signal.SIGKILL, done.stderr
    with Library.open(library, cache=cache) as opened:
        n_known = opened.status().n_images
        assert n_known >= acknowledged_in(done.stdout)
        assert opened.verify().problems == ()
    assert answers(library, cache, pictures) in allowed
    again = run(library, n)
    assert again.returncode == 0, again.stderr
    assert acknowledged_in(again.stdout) == n - n_known  # no picture is embedded twice
    assert answers(library, cache, pictures) == expected
    with Library.open(library, cache=cache) as opened:
        assert (opened.status().n_images, opened.verify().problems) == (n, ())
    assert list(library.glob("*.tmp")) == []
    kinds = [path.name.split("-")[0] for path in library.glob("*.bin")]
    assert sorted(kinds) == sorted(set(kinds)), "generations were left behind"


@pytest.mark.parametrize(("kind", "step"), tiered(FIRST, [("words", "manifest")]))
def test_kill_while_the_first_words_are_published_loses_nothing(
    run, cache, pictures, tmp_path, first_run, kind, step
):
    none = "the library has no visual words"
    allowed = [f"{none}; `mmsearch index --local` makes them from about 10 pictures on",
               f"{none} yet; `mmsearch index` makes them", first_run]  # fmt: skip
    assert_nothing_is_lost(run, cache, pictures, tmp_path / "library", N_BASE, (kind, step), allowed, first_run)


@pytest.mark.parametrize(("kind", "step"), tiered(LATER, [("fresh", "manifest-rename")]))
def test_kill_while_words_are_merged_leaves_the_answers_of_before_or_after(
    run, cache, pictures, small, later_run, tmp_path, kind, step
):
    library = tmp_path / "library"
    shutil.copytree(small, library)
    before = answers(library, cache, pictures)
    assert before != later_run
    assert_nothing_is_lost(run, cache, pictures, library, N_ALL, (kind, step), [before, later_run], later_run)
