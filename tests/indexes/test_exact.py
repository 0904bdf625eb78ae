import os
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.errors import DimensionError, LibraryDamagedError
from mmsearch.file_array import FileArray, OpenFile
from mmsearch.indexes.exact import ExactIndex, merge
from mmsearch.vectors import l2_normalize


def unit_halves(seed, n, dim=8):
    vectors = np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)
    return l2_normalize(vectors).astype(np.float16)


def at_unit_length(matrix):
    wide = matrix.astype(np.float64)
    return wide / np.linalg.norm(wide, axis=1, keepdims=True)


def by_full_sort(matrix, query, k, rows):
    scores = at_unit_length(matrix)[rows] @ query
    order = np.lexsort((rows, -scores))[:k]
    return rows[order], scores[order]


@given(
    seed=st.integers(0, 1000),
    n=st.integers(1, 2000),
    k=st.integers(1, 30),
    n_queries=st.sampled_from([1, 3, 9]),
    n_dead=st.integers(0, 40),
)
def test_exact_search_equals_a_full_sort_of_the_live_rows(seed, n, k, n_queries, n_dead):
    matrix = unit_halves(seed, n)
    dead = np.random.default_rng(seed).integers(0, n, size=n_dead)
    live = np.setdiff1d(np.arange(n), dead)
    queries = unit_halves(seed + 1, n_queries).astype(np.float32)
    scores, rows = ExactIndex(matrix, dead).search(queries, k)
    assert rows.shape == (n_queries, min(k, len(live)))
    for found, found_scores, query in zip(rows, scores, queries, strict=True):
        expected, expected_scores = by_full_sort(matrix, query, k, live)
        np.testing.assert_allclose(found_scores, expected_scores, atol=1e-12)
        np.testing.assert_array_equal(found, expected)


def test_exact_search_crosses_blocks(monkeypatch):
    matrix, queries = unit_halves(0, 5000), unit_halves(1, 2).astype(np.float32)
    dead = [0, 499, 500, 999, 1000, 4500]  # at the ends of blocks of 500 rows
    scores, rows = ExactIndex(matrix, dead).search(queries, 4994)
    assert set(range(5000)) - set(rows[0].tolist()) == set(dead)
    monkeypatch.setattr("mmsearch.indexes.exact._CANDIDATES", 1000)
    monkeypatch.setattr("mmsearch.indexes.exact._BLOCK", 77)
    again_scores, again = ExactIndex(matrix, dead).search(queries, 4994)
    np.testing.assert_array_equal(rows, again)
    np.testing.assert_array_equal(scores, again_scores)


def test_search_among_answers_only_from_the_given_rows():
    matrix, query = unit_halves(2, 500), unit_halves(3, 1).astype(np.float32)
    among = np.array([400, 3, 77, 12, 500, 9000])  # there are 500
    _, rows = ExactIndex(matrix, dead=[12]).search_among(query, 10, among)
    assert sorted(rows[0].tolist()) == [3, 77, 400]


def test_search_tail_and_the_rest_together_are_the_whole_answer():
    matrix, query = unit_halves(4, 300), unit_halves(5, 1).astype(np.float32)
    index = ExactIndex(matrix, dead=[250])
    head = ExactIndex(matrix[:200]).search(query, 7)
    tail = index.search_tail(query, 7, first_row=200)
    np.testing.assert_array_equal(merge(head, tail, 7)[1], index.search(query, 7)[1])


def test_exact_search_says_when_widths_differ():
    with pytest.raises(DimensionError, match="queries have 3 dimensions, the index has 8"):
        ExactIndex(unit_halves(0, 5)).search(np.ones((1, 3), np.float32), 2)
    with pytest.raises(DimensionError, match="queries have 3 dimensions, the index has 8"):
        ExactIndex(unit_halves(0, 5)).search_among(np.ones((1, 3), np.float32), 2, np.arange(2))


