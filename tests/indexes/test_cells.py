"""Cells: the same rows however queries and rows come, and what the oracle says where all cells are scanned."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsearch.indexes import cell_learning
from mmsearch.indexes.cell_learning import COARSE, Learned, coarse
from mmsearch.indexes.cells import CELLS, WIDTHS, CellsIndex
from mmsearch.indexes.exact import ExactIndex
from mmsearch.indexes.plans import ann_recall_at_k
from mmsearch.indexes.sketches import LARGEST, Projection
from tests.contracts.test_indexes import DIM, asked, clustered
from tests.indexes.test_sketches import pictures, texts

TEXTS = asked(clustered(40, seed=11))
ALL = 10_000  # effort: more than there are cells
seeds = st.integers(0, 2**32 - 1)


def built(matrix, typical=TEXTS, **options):
    index = CellsIndex(matrix.shape[1], typical, **options)
    index.build(matrix)
    return index


def bytes_of(index, folder):
    index.save(folder / "saved.bin")
    return (folder / "saved.bin").read_bytes()


def saved_and_loaded(index, folder, matrix):
    index.save(folder / "cells.bin")
    with (folder / "cells.bin").open("rb") as file:
        return CELLS.load(file, matrix, {"covered": index.n_rows})


def same(answers, expected):
    for values, wanted in zip(answers, expected, strict=True):
        np.testing.assert_array_equal(values, wanted)


def learning(rng, n_cells, width):
    """Any centroids, and steps of sketches that differ up to a hundredfold."""
    steps = (10.0 ** rng.uniform(-2, 0, width)).astype(np.float32)
    maps = np.eye(width, dtype=np.float32)
    n_coarse = min(width, COARSE)
    centroids = rng.integers(-LARGEST, LARGEST + 1, (n_cells, n_coarse)).astype(np.int8)
    return Learned(Projection(np.zeros(width, np.float32), maps, maps, steps), centroids, 0)


@settings(max_examples=25)
@given(seed=seeds, n_cells=st.integers(1, 30), width=st.sampled_from([1, 2, 40, 128, 200]))
def test_a_row_goes_to_the_first_of_the_nearest_centroids(seed, n_cells, width):
    rng = np.random.default_rng(seed)
    learned = learning(rng, n_cells, width)
    sketches = rng.integers(-LARGEST, LARGEST + 1, (50, width)).astype(np.int8)
    points = coarse(sketches, learned.projection).astype(np.int64)
    distances = np.square(points[:, None] - learned.centroids.astype(np.int64)).sum(axis=2)
    np.testing.assert_array_equal(learned.cells_of(sketches), distances.argmin(axis=1))
    np.testing.assert_array_equal([learned.cells_of(row[None])[0] for row in sketches], distances.argmin(axis=1))


def test_of_equal_centroids_the_first_has_all_rows():
    learned = learning(np.random.default_rng(0), 4, 3)
    equal = replace(learned, centroids=np.int8([[9, 9, 9], [1, 2, 3], [9, 9, 9], [1, 2, 3]]))
    assert equal.cells_of(np.int8([[127, 127, 127], [1, 2, 3]])).tolist() in ([0, 1], [1, 1])


@given(seed=seeds)
def test_distances_between_cells_are_those_of_the_pictures(seed):
    rng = np.random.default_rng(seed)
    projection = learning(rng, 1, 30).projection
    sketches = rng.integers(-LARGEST, LARGEST + 1, (20, 30)).astype(np.int8)
    largest = projection.steps.max()
    pictures, points = sketches * projection.steps, coarse(sketches, projection) * largest
    # Each value is off by half a step at most.
    wanted = np.linalg.norm(pictures[:, None] - pictures, axis=2)
    np.testing.assert_allclose(
        np.linalg.norm(points[:, None] - points, axis=2), wanted, atol=largest * 30**0.5 * 1.01
    )


@pytest.mark.parametrize("size", [1, 7, 100, 251])
def test_queries_have_the_same_rows_in_batches_of_any_size(size):
    index, queries = built(clustered(1500)), asked(clustered(300, seed=3))
    together = index.search(queries, 10, 20)
    parts = [index.search(queries[start : start + size], 10, 20) for start in range(0, 300, size)]
    same([np.concatenate(values) for values in zip(*parts, strict=True)], together)


def test_threads_that_search_one_file_at_once_have_the_rows_of_one(tmp_path):
    matrix, queries = clustered(3000), asked(clustered(120, seed=3))
    index = built(matrix)
    expected = index.search(queries, 10, 20)
    loaded = saved_and_loaded(index, tmp_path, matrix)
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda start: loaded.search(queries[start : start + 15], 10, 20), range(0, 120, 15))
        )
    same([np.concatenate(values) for values in zip(*answers, strict=True)], expected)


PROGRAM = """
import sys, zlib
from pathlib import Path
import numpy as np
from mmsearch.indexes.cells import CellsIndex
for name in ("fewer", "more"):
    rows, typical, queries = np.load(Path(sys.argv[1]) / f"{name}.npz").values()
    index = CellsIndex(rows.shape[1], typical)
    index.build(rows)
    index.save(Path(sys.argv[1]) / name)
    print(zlib.crc32((Path(sys.argv[1]) / name).read_bytes()))
    for effort in (20, 10_000):
        scores, nearest = index.search(queries, 10, effort)
        print(zlib.crc32(nearest.tobytes()), zlib.crc32(scores.tobytes()))
