"""Searches by wholes and parts of pictures together, against scoring every picture."""

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
from mmsearch.encoders.calibration import OTHER_PARTS, Calibration, JoinModel, PartsModel
from mmsearch.errors import EncoderError
from mmsearch.images.windows import PART_WINDOWS
from mmsearch.indexes.hnsw import GRAPH
from mmsearch.query import parts as parts_module
from mmsearch.query.parts import NeighboursByParts
from mmsearch.query.searcher import Searcher
from mmsearch.records import parts_layout
from mmsearch.store import channel_index
from mmsearch.store import indexes as indexes_module
from mmsearch.store import parts as store_parts
from mmsearch.store import routes as routes_module
from mmsearch.store.base import ALL, AskedVector, Condition, Passed
from mmsearch.store.changes import Changes
from mmsearch.store.folder import Store
from mmsearch.store.indexes import GraphSettings
from tests.conftest import no_decoder, random_units
from tests.faults.stand_in import TextVectors, finds_all_at_once
from tests.query.test_searcher import all_pages, at_unit_length
from tests.store.test_parts import kept, packed
from tests.store.test_store import DIM, META, file

N = 160
WEIGHTS = PartsModel(texts=0.5, examples=0.95)
JOIN = JoinModel(words=0.3, captions=1.5, unrelated_of_few=0.6, unrelated_of_all=0.3)
of_any_route = pytest.mark.parametrize("route", ["exact", "cells", "graph"])


class Encoder(TextVectors):
    calibration = Calibration(join=JOIN, parts=WEIGHTS)
    logit_scale = 20.0

    def background(self):
        return random_units(64, self.dim, seed=3)


def n_parts_of(i):
    """Of how many parts the i-th picture has: none to four, or not looked at (-1)."""
    return i % 6 - 1


def picture(i, vector):
    n = n_parts_of(i)
    parts = None if n < 0 else packed(n, seed=i)
    tags = [Annotation(Kind.TAG, "iptc:Keywords", "dog")] if i % 7 == 0 else []
    captions = [Annotation(Kind.CAPTION, "user", f"number {i % 9} of them")] if i % 4 == 1 else []
    return file(i, vector, annotations=Annotations((*tags, *captions)), parts=parts)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """A library of 160 pictures with indexes over wholes and parts; some left since, and some came."""
    folder, vectors = tmp_path_factory.mktemp("parts"), random_units(N, DIM, seed=5)
    vectors[100:120] = vectors[:20]  # alike
    with pytest.MonkeyPatch.context() as patch, Store.writer(folder, create=META) as store:
        patch.setattr(indexes_module, "measured_efforts", finds_all_at_once)
        patch.setattr(channel_index, "measured_efforts", lambda *args, worth: finds_all_at_once(*args))
        patch.setattr(store_parts, "_LEAST", 0)
        store.parts.keep_most(4)
        store.commit(Changes(stored=[picture(i, vector) for i, vector in enumerate(vectors[:150])]))
        store.indexes.keep(GraphSettings(graph_from=50, recall_target=0.5, tail_share=0.5))
        store.annotations.embed_captions(Encoder(DIM).encode_texts, lambda *_: None)
        store.settle(random_units(8, DIM, seed=1), on_progress=lambda *_: None)
        store.remove_images([store.image_at(b"/photos/%d.jpg" % i).image_id for i in range(0, 150, 10)])
        store.commit(Changes(stored=[picture(i, vectors[i]) for i in range(150, N)]))
    return folder


@cache
def searcher(library, route="exact"):
    options = {"use_graph": route != "exact", "is_asked_once": route == "cells"}
    asked = Searcher(Store.open(library), lambda: Encoder(DIM), no_decoder, **options)
    if route == "graph":
        asked._neighbours.wholes._rows._kinds = [GRAPH]
    return asked


def stored_in(store):
    """The pictures, their unit vectors, and the unit vectors of the parts of each."""
    layout, images = parts_layout(DIM), list(store.catalog.images())
    wholes = at_unit_length(store.matrix()[:])[[image.row for image in images]]
    parts_of = {i: np.frombuffer(data, layout)["vector"] for i, data in kept(store).items() if data}
    return images, wholes, {i: at_unit_length(parts) for i, parts in parts_of.items()}


