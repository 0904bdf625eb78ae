"""The file of cells: what it gives back, what is read of it, and what is made of a damaged one."""

from __future__ import annotations

import json
import os
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsearch.array_file import open_arrays
from mmsearch.errors import LibraryDamagedError, VocabularyError
from mmsearch.indexes.cell_file import KIND, Cells, read_cells, write_cells
from mmsearch.indexes.cell_learning import learned
from mmsearch.indexes.cells import CELLS, CellsIndex
from tests.contracts.test_indexes import DIM, asked, clustered

TEXTS = asked(clustered(20, seed=11))
N = 800
SMALL = {
    "mean", "of_queries", "of_pictures", "steps", "centroids", "learned_rows", "texts", "starts", "rows", "means",
    "variances", "variance_step", "checksums",
}  # fmt: skip


@pytest.fixture(scope="module")
def matrix():
    return clustered(N)


@pytest.fixture(scope="module")
def saved(matrix, tmp_path_factory):
    """A file of cells; not to be changed."""
    path = tmp_path_factory.mktemp("saved") / "cells-1.bin"
    index = CellsIndex(DIM, TEXTS)
    index.build(matrix)
    index.save(path)
    return path


@pytest.fixture
def path(saved, tmp_path):
    """A file of cells of one's own."""
    (tmp_path / saved.name).write_bytes(saved.read_bytes())
    return tmp_path / saved.name


def loaded(path, matrix):
    with path.open("rb") as file:
        return CELLS.load(file, matrix, {"covered": N})


def change(path, offset):
    data = bytearray(path.read_bytes())
    data[offset] ^= 4
    path.write_bytes(data)


def array_of(path, name):
    """An array in its file: where it begins, and how many bytes it has."""
    array = open_arrays(path, KIND)[name]
    return array._offset, array[:].nbytes


def some_cells(seed, n=60, n_cells=9, width=5):
    rng = np.random.default_rng(seed)
    sketches = rng.integers(-127, 128, (n, width)).astype(np.int8)
    return rng.integers(0, n_cells, n).astype(np.int32), rng.permutation(n).astype(np.int32), sketches


def test_cells_hold_their_rows_in_ascending_order_with_mean_and_variance():
    cells = Cells.of(np.int32([2, 0, 2, 2]), np.int32([9, 4, 3, 5]), np.int8([[1, 2], [7, 7], [4, 2], [7, 5]]), 4)
    assert cells.starts.tolist() == [0, 1, 1, 4, 4]
    assert cells.rows.tolist() == [4, 3, 5, 9]
    assert [cells.members.of(cell).tolist() for cell in range(4)] == [[[7, 7]], [], [[4, 2], [7, 5], [1, 2]], []]
    assert cells.means.tolist() == [[7, 7], [0, 0], [4, 3], [0, 0]]
    # Of (4, 7, 1) and (2, 5, 2): 6 and 2; the largest is 255 steps, or nearly.
    np.testing.assert_allclose(cells.variances * cells.variance_step, [[0, 0], [0, 0], [6, 2], [0, 0]], atol=0.03)
    assert cells.cell_of_place.tolist() == [0, 2, 2, 2]
    assert (cells.n_cells, cells.n_held, cells.sizes.tolist()) == (4, 4, [1, 0, 3, 0])


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), first=st.integers(0, 60))
def test_cells_do_not_depend_on_when_rows_came_or_in_which_order(seed, first):
    cells, rows, sketches = some_cells(seed)
    order = np.random.default_rng(seed + 1).permutation(len(rows))
    at_once = Cells.of(cells, rows, sketches, 9)
    before = Cells.of(cells[order[:first]], rows[order[:first]], sketches[order[:first]], 9)
    later = before.joined(cells[order[first:]], rows[order[first:]], sketches[order[first:]])
    for name in ("starts", "rows", "checksums", "means", "variances", "variance_step"):
        np.testing.assert_array_equal(getattr(later, name), getattr(at_once, name))
    np.testing.assert_array_equal(later.members.all(), at_once.members.all())


def test_moments_are_those_of_whole_numbers_also_where_they_are_taken_in_parts(monkeypatch):
    monkeypatch.setattr("mmsearch.indexes.cell_file._ROWS", 7)
    cells, rows, sketches = some_cells(3)
    of = Cells.of(cells, rows, sketches, 9)
    for cell in range(9):
        members = sketches[cells == cell].astype(np.float64)
        np.testing.assert_array_equal(of.means[cell], np.rint(members.mean(axis=0)))
        assert of.variances[cell] * of.variance_step == pytest.approx(members.var(axis=0), abs=of.variance_step)


def test_what_is_written_is_read_back(tmp_path):
    matrix = clustered(200)
    what = learned(matrix, TEXTS).cut(10)
    written = Cells.of(*some_cells(1, width=10), len(what.centroids))
    write_cells(tmp_path / "cells", what, TEXTS, written)
    with (tmp_path / "cells").open("rb") as file:
        again, texts, read = read_cells(file)
    for name in ("mean", "of_queries", "of_pictures", "steps"):
        np.testing.assert_array_equal(getattr(again.projection, name), getattr(what.projection, name))
    np.testing.assert_array_equal(again.centroids, what.centroids)
    assert (again.n_rows, again.is_cut) == (200, True)
    np.testing.assert_array_equal(texts, TEXTS.astype(np.float16))
    for name in ("starts", "rows", "checksums", "means", "variances", "variance_step"):
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name))
    np.testing.assert_array_equal(read.members.all(), written.members.all())


