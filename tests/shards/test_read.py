"""Shards read: all that was written comes back, and what cannot be used is named in a sentence."""

from __future__ import annotations

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmsearch.errors import ShardError
from mmsearch.shards.format import METADATA
from mmsearch.shards.read import BadRow, Shard, shard_paths
from tests.shards.shards import DIM, FACTS, STRANGE, bits, changed_shard, picture, write_shards


def rows_of(path):
    return [row for rows in Shard.open(path).rows() for row in rows]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A shard of 40 pictures."""
    folder = write_shards(tmp_path_factory.mktemp("whole"), [picture(i) for i in range(40)])
    return folder / "shard-00000.parquet"


@pytest.fixture
def shard(whole, tmp_path):
    """A copy of it that may be changed."""
    return shutil.copy(whole, tmp_path / "shard-00000.parquet")


@pytest.mark.parametrize("n", [1, 2048, 2049, 5000])
def test_pictures_come_back_as_they_were_written(tmp_path, n):
    written = [picture(i) for i in range(n - 1)] + [picture(n, path=STRANGE)]
    write_shards(tmp_path, written)
    read = rows_of(tmp_path / "shard-00000.parquet")
    for before, after in zip(written, read, strict=True):
        assert bits(before.vector) == bits(after.vector)
        assert {**vars(before), "vector": None} == {**vars(after), "vector": None}
    assert Shard.open(tmp_path / "shard-00000.parquet") == Shard(tmp_path / "shard-00000.parquet", FACTS, n)


def test_any_reader_of_parquet_sees_plain_columns(whole):
    table = pq.read_table(whole)
    assert table.schema.types[:3] == [pa.int64(), pa.binary(), pa.int64()]
    assert table.column("path").to_pylist()[:2] == [b"/photos/0.jpg", b"/photos/1.jpg"]
    assert table.schema.field("vector").type.value_type == pa.float16()
    assert len(set(table.column("id").to_pylist())) == 40
    assert min(table.column("id").to_pylist()) >= 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vector": [0.0] * DIM}, "zero or not finite"),
        ({"vector": [float("nan")] + [0.5] * (DIM - 1)}, "zero or not finite"),
        ({"vector": [float("-inf")] + [0.5] * (DIM - 1)}, "zero or not finite"),
        ({"vector": None}, "zero or not finite"),
        ({"path": b"photos/0.jpg"}, "no whole path"),
        ({"path": b"/photos/\0.jpg"}, "no whole path"),
        ({"path": None}, "no whole path"),
        ({"hash": None}, "makes no sense"),
        ({"size": -1}, "makes no sense"),
        ({"width": 0}, "makes no sense"),
        ({"height": None}, "makes no sense"),
        ({"reading": 0}, "makes no sense"),
        ({"format": "<script>"}, "makes no sense"),
        ({"taken": "yesterday"}, "makes no sense"),
        ({"taken": "2023-13-01"}, "makes no sense"),
        ({"mtime_ns": None}, "makes no sense"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_and_the_others_are_read(shard, changes, message):
    changed_shard(shard, **changes)
    bad, *others = rows_of(shard)
    assert isinstance(bad, BadRow)
    assert message in bad.message
    assert [row.path for row in others] == [b"/photos/%d.jpg" % i for i in range(1, 40)]


@pytest.mark.parametrize(
    "fields", [{"ctime_ns": None}, {"taken": None}, {"taken": "1985"}, {"format": "JPEG2000"}, {"format": ""}]
)
def test_a_row_may_leave_out_what_files_may_not_say(shard, fields):
    changed_shard(shard, **fields)
    assert not isinstance(rows_of(shard)[0], BadRow)


@pytest.mark.parametrize(
    ("facts", "code", "message"),
    [
        ({"format": 2}, "unsupported", "has format 2, and this mmsearch knows formats up to 1"),
        ({"format": 99, "dim": None}, "unsupported", "has format 99"),
        ({"dim": 9}, "corrupt", r"column vector is fixed_size_list.*\[8\]; expected 9 float16 values"),
        ({"format": "1"}, "corrupt", "its format is '1'; expected a number"),
        ({"format": None}, "corrupt", "its format is None"),
        ({"dim": "8"}, "corrupt", "names no encoder"),
        ({"model": ""}, "corrupt", "names no encoder"),
        ({"fingerprint": 7}, "corrupt", "names no encoder"),
        ({"preprocessing": []}, "corrupt", "names no encoder"),
        ({"preprocessing": {"size": 3}}, "corrupt", "names no encoder"),
        ({"n_rows": 41}, "corrupt", "it has 40 rows, and should have 41"),
    ],
)
def test_a_shard_that_says_what_cannot_be_is_refused(shard, facts, code, message):
    changed_shard(shard, facts)
    with pytest.raises(ShardError, match=message) as refused:
        Shard.open(shard)
    assert refused.value.code == code
    assert str(refused.value).startswith(f"{shard}: this shard ")


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (None, "a Parquet file, but no shard of mmsearch"),
        ({METADATA: b"\xff"}, "its metadata is no JSON"),
        ({METADATA: b"[" * 100_000}, "its metadata is no JSON"),
        ({METADATA: b"[]"}, "names no encoder"),
    ],
)
def test_a_parquet_file_of_something_else_is_refused(shard, metadata, message):
    pq.write_table(pq.read_table(shard).replace_schema_metadata(metadata), shard)
    with pytest.raises(ShardError, match=message):
        Shard.open(shard)


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("path", None, "its column path is missing; expected binary"),
        ("path", pa.array(["a"] * 40), "its column path is string; expected binary"),
        ("hash", pa.array([b"a"] * 40), r"its column hash is binary; expected fixed_size_binary\[32\]"),
        ("vector", None, "its column vector is missing"),
        (
            "vector",
            pa.array([[1.0] * DIM] * 40, pa.list_(pa.float32(), DIM)),
            "its column vector is fixed_size_list",
        ),
        ("vector", pa.array([[1.0] * DIM] * 40, pa.list_(pa.float16())), "its column vector is list"),
    ],
)
def test_columns_of_another_type_are_refused(shard, column, values, message):
    table = pq.read_table(shard)
    place = table.schema.get_field_index(column)
    table = table.remove_column(place)
    pq.write_table(table if values is None else table.append_column(column, values), shard)
    with pytest.raises(ShardError, match=message):
        Shard.open(shard)


def test_a_column_more_is_passed_over(shard):
    pq.write_table(pq.read_table(shard).append_column("caption", pa.array(["a"] * 40)), shard)
    assert [row.path for row in rows_of(shard)] == [b"/photos/%d.jpg" % i for i in range(40)]


@pytest.mark.parametrize(
    ("n_bytes", "code"), [(0, "unsupported"), (3, "unsupported"), (4, "truncated"), (-1, "truncated")]
)
def test_a_truncated_shard_is_refused(shard, n_bytes, code):
    data = shard.read_bytes()
    shard.write_bytes(data[:n_bytes])
    with pytest.raises(ShardError, match=r"shard-00000\.parquet: this ") as refused:
        Shard.open(shard)
    assert refused.value.code == code


def test_a_file_that_is_no_parquet_is_refused_whatever_its_name(tmp_path):
    (tmp_path / "shard.parquet").write_bytes(b"GIF89a" * 100)
    with pytest.raises(ShardError, match=r"this is no Parquet file; expected a shard of mmsearch"):
        Shard.open(tmp_path / "shard.parquet")
    with pytest.raises(ShardError, match="cannot be read"):
        Shard.open(tmp_path)


def test_no_changed_byte_goes_unseen(whole, tmp_path):
    """It is an error, or what is read is what was written: some bytes of the footer mean nothing."""
    rng, data = np.random.default_rng(0), whole.read_bytes()
    expected = [(row.path, row.content_hash, bits(row.vector)) for row in rows_of(whole)]
    path, n_refused = tmp_path / "shard.parquet", 0
    for place in rng.integers(0, len(data), 150):
        changed = bytearray(data)
        changed[place] ^= 1 << rng.integers(0, 8)
        path.write_bytes(changed)
        try:
            shard = Shard.open(path)
            shard.paths()
            rows = [row for rows in shard.rows() for row in rows]
        except ShardError as error:
            assert str(path) in str(error)
            n_refused += 1
            continue
        assert [(row.path, row.content_hash, bits(row.vector)) for row in rows] == expected
    assert n_refused > 100


def test_a_shard_replaced_while_it_is_read_is_refused(shard):
    opened = Shard.open(shard)
    changed_shard(shard, {"fingerprint": "e" * 64})
    with pytest.raises(ShardError, match="was replaced while it was read"):
        opened.paths()


def test_shards_are_read_in_the_order_in_which_they_were_written(tmp_path):
    names = ["shard-100000.parquet", "shard-00002.parquet", "shard-00010.parquet", "errors.parquet", "lock"]
    for name in names:
        (tmp_path / name).touch()
    assert [path.name for path in shard_paths(tmp_path)] == [names[1], names[2], names[0]]


@pytest.mark.parametrize("name", ["missing", "a\0b"])
def test_a_folder_that_is_not_there_is_a_sentence(tmp_path, name):
    with pytest.raises(ShardError, match=r"no folder of shards can be read here|names no folder"):
        shard_paths(tmp_path / name)
