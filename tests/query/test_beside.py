"""Searches by what pictures show and by what stands beside them, against scoring every picture."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsearch import Query, SearchOptions
from mmsearch.annotations import Annotation, Annotations, Kind
from mmsearch.contract import search_json
from mmsearch.encoders.calibration import Calibration, JoinModel, RelevanceModel
from mmsearch.errors import QueryError
from mmsearch.indexes.hnsw import GRAPH
from mmsearch.query import beside
from mmsearch.query.join import weights_of
from mmsearch.query.searcher import Searcher
from mmsearch.store import indexes as indexes_module
from mmsearch.store.changes import Changes
from mmsearch.store.folder import Store
from mmsearch.store.indexes import GraphSettings
from tests.conftest import no_decoder, random_units
from tests.faults.stand_in import TextVectors, finds_all_at_once
from tests.query.test_searcher import all_pages, at_unit_length
from tests.store.test_store import DIM, META, file

JOIN = JoinModel(words=0.7, captions=1.5, unrelated_of_few=0.6, unrelated_of_all=0.3)
RELEVANCE = RelevanceModel(-4.0, 5.0, 8.0, 0.25, -1.0, 8.0, 16.0, 0.75)
N = 160
WORDS = ("red", "boat", "harbour", "evening", "dog", "snow")
SENTENCES = tuple(" ".join((a, b, "in the", c)) for a in WORDS[:2] for b in WORDS[2:4] for c in WORDS[4:])
texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join) | st.sampled_from(SENTENCES)
of_any_route = pytest.mark.parametrize("route", ["graph", "cells", "exact"])


class Encoder(TextVectors):
    """Gives texts that begin alike vectors that are near, and knows what its scores mean."""

    calibration = Calibration(search=RELEVANCE, join=JOIN)
    logit_scale = 20.0

    def encode_texts(self, texts):
        own = super().encode_texts(texts)
        of_word = super().encode_texts([text.split()[0] for text in texts])
        both = own + 1.2 * of_word
        return both / np.linalg.norm(both, axis=1, keepdims=True)

    def background(self):
        return random_units(64, self.dim, seed=3)


def annotations(i):
    """Texts beside the i-th picture: tags, a caption, both or none."""
    tags = [Annotation(Kind.TAG, "iptc:Keywords", WORDS[i // 3 % 6])] if i % 3 == 0 else []
    captions = [Annotation(Kind.CAPTION, "user", SENTENCES[i // 4 % 8])] if i % 4 == 1 else []
    return Annotations((*tags, *captions))


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """A library of 160 pictures with few vectors, of which copies have other texts beside them."""
    folder = tmp_path_factory.mktemp("beside")
    vectors = random_units(N, DIM, seed=5)
    vectors[N // 2 :: 2] = vectors[: N // 4]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(indexes_module, "measured_efforts", finds_all_at_once)
        with Store.writer(folder, create=META) as store:
            store.commit(Changes(stored=[file(i, v, annotations=annotations(i)) for i, v in enumerate(vectors)]))
            store.annotations.embed_captions(Encoder(DIM).encode_texts, lambda *_: None)
            store.indexes.update(
                GraphSettings(graph_from=50, recall_target=0.5, tail_share=0.5), random_units(5, DIM, seed=1)
            )
    return folder, vectors


def searcher(library, route="exact"):
    return _searcher(library[0], route)


@cache
def _searcher(folder, route):
    encoder, options = Encoder(DIM), {"use_graph": route != "exact", "is_asked_once": route == "cells"}
    asked = Searcher(Store.open(folder), lambda: encoder, no_decoder, **options)
    if route == "graph":
        asked._neighbours.wholes._rows._kinds = [GRAPH]
    return asked


def scored(library, text, keep=lambda i: True):
    """Every picture with its joined score, by plain arithmetic, best first."""
    (query,) = Encoder(DIM).encode_texts([text])
    store = searcher(library).store
    matches, (caption_ids, caption_vectors) = store.annotations.matches(text), store.annotations.caption_vectors()
    share_of = dict(zip(matches.image_ids.tolist(), matches.shares.tolist(), strict=True))
    unrelated = JOIN.unrelated(len(set(caption_ids.tolist())) / N)
    beyond = {
        image_id: max(0.0, float(vector @ query.astype(np.float64)) - unrelated)
        for image_id, vector in zip(caption_ids.tolist(), at_unit_length(caption_vectors[:]), strict=True)
    }
    number_of = {image.image_id: int(image.path[8:-4]) for image in store.images_of_ids(range(1, N + 1))}
    cosines = at_unit_length(library[1]) @ query.astype(np.float64)
    ranked = [
        (cosines[i] + JOIN.words * share_of.get(image_id, 0) + JOIN.captions * beyond.get(image_id, 0), image_id)
        for image_id, i in number_of.items()
        if keep(i)
    ]
    return sorted(ranked, key=lambda best: (-round(best[0], 9), best[1]))


def answered(result):
    return [hit.image_id for hit in result], [hit.score for hit in result]


@of_any_route
@settings(max_examples=20)
@given(text=texts, k=st.integers(1, 30))
def test_every_route_gives_the_best_by_pixels_and_texts_together(library, route, text, k):
    expected = scored(library, text)[:k]
    ids, scores = answered(searcher(library, route).search(Query(text=text), SearchOptions(k=k)))
    assert ids == [image_id for _, image_id in expected]
    assert scores == pytest.approx([score for score, _ in expected], abs=1e-6)


def test_a_filter_leaves_out_what_texts_find(library):
    where, keep = "name ~ *7*", lambda i: "7" in str(i)
    result = searcher(library).search(Query(text="dog snow", where=where), SearchOptions(k=N))
    assert answered(result)[0] == [image_id for _, image_id in scored(library, "dog snow", keep)]


def test_captions_of_what_passes_a_filter_have_their_say_however_near_others_are(library, monkeypatch):
    monkeypatch.setattr(beside, "_NEAR", 1)
    query = Query(text=SENTENCES[0], where="name ~ *7*")
    expected = [image_id for _, image_id in scored(library, SENTENCES[0], lambda i: "7" in str(i))]
    asked = searcher(library)
    assert answered(asked.search(query, SearchOptions(k=N)))[0] == expected
    monkeypatch.setattr(beside, "_FEW", 1)  # not by a scan of what passes, but of more of all
    assert answered(asked.search(query, SearchOptions(k=N)))[0] == expected
    monkeypatch.setattr(beside, "_NEAR_OF_PART", 1)
    assert answered(asked.search(query, SearchOptions(k=N)))[0] != expected


@of_any_route
@pytest.mark.parametrize("words", ["auto", "only"])
def test_pages_are_one_ranking(library, route, words, monkeypatch):
    monkeypatch.setattr(beside, "_DEEP", 1)
    asked, query = searcher(library, route), Query(text="red harbour in the dog")
    whole = asked.search(query, SearchOptions(k=N, words=words))
    pages = all_pages(asked, query, SearchOptions(k=13, words=words))
    assert tuple(hit for page in pages for hit in page) == whole.hits
    assert whole.next is None
    assert {page.n_candidates for page in pages} == {whole.n_candidates}
    assert {page.relevance for page in pages} == {whole.relevance}


def test_of_many_captions_that_are_near_the_nearest_have_a_say(library, monkeypatch):
    monkeypatch.setattr(beside, "_NEAR", 3)
    query, options = Query(text=SENTENCES[0]), SearchOptions(k=N)
    hits = searcher(library).search(query, options).hits
    said = sorted((hit.parts.captions for hit in hits), reverse=True)
    monkeypatch.undo()
    of_all = sorted((hit.parts.captions for hit in searcher(library).search(query, options)), reverse=True)
    assert sum(added > 0 for added in of_all) > 3 >= sum(added > 0 for added in said)


def test_queries_answered_together_have_the_bits_of_each_alone(library):
    asked, options = searcher(library), SearchOptions(k=9, explain=True)
    queries = [Query(text=text) for text in (*WORDS, *SENTENCES, "nothing")]
    alone = [asked.search(query, options) for query in queries]
    together = asked.search_each(queries, options)
    assert [result.hits for result in together] == [result.hits for result in alone]
    assert [result.next for result in together] == [result.next for result in alone]


def test_a_hit_says_what_its_score_is_the_sum_of_and_where_words_stand(library):
    result = searcher(library).search(Query(text="the dog", where="name = 12.jpg or name = 10.jpg"))
    tagged, bare = result
    parts = tagged.parts
    assert tagged.score == parts.pixels + (parts.words + parts.captions)
    assert parts.words > 0 == bare.parts.words
    assert bare.texts == ()
    (text,) = tagged.texts
    assert (text.kind, text.source, text.text, text.spans) == ("tag", "iptc:Keywords", "dog", ((0, 3),))
    said = search_json(result, explain=False)["hits"][0]
    assert said["parts"] == {"pixels": parts.pixels, "words": parts.words, "captions": parts.captions}
    assert said["texts"] == [{"kind": "tag", "source": "iptc:Keywords", "text": "dog", "spans": [[0, 3]]}]


def without_times(result):
    return search_json(replace(result, seconds={}), explain=True)


def test_texts_that_say_nothing_of_the_query_change_not_a_byte_of_the_answer(library, tmp_path):
    bare = tmp_path / "bare"
    with Store.writer(bare, create=META) as store:
        store.commit(Changes(stored=[file(i, vector) for i, vector in enumerate(library[1])]))
    query, options = Query(text="zeppelin"), SearchOptions(k=20, explain=True)
    answers = [
        without_times(searcher((folder, library[1])).search(query, replace(options, words=words)))
        for folder, words in ((bare, "auto"), (library[0], "auto"), (library[0], "none"))
    ]
    assert answers[0] == answers[1] == answers[2]
    assert not {"parts", "texts"} & set(answers[0]["hits"][0])
    by_pixels = searcher(library).search(Query(text="dog"), replace(options, words="none"))
    assert without_times(by_pixels) == without_times(
        searcher((bare, library[1])).search(Query(text="dog"), options)
    )


def test_only_texts_are_asked_where_that_is_said(library):
    result = searcher(library).search(Query(text="boat"), SearchOptions(k=N, words="only"))
    assert result.route == "words"
    assert len(result) == result.n_candidates
    assert all(hit.parts.pixels == 0 < hit.score for hit in result)
    assert result.relevance is None
    assert not searcher(library).search(Query(text="zeppelin"), SearchOptions(words="only"))


def test_words_alone_are_found_without_a_vector_of_the_text_where_captions_have_none(library, tmp_path):
    with Store.writer(tmp_path / "library", create=META) as store:
        vectors = random_units(N, DIM, seed=5)
        store.commit(Changes(stored=[file(i, v, annotations=annotations(i)) for i, v in enumerate(vectors)]))

    class Mute(Encoder):
        def encode_texts(self, texts):
            raise AssertionError("a text was encoded")

    asked, options = Searcher(Store.open(tmp_path / "library"), lambda: Mute(DIM), no_decoder), SearchOptions(k=7)
    whole = asked.search(Query(text="red dog"), replace(options, k=N, words="only"))
    pages = all_pages(asked, Query(text="red dog"), replace(options, words="only"))
    assert tuple(hit for page in pages for hit in page) == whole.hits
    assert len(whole) > 7
    with pytest.raises(AssertionError, match="a text was encoded"):
        asked.search(Query(text="red dog"), options)


@pytest.mark.parametrize(
    ("first", "then"), [("only", "none"), ("auto", "none"), ("auto", "only"), ("none", "only")]
)
def test_a_page_by_other_texts_than_the_one_before_is_refused(library, first, then):
    query = Query(text="dog")
    page = searcher(library).search(query, SearchOptions(k=3, words=first))
    with pytest.raises(
        QueryError, match=rf"an answer by words={first}, and words is {then}; ask the same as before"
    ):
        searcher(library).search(query, SearchOptions(k=3, words=then, after=page.next))
    assert searcher(library).search(query, SearchOptions(k=3, after=page.next)).hits


@pytest.mark.parametrize(
    "query", [Query(images=[1]), Query(text="dog", exclude="snow"), Query(text="dog", relevant=1)]
)
def test_only_one_text_can_be_asked_of_texts_alone(library, query):
    with pytest.raises(QueryError, match="texts beside pictures alone answer one text"):
        searcher(library).search(query, SearchOptions(words="only"))
    assert all(hit.parts is None for hit in searcher(library).search(query))


def test_what_words_find_is_not_called_weak_for_what_it_shows(library):
    asked = searcher(library)
    joined = asked.search(Query(text="evening"), SearchOptions(k=N))
    by_pixels = asked.search(Query(text="evening"), SearchOptions(k=N, words="none"))
    before = {hit.image_id: hit.relevance for hit in by_pixels}
    assert joined.relevance >= by_pixels.relevance
    assert all(hit.relevance >= before[hit.image_id] for hit in joined)
    assert any(hit.relevance > 2 * before[hit.image_id] for hit in joined)
    relevances = [hit.relevance for hit in joined]
    assert relevances == sorted(relevances, reverse=True)


def test_a_library_without_an_encoder_is_searched_by_what_stands_beside_its_pictures(tmp_path):
    with Store.writer(tmp_path / "library", create=META | {"dim": 0}) as store:
        store.commit(Changes(stored=[file(i, annotations=annotations(i)) for i in range(N)]))
    asked = searcher((tmp_path / "library", None))
    pages = all_pages(asked, Query(text="dog"), SearchOptions(k=7))
    assert {page.route for page in pages} == {"words"}
    assert sum(map(len, pages)) == pages[0].n_candidates > 7
    alone, together = asked.search(Query(text="dog")), asked.search_each([Query(text="dog"), Query(text="snow")])
    assert together[0].hits == alone.hits
    with pytest.raises(QueryError, match="a text of the query is empty"):
        asked.search(Query(text=" "))


def test_weights_that_nobody_measured_follow_the_temperature_of_the_encoder():
    encoder = Encoder(DIM)
    encoder.calibration = None
    cool, warm = weights_of(encoder), Encoder(DIM)
    warm.calibration, warm.logit_scale = None, 100.0
    assert weights_of(warm).words == pytest.approx(cool.words / 5)
    assert weights_of(warm).captions == pytest.approx(cool.captions / 5)
    assert cool.unrelated_of_few > cool.unrelated_of_all
