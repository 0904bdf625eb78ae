import gc
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch import file_array
from mmsearch.errors import LibraryDamagedError, MmsearchError, VocabularyError
from mmsearch.file_array import FileArray, OpenFile

N = 40


def in_a_file(path, array, *, offset=0, error=LibraryDamagedError):
    """The same array in a file, behind some other bytes."""
    path.write_bytes(b"\xff" * offset + array.tobytes())
    opened = OpenFile(path, os.open(path, os.O_RDONLY), error)
    return FileArray(opened, array.dtype, array.shape, offset=offset)


@pytest.fixture(scope="module", params=[(N,), (N, 3)], ids=["values", "rows"])
def both(request, tmp_path_factory):
    array = np.random.default_rng(0).integers(0, 2**16, request.param).astype("<u2")
    return array, in_a_file(tmp_path_factory.mktemp("array") / "a", array, offset=7)


@given(first=st.integers(-N, 2 * N), last=st.integers(-N, 2 * N))
def test_a_slice_of_an_array_in_a_file_is_that_of_the_array(both, first, last):
    array, filed = both
    np.testing.assert_array_equal(filed[first:last], array[first:last])
    assert (len(filed), filed.shape, filed.dtype) == (len(array), array.shape, array.dtype)


@given(rows=st.lists(st.integers(0, N - 1)))
def test_rows_come_from_the_file_in_any_order_and_several_times(both, rows):
    array, filed = both
    chosen = np.array(rows, dtype=np.int64)
    np.testing.assert_array_equal(filed[chosen], array[chosen])
    np.testing.assert_array_equal(filed[np.sort(chosen)], array[np.sort(chosen)])


@pytest.mark.parametrize("row", [-1, N])
def test_a_row_that_is_not_there_is_an_index_error(both, row):
    with pytest.raises(IndexError, match="of an array of 40"):
        both[1][np.array([0, row])]


@pytest.mark.parametrize("rows", [slice(0, N), np.arange(N), np.array([N - 1])])
@pytest.mark.parametrize("error", [LibraryDamagedError, VocabularyError])
def test_a_file_that_is_cut_is_an_error_of_its_kind_and_what_is_left_can_be_read(tmp_path, rows, error):
    array = np.arange(N * 1024, dtype="<f4").reshape(N, 1024)
    filed = in_a_file(tmp_path / "a", array, error=error)
    os.truncate(tmp_path / "a", array.nbytes // 2)
    with pytest.raises(error, match="a was cut while it was read; restore it, or run `mmsearch verify --repair`"):
        filed[rows]
    np.testing.assert_array_equal(filed[: N // 2], array[: N // 2])
    (tmp_path / "a").write_bytes(array.tobytes())
    np.testing.assert_array_equal(filed[rows], array[rows])


def test_a_file_that_cannot_be_read_is_a_sentence(tmp_path):
    folder = OpenFile(tmp_path, os.open(tmp_path, os.O_RDONLY), LibraryDamagedError)
    with pytest.raises(LibraryDamagedError, match=r"cannot be read \(Is a directory\)"):
        FileArray(folder, np.dtype("<f4"), (4,))[:]


def test_the_file_is_open_as_long_as_somebody_holds_an_array_of_it(tmp_path):
    def n_open():
        return sum(
            os.path.realpath(f"/proc/self/fd/{fd}") == str(tmp_path / "a") for fd in os.listdir("/proc/self/fd")
        )

    filed = in_a_file(tmp_path / "a", np.arange(8, dtype="<i4"))
    other = FileArray(filed._file, np.dtype("<i4"), (4,), offset=16)
    del filed
    gc.collect()
    assert n_open() == 1
    (tmp_path / "a").unlink()
    assert other[:].tolist() == [4, 5, 6, 7]
    del other
    gc.collect()
    assert n_open() == 0


def test_what_is_longer_than_a_system_reads_at_once_is_read_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(file_array, "_MOST", 100)
    values = np.arange(1_000, dtype=np.int32).reshape(-1, 4)
    (tmp_path / "file").write_bytes(b"head" + values.tobytes())
    handle = os.open(tmp_path / "file", os.O_RDONLY)
    array = FileArray(OpenFile(tmp_path / "file", handle, MmsearchError), values.dtype, values.shape, offset=4)
    np.testing.assert_array_equal(array[:], values)
    np.testing.assert_array_equal(array[7:101], values[7:101])