def test_a_loaded_index_answers_as_before_and_reads_what_it_needs(saved, matrix):
    index, queries = CellsIndex(DIM, TEXTS), asked(clustered(30, seed=3))
    index.build(matrix)
    again = loaded(saved, matrix)
    read, n_cells = again._cells.members._read, again._cells.n_cells
    assert (len(again), again.n_rows, again.dead, again.facts) == (N, N, frozenset(), index.facts)
    assert not read
    for first, last in ((0, 1), (1, 30)):
        for values, expected in zip(
            again.search(queries[first:last], 5, 5), index.search(queries[first:last], 5, 5), strict=True
        ):
            np.testing.assert_array_equal(values, expected)
        assert first or 0 < len(read) < n_cells / 3
    assert len(read) < n_cells


def test_the_file_holds_plain_numbers_alone(saved):
    header = json.loads(saved.read_bytes().split(b"\n")[1])
    assert set(header["arrays"]) == {*SMALL, "checksum", "sketches"}
    assert all(re.fullmatch(r"[<|][fiu]\d", dtype) for dtype, _ in header["arrays"].values())


@pytest.mark.parametrize("name", [*sorted(SMALL), "checksum"])
def test_a_changed_byte_in_what_is_known_of_the_cells_is_seen_when_the_file_is_opened(path, matrix, name):
    start, n_bytes = array_of(path, name)
    change(path, start + n_bytes // 2)
    with pytest.raises(VocabularyError, match=r"cells-1.bin differs from its checksum"):
        loaded(path, matrix)


@pytest.mark.parametrize(
    ("said", "instead"),
    [
        (b'"steps": ["<f4"', b'"steps": ["<i4"'), (b'"sketches": ["|i1"', b'"sketches": ["|u1"'),
        (b'"mean": ["<f4", [16]]', b'"mean": ["<f4", [15]]'), (b'"mean": ["<f4", [16]]', b'"mean": ["<f4", [  ]]'),
        (b'"means"', b'"nears"'), (b'"checksum"', b'"checksun"'),
        (b'"checksum": ["<u4", [2]', b'"checksum": ["<u8", [1]'), (b'"rows": ["<i4"', b'"rows": ["<M8"'),
        (b'"sketches"', b'"sketched"'),
    ],
)  # fmt: skip
def test_a_changed_header_is_seen_before_anything_is_read_by_it(path, matrix, said, instead):
    data = path.read_bytes()
    assert data.count(said) == 1
    path.write_bytes(data.replace(said, instead))
    with pytest.raises(VocabularyError):
        loaded(path, matrix)


@pytest.mark.parametrize("n_bytes", [0, 30, 900, -200])
def test_a_file_that_is_cut_short_is_not_opened(path, matrix, n_bytes):
    os.truncate(path, n_bytes if n_bytes >= 0 else path.stat().st_size + n_bytes)
    with pytest.raises(VocabularyError):
        loaded(path, matrix)


def test_a_changed_byte_in_a_cell_is_an_error_for_who_asks_for_that_cell_alone(path, matrix):
    cells = loaded(path, matrix)._cells
    damaged = int(np.flatnonzero(cells.sizes > 2)[3])
    start, _ = array_of(path, "sketches")
    change(path, start + int(cells.starts[damaged]) * DIM + 5)
    index = loaded(path, matrix)
    for cell in range(cells.n_cells):
        if cell == damaged:
            with pytest.raises(LibraryDamagedError, match=f"cell {cell} of the index differs from its checksum"):
                index._cells.members.of(cell)
        else:
            assert len(index._cells.members.of(cell)) == cells.sizes[cell]
    with pytest.raises(LibraryDamagedError, match="differs from its checksum"):
        index._cells.members.all()
    with pytest.raises(LibraryDamagedError):
        index.search(TEXTS, 5, 10_000)
    row = cells.rows[cells.starts[damaged - 1]]
    assert index.search_among(TEXTS, 5, index.passing(np.array([row])))[1].tolist() == [[row]] * 20


def test_cells_that_were_read_stay_when_the_file_is_cut_and_the_others_are_an_error(path, matrix):
    index, query = loaded(path, matrix), asked(matrix[:1])
    before = index.search(query, 5, 5)
    os.truncate(path, array_of(path, "sketches")[0])
    np.testing.assert_array_equal(index.search(query, 5, 5)[1], before[1])
    with pytest.raises(LibraryDamagedError, match=r"cells-1.bin was cut while it was read"):
        index.search(query, 5, 10_000)


def test_rows_are_added_to_a_loaded_index_only_if_all_of_it_is_whole(path, matrix):
    start, _ = array_of(path, "sketches")
    change(path, start + 3)
    with pytest.raises(LibraryDamagedError, match="cell 0 of the index differs"):
        loaded(path, matrix).build(np.concatenate([matrix, clustered(5, seed=2)]))
