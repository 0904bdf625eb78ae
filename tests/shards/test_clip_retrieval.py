"""What clip-retrieval wrote, read as shards: whatever is in the matrices and the metadata beside them."""

from __future__ import annotations

import os
from hashlib import sha256

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.errors import ShardError
from mmsearch.records import FileLook
from mmsearch.samples import sample_folder
from mmsearch.shards.clip_retrieval import Embeddings, parts_in
from mmsearch.shards.format import EncoderFacts
from mmsearch.shards.read import BadRow
from mmsearch.vectors import unit_vectors
from tests.conftest import random_units

DIM = 8
FACTS = EncoderFacts("f" * 64, "test", DIM)
NAMES = [f"{number:09}" for number in range(6)]


def write_part(folder, vectors, number="0", **columns):
    """Write one file of vectors, and the metadata beside it."""
    for name in ("img_emb", "metadata"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    path = folder / "img_emb" / f"img_emb_{number}.npy"
    np.save(path, vectors)
    pq.write_table(pa.table(columns), folder / "metadata" / f"metadata_{number}.parquet")
    return path


def units(n=6):
    return random_units(n, DIM).astype(np.float16)


def rows_of(path, images="/photos"):
    embeddings = Embeddings.open(path, FACTS, images)
    rows = [row for block in embeddings.rows() for row in block]
    assert embeddings.paths() == [row.path or None for row in rows]
    return rows


def test_vectors_and_names_are_those_that_were_written(tmp_path):
    path = write_part(tmp_path, units(), image_path=NAMES, width=[640.0] * 5 + [float("nan")], height=[480] * 6)
    rows = rows_of(path)
    assert [row.path for row in rows] == [b"/photos/" + name.encode() for name in NAMES]
    assert [(row.width, row.height) for row in rows] == [(640, 480)] * 5 + [(0, 480)]
    assert np.stack([row.vector for row in rows]).astype(np.float16).tobytes() == units().tobytes()


@pytest.mark.parametrize("dtype", ["<f2", ">f2", "<f4", ">f4", "<f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_byte_order_and_layout_of_real_numbers_is_read(tmp_path, monkeypatch, dtype, order):
    monkeypatch.setattr("mmsearch.shards.clip_retrieval._BATCH", 4)
    values = np.asarray(units(), dtype=dtype, order=order)
    vectors = [row.vector for row in rows_of(write_part(tmp_path, values, image_path=NAMES))]
    np.testing.assert_array_equal(np.stack(vectors), units().astype(np.float32))


@given(st.floats(1e-3, 1e3), st.integers(0, 100))
def test_vectors_of_any_length_get_length_1_and_keep_their_direction(length, seed):
    vectors = random_units(3, DIM, seed)
    made = np.stack(unit_vectors(vectors * np.float32(length)))
    np.testing.assert_allclose(made, vectors, atol=2e-3)
    np.testing.assert_allclose(np.linalg.norm(made, axis=1), 1, atol=1e-3)


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_vectors_whose_squares_no_number_holds_get_length_1(scale):
    (made,) = unit_vectors(np.array([[3.0, 4.0]]) * scale)
    np.testing.assert_allclose(made, [0.6, 0.8], rtol=1e-6)


def test_rows_without_a_direction_or_a_name_are_told(tmp_path):
    vectors = units()
    vectors[1], vectors[2, 3], vectors[3, 0] = 0, np.nan, np.inf
    rows = rows_of(write_part(tmp_path, vectors, image_path=[*NAMES[:4], None, "a\0b"]))
    assert [type(row) is BadRow for row in rows] == [False, True, True, True, True, True]
    assert "zero or not finite" in rows[1].message
    assert "does not say which picture it is" in rows[4].message


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"image_path": ["/a/b.jpg"]}, b"/a/b.jpg"),
        ({"image_path": ["a/../b.jpg"]}, b"/photos/b.jpg"),
        ({"image_path": [b"\xff.jpg"]}, b"/photos/\xff.jpg"),
        ({"url": ["https://example.org/a.jpg"], "caption": ["a"]}, b"/photos/https://example.org/a.jpg"),
        ({"image_path": ["b.jpg"], "url": ["https://example.org/a.jpg"]}, b"/photos/b.jpg"),
    ],
)
def test_a_picture_is_called_by_its_path_or_where_it_came_from(tmp_path, columns, expected):
    (row,) = rows_of(write_part(tmp_path, units(1), **columns))
    assert row.path == expected


def test_a_picture_that_has_no_name_is_called_by_its_row(tmp_path):
    path = write_part(tmp_path, units(2), caption=["a", "b"])
    assert [row.path for row in rows_of(path)] == [os.fsencode(path) + b"/0", os.fsencode(path) + b"/1"]


