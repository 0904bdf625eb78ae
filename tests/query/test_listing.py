from __future__ import annotations

import shutil

import numpy as np
import pytest

from mmsearch import Library
from mmsearch.errors import LibraryDamagedError, LibraryNotFoundError, NoEncoderError, QueryError
from mmsearch.query import listing
from tests.conftest import random_units

PATHS = [f"/photos/{number}.jpg" for number in range(7)]


@pytest.fixture
def library(tmp_path):
    """A library of seven vectors, two of them equal."""
    with Library.open(tmp_path / "library") as library:
        library.add_vectors(PATHS, units(), model="mine")
        yield library


def units():
    vectors = random_units(7, 16)
    vectors[5] = vectors[2]
    return vectors


@pytest.mark.parametrize("page", [2, 7, 10_000])
def test_all_vectors_are_those_of_their_pictures_however_long_pages_are(library, monkeypatch, page):
    monkeypatch.setattr(listing, "_PAGE", page)
    ids, paths, matrix = library.vectors()
    assert (paths, matrix.dtype, ids.dtype) == (PATHS, np.float32, np.int64)
    np.testing.assert_allclose(matrix, units(), atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(matrix, axis=1), 1, atol=1e-6)
    assert [library.picture(image_id).path for image_id in ids] == PATHS
    assert [image.path for image in library] == PATHS


def test_vectors_are_those_that_are_stored_where_that_is_wanted(library):
    stored = library.vectors(dtype="float16").matrix
    assert stored.dtype == np.float16
    np.testing.assert_array_equal(stored, units().astype(np.float16))


def test_vectors_are_of_pictures_that_pass_a_filter(library):
    ids, paths, matrix = library.vectors("name = 5.jpg")
    assert (paths, matrix.shape) == ([PATHS[5]], (1, 16))
    np.testing.assert_array_equal(library.encoder.encode_images(ids[0]), matrix)
    assert library.vectors("name = none.jpg").matrix.shape == (0, 16)
    with pytest.raises(QueryError, match="is not understood"):
        library.vectors("nonsense")


@pytest.mark.parametrize("dtype", ["float64", int, "nonsense", None])
def test_vectors_of_another_type_are_refused(library, dtype):
    with pytest.raises(QueryError, match=r"dtype is .*; expected float32, or float16"):
        library.vectors(dtype=dtype)


def test_a_damaged_vector_is_named_and_never_given(library):
    path = library.folder / "vectors-0.f16"
    data = bytearray(path.read_bytes())
    data[3 * 32] ^= 64
    path.write_bytes(data)
    with pytest.raises(LibraryDamagedError, match="row 3 differs from its checksum"):
        library.vectors()
    assert len(library.vectors("name = 5.jpg").ids) == 1


def test_a_library_has_the_length_of_its_pictures_and_is_one_without_any(library):
    assert len(library) == len(list(library)) == 7
    library.remove("/photos")
    assert (len(library), list(library), bool(library)) == (0, [], True)
    assert library.vectors().matrix.shape == (0, 16)


def test_a_library_that_is_not_there_has_no_length(tmp_path):
    nowhere = Library.open(tmp_path / "nowhere")
    assert nowhere
    for ask in (lambda: len(nowhere), lambda: list(nowhere), nowhere.vectors):
        with pytest.raises(LibraryNotFoundError):
            ask()


def test_a_library_of_local_features_alone_has_no_vectors(tmp_path, photos):
    shutil.rmtree(photos / "trip")
    with Library.open(tmp_path / "plain") as plain:
        plain.index(photos / "cat.jpg", model="none")
        with pytest.raises(NoEncoderError, match="has no encoder"):
            plain.vectors()
