"""Vectors of one's own: a library of them answers by vectors and by its pictures, and says what it cannot do."""

from __future__ import annotations

import os

import numpy as np
import pytest

from mmsearch import GraphSettings, Library, Query
from mmsearch.errors import (
    ArgumentError,
    DimensionError,
    FingerprintError,
    NoEncoderError,
    QueryError,
    UnsupportedError,
)
from tests.conftest import random_units

DIM = 16


@pytest.fixture
def given(tmp_path, cache):
    """A library of three vectors that nobody has a file for."""
    with Library.open(tmp_path / "given", cache=cache) as library:
        library.add_vectors(names(3), random_units(3, DIM), model="mine")
        yield library


def names(n):
    return [f"/elsewhere/{number}.jpg" for number in range(n)]


def counts(report):
    return report.new, report.changed, report.unchanged, len(report.bad)


def test_a_library_of_given_vectors_ranks_by_their_cosines(tmp_path):
    vectors = np.array([[3.0, 0.0], [0.0, 0.5], [1.0, 1.0], [-2.0, 0.1]])
    with Library.open(tmp_path / "library") as library:
        assert counts(library.add_vectors(names(4), vectors, model="mine")) == (4, 0, 0, 0)
        hits = library.search(Query(vector=[1, 0.1]), k=4).hits
        expected = vectors @ [1, 0.1] / np.linalg.norm(vectors, axis=1) / np.hypot(1, 0.1)
        assert [hit.path for hit in hits] == [names(4)[place] for place in np.argsort(-expected)]
        np.testing.assert_allclose([hit.score for hit in hits], np.sort(expected)[::-1], atol=1e-3)
        status = library.status()
        assert (status.model, status.dim, status.n_images, status.n_read_before) == ("mine", 2, 4, 0)
        assert (status.problems, library.verify().problems) == ((), ())
        assert library.verify(is_repair=True).problems == ()


def test_its_own_pictures_can_be_asked_and_their_files_are_not_decoded(tmp_path, photos):
    paths = sorted(photos.glob("*.jpg"))
    with Library.open(tmp_path / "library") as library:
        library.add_vectors(paths, random_units(len(paths), DIM), model="mine")
        for asked in (paths[2], paths[2].read_bytes(), library.search(Query(images=paths[2]), k=1)[0].image_id):
            hit = library.search(Query(images=asked), k=1)[0]
            assert (hit.path, hit.is_missing) == (str(paths[2]), False)


@pytest.mark.parametrize(
    "ask",
    [
        lambda library, photo: library.search("a cat"),
        lambda library, photo: library.search(Query(images=photo)),
        lambda library, photo: library.search(Query(vector=np.ones(DIM), exclude="cat")),
        lambda library, photo: library.classify(photo, ["cat", "dog"]),
        lambda library, photo: library.set_labels("animals", ["cat", "dog"]),
        lambda library, photo: library.export(photo.parent / "out"),
    ],
)
def test_what_needs_an_encoder_says_that_there_is_none_and_what_can_be_asked(given, photos, ask):
    sentence = (
        "vectors of mine, which were added to it and made by no encoder of mmsearch: it is searched by vectors"
    )
    with pytest.raises(NoEncoderError, match=sentence):
        ask(given, photos / "cat.jpg")
    with pytest.raises(FingerprintError, match="no other picture can be embedded for it: add its vector too"):
        given.index(photos)
    (notice,) = given.index(photos, is_dry_run=True).notices
    assert "vectors of mine, which were added to it; `index` is refused without --re-embed" in notice
    assert given.status().n_images == 3


def test_it_can_be_given_to_another_thread(given):
    with given.sibling() as other:
        assert len(other.search(Query(vector=np.ones(DIM)))) == 3


def test_vectors_that_are_added_again_change_only_what_is_different(given):
    vectors = random_units(4, DIM)
    assert counts(given.add_vectors(names(3), vectors[:3], model="mine")) == (0, 0, 3, 0)
    ids = {image.path: image.image_id for image in given.pictures().pictures}
    vectors[1] = random_units(1, DIM, seed=9)
    assert counts(given.add_vectors(names(4), vectors, model="mine")) == (1, 1, 2, 0)
    assert given.search(Query(vector=vectors[1]), k=1)[0].path == names(2)[1]
    assert {image.path: image.image_id for image in given.pictures().pictures}.items() >= ids.items()
    assert given.verify().problems == ()


def test_of_a_path_that_is_given_twice_the_last_vector_counts(given):
    vectors = random_units(2, DIM, seed=5)
    given.add_vectors(["/a.jpg", "/x/../a.jpg"], vectors, model="mine")
    (hit,) = given.search(Query(vector=vectors[1], where="name = a.jpg")).hits
    assert hit.score == pytest.approx(1, abs=1e-3)


