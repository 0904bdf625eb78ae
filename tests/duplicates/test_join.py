from __future__ import annotations

import numpy as np
import pytest

from mmsearch.duplicates import join
from mmsearch.duplicates.join import N_TURNS, best_turns, near_pairs, turned, unit_rows
from mmsearch.duplicates.vectors import N_NEAREST, nearest_pairs
from tests.conftest import random_units
from tests.duplicates.pictures import smooth_grids


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(join, "_ROWS", 7)
    monkeypatch.setattr(join, "_COLUMNS", 16)


def brute(grids, least):
    """The pairs by comparing all with all in all turns."""
    of_turns = np.stack([unit_rows(grids) @ unit_rows(turned(grids, k)).T for k in range(N_TURNS)])
    best = of_turns.max(axis=0)
    return {
        (int(i), int(j)): (best[i, j], int(of_turns[:, i, j].argmax()))
        for i, j in np.argwhere(best >= least)
        if i < j
    }


def test_a_square_is_mirrored_first_and_then_turned():
    square = np.array([[[1, 2], [3, 4]]])
    assert turned(square, 0)[0].tolist() == [[1, 2], [3, 4]]
    assert turned(square, 1)[0].tolist() == [[2, 1], [4, 3]]
    assert turned(square, 2)[0].tolist() == [[2, 4], [1, 3]]  # anticlockwise
    assert turned(square, 3)[0].tolist() == [[1, 3], [2, 4]]
    assert len({turned(square, number).tobytes() for number in range(N_TURNS)}) == N_TURNS


@pytest.mark.parametrize("least", [0.5, 0.7])
def test_the_pairs_are_those_of_comparing_all_with_all_in_all_turns(small_blocks, least):
    grids = smooth_grids(60)
    parts = list(near_pairs(grids, least, is_open=np.ones(60, bool)))
    pairs, expected = best_turns(parts), brute(grids, least)
    assert len(expected) > 5
    assert sum(map(len, parts)) == len(pairs)  # each comes once
    found = dict(zip(zip(*pairs.columns()[:2], strict=True), zip(*pairs.columns()[2:], strict=True), strict=True))
    assert found.keys() == expected.keys()
    for key, (cosine, turns) in expected.items():
        assert found[key] == (pytest.approx(cosine, abs=1e-5), turns)


@pytest.mark.parametrize("n_known", [1, 20, 41, 60])
def test_what_was_compared_is_not_compared_with_itself_again(small_blocks, n_known):
    grids = smooth_grids(60)
    new = [pair for pair in brute(grids, 0.5) if pair[1] >= n_known]
    parts = list(near_pairs(grids, 0.5, is_open=np.ones(60, bool), n_known=n_known))
    assert sorted(pair for part in parts for pair in zip(*part.columns()[:2], strict=True)) == sorted(new)


def test_the_turns_bring_the_second_to_the_first():
    grid = smooth_grids(1)[0]
    for number in range(N_TURNS):
        grids = np.stack([np.ascontiguousarray(turned(grid, number)), grid])
        (pairs,) = near_pairs(grids, 0.99, is_open=np.ones(2, bool))
        assert pairs.columns() == ([0], [1], [pytest.approx(1)], [number])


def test_rows_that_were_closed_meanwhile_have_no_pairs_any_more(small_blocks):
    grids = np.repeat(smooth_grids(1), 30, axis=0)  # all are the same
    is_open = np.ones(30, bool)
    is_open[3] = False
    n_pairs = []
    for pairs in near_pairs(grids, 0.99, is_open=is_open):
        assert 3 not in (*pairs.first.tolist(), *pairs.second.tolist())
        n_pairs.append(len(pairs))
        is_open[1:] = False
    assert n_pairs[0] > 0
    assert sum(n_pairs[1:]) == 0


def test_a_caller_may_end_the_join():
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(near_pairs(smooth_grids(3), 0.9, is_open=np.ones(3, bool), on_progress=stop))


@pytest.mark.parametrize("n", [2, 5, 300])
def test_every_vector_is_paired_with_the_nearest_of_those_before_it(n):
    vectors = random_units(n, 24).astype(np.float16)
    cosines = vectors.astype(np.float32) @ vectors.astype(np.float32).T
    expected = {(other, row) for row in range(n) for other in np.argsort(-cosines[row, :row])[:N_NEAREST].tolist()}
    pairs = [*listed(nearest_pairs(vectors))]
    assert set(pairs) == expected
    assert len(pairs) == len(expected)  # each comes once
    n_known = n // 2
    assert {*listed(nearest_pairs(vectors, n_known=n_known))} == {pair for pair in expected if pair[1] >= n_known}
    assert [*listed(nearest_pairs(vectors, n_known=n))] == []


def listed(blocks):
    """The pairs of all blocks one by one."""
    for first, second in blocks:
        yield from zip(first.tolist(), second.tolist(), strict=True)
