"""Of files of equal bytes one is a hit, on whatever page, and what looks alike is one where that is asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mmsearch import Query, SearchOptions
from mmsearch.errors import UnsupportedError
from mmsearch.query import copies
from mmsearch.query.searcher import Searcher
from mmsearch.records import SIGNATURE_SIDE, luminance_layout
from mmsearch.store.base import ALL
from mmsearch.store.changes import Changes
from mmsearch.store.folder import Store
from tests.conftest import no_decoder, random_units
from tests.duplicates.pictures import smooth_grids
from tests.query.test_beside import SENTENCES, Encoder, annotations
from tests.query.test_searcher import all_pages
from tests.store.test_store import DIM, META, file

N = 80
QUERIES = {
    "pixels": (Query("red snow"), "none"),
    "filtered": (Query("red snow", where="name ~ *[0-5].jpg"), "none"),
    "joined": (Query(SENTENCES[0]), "auto"),
    "words": (Query("dog snow boat"), "only"),
    "example": (Query(images=[7]), "none"),
    "judged": (Query(images=[30], relevant=[40], irrelevant=[12, 22]), "none"),
}


def contents(i):
    """Of 24 copies of a file, 20 of pairs, 6 of one file with vectors of their own, and 30 files."""
    number = 0 if i < 24 else 1 + i // 2 if i < 44 else 99 if i < 50 else i
    return b"%032d" % number


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """A library of `N` pictures with copies, of which each has other texts beside it."""
    folder = tmp_path_factory.mktemp("copies")
    vectors = random_units(N, DIM, seed=3)
    with Store.writer(folder, create=META) as store:
        rows = [0 if i < 24 else i - i % 2 if i < 44 else i for i in range(N)]
        files = [file(i, vectors[row], annotations=annotations(i)) for i, row in enumerate(rows)]
        files = [replace(each, content_hash=contents(i)) for i, each in enumerate(files)]
        store.commit(Changes(stored=[files[i] for i in np.random.default_rng(1).permutation(N)]))
        store.annotations.embed_captions(Encoder(DIM).encode_texts, lambda *_: None)
    encoder = Encoder(DIM)
    return Searcher(Store.open(folder), lambda: encoder, no_decoder)


def number_of(path):
    return int(path.rpartition("/")[2].removesuffix(".jpg"))


def contents_of(hit):
    return contents(number_of(hit.path))


@pytest.mark.parametrize("k", [1, 7, 50])
@pytest.mark.parametrize("name", QUERIES)
def test_all_pages_have_the_best_ranked_copy_of_every_file_and_name_the_others(asked, name, k):
    query, words = QUERIES[name]
    whole = asked.search(query, SearchOptions(k=1_000, words=words, collapse="none", explain=True)).hits
    judged = {contents(number_of(image.path)) for image in asked.store.images_of_ids(query.irrelevant)}
    first_of = {contents_of(hit): hit for hit in reversed(whole) if contents_of(hit) not in judged}
    expected = sorted(first_of.values(), key=lambda hit: hit.rank)
    pages = all_pages(asked, query, SearchOptions(k=k, words=words, explain=True))
    hits = [hit for page in pages for hit in page]
    assert [(hit.image_id, hit.score, hit.terms) for hit in hits] == [
        (hit.image_id, hit.score, hit.terms) for hit in expected
    ]
    assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
    assert {len(page) for page in pages[:-1]} <= {k}
    passing = [hit.path for hit in whole]
    if words == "only":  # copies of which no text says anything are copies all the same
        passing = [f"/photos/{i}.jpg" for i in range(N)]
    for hit in hits:
        same = [path for path in passing if contents(number_of(path)) == contents_of(hit)]
        named = min(len(same), copies.MOST_NAMED + 1)
        assert (hit.path, len(hit.paths), set(hit.paths) <= set(same)) == (hit.paths[0], named, True)
        assert (hit.folded.n_same_file if hit.folded else 0) == len(same) - 1


def test_queries_that_are_answered_together_have_the_hits_of_each_alone(asked):
    queries, options = [Query(text) for text in ("red snow", "dog", "boat evening")], SearchOptions(k=9)
    together = [answer.hits for answer in asked.search_each(queries, options)]
    assert together == [asked.search(query, options).hits for query in queries]


def id_of(asked, i):
    return asked.store.image_at(b"/photos/%d.jpg" % i).image_id


def test_a_picture_that_is_asked_by_its_id_stands_for_its_copies(asked):
    for i in (3, 11, 29):
        (hit,) = asked.search(Query(images=[id_of(asked, i)]), SearchOptions(k=1))
        assert (hit.image_id, hit.folded.n_same_file) == (id_of(asked, i), 23 if i < 24 else 1)


def test_an_engine_that_gives_no_more_ends_a_page_early_and_the_next_goes_on(asked, monkeypatch):
    query = Query(images=[id_of(asked, 3)])
    expected = [hit.path for hit in asked.search(query, SearchOptions(k=100))]
    wholes = asked._neighbours.wholes
    given = wholes.shortlists

    def shortlists(queries, k, condition, modality):  # as Milvus: it leaves no copies out
        return given([replace(query, is_one_enough=False) for query in queries], k, condition, modality)

    monkeypatch.setattr(wholes, "shortlists", shortlists)
    for most in (None, 20):
        monkeypatch.setattr(wholes, "most", most, raising=False)
        pages = all_pages(asked, query, SearchOptions(k=10))
        assert [hit.path for page in pages for hit in page] == expected
    assert len(pages[0]) < 10


# -- what looks alike ------------------------------------------------------------------------------------------


def light(number, *, noise=0):
    grid = smooth_grids(40)[number].astype(np.float64)
    grid += noise * np.random.default_rng(number).normal(size=grid.shape)
    packed = np.zeros((), luminance_layout(SIGNATURE_SIDE))
    packed["grid"], packed["box"], packed["tone"] = np.clip(grid, -127, 127), (0, 0, 65_535, 65_535), (100, 50, 30)
    return packed.tobytes()


@pytest.fixture(scope="module")
def alike(tmp_path_factory):
    """Thirty pictures, the nearest to "v:0" first: three forms of one, a burst of five and a form of one of it."""
    folder = tmp_path_factory.mktemp("alike")
    vectors = np.zeros((30, DIM), np.float32)
    vectors[:, 0], vectors[:, 1] = 1, np.linspace(0, 0.3, 30)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with Store.writer(folder, create=META) as store:
        files = [file(i, vector, signature=light(i)) for i, vector in enumerate(vectors)]
        for i in (4, 6):
            files[i] = replace(files[i], signature=light(1, noise=0.5))
        files[11] = replace(files[11], signature=light(9, noise=0.5))
        for i in (2, 5, 9, 10, 20):
            files[i] = replace(files[i], taken_at=f"2023-05-01T12:00:{i:02d}")
        for i in (4, 9):
            files.append(replace(files[i], path=b"/photos/1%02d.jpg" % i))
        store.commit(Changes(stored=files))
    encoder = type("Nearest", (Encoder,), {"encode_texts": lambda self, texts: vectors[:1].repeat(len(texts), 0)})(
        DIM
    )
    return Searcher(Store.open(folder), lambda: encoder, no_decoder)


def numbers(page):
    return [number_of(hit.path) for hit in page]


def folded(hit):
    return [(number_of(picture.path), picture.kind) for picture in hit.folded.pictures]


def test_forms_of_a_picture_are_one_hit_only_where_that_is_asked_for(alike):
    assert numbers(alike.search(Query("x"), SearchOptions(k=7))) == [0, 1, 2, 3, 4, 5, 6]
    result = alike.search(Query("x"), SearchOptions(k=7, collapse="same-picture", explain=True))
    assert numbers(result) == [0, 1, 2, 3, 5, 7, 8]
    assert [hit.rank for hit in result] == list(range(1, 8))
    assert folded(result[1]) == [(4, "same-picture"), (104, "same-picture"), (6, "same-picture")]
    assert (result[1].folded.n_same_picture, result[1].folded.n_same_file) == (3, 0)
    assert all(hit.terms["x"] == pytest.approx(hit.score) for hit in result)


def test_pictures_of_a_moment_are_one_hit_and_never_called_copies(alike):
    result = alike.search(Query("x"), SearchOptions(k=7, collapse="look-alike"))
    assert numbers(result) == [0, 1, 2, 3, 7, 8, 12]
    assert folded(result[2]) == [(i, "look-alike") for i in (5, 9, 109, 10, 11)]
    assert result[2].folded.words() == "5 look-alikes"


def test_more_is_looked_at_until_there_are_enough_hits(alike):
    options = SearchOptions(k=1, collapse="look-alike")
    (hit,) = (result := alike.search(Query("x", where="taken = 2023-05"), options))
    assert (number_of(hit.path), hit.folded.n_look_alike, result.next) == (2, 5, None)


def test_a_page_after_another_goes_on_and_knows_nothing_of_what_was_one_hit_there(alike):
    options = SearchOptions(k=7, collapse="look-alike")
    first, *others = all_pages(alike, Query("x"), options)
    assert numbers(others[0]) == [13, 14, 15, 16, 17, 18, 19]
    assert others[0][0].rank == 8
    assert 20 in numbers(others[1])  # of the moment of number 2
    shown = [picture.image_id for hit in first for picture in (hit.folded.pictures if hit.folded else ())]
    shown += [hit.image_id for page in (first, *others) for hit in page]
    assert sorted(shown) == list(range(1, 33))


def test_a_page_has_no_more_hits_than_asked_for_where_fewer_pictures_are_in_another_order(alike):
    options = SearchOptions(k=4, collapse="same-picture")
    (query,) = alike.terms.encode([Query("x")])

    def rank(n):  # as if local features had put the forms of a picture to the front of eight
        (ranking,) = alike._ranked([query], ALL, replace(options, k=max(8, n)))
        is_left = [n >= 8 or number_of(image.path) not in (1, 4, 6) for _, image, _ in ranking.ranked]
        return replace(
            ranking, ranked=[each for each, is_in in zip(ranking.ranked, is_left, strict=True) if is_in][:n]
        )

    with alike.store.reading():
        assert [number_of(image.path) for _, image, _ in alike._collapsed(rank, options).ranked] == [0, 2, 3, 5]


def test_of_more_than_can_be_looked_at_a_page_has_fewer_hits_and_the_next_goes_on(alike, monkeypatch):
    monkeypatch.setattr("mmsearch.query.searcher.MOST_LOOKED_AT", 8)
    pages = all_pages(alike, Query("x"), SearchOptions(k=7, collapse="look-alike"))
    assert numbers(pages[0]) == [0, 1, 2, 3, 7]
    assert [hit.rank for page in pages for hit in page] == list(range(1, 1 + sum(map(len, pages))))


def test_a_library_at_an_address_refuses_what_it_cannot_tell_by_a_sentence(alike, monkeypatch):
    monkeypatch.setattr(Store, "as_folder", None)
    with pytest.raises(UnsupportedError, match="pictures that look alike"):
        copies.alike(alike.store, [], "look-alike")