def test_rows_that_cannot_be_used_are_named_and_the_others_are_added(given):
    vectors = random_units(5, DIM, seed=5)
    vectors[1], vectors[2, 3] = 0, np.nan
    paths = ["/a.jpg", "/b.jpg", "/c.jpg", "/\0.jpg", "e.jpg"]
    report = given.add_vectors(paths, vectors, model="mine")
    assert [bad.path for bad in report.bad] == ["/b.jpg", "/c.jpg", ""]
    assert report.bad[0].message == (
        "row 2 of the vectors cannot be used: its vector is zero or not finite, so that it has no direction"
    )
    assert report.notices == ("no file is at the paths of 2 pictures: search finds what cannot be shown",)
    assert {"/a.jpg", os.path.abspath("e.jpg")} <= {image.path for image in given.pictures().pictures}


@pytest.mark.parametrize(
    ("names", "error", "sentence"),
    [
        ({"model": "yours"}, FingerprintError, "vectors of mine .fingerprint given:mine., these are of yours"),
        ({"model": "mine", "fingerprint": "v2"}, FingerprintError, "fingerprint v2.; vectors of two models"),
        ({"model": " "}, QueryError, "model is empty; name what made the vectors"),
        ({"model": "mine", "fingerprint": ""}, QueryError, "fingerprint is empty"),
        ({"model": 5}, ArgumentError, "model is 5"),
    ],
)
def test_vectors_of_another_model_are_refused(given, names, error, sentence):
    with pytest.raises(error, match=sentence):
        given.add_vectors("/a.jpg", random_units(1, DIM), **names)
    assert given.status().n_images == 3


@pytest.mark.parametrize(
    ("vectors", "error", "sentence"),
    [
        (random_units(2, DIM + 1), DimensionError, "vectors of mine with 16 dimensions, these have 17"),
        (random_units(3, DIM), QueryError, "there are 2 paths and 3 vectors; give a vector for each path"),
        (
            random_units(1, DIM)[0],
            ArgumentError,
            r"vectors is an array of float32 \(16,\); expected a matrix \(n, dim\)",
        ),
        (np.zeros((2, 0)), ArgumentError, r"float64 \(2, 0\)"),
        ([[1.0], [1.0, 2.0]], ArgumentError, r"vectors is \[\[1.0\], \[1.0, 2.0\]\]"),
        (np.ones((2, DIM), complex), ArgumentError, "an array of complex128"),
    ],
)
def test_what_is_no_matrix_of_the_librarys_width_is_refused(given, vectors, error, sentence):
    with pytest.raises(error, match=sentence):
        given.add_vectors(["/a.jpg", "/b.jpg"], vectors, model="mine")


def test_vectors_of_an_encoder_stand_beside_those_that_it_made_if_the_fingerprint_says_so(indexed, tiny):
    vectors = tiny.encode_texts(["a cat", "snow"])
    with pytest.raises(FingerprintError, match="vectors of two models cannot be compared"):
        indexed.add_vectors(["/a.jpg", "/b.jpg"], vectors, model="mine")
    assert indexed.add_vectors(["/a.jpg", "/b.jpg"], vectors, model="mine", fingerprint=tiny.fingerprint).new == 2
    assert indexed.search("a cat", k=1)[0].path == "/a.jpg"
    assert indexed.verify().problems == ()


def test_a_library_of_given_vectors_has_an_index_when_it_is_large_enough(tmp_path):
    with Library.open(tmp_path / "library") as library:
        library.add_vectors(names(10), random_units(10, DIM), model="mine")
        with library.place.writer() as store:
            store.indexes.keep(GraphSettings(graph_from=50, recall_target=0.5))
        library.add_vectors(names(200), random_units(200, DIM), model="mine")
        assert library.status().n_in_graph == 200
        library.tune(0.9)
        assert library.search(Query(vector=random_units(200, DIM)[150]), k=1)[0].path == names(200)[150]


def test_given_vectors_are_made_anew_by_an_encoder_that_is_asked_for(
    tmp_path, photos, checkpoint, cache, tiny_folder
):
    paths = sorted(photos.rglob("*.jpg"))
    with Library.open(tmp_path / "library", cache=cache) as library:
        library.add_vectors(paths, random_units(len(paths), DIM), model="mine")
        assert library.index([], model=checkpoint, re_embed=True).re_embedded == len(paths)
        assert library.search("a cat", k=3).hits
        assert library.verify().problems == ()


def test_a_library_of_an_encoder_alone_and_one_at_an_address_take_no_vectors(tmp_path, photos):
    with (
        Library.open(f"milvus-lite://{tmp_path}/x.db/pictures") as library,
        pytest.raises(UnsupportedError, match="no support for vectors of your own yet"),
    ):
        library.add_vectors("/a.jpg", random_units(1, DIM), model="mine")
    with Library.open(tmp_path / "plain") as plain:
        plain.index(photos / "trip", model="none", local=True)
        with pytest.raises(FingerprintError, match=r"holds no vectors \(--model none\), and none can be added"):
            plain.add_vectors("/a.jpg", random_units(1, DIM), model="mine")