"""


def test_a_process_with_two_threads_builds_the_same_file_and_finds_the_same_rows(tmp_path):
    for name, n, dim in (("fewer", 60, 240), ("more", 900, 40)):
        rows = pictures(n, dim)
        rows[:, dim - 10 :] = 0  # directions that pictures lack
        np.savez(tmp_path / name, rows.astype(np.float16), texts(30, dim), texts(60, dim, seed=9))
    said = set()
    for n_threads in ("1", "2"):
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), n_threads)
        command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
        said.add(subprocess.check_output(command, env=os.environ | threads, text=True))
    assert len(said) == 1, said
    assert len(said.pop().split()) == 10


def test_cells_that_no_row_goes_to_stay_and_have_later_rows():
    matrix = np.repeat(asked(np.eye(130)).astype(np.float16), 8, axis=0)
    learned = built(matrix, TEXTS[:0].reshape(0, 130), width=128)
    index = learned.finer()
    index.build(matrix[:400])
    assert index.facts.settings["cells"] == learned.facts.settings["cells"] == 128
    index.build(matrix)
    assert (len(index), index.facts.settings["cells"]) == (1040, 128)


def test_building_again_gives_the_same_bytes(tmp_path):
    first, second = (bytes_of(built(clustered(700)), tmp_path) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("is_loaded", [False, True])
def test_rows_that_come_later_give_the_bytes_of_rows_that_came_at_once(tmp_path, is_loaded):
    matrix = pictures(1000, 130).astype(np.float16)
    learned = built(matrix[:900], texts(30, 130), width=128)
    at_once, later = learned.finer(), learned.finer()
    at_once.build(matrix)
    later.build(matrix[:900])
    for end in (931, 1000):
        if is_loaded:
            later = saved_and_loaded(later, tmp_path, matrix[: later.n_rows])
        later.build(matrix[:end])
    assert bytes_of(later, tmp_path) == bytes_of(at_once, tmp_path)
    same(later.search(texts(20, 130), 10), at_once.search(texts(20, 130), 10))


@pytest.mark.parametrize(("n_known", "is_anew"), [(900, False), (899, True)])
@pytest.mark.parametrize("is_loaded", [False, True])
def test_cells_are_learned_anew_where_more_than_a_tenth_of_the_rows_is_new_to_them(
    tmp_path, n_known, is_anew, is_loaded
):
    matrix = clustered(1000)
    index = built(matrix[:n_known])
    if is_loaded:
        index = saved_and_loaded(index, tmp_path, matrix[:n_known])
    index.build(matrix)
    assert (bytes_of(index, tmp_path) == bytes_of(built(matrix), tmp_path)) == is_anew


@pytest.mark.parametrize(("n_equal", "is_anew"), [(60, False), (150, True)])
def test_cells_are_learned_anew_where_one_holds_ten_times_as_many_as_the_mean(tmp_path, n_equal, is_anew):
    known = clustered(2000)  # in 178 cells
    matrix = np.concatenate([known, np.repeat(known[:1], n_equal, axis=0)])
    index, seen = built(known), []
    index.build(matrix, on_progress=seen.append)
    assert (bytes_of(index, tmp_path) == bytes_of(built(matrix), tmp_path)) == is_anew
    assert seen == sorted(seen)
    assert seen[-1] == n_equal


def test_rows_that_all_wait_are_not_there_yet_and_the_others_still_are():
    matrix = clustered(200)
    index, waiting = built(matrix[:150]), np.arange(150, 200)
    index.delete([4])
    index.build(matrix, without=waiting)
    index.delete([5, 160])
    assert (len(index), index.n_rows, index.dead) == (148, 200, {4, 5})
    index.build(matrix)
    assert (len(index), index.dead) == (198, {4, 5})
    assert index.search(asked(matrix[160:161]), 1)[1].tolist() == [[160]]


@settings(max_examples=15)
@given(seed=seeds, k=st.integers(1, 30), share=st.floats(0, 1))
def test_all_cells_scanned_are_the_scan_whatever_is_dead_and_whatever_passes(seed, k, share):
    rng = np.random.default_rng(seed)
    matrix, queries = clustered(400, seed=seed % 50), asked(clustered(5, seed=3))
    index, exact = built(matrix), ExactIndex(matrix)
    dead = np.flatnonzero(rng.random(400) < 0.2)
    for either in (index, exact):
        either.delete(dead.tolist())
        either.restore(dead[:10].tolist())
    same(index.search(queries, k, ALL)[1:], exact.search(queries, k)[1:])
    rows = np.flatnonzero(rng.random(450) < share)  # some are not in the index
    alive = np.setdiff1d(rows[rows < 400], dead[10:])
    passing = index.passing(rows)
    assert (passing.n, passing.sizes.sum()) == (len(alive), len(alive))
    scores, near = index.search_among(queries, k, passing, ALL)
    expected_scores, expected = exact.search_among(queries, k, alive)
    np.testing.assert_array_equal(near, expected)
    np.testing.assert_allclose(scores, expected_scores, atol=1e-6)


@pytest.mark.parametrize("n_passing", [0, 1, 4])
def test_fewer_that_pass_than_are_asked_for_all_come_back(n_passing):
    matrix, rows = clustered(500), np.arange(100, 100 + n_passing)
    index = built(matrix)
    scores, near = index.search_among(TEXTS, 10, index.passing(rows))
    assert scores.shape == near.shape == (40, n_passing)
    np.testing.assert_array_equal(np.sort(near, axis=1), np.tile(rows, (40, 1)))


def test_a_filter_along_the_data_finds_what_a_scan_of_the_passing_rows_finds():
    matrix = clustered(3000)
    centre = asked(matrix[:1])[0]
    rows = np.sort(np.argsort(-(matrix.astype(np.float32) @ centre))[:300])  # a region
    index, queries = built(matrix), asked(clustered(50, seed=3))
    _, near = index.search_among(queries, 10, index.passing(rows))
    _, expected = ExactIndex(matrix).search_among(queries, 10, rows)
    assert np.isin(near, rows).all()
    assert ann_recall_at_k(near, expected).mean() >= 0.98


def test_a_mask_leaves_cells_without_passing_rows_alone(tmp_path):
    matrix = clustered(3000)
    loaded = saved_and_loaded(built(matrix), tmp_path, matrix)
    cells = [3, 50, 51]
    rows = np.concatenate([loaded._cells.rows[slice(*loaded._cells.starts[[cell, cell + 1]])] for cell in cells])
    _, near = loaded.search_among(TEXTS, 5, loaded.passing(rows), ALL)
    assert np.isin(near, rows).all()
    assert sorted(loaded._cells.members._read) == cells


def test_of_many_equal_rows_the_first_are_found_as_by_the_scan():
    matrix = clustered(1200)
    matrix[200:900:2] = matrix[0]  # 351 of them, far more than are refined at this effort
    index, query = built(matrix), asked(matrix[:1])
    scores, rows = index.search(query, 10, 1)
    same((rows,), ExactIndex(matrix).search(query, 10)[1:])
    assert rows[0].tolist() == [0, *range(200, 218, 2)]
    assert len(set(scores[0].tolist())) == 1


def test_more_that_are_asked_for_have_more_cells_scanned(tmp_path):
    matrix, shares = clustered(8000), []
    index = built(matrix)
    for k, effort in ((5, 100), (10, 100), (40, 100), (10, 300)):
        loaded = saved_and_loaded(index, tmp_path, matrix)
        loaded.search(TEXTS[:1], k, effort)
        shares.append(loaded._cells.sizes[list(loaded._cells.members._read)].sum() / 8000)
    # More by the power .3 of k; the last cell is scanned whole.
    assert shares == pytest.approx([0.1, 0.1, 0.1 * 4**0.3, 0.3], abs=0.01)


def test_deep_answers_find_almost_all_where_little_is_scanned():
    matrix, k = clustered(6000), 100
    expected, rows = ExactIndex(matrix).search(TEXTS, k)[1], built(matrix).search(TEXTS, k, 10)[1]
    assert ann_recall_at_k(rows, expected).mean() >= 0.99


@pytest.mark.parametrize("effort", [-1000, -1, 0])
def test_any_number_is_an_effort(effort):
    matrix = clustered(600)
    index = built(matrix)
    same(index.search(TEXTS, 5, effort), index.search(TEXTS, 5, 0))
    assert index.search(TEXTS, 5, effort)[1].shape == (40, 5)


@pytest.mark.parametrize("typical", [TEXTS, TEXTS[:0]], ids=["texts", "no texts"])
def test_rows_without_any_direction_are_nothing_to_learn_from_and_no_error(typical):
    matrix = np.zeros((60, DIM), np.float16)
    matrix[3], matrix[7, 2] = np.nan, np.inf
    index = built(matrix, typical)
    assert (len(index), index.n_rows, index.search(TEXTS, 3)[1].shape) == (0, 60, (40, 0))
    index.build(np.concatenate([matrix, clustered(5)]))  # not a tenth: what was learned stays
    index.delete([61])
    expected = ExactIndex(clustered(5), [1]).search(TEXTS, 4)[1] + 60
    np.testing.assert_array_equal(index.search(TEXTS, 4)[1], expected)


@pytest.mark.parametrize(("n", "dim"), [(1, 1), (40, 1), (1, 16), (300, 130), (5, 520)])
def test_few_rows_and_any_width_are_searched_as_by_the_scan(n, dim):
    matrix = asked(np.random.default_rng(1).standard_normal((n, dim))).astype(np.float16)
    queries = asked(np.random.default_rng(2).standard_normal((6, dim)))
    same(built(matrix, queries[:0]).search(queries, 3, ALL)[1:], ExactIndex(matrix).search(queries, 3)[1:])


def test_finer_cells_have_wider_sketches_of_the_same_learning_as_far_as_there_are_any(tmp_path):
    matrix = asked(np.random.default_rng(1).standard_normal((200, 300))).astype(np.float16)
    index, widths = CellsIndex(300, np.zeros((0, 300), np.float32), width=WIDTHS[0]), []
    assert index.finer() is None  # nothing was learned
    while index is not None:
        index.build(matrix)
        widths.append(index.facts.settings["sketch"])
        finest, index = index, index.finer()
    assert widths == [128, 192, 256, 300]
    assert finest.facts.settings["cells"] == 25
    loaded = saved_and_loaded(built(matrix, TEXTS[:0].reshape(0, 300), width=128), tmp_path, matrix)
    assert loaded.finer() is None  # a file holds what its own width needs


def test_sketches_are_fitted_to_pictures_from_first_to_last_where_not_to_all(monkeypatch):
    monkeypatch.setattr(cell_learning, "_N_FITTED", 100)
    matrix = np.zeros((190, 4), dtype=np.float16)
    matrix[:95, 0] = matrix[95:, 1] = 1  # the older half shows one thing, the newer another
    mean = cell_learning.learned(matrix, np.zeros((0, 4), dtype=np.float32)).projection.mean
    np.testing.assert_allclose(mean, [0.5, 0.5, 0, 0], atol=0.01)


@pytest.mark.parametrize("share", [0.5, 0.1, 0.03])
def test_a_filter_costs_no_recall_as_more_is_scanned_the_fewer_pass(share):
    rng = np.random.default_rng(4)
    matrix, queries = pictures(20_000, 32, seed=1).astype(np.float16), pictures(150, 32, seed=2)
    index, exact = CellsIndex(32, np.zeros((0, 32), np.float32)), ExactIndex(matrix)
    index.build(matrix)
    rows = np.flatnonzero(rng.random(len(matrix)) < share)
    passing = index.passing(rows)
    everything = ann_recall_at_k(index.search(queries, 10, 10)[1], exact.search(queries, 10)[1]).mean()
    filtered = ann_recall_at_k(
        index.search_among(queries, 10, passing, 10)[1], exact.search_among(queries, 10, rows)[1]
    ).mean()
    assert everything < 0.99
    assert filtered >= everything - 0.02
