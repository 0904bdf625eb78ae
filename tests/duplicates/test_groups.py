from __future__ import annotations

from mmsearch.duplicates.groups import Groups, Verdict
from mmsearch.duplicates.keepers import preference, reason
from mmsearch.duplicates.moments import SECONDS, moments
from tests.conftest import random_units
from tests.duplicates.pictures import candidate, light

SAME = Verdict("signature", 1.0)


def test_a_chain_is_a_group_of_those_that_are_like_its_keeper_and_others_stay_out():
    groups = Groups(3)  # 0 is like 1, 1 is like 2, 0 is not like 2
    assert groups.join(0, 1, SAME)
    assert not groups.join(1, 2, SAME)
    assert {keeper: list(others) for keeper, others in groups.verdicts.items()} == {0: [1]}
    assert groups.is_open.tolist() == [True, False, True]


def test_a_keeper_joins_another_group_once_its_own_is_dissolved():
    groups = Groups(4)
    groups.join(1, 2, SAME)
    assert not groups.join(0, 1, SAME)
    assert groups.release(1) == {2: SAME}
    assert groups.join(0, 1, SAME)
    assert groups.is_open.tolist() == [True, False, True, True]


def test_the_largest_is_kept_then_the_coloured_the_dated_the_least_compressed_and_the_oldest():
    large, full = candidate("/large", size=(200, 100)), candidate("/full", size_bytes=2_000)
    grey = candidate("/grey", size_bytes=9_000, taken="2020", signature=light(0, tone=(100, 50, 2)))
    dated, old, plain = candidate("/dated", taken="2020"), candidate("/old", mtime_ns=1), candidate("/b")
    first = candidate("/a")
    order = [large, dated, full, old, first, plain, grey]
    assert sorted(reversed(order), key=lambda picture: preference(picture, "largest")) == order
    said = [reason(order[at], order[at + 1 :], "largest") for at in range(6)]
    assert said == [
        "largest: 200 x 100", "has its date: 2020", "least compressed: 2.0 bits a pixel", "oldest file",
        "first by path", "has its colours",
    ]  # fmt: skip


def test_the_rule_that_is_asked_for_comes_first():
    large, old = candidate("/large", size=(200, 100)), candidate("/old", mtime_ns=1)
    assert min([large, old], key=lambda picture: preference(picture, "oldest")) is old
    assert reason(old, [large], "oldest") == "oldest file"


def test_pictures_of_a_moment_are_near_in_time_and_by_vectors():
    times = ["2020-05-01T12:00:00", "2020-05-01T12:00:20", "2020-05-01T12:00:59", "2020-05-01", None]
    candidates = [candidate(f"/{n}", taken=taken) for n, taken in enumerate(times)]
    vectors = random_units(1, 16).repeat(5, axis=0)
    assert SECONDS < 59 - 20  # after the first
    groups = moments(candidates, vectors.astype("f2"))
    assert {keeper: list(others) for keeper, others in groups.verdicts.items()} == {0: [1]}
    vectors[1] = random_units(1, 16, seed=1)
    assert not moments(candidates, vectors.astype("f2")).verdicts
