"""What people embed with as a library does."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mmsearch import Library, Query, Term
from mmsearch.errors import NoEncoderError, PictureError, QueryError
from mmsearch.query.encode import TermEncoder
from mmsearch.samples import sample_folder
from tests import pictures
from tests.conftest import random_units


def test_texts_have_their_unit_vectors_in_order(indexed, tiny):
    texts = [f"a long walk of {n} days" for n in range(150)]
    vectors = indexed.encoder.encode_texts(text for text in texts)
    assert (vectors.dtype, vectors.shape) == (np.float32, (150, 32))
    np.testing.assert_allclose(vectors, np.concatenate([tiny.encode_texts(text) for text in texts]), atol=1e-6)
    assert indexed.encoder.encode_texts([]).shape == (0, 32)


def test_pictures_have_their_unit_vectors_in_order_however_they_are_held(indexed, photos):
    array = np.asarray(pictures.photo(40, 30, seed=1))
    hit = indexed.search(Query(images=photos / "cat.jpg"), k=1)[0]
    with Image.open(photos / "cat.jpg") as image:
        cat, by_id, drawn, part = indexed.encoder.encode_images(
            [photos / "cat.jpg", hit.image_id, array, Term(image, box=(0, 0, 100, 100))]
        )
    np.testing.assert_array_equal(cat, by_id)
    np.testing.assert_array_equal(drawn, indexed.encoder.encode_images(array)[0])
    np.testing.assert_allclose(np.linalg.norm([cat, drawn, part], axis=1), 1, atol=1e-6)
    assert indexed.encoder.encode_images([]).shape == (0, 32)


def test_all_pictures_that_cannot_be_used_are_named_and_the_others_can_be_had(indexed, photos, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"x")
    given = [photos / "cat.jpg", tmp_path / "bad.jpg", photos / "fig.jpg", tmp_path / "gone.jpg"]
    sentence = (
        r"2 of 4 pictures cannot be used; images\[1\]: .*bad.jpg: .*; images\[3\]: .*gone.jpg: there is no such"
    )
    with pytest.raises(PictureError, match=sentence) as error:
        indexed.encoder.encode_images(given)
    assert error.value.code == "not_an_image"
    readable, vectors, errors = indexed.encoder.encode_readable(given)
    assert (readable, sorted(errors)) == ([0, 2], [1, 3])
    np.testing.assert_array_equal(vectors, indexed.encoder.encode_images([given[0], given[2]]))
    assert "bad.jpg" in errors[1]


@pytest.fixture(scope="module")
def with_parts(parted, cache):
    with Library.open(parted / "library", cache=cache) as library:
        yield library


def test_parts_of_pictures_are_those_of_the_library_or_what_they_would_be(with_parts, parted, tmp_path):
    cat = parted / "photos" / "cat.jpg"
    with Image.open(cat) as image:
        image.save(tmp_path / "same.bmp")
        pixels = Image.open(cat).convert("RGB")
    (tmp_path / "bad.jpg").write_bytes(b"x")
    given = [cat, tmp_path / "bad.jpg", tmp_path / "same.bmp", pixels]
    readable, vectors, parts, errors = with_parts.encoder.encode_readable_parts(given)
    assert (readable, list(errors)) == ([0, 2, 3], [1])
    np.testing.assert_array_equal(vectors, with_parts.encoder.encode_readable(given)[1])
    stored, read, held = parts
    assert len(stored.boxes) == 4
    assert stored.boxes == read.boxes == held.boxes
    np.testing.assert_allclose(np.linalg.norm(stored.vectors, axis=1), 1, atol=1e-6)
    assert ((stored.vectors * read.vectors).sum(axis=1) > 0.99).all()  # a JPEG is decoded at a smaller scale
    np.testing.assert_array_equal(read.vectors, held.vectors)


def test_parts_of_the_library_are_not_made_again(with_parts, parted, monkeypatch):
    monkeypatch.setattr(TermEncoder, "_pixels", lambda *args, **options: pytest.fail("a picture was decoded"))
    _, _, (parts,), _ = with_parts.encoder.encode_readable_parts(parted / "photos" / "fig.jpg")
    assert 0 < len(parts.boxes) <= 4


def test_a_library_that_keeps_no_parts_gives_all_that_say_something_new(indexed, photos):
    with Image.open(photos / "cat.jpg") as image:
        _, _, (whole, box), _ = indexed.encoder.encode_readable_parts(
            [photos / "cat.jpg", Term(image, box=(0, 0, 200, 200))]
        )
    assert 4 < len(whole.boxes) <= 13
    assert not np.allclose(whole.vectors[:4], box.vectors[:4], atol=0.01)  # parts of a part


def test_a_thin_picture_has_no_parts(indexed):
    line = pictures.photo(200, 3, seed=1)
    _, _, (parts,), _ = indexed.encoder.encode_readable_parts(line)
    assert (parts.boxes, parts.vectors.shape) == ([], (0, 32))


def test_an_encoder_says_what_it_is(indexed, tiny, checkpoint):
    encoder = indexed.encoder
    assert (encoder.name, encoder.fingerprint, encoder.dim) == (str(checkpoint), tiny.fingerprint, 32)
    assert (encoder.has_words, encoder.logit_scale) == (True, tiny.logit_scale)


def test_an_encoder_keeps_the_library_that_it_is_of(indexed, cache):
    encoder = Library.open(indexed.folder, cache=cache).encoder
    assert encoder.encode_texts("a cat").shape == (1, 32)


def test_without_an_encoder_each_question_says_so(tmp_path):
    with Library.open(tmp_path / "library") as library:
        library.add_vectors("/a.jpg", random_units(1, 4), model="mine")
        for ask in (
            lambda: library.encoder.encode_texts("a cat"),
            lambda: library.encoder.encode_images(sample_folder() / "cat.jpg"),
            lambda: library.encoder.name,
        ):
            with pytest.raises(NoEncoderError, match="made by no encoder of mmsearch"):
                ask()


def test_an_image_encoder_knows_no_words_also_where_there_are_none(tmp_path, photos, cache, gem_folder):
    with Library.open(tmp_path / "library", cache=cache) as library:
        library.index(photos / "cat.jpg", model="cnn:gem", local=False)
        for texts in ("a cat", []):
            with pytest.raises(QueryError, match="it knows no words"):
                library.encoder.encode_texts(texts)
