"""Pictures in Parquet files, in whatever column other programs put their bytes."""

from __future__ import annotations

import os
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmsearch.errors import PictureError
from mmsearch.images import PassedOver
from mmsearch.samples import sample_folder
from mmsearch.shards.bundles import contents_of, members_of
from mmsearch.shards.members import Member
from tests.shards.bundles import file_at, structs, write_table

CAT = (sample_folder() / "cat.jpg").read_bytes()
DAM = (sample_folder() / "dam.jpg").read_bytes()


def read(path, column=None):
    """The names of all rows, and what is in them."""
    members = list(members_of(file_at(path), column))
    assert all(isinstance(member, Member) for member in members)
    start = len(os.fsencode(path)) + 1
    return [member.path[start:] for member in members], [contents for _, contents in contents_of(members, column)]


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        ({"key": ["000", "001"], "url": ["a", "b"], "jpg": [CAT, DAM]}, [b"0/000", b"1/001"]),
        ({"image": structs((CAT, "trip/cat.jpg"), (DAM, None)), "label": [0, 1]}, [b"0/cat.jpg", b"1"]),
        ({"jpg": [b"x", b"y"], "image": pa.array([CAT, DAM], pa.large_binary())}, [b"0", b"1"]),
        ({"image": ["a path", "another"], "png": [CAT, DAM]}, [b"0", b"1"]),
    ],
)
def test_the_usual_column_of_bytes_is_read_and_a_row_has_its_number_and_name(tmp_path, columns, names):
    assert read(write_table(tmp_path / "a.parquet", **columns)) == (names, [CAT, DAM])


def test_a_column_can_be_named(tmp_path):
    path = write_table(tmp_path / "a.parquet", image=[b"x", b"y"], photo=[CAT, DAM])
    assert read(path, "photo") == ([b"0", b"1"], [CAT, DAM])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("../../etc/passwd", b"0/passwd"), ("/abs/a.jpg", b"0/a.jpg"), ("C:\\b.jpg", b"0/b.jpg"), ("..", b"0"),
        ("a/", b"0"), ("n\0ul", b"0/nul"), ("x" * 999, b"0/" + b"x" * 255),
    ],
)  # fmt: skip
def test_a_name_never_leads_out_of_the_file(tmp_path, name, expected):
    names, _ = read(write_table(tmp_path / "a.parquet", image=structs((CAT, name))))
    assert names == [expected]


def test_only_the_rows_that_are_wanted_come_whatever_their_group(tmp_path):
    cells = [b"%d" % number for number in range(100)]
    members = list(members_of(file_at(write_table(tmp_path / "a.parquet", group=9, jpg=cells))))
    wanted = [members[place] for place in (0, 8, 9, 50, 99)]
    assert list(contents_of(wanted)) == [(member, b"%d" % member.place) for member in wanted]


def test_rows_without_a_picture_are_told_from_those_with_a_path_alone(tmp_path):
    path = write_table(tmp_path / "a.parquet", image=structs((CAT, "a"), None, (None, None), (None, "/etc/passwd")))
    _, (cat, *nothing, followed) = read(path)
    assert (cat, nothing) == (CAT, [None, None])
    assert isinstance(followed, PictureError)
    assert "the path '/etc/passwd' and no bytes, which is not followed" in str(followed)


@pytest.mark.parametrize(
    ("columns", "column", "message"),
    [
        (
            {"url": ["a"], "n": [1]},
            None,
            r"no column of pictures, such as image or jpg; its columns are url \(string\)",
        ),
        ({"image": ["a.jpg"]}, None, r"its columns are image \(string\): name one with --image-column"),
        ({"image": [1]}, "image", r"no column image of bytes; its columns are image \(int64\)"),
        ({"image": [[CAT]]}, "image", "no column image of bytes"),
        ({"image": [{"path": "a"}]}, "image", "no column image of bytes"),
        ({"jpg": [CAT]}, "image", "no column image of bytes"),
    ],
)
def test_a_named_file_without_such_a_column_is_a_sentence(tmp_path, columns, column, message):
    (entry,) = members_of(file_at(write_table(tmp_path / "a.parquet", **columns)), column)
    assert entry.code == "unsupported"
    with pytest.raises(PictureError, match=message):
        raise PictureError(entry.code, entry.message)


def test_a_file_in_a_folder_without_pictures_and_one_without_rows_are_passed_over(tmp_path):
    for columns in ({"url": ["a"]}, {"jpg": pa.array([], pa.binary())}):
        (entry,) = members_of(file_at(write_table(tmp_path / "a.parquet", **columns)), is_named=False)
        assert isinstance(entry, PassedOver)


def test_a_file_that_is_cut_short_is_named(tmp_path):
    path = write_table(tmp_path / "a.parquet", jpg=[CAT])
    os.truncate(path, path.stat().st_size - 20)
    (entry,) = members_of(file_at(path))
    assert (entry.path, entry.code) == (os.fsencode(path), "corrupt")


def test_rows_before_a_damaged_page_are_read_and_the_others_named(tmp_path):
    path = write_table(tmp_path / "a.parquet", group=1, jpg=[CAT, DAM, CAT])
    with pq.ParquetFile(path) as file:
        page = file.metadata.row_group(1).column(0)
    data = bytearray(path.read_bytes())
    place = page.dictionary_page_offset or page.data_page_offset
    data[place : place + 30] = b"\xff" * 30
    path.write_bytes(data)
    (_, first), *others = contents_of(list(members_of(file_at(path))))
    assert first == CAT
    assert [contents.code for _, contents in others] == ["corrupt", "corrupt"]


def test_a_column_of_one_large_group_of_rows_is_never_in_memory_as_a_whole(tmp_path):
    cells = [bytes([number % 256]) * 50_000 for number in range(1200)]
    table = pa.table({"jpg": pa.array(cells, pa.binary())})
    pq.write_table(table, tmp_path / "a.parquet", write_batch_size=16, use_dictionary=False, compression="none")
    del table
    before, peak = pa.total_allocated_bytes(), 0
    tracemalloc.start()  # what is read ahead counts as Python's
    for member, contents in contents_of(list(members_of(file_at(tmp_path / "a.parquet")))):
        assert contents == cells[member.place]
        peak = max(peak, pa.total_allocated_bytes() - before)
    _, peak_of_python = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0 < peak + peak_of_python < 20_000_000  # of 60 million


def test_a_file_that_changed_since_it_was_listed_is_not_read(tmp_path):
    path = write_table(tmp_path / "a.parquet", jpg=[CAT, DAM])
    members = list(members_of(file_at(path)))
    write_table(path, jpg=[DAM, CAT])
    assert [contents.code for _, contents in contents_of(members)] == ["changed", "changed"]
