"""F1 for labels: a writer killed at any instruction loses no label that was acknowledged, and goes on."""

from __future__ import annotations

import shutil
import signal
import sys
from pathlib import Path

import pytest

from mmsearch import Library
from tests import pictures, warm
from tests.faults.killed_labels import LEAST, NAMES
from tests.faults.test_kill import acknowledged_in
from tests.tiers import tiered

PROGRAM = Path(__file__).parent / "killed_labels.py"
N_PICTURES = 30
POINTS = [
    ("define:before", 1), ("look:after", 9), ("give:before", 1), ("give:after", 2), ("note:before", 1),
    ("note:before", 2), ("note:after", 3), ("sets:before", 1),
    ("define:after", 1), ("look:before", 30), ("give:before", 4), ("note:after", 1), ("note:before", 5),
    ("note:after", 5),
]  # fmt: skip


@pytest.fixture(scope="module")
def plain(checkpoint, cache, tiny_folder, tmp_path_factory):
    """A library of 30 pictures without labels."""
    base = tmp_path_factory.mktemp("plain")
    (base / "photos").mkdir()
    for seed in range(N_PICTURES):
        pictures.photo(40, 30, seed).save(base / "photos" / f"{seed}.png")
    with Library.open(base / "library", cache=cache) as library:
        library.index([base / "photos"], model=str(checkpoint), local=False)
    return base / "library"


@pytest.fixture(scope="module")
def labelled(plain, cache, tmp_path_factory):
    """The same with labels that were given in one go."""
    library = shutil.copytree(plain, tmp_path_factory.mktemp("labelled") / "library")
    with Library.open(library, cache=cache) as opened:
        opened.set_labels("things", NAMES, min_probability=LEAST)
    return library


def run(library, cache, command, point="never", count=0, model=""):
    arguments = [PROGRAM, *map(str, (library, cache, command, point, count, model))]
    return warm.run([sys.executable, *arguments], text=True)


def given(library, cache):
    """{id: {label: probability}}, and how many pictures were not looked at."""
    with Library.open(library, cache=cache) as opened:
        pages = opened.pictures(limit=1000).pictures
        labels = {picture.image_id: opened.labels_of(picture.image_id) for picture in pages}
        left = sum(known.n_left for known in opened.label_sets())
    return {
        image_id: {each.label: pytest.approx(each.probability, abs=1e-5) for each in given_labels}
        for image_id, given_labels in labels.items()
    }, left


@pytest.mark.parametrize("then", tiered(["set", "index"], ["set"]))
@pytest.mark.parametrize(("point", "count"), tiered(POINTS, [("give:after", 2)]), ids=lambda value: str(value))
def test_kill_while_labels_are_given_loses_none_that_was_acknowledged(
    tmp_path, plain, labelled, cache, point, count, then
):
    library = shutil.copytree(plain, tmp_path / "library")
    done = run(library, cache, "set", point, count)
    assert done.returncode == -signal.SIGKILL, done.stderr
    expected, _ = given(labelled, cache)
    labels, left = given(library, cache)
    with Library.open(library, cache=cache) as opened:
        sets = opened.label_sets()
        assert left <= N_PICTURES - acknowledged_in(done.stdout)
        problems = opened.verify().problems
        assert all("not looked at yet for the label set 'things'" in problem for problem in problems)
    looked_at = sorted(labels)[: N_PICTURES - left] if sets else []
    assert {image_id: labels[image_id] for image_id in looked_at} == {
        image_id: expected[image_id] for image_id in looked_at
    }
    again = run(library, cache, "set" if then == "set" or not sets else "index")
    assert again.returncode == 0, again.stderr
    assert acknowledged_in(again.stdout) == (left if sets else N_PICTURES)  # no picture is looked at twice
    assert given(library, cache) == (expected, 0)
    with Library.open(library, cache=cache) as opened:
        assert opened.verify().problems == ()


@pytest.mark.parametrize(
    ("point", "count"), tiered([("sets:before", 1), ("note:before", 1), ("note:after", 1)], [("note:before", 1)])
)
def test_kill_while_a_set_is_removed_leaves_all_of_it_or_nothing(tmp_path, labelled, cache, point, count):
    library = shutil.copytree(labelled, tmp_path / "library")
    done = run(library, cache, "rm", point, count)
    assert done.returncode == -signal.SIGKILL, done.stderr
    expected, _ = given(labelled, cache)
    labels, _ = given(library, cache)
    with Library.open(library, cache=cache) as opened:
        assert opened.verify().problems == ()
        assert labels == (expected if opened.label_sets() else {image_id: {} for image_id in expected})


@pytest.mark.parametrize(
    ("point", "count"), tiered([("define:before", 1), ("adopt:after", 1), ("give:before", 2)], [("adopt:after", 1)])
)
def test_kill_while_labels_are_made_anew_with_vectors_leaves_those_of_before_or_the_rest_to_be_given(
    tmp_path, labelled, cache, other_checkpoint, other_folder, point, count
):
    library = shutil.copytree(labelled, tmp_path / "library")
    before, _ = given(library, cache)
    done = run(library, cache, "anew", point, count, other_checkpoint)
    assert done.returncode == -signal.SIGKILL, done.stderr
    labels, left = given(library, cache)
    with Library.open(library, cache=cache) as opened:
        is_anew = opened.status().model == str(other_checkpoint)
        assert is_anew == (point != "define:before")
        n_left = N_PICTURES - acknowledged_in(done.stdout)
        assert (labels == before, left) == ((False, n_left) if is_anew else (True, 0))
        problems = opened.verify().problems
        assert all("not looked at yet for the label set 'things'" in problem for problem in problems)
    again = run(library, cache, "index" if is_anew else "anew", model=other_checkpoint)
    assert again.returncode == 0, again.stderr
    fresh = shutil.copytree(library, tmp_path / "fresh")
    with Library.open(fresh, cache=cache) as opened:
        opened.remove_labels("things")
    assert run(fresh, cache, "set").returncode == 0
    assert given(library, cache) == given(fresh, cache) != (before, 0)
    with Library.open(library, cache=cache) as opened:
        assert opened.verify().problems == ()