@cache
def stored(library):
    return stored_in(Store.open(library))


def ranked_by(stored_state, query, weight, keep=lambda image: True):
    """Every picture with its score, by plain arithmetic, in the order of ranks."""
    images, wholes, parts_of = stored_state
    ranked = []
    for image, score in zip(images, (wholes @ query.vector.astype(np.float64)).tolist(), strict=True):
        if image.image_id in parts_of:
            score += weight * max(0.0, float((parts_of[image.image_id] @ query.vector).max()) - score)
        if keep(image) and image.image_id not in query.left_out:
            ranked.append((score, image.image_id))
    return sorted(ranked, key=lambda best: (best[1] not in query.itself, -round(best[0], 9), best[1]))


def scored(library, query, weight, keep=lambda image: True):
    return ranked_by(stored(library), query, weight, keep)


def assert_is(shortlist, expected, k):
    assert [image.image_id for _, image in shortlist.pictures] == [image_id for _, image_id in expected[:k]]
    assert [score for score, _ in shortlist.pictures] == pytest.approx(
        [score for score, _ in expected[:k]], abs=1e-6
    )
    assert shortlist.n_candidates == len(expected)
    following = expected[k][0] if len(expected) > k else None
    assert shortlist.next_score == (following if following is None else pytest.approx(following, abs=1e-6))


FILTERS = {
    "": lambda image: True,
    "name ~ *7*": lambda image: "7" in image.path.rpartition("/")[2],
    "size < 240": lambda image: image.size_bytes < 240,
    "name = 5.jpg": lambda image: image.path.endswith("/5.jpg"),
}
asked_vectors = st.builds(
    lambda seed, itself, left_out: AskedVector(random_units(1, DIM, seed)[0], tuple(itself), tuple(left_out)),
    st.integers(0, 10_000),
    st.lists(st.integers(2, 9), max_size=2, unique=True),
    st.lists(st.integers(12, 19), max_size=3, unique=True),
)


@of_any_route
@given(
    queries=st.lists(asked_vectors, min_size=1, max_size=3),
    k=st.integers(1, 200),
    where=st.sampled_from(list(FILTERS)),
    modality=st.sampled_from(["text", "image"]),
)
def test_every_route_gives_the_best_of_all_pictures(library, route, queries, k, where, modality):
    asked = searcher(library, route)
    weight = WEIGHTS.texts if modality == "text" else WEIGHTS.examples
    with asked.store.reading():
        condition = asked.store.condition([where] if where else [])
        shortlists = asked._neighbours.shortlists(queries, k, condition, modality)
        for query, shortlist in zip(queries, shortlists, strict=True):
            assert_is(shortlist, scored(library, query, weight, FILTERS[where]), k)


@settings(max_examples=15)
@given(
    query=asked_vectors, k=st.integers(1, 60), where=st.sampled_from(list(FILTERS)), weight=st.floats(0, 1),
    few=st.booleans(),
)  # fmt: skip
def test_an_exact_answer_is_the_best_of_all_however_few_are_looked_at_first(library, query, k, where, weight, few):
    store = Store.open(library)
    asked = NeighboursByParts(store, store.neighbours(use_index=False), lambda: PartsModel(weight, weight))
    store.parts.near()._published._cells = None
    with pytest.MonkeyPatch.context() as patch, store.reading():
        patch.setattr(parts_module, "_DEEP", 1)
        patch.setattr(parts_module, "_DEEP_PARTS", 1)
        patch.setattr(parts_module, "_MOST_PARTS", 1)
        patch.setattr(parts_module, "_FEW", 1 if few else 2_000)
        condition = store.condition([where] if where else [])
        (shortlist,) = asked.shortlists([query], k, condition, "text")
        assert_is(shortlist, scored(library, query, weight, FILTERS[where]), k)


@of_any_route
def test_a_broad_filter_never_costs_a_match(library, route, monkeypatch):
    monkeypatch.setattr(routes_module, "_FEW", 5)
    monkeypatch.setattr(parts_module, "_FEW", 5)
    asked, query = searcher(library, route), AskedVector(random_units(1, DIM, seed=3)[0])
    with asked.store.reading():
        for where, keep in FILTERS.items():
            condition = asked.store.condition([where] if where else [])
            for k in (1, 9, 150):
                (shortlist,) = asked._neighbours.shortlists([query], k, condition, "text")
                assert_is(shortlist, scored(library, query, WEIGHTS.texts, keep), k)