def test_of_a_picture_that_is_here_the_contents_are_known_and_of_another_they_are_not(tmp_path):
    here, elsewhere = rows_of(write_part(tmp_path, units(2), image_path=["cat.jpg", "no.jpg"]), sample_folder())
    file = sample_folder() / "cat.jpg"
    assert here.look == FileLook.of(file.stat())
    assert here.content_hash == sha256(file.read_bytes()).digest()
    assert elsewhere.look == FileLook(0, 0, None)
    assert (here.reading, elsewhere.reading) == (1, 1)


def test_parts_come_in_the_order_of_their_numbers_and_metadata_alone_is_named(tmp_path):
    for number in ("0", "2", "10"):
        write_part(tmp_path, units(1), number, image_path=["a"])
    (tmp_path / "img_emb" / "img_emb_0.npy").unlink()
    names = [path.name for path in parts_in(tmp_path)]
    assert names == ["img_emb_2.npy", "img_emb_10.npy", "metadata_0.parquet"]
    (tmp_path / "img_emb" / "vectors.npy").touch()
    with pytest.raises(ShardError, match=r"no name such as img_emb_0\.npy, which says what belongs to it"):
        Embeddings.open(parts_in(tmp_path)[2], FACTS, tmp_path)
    with pytest.raises(ShardError, match="the vectors of these pictures are missing"):
        Embeddings.open(parts_in(tmp_path)[-1], FACTS, tmp_path)


@pytest.mark.parametrize(
    ("values", "code", "message"),
    [
        (np.array([[{}] * DIM]), "unsupported", "pickled Python objects, which are never read"),
        (
            np.zeros((1, DIM), np.int64),
            "unsupported",
            r"holds int64 of shape \(1, 8\); expected a matrix of float16",
        ),
        (np.zeros((1, DIM), complex), "unsupported", "holds complex128"),
        (np.zeros(DIM, np.float16), "unsupported", r"of shape \(8,\)"),
        (np.zeros((1, 9), np.float16), "unsupported", "have 9 dimensions, those of test have 8; name the model"),
        (units(2), "corrupt", "it has 2 vectors, and metadata_0.parquet has 1 rows"),
        (units(0), "corrupt", "it has 0 vectors, and metadata_0.parquet has 1 rows"),
    ],
)
def test_a_matrix_that_cannot_be_used_is_a_sentence(tmp_path, values, code, message):
    path = write_part(tmp_path, values, image_path=["a"])
    with pytest.raises(ShardError, match=message) as raised:
        Embeddings.open(path, FACTS, tmp_path)
    assert raised.value.code == code
    assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda data: data[:-1], "truncated"), (lambda data: data[:70], "corrupt"), (lambda data: b"", "corrupt"),
        (lambda data: data + b"\0", "corrupt"), (lambda data: b"PK\3\4" + data, "corrupt"),
        (lambda data: data.replace(b"(6, 8)", b"(-6,8)"), "corrupt"),
        (lambda data: data.replace(b"(6, 8)", b"(9**9)"), "corrupt"),
        (lambda data: data[:6] + b"\3\0" + data[8:], "unsupported"),
    ],
)  # fmt: skip
def test_a_damaged_matrix_is_a_sentence(tmp_path, damage, code):
    path = write_part(tmp_path, units(), image_path=NAMES)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ShardError) as raised:
        Embeddings.open(path, FACTS, tmp_path)
    assert raised.value.code == code


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_metadata_that_cannot_be_read_are_a_sentence(tmp_path, damage):
    path = write_part(tmp_path, units(), image_path=NAMES)
    metadata = tmp_path / "metadata" / "metadata_0.parquet"
    metadata.unlink() if damage == "missing" else os.truncate(metadata, metadata.stat().st_size - 9)
    with pytest.raises(ShardError, match="the metadata beside it, cannot be read"):
        Embeddings.open(path, FACTS, tmp_path)


def test_a_matrix_that_is_cut_meanwhile_is_told_and_rows_before_are_as_they_were(tmp_path, monkeypatch):
    monkeypatch.setattr("mmsearch.shards.clip_retrieval._BATCH", 2)
    path = write_part(tmp_path, units(), image_path=NAMES)
    blocks = Embeddings.open(path, FACTS, tmp_path).rows()
    assert len(next(blocks)) == 2
    os.truncate(path, path.stat().st_size - 1)
    assert len(next(blocks)) == 2
    with pytest.raises(ShardError, match="cut while it was read"):
        next(blocks)
