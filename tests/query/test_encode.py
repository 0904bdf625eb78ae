"""Examples of a query: files, pictures of the library, pictures in memory, and parts of them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mmsearch import PictureBytes, Query, SearchOptions, Term
from mmsearch.errors import DimensionError, PictureError, QueryError
from mmsearch.query.encode import is_example, is_text
from mmsearch.query.searcher import Searcher
from mmsearch.store.folder import Store
from mmsearch.vectors import l2_normalize
from tests import pictures
from tests.conftest import no_decoder


@pytest.fixture
def terms(indexed):
    return indexed._search().terms


def id_of(indexed, photos, name):
    return indexed.reader().catalog.image_at(bytes(photos / name)).image_id


def test_a_picture_in_memory_is_as_good_as_its_file(terms, photos, tmp_path):
    data = (photos / "cat.jpg").read_bytes()
    (tmp_path / "copy.jpg").write_bytes(data)
    np.testing.assert_allclose(
        terms.picture_vector(PictureBytes(data)), terms.picture_vector(tmp_path / "copy.jpg"), atol=1e-6
    )


def test_contents_that_the_library_has_are_not_encoded_again(indexed, photos, tmp_path):
    (tmp_path / "copy.jpg").write_bytes((photos / "cat.jpg").read_bytes())
    examples = [photos / "cat.jpg", tmp_path / "copy.jpg", PictureBytes((photos / "cat.jpg").read_bytes())]
    asked = Searcher(indexed.reader(), lambda: pytest.fail("the encoder was loaded"), no_decoder)
    for example in examples:
        (best,) = asked.search(Query(images=[example]), SearchOptions(k=1)).hits
        assert (best.path, best.score) == (str(photos / "cat.jpg"), pytest.approx(1, abs=1e-6))


def test_the_same_pixels_in_another_file_have_the_vector_that_is_stored(indexed, photos, tmp_path):
    for seed in range(3):
        pictures.photo(64, 64, seed).save(photos / f"{seed}.png")
        pictures.photo(64, 64, seed).save(tmp_path / f"{seed}.bmp")
    indexed.index([photos])
    terms = indexed._search().terms
    for seed in range(3):
        vector = terms.picture_vector(tmp_path / f"{seed}.bmp")
        np.testing.assert_array_equal(vector, l2_normalize(vector.astype(np.float16).astype(np.float32)[None])[0])
        assert terms.picture_vector(photos / f"{seed}.png") @ vector > 1 - 1e-6


def test_a_picture_by_its_id_is_what_was_indexed_even_when_its_file_is_gone(indexed, terms, photos):
    image_id = id_of(indexed, photos, "cat.jpg")
    before = terms.picture_vector(photos / "cat.jpg")
    (photos / "cat.jpg").unlink()
    np.testing.assert_array_equal(terms.picture_vector(image_id), before)
    assert indexed.search(Query(images=[image_id]), k=1).hits[0].image_id == image_id


def test_a_part_of_a_picture_is_what_its_box_holds(indexed, terms, photos, tmp_path):
    box = (40, 30, 200, 180)
    with Image.open(photos / "cat.jpg") as image:
        image.convert("RGB").crop(box).save(tmp_path / "part.png")
    by_file, by_box = (
        terms.picture_vector(tmp_path / "part.png"),
        terms.picture_vector(Term(id_of(indexed, photos, "cat.jpg"), box=box)),
    )
    np.testing.assert_allclose(by_box, by_file, atol=1e-6)


@pytest.mark.parametrize("is_link", [False, True])
def test_a_part_by_id_is_of_what_was_indexed_never_of_what_came_in_its_place(indexed, terms, photos, is_link):
    image_id = id_of(indexed, photos, "cat.jpg")
    (photos / "cat.jpg").unlink()
    if is_link:
        (photos / "cat.jpg").symlink_to(photos / "dam.jpg")
    else:
        pictures.photo(300, 200).save(photos / "cat.jpg")
    with pytest.raises(PictureError, match=r"cat.jpg: the file is not what was indexed any more") as raised:
        terms.picture_vector(Term(image_id, box=(0, 0, 100, 100)))
    assert raised.value.code == "changed"


def test_a_part_outside_of_the_picture_is_named(terms, photos):
    with pytest.raises(PictureError, match=r"cat.jpg: the part \(9000, 0, 9999, 10\) lies outside"):
        terms.picture_vector(Term(str(photos / "cat.jpg"), box=(9000, 0, 9999, 10)))


def test_an_id_that_the_library_does_not_have_is_named(terms):
    with pytest.raises(QueryError, match="there is no picture 77 in the library"):
        terms.picture_vector(77)


def test_a_picture_in_memory_is_called_by_its_name_when_it_cannot_be_read(terms):
    with pytest.raises(PictureError, match=r"holiday.jpg: no known picture format starts like this file"):
        terms.picture_vector(PictureBytes(b"nonsense" * 10, "holiday.jpg"))


def test_texts_together_are_answered_as_one_by_one(indexed):
    queries = [Query("a cat"), Query(Term("a fig", 2), exclude=["snow"]), Query("a cat", exclude=["a dog"])]
    together = indexed.search_many(queries, SearchOptions(k=3, explain=True))
    for query, result in zip(queries, together, strict=True):
        alone = indexed.search(query, k=3, explain=True)
        assert [hit.image_id for hit in result.hits] == [hit.image_id for hit in alone.hits]
        np.testing.assert_allclose([h.score for h in result.hits], [h.score for h in alone.hits], atol=1e-5)
        assert [*result.hits[0].terms] == [*alone.hits[0].terms]


@pytest.mark.parametrize("scale", [1e-300, 1e-50, 1e39, 1e300])
def test_weights_count_by_their_ratio_however_small_or_large_they_are(indexed, scale):
    usual = indexed.search(Query(Term("a dog", 2), exclude=Term("snow", 1)), k=3).hits
    scaled = indexed.search(Query(Term("a dog", 2 * scale), exclude=Term("snow", scale)), k=3).hits
    assert [hit.path for hit in scaled] == [hit.path for hit in usual]
    assert [hit.score for hit in scaled] == pytest.approx([hit.score for hit in usual], abs=1e-6)


def test_a_picture_above_the_usual_limit_can_be_asked_if_the_library_has_it(indexed, photos, tmp_path):
    (photos / "large.png").write_bytes(pictures.flat_png(8_100))
    (tmp_path / "other.png").write_bytes(pictures.flat_png(8_101))
    assert indexed.index([photos], max_megapixels=66).new == 1
    with Store.writer(indexed.folder) as store:
        store.keep_max_megapixels(64)
    terms, box = indexed._search().terms, (0, 0, 200, 200)
    known = id_of(indexed, photos, "large.png")
    for value in (known, str(photos / "large.png")):
        assert terms.picture_vector(Term(value, box=box)).shape == (indexed.reader().dim,)
    with pytest.raises(PictureError, match=r"has 65\.63 megapixels, the limit is 64; --max-megapixels"):
        terms.picture_vector(tmp_path / "other.png")


def test_a_vector_finds_what_the_text_or_the_picture_finds_that_it_was_made_of(indexed, photos, tiny):
    (vector,) = tiny.encode_texts("two dogs in the snow")
    by_text, by_vector = indexed.search("two dogs in the snow", k=8), indexed.search(Query(vector=7 * vector), k=8)
    assert [hit.image_id for hit in by_vector.hits] == [hit.image_id for hit in by_text.hits]
    np.testing.assert_allclose([h.score for h in by_vector.hits], [h.score for h in by_text.hits], atol=1e-6)
    (hit,) = indexed.search(Query(vector=indexed.encoder.encode_images(photos / "cat.jpg")[0].tolist()), k=1).hits
    assert (hit.path, hit.score) == (str(photos / "cat.jpg"), pytest.approx(1, abs=1e-6))


def test_a_vector_is_a_term_beside_others_and_is_explained(indexed, tiny):
    cat, snow = tiny.encode_texts(["a cat", "snow"])
    query = Query(Term("a cat", 2), exclude=Term("snow", 0.5), vector=snow)
    result = indexed.search(query, k=8, explain=True)
    total = l2_normalize((2 * cat + 0.5 * snow)[None])[0]
    alone = indexed.search(Query(vector=total), k=8)
    assert list(result.hits[0].terms) == ["a cat", "not snow", "the vector"]
    np.testing.assert_allclose([hit.score for hit in result.hits], [hit.score for hit in alone.hits], atol=1e-6)


def test_vectors_are_answered_among_texts_as_alone(indexed):
    queries = [Query("a dog"), Query(vector=np.arange(32)), Query("snow", vector=np.ones(32)), Query("a cat")]
    alone = [indexed.search(query).hits for query in queries]
    assert [result.hits for result in indexed.search_many(queries)] == alone


def test_a_vector_of_another_width_is_refused(indexed):
    with pytest.raises(DimensionError, match="queries have 3 dimensions, the index has 32"):
        indexed.search(Query(vector=[1, 2, 3]))
    picture_and_vector = Query(images=indexed.pictures(limit=1).pictures[0].image_id, vector=np.ones(32))
    with pytest.raises(QueryError, match="local features compare pictures"):
        indexed.search(picture_and_vector, mode="local")


def test_a_query_with_a_vector_is_neither_a_text_nor_an_example_alone():
    assert is_text(Query("a cat"))
    assert not is_text(Query("a cat", vector=[1, 2]))
    assert is_example(Query(images=7))
    assert not is_example(Query(images=7, vector=[1, 2]))