@given(query=asked_vectors, k=st.integers(25, 70), where=st.sampled_from(list(FILTERS)))
def test_what_follows_is_one_ranking_without_gaps_and_repeats(library, query, k, where):
    asked = searcher(library)
    with asked.store.reading():
        expected = scored(library, query, WEIGHTS.examples, FILTERS[where])
        condition = asked.store.condition([where] if where else [])
        first = expected[: k // 2 + 1]
        given_ids, last, place = frozenset(image_id for _, image_id in first), None, len(first)
        while True:
            shortlist = asked._neighbours.following(query, k, condition, Passed(given_ids, last), "image")
            ids = [image.image_id for _, image in shortlist.pictures]
            assert ids == [image_id for _, image_id in expected[place : place + k]]
            assert shortlist.n_candidates == len(expected)
            place += len(ids)
            assert (shortlist.next_score is None) == (place == len(expected))
            if not ids or shortlist.next_score is None:
                break
            score, image = shortlist.pictures[-1]
            last = query.key(score, image.image_id)


def test_scores_of_some_pictures_are_those_of_the_ranking(library):
    asked, query = searcher(library), AskedVector(random_units(1, DIM, seed=4)[0])
    condition = Condition().without([3])
    with asked.store.reading():
        expected = {image_id: score for score, image_id in scored(library, query, WEIGHTS.examples)}
        scores = asked._by_parts.scores(query.vector, [1, 2, 3, 4, 31, 9_999], condition, "image")
    assert scores == pytest.approx({i: expected[i] for i in (2, 4, 31) if i in expected}, abs=1e-9)


# -- damage ---------------------------------------------------------------------------------------------


def test_parts_and_wholes_that_are_damaged_cost_no_picture_its_place(tmp_path):
    vectors = -np.abs(random_units(40, DIM, seed=2))  # far from what is asked: a zero would be nearer
    with Store.writer(tmp_path, create=META) as store:
        store.parts.keep_most(4)
        store.commit(Changes(stored=[picture(i, vector) for i, vector in enumerate(vectors)]))
        query = AskedVector(np.full(DIM, DIM**-0.5, np.float32))
        asked = NeighboursByParts(store, store.neighbours(use_index=False), lambda: WEIGHTS)
        for is_published in (False, True):
            if is_published:
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(store_parts, "_LEAST", 0)
                    store.parts.settle(lambda: random_units(8, DIM, seed=1))
            with store.catalog.writing():
                store.catalog.db.execute(
                    "UPDATE item SET crc32 = 1, vector = zeroblob(length(vector)) WHERE image % 3 = 0 AND part = 0"
                )
            with store.reading():
                (whole,) = asked.shortlists([query], 40, ALL, "text")
                assert len(whole.pictures) == 40
                pages, last = list(whole.pictures[:3]), None
                while True:
                    page = asked.following(query, 4, ALL, Passed(frozenset(i.image_id for _, i in pages[:3]), last))
                    pages += page.pictures
                    if page.next_score is None:
                        break
                    last = query.key(pages[-1][0], pages[-1][1].image_id)
            assert [(score, image.image_id) for score, image in pages] == [
                (score, image.image_id) for score, image in whole.pictures
            ]


def test_of_copies_that_share_their_parts_one_is_ranked_where_one_is_enough(tmp_path):
    vectors = random_units(30, DIM, seed=2)
    with Store.writer(tmp_path, create=META) as store:
        store.parts.keep_most(4)
        first = [file(i, vectors[i], parts=packed(3, seed=i)) for i in range(10)]
        copies = [replace(first[4], path=b"/copies/%d.jpg" % i, parts=None) for i in range(20)]
        store.commit(Changes(stored=[*first, *copies]))
        asked = NeighboursByParts(store, store.neighbours(use_index=False), lambda: WEIGHTS)
        part = at_unit_length(np.frombuffer(packed(3, seed=4), parts_layout(DIM))["vector"].astype(np.float32))[1]
        query = AskedVector(part.astype(np.float32), is_one_enough=True)
        for where, n in (([], 10), (["path ~ /copies/*"], 1), (["path != /photos/4.jpg"], 10)):
            condition = store.condition(where)
            (shortlist,) = asked.shortlists([query], 50, condition, "image")
            whole = ranked_by(stored_in(store), query, WEIGHTS.examples)
            passing = [image_id for _, image_id in whole if store.images_of_ids([image_id], condition)]
            hash_of = store.hashes_of(passing)
            firsts = list({hash_of[image_id]: image_id for image_id in reversed(passing)}.values())[::-1]
            assert [image.image_id for _, image in shortlist.pictures] == firsts
            assert len(firsts) == n


# -- through the searcher -------------------------------------------------------------------------------


@of_any_route
@pytest.mark.parametrize(
    "query",
    [
        Query(text="a dog"),
        Query(text="a dog", where="name ~ *7*"),
        Query(images=[3]),
        Query(images=[3], irrelevant=[12, 13]),
        Query(vector=tuple(random_units(1, DIM, seed=8)[0].tolist())),
        Query(text="snow", exclude="boat"),
        Query(relevant=[5, 6]),
    ],
    ids=lambda query: str(query.text or "example"),
)
def test_pages_are_one_ranking(library, route, query):
    asked = searcher(library, route)
    whole = asked.search(query, SearchOptions(k=1_000))
    pages = all_pages(asked, query, SearchOptions(k=23))
    assert tuple(hit for page in pages for hit in page) == whole.hits
    assert {page.n_candidates for page in pages} == {whole.n_candidates}
    assert whole.next is None


@of_any_route
def test_queries_answered_together_have_the_bits_of_each_alone(library, route):
    asked, options = searcher(library, route), SearchOptions(k=7)
    queries = [Query(text=f"text {i}", irrelevant=[12, 13][: i % 3]) for i in range(12)]
    alone = [asked.search(query, options) for query in queries]
    together = asked.search_each(queries, options)
    assert [result.hits for result in together] == [result.hits for result in alone]
    assert [result.next for result in together] == [result.next for result in alone]


def test_a_hit_says_which_part_raised_its_score_and_where_it_is(library):
    asked = searcher(library)
    result = asked.search(Query(vector=tuple(random_units(1, DIM, seed=8)[0].tolist())), SearchOptions(k=200))
    by_part, by_whole = [hit for hit in result if hit.part], [hit for hit in result if not hit.part]
    assert by_part
    assert by_whole
    for hit in by_part:
        part = hit.part
        assert part.cosine > part.whole
        assert hit.score == pytest.approx(part.whole + WEIGHTS.texts * (part.cosine - part.whole), abs=1e-9)
        assert any(np.allclose(part.box, window, atol=1e-4) for window in PART_WINDOWS)
    said = search_json(result, explain=False)["hits"]
    first = by_part[0]
    assert said[first.rank - 1]["part"] == {
        "box": list(first.part.box), "cosine": first.part.cosine, "whole": first.part.whole
    }  # fmt: skip
    assert "part" not in said[by_whole[0].rank - 1]
    assert any(line.startswith("by its part: ") for line in first.words())


def test_texts_beside_pictures_join_the_scores_of_parts(library):
    asked, options = searcher(library), SearchOptions(k=N)
    for hit in asked.search(Query(text="dog"), options):
        part = hit.part
        by_pixels = hit.parts.pixels
        assert hit.score == pytest.approx(by_pixels + hit.parts.words + hit.parts.captions)
        if part is not None:
            assert by_pixels == pytest.approx(part.whole + WEIGHTS.texts * (part.cosine - part.whole), abs=1e-9)
    only = asked.search(Query(text="dog"), replace(options, words="only"))
    assert [hit.part for hit in only] == [None] * len(only)


def test_weights_that_nobody_measured_are_those_of_the_encoder_that_is_shipped(library):
    asked, mute = Searcher(Store.open(library), lambda: Encoder(DIM), no_decoder), Encoder(DIM)
    mute.calibration = None
    asked._encoder = lambda: mute
    assert asked._weights_of_parts() == OTHER_PARTS

    def refuse():
        raise EncoderError("it is gone")

    asked._encoder = refuse
    assert asked._weights_of_parts() == OTHER_PARTS
    with pytest.raises(EncoderError, match=r"texts is 1\.5, expected from 0 to 1"):
        PartsModel(texts=1.5, examples=0.5)
