"""Groups of one picture, among candidates whose pairs are known in part, with light that is made here."""

from __future__ import annotations

import numpy as np
import pytest

from mmsearch.duplicates.join import turned
from mmsearch.duplicates.same_picture import Compared, same_pictures
from mmsearch.duplicates.verdicts import DIFFERENT, FINE_SIDE, LOCAL, PIXELS, verdict_of
from mmsearch.records import luminance_layout
from mmsearch.store.comparisons import PAIR, Comparisons
from tests.duplicates.pictures import candidate, light, smooth_grids


class Seen:
    """What files show: the light of each candidate by its path, as smooth as its signature."""

    def __init__(self, candidates):
        self.candidates, self.asked = candidates, []

    def fine_lights(self, places):
        self.asked += [self.candidates[place].image.path for place in places]
        lights = {}
        for place in places:
            record = np.zeros(1, luminance_layout(FINE_SIDE))
            coarse = self.candidates[place].signature[0]["grid"].astype(float)
            steps = np.linspace(0, len(coarse) - 1, FINE_SIDE)
            weights = np.maximum(0, 1 - np.abs(steps[:, None] - np.arange(len(coarse))))
            record["grid"] = np.rint(weights @ coarse @ weights.T)
            lights[place] = record
        return lights

    def local_features(self, places):
        return {}


NOTHING = Comparisons()


def grouped(candidates, kept=NOTHING):
    """{path of a keeper: {paths of others}}, what is to be kept, and the paths of the files that were looked at."""
    hashes = [each.content_hash.ljust(32, b"\0") for each in candidates]
    compared = Compared.of(kept, hashes)
    ordered = [candidates[number] for number in compared.order]
    seen = Seen(ordered)
    groups = same_pictures(ordered, compared, None, seen, lambda *_: None)
    told = {
        ordered[keeper].image.path: {ordered[other].image.path for other in others}
        for keeper, others in groups.verdicts.items()
        if others
    }
    return told, compared.comparisons(hashes), seen.asked


def noisy(grid, seed, amount):
    return np.clip(grid + np.random.default_rng(seed).normal(0, amount, grid.shape), -127, 127)


@pytest.fixture(scope="module")
def pictures():
    """Three pictures; of the first a copy that is nearly equal, of the second one that is alike and upside down."""
    grids = smooth_grids(3, seed=3)
    return {
        "a": candidate("/a", signature=light(grids[0])),
        "a2": candidate("/a2", signature=light(noisy(grids[0], 1, 1))),
        "b": candidate("/b", signature=light(grids[1])),
        "b2": candidate("/b2", signature=light(turned(noisy(grids[1], 2, 6), 5))),
        "c": candidate("/c", signature=light(grids[2])),
    }


EXPECTED = {"/a": {"/a2"}, "/b": {"/b2"}}


def of(pictures, names):
    return [pictures[name] for name in names.split()]


def test_a_second_search_looks_at_nothing_again(pictures):
    told, kept, asked = grouped(of(pictures, "a b a2 c b2"))
    assert told == EXPECTED
    assert {"/b", "/b2"} <= set(asked)
    again, kept_again, asked = grouped(of(pictures, "a b a2 c b2"), kept)
    assert (again, asked) == (EXPECTED, [])
    assert kept_again.is_as(kept)


@pytest.mark.parametrize("before", ["a", "a2 c", "b2", "a b", "c b2 a2"])
def test_groups_are_the_same_whatever_was_compared_before(pictures, before):
    _, kept, _ = grouped(of(pictures, before))
    told, kept, _ = grouped(of(pictures, "a b a2 c b2"), kept)
    assert told == EXPECTED
    assert grouped(of(pictures, "a b a2 c b2"), kept)[2] == []


def test_the_keeper_is_the_one_that_is_kept_first_whichever_was_compared_first(pictures):
    _, kept, _ = grouped(of(pictures, "a b a2 c b2"))
    told, _, _ = grouped(of(pictures, "b2 a2 c a b"), kept)
    assert told == {"/a2": {"/a"}, "/b2": {"/b"}}


def test_what_left_is_forgotten_and_what_was_equal_to_it_is_compared_anew(pictures):
    _, kept, _ = grouped(of(pictures, "a b a2 c b2"))
    told, kept, _ = grouped(of(pictures, "a2 c b2"), kept)
    assert told == {}
    assert {bytes(each).rstrip(b"\0") for each in kept.contents} == {b"/a2", b"/c", b"/b2"}
    assert not len(kept.pairs[kept.pairs["verdict"] > DIFFERENT])
    assert grouped(of(pictures, "a b a2 c b2"), kept)[0] == EXPECTED


def test_a_chain_whose_ends_differ_is_no_one_group(pictures):
    def noise(amount):
        return noisy(pictures["a"].signature[0]["grid"].astype(float), 9, amount)

    ends = [candidate(path, signature=light(noise(amount))) for path, amount in (("/1", 0), ("/2", 5), ("/3", 60))]
    told, kept, _ = grouped(ends)
    assert told == {"/1": {"/2"}}
    assert grouped(ends, kept)[0] == told


@pytest.mark.parametrize("turns", range(8))
def test_a_verdict_turned_round_undoes_its_turns(turns):
    square = np.arange(9).reshape(1, 3, 3)
    pair = np.array((1, 2, PIXELS, turns, (0, 1), 0.95, (1, 0.9)), PAIR)
    there, back = (verdict_of(pair, is_turned_round=is_round) for is_round in (False, True))
    assert turned(turned(square, there.turns), back.turns).tolist() == square.tolist()
    assert (there.parts, back.parts) == ((0, 1), (1, 0))


def test_a_verdict_by_local_features_says_so():
    pair = np.array((1, 2, LOCAL, 0, (0, 0), 0.99, (1, 1)), PAIR)
    assert verdict_of(pair, is_turned_round=False).evidence == "local"