def burst(seed, n, dim=64, step=1e-4):
    """Rows that differ from one another by less than rounding to float16 changes their lengths."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal(dim) + step * rng.standard_normal((n, dim))
    return l2_normalize(vectors.astype(np.float32)).astype(np.float16)


@given(seed=st.integers(0, 1000), step=st.sampled_from([1e-3, 1e-4, 1e-5]))
def test_stored_row_is_first_when_asked_by_itself_among_near_duplicates(seed, step):
    matrix = np.unique(burst(seed, 300, step=step), axis=0)
    scores, rows = ExactIndex(matrix).search(l2_normalize(matrix.astype(np.float32)), 3)
    np.testing.assert_array_equal(rows[:, 0], np.arange(len(matrix)))
    assert scores.max() <= 1 + 1e-6


@given(seed=st.integers(0, 1000), n=st.integers(1, 1500), n_queries=st.sampled_from([1, 7, 8, 20]))
def test_answer_has_the_same_bits_alone_in_a_batch_and_among_given_rows(seed, n, n_queries):
    matrix = np.concatenate([unit_halves(seed, n, dim=64), burst(seed, 30)])
    queries = l2_normalize(unit_halves(seed + 1, n_queries, dim=64).astype(np.float32))
    scores, rows = ExactIndex(matrix).search(queries, 5)
    for query, own_scores, own_rows in zip(queries, scores, rows, strict=True):
        for again_scores, again_rows in (
            ExactIndex(matrix).search(query[None], 5),
            ExactIndex(matrix).search_among(query[None], 5, np.sort(own_rows)),
        ):
            np.testing.assert_array_equal(again_rows[0], own_rows)
            np.testing.assert_array_equal(again_scores[0], own_scores)


@pytest.mark.parametrize("n_at_a_time", [100, 10_000])
def test_under_a_ceiling_the_ranking_goes_on_where_it_was_cut_to_the_last_bit(monkeypatch, n_at_a_time):
    monkeypatch.setattr("mmsearch.indexes.exact._CANDIDATES", n_at_a_time)
    monkeypatch.setattr("mmsearch.indexes.exact._EXACT_ROWS", 7)
    rows = np.concatenate([unit_halves(8, 200, dim=64), burst(8, 200), burst(8, 200, step=1e-6)])
    matrix, query = np.concatenate([rows, rows[:50]]), burst(8, 1).astype(np.float32)
    index, among = ExactIndex(matrix, dead=[3, 300]), np.arange(0, 650, 2)
    for ranking, search in (
        (index.search(query, 650), lambda k, ceiling: index.search_tail(query, k, first_row=0, ceiling=ceiling)),
        (
            index.search_among(query, 650, among),
            lambda k, ceiling: index.search_among(query, k, among, ceiling=ceiling),
        ),
    ):
        (scores,), (ranked,) = ranking
        for place in (0, 1, 50, 199, 250, len(scores) - 1):
            (first, *_) = np.flatnonzero(scores <= scores[place])
            for k in (1, 7, 1_000):
                below, near = search(k, scores[place])
                np.testing.assert_array_equal(near[0], ranked[first : first + k])
                np.testing.assert_array_equal(below[0], scores[first : first + k])
    assert index.search_tail(query, 5, first_row=0, ceiling=-2)[1].shape == (1, 0)


@pytest.mark.parametrize("factor", [2, 0.01])
def test_rows_count_at_unit_length_whatever_theirs_is(factor):
    matrix, query = unit_halves(6, 500), unit_halves(7, 1).astype(np.float32)
    changed = matrix.copy()
    changed[100] *= np.float16(factor)
    expected, found = ExactIndex(matrix).search(query, 500), ExactIndex(changed).search(query, 500)
    np.testing.assert_allclose(found[0], expected[0], atol=1e-2)  # a hundredth loses digits of float16
    assert abs(np.flatnonzero(found[1][0] == 100)[0] - np.flatnonzero(expected[1][0] == 100)[0]) <= 3


def test_whole_ranking_of_many_queries_needs_little_more_memory_than_the_answer():
    matrix, queries = unit_halves(12, 5_000, dim=64), unit_halves(13, 40, dim=64).astype(np.float32)
    index = ExactIndex(matrix)
    tracemalloc.start()
    try:
        scores, rows = index.search(queries, len(matrix))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(np.sort(rows, axis=1), np.tile(np.arange(len(matrix)), (len(queries), 1)))
    assert peak < 6 * (scores.nbytes + rows.nbytes)


def test_zero_row_scores_zero():
    matrix, query = unit_halves(8, 50), unit_halves(9, 1).astype(np.float32)
    matrix[7] = 0
    scores, rows = ExactIndex(matrix).search(query, 50)
    assert scores[rows == 7] == [0.0]
    assert np.isfinite(scores).all()


def test_index_that_grew_answers_as_one_made_anew():
    matrix, queries = unit_halves(10, 900), unit_halves(11, 3).astype(np.float32)
    grown, anew = ExactIndex(matrix[:600], dead=[5]), ExactIndex(matrix, dead=[5])
    grown.search(queries, 4)
    grown.build(matrix)
    for found, expected in zip(grown.search(queries, 9), anew.search(queries, 9), strict=True):
        np.testing.assert_array_equal(found, expected)


def in_a_file(path, matrix, kind=FileArray):
    path.write_bytes(matrix.tobytes())
    opened = OpenFile(path, os.open(path, os.O_RDONLY), LibraryDamagedError)
    return kind(opened, matrix.dtype, matrix.shape)


@pytest.mark.parametrize("n_queries", [1, 3, 9])
def test_a_matrix_in_its_file_gives_the_bits_of_one_in_memory(tmp_path, n_queries):
    matrix, queries = unit_halves(23, 3000, dim=512), unit_halves(24, n_queries, dim=512).astype(np.float32)
    matrix[:40] /= 4096  # subnormal numbers among them
    filed, held = ExactIndex(in_a_file(tmp_path / "v", matrix)), ExactIndex(matrix)
    among = np.random.default_rng(0).permutation(3000)[:500]
    for index in (filed, held):
        index.search(queries, 10)  # from the second time on the lengths are known
    for found, expected in (
        (filed.search(queries, 10), held.search(queries, 10)),
        (filed.search_tail(queries, 10, first_row=2900), held.search_tail(queries, 10, first_row=2900)),
        (filed.search_among(queries, 10, among), held.search_among(queries, 10, among)),
        ((filed.scores(queries[0], among),), (held.scores(queries[0], among),)),
    ):
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)


class CutAfterTwoBlocks(FileArray):
    """Somebody cuts the file to one row when the second block of it has been read."""

    n_blocks = 0

    def __getitem__(self, rows):
        found = super().__getitem__(rows)
        self.n_blocks += 1
        if self.n_blocks == 2:
            os.truncate(self._file.path, 2 * self.shape[1])
        return found


@pytest.mark.parametrize("n_queries", [1, 9])
def test_a_matrix_that_is_cut_between_two_blocks_of_a_scan_is_an_error(tmp_path, n_queries):
    matrix, queries = unit_halves(25, 8000, dim=512), unit_halves(26, n_queries, dim=512).astype(np.float32)
    cut = in_a_file(tmp_path / "v", matrix, CutAfterTwoBlocks)
    with pytest.raises(LibraryDamagedError, match="v was cut while it was read"):
        ExactIndex(cut).search(queries, 3)
    assert cut.n_blocks == 2


def test_rows_that_are_scored_one_by_one_may_be_cut_away_too(tmp_path):
    matrix, query = unit_halves(27, 4000, dim=64), unit_halves(28, 1, dim=64).astype(np.float32)
    index = ExactIndex(in_a_file(tmp_path / "v", matrix))
    os.truncate(tmp_path / "v", matrix.nbytes // 2)
    assert len(index.search_among(query, 3, np.arange(2000))[1][0]) == 3
    with pytest.raises(LibraryDamagedError, match="v was cut while it was read"):
        index.search_among(query, 3, np.arange(1, 4000, 2))
    with pytest.raises(LibraryDamagedError, match="v was cut while it was read"):
        index.scores(query[0], np.array([3999]))
