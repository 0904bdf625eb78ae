"""Routes over a library with a graph: what is not in it yet, what is deleted, what a filter lets through."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch import PictureBytes, Query, SearchOptions, Term
from mmsearch.errors import QueryError
from mmsearch.indexes.hnsw import GRAPH
from mmsearch.indexes.plans import Ladder, Recall
from mmsearch.query.searcher import Searcher
from mmsearch.store import indexes as indexes_module
from mmsearch.store import routes as routes_module
from mmsearch.store.changes import Changes
from mmsearch.store.folder import Store
from mmsearch.store.indexes import GraphSettings
from mmsearch.store.summary import library_status
from mmsearch.store.where import condition_of
from tests.conftest import no_decoder, random_units
from tests.faults.stand_in import TextVectors, finds_all_at_once
from tests.store.test_store import DIM, META, file, filled

SETTINGS = GraphSettings(graph_from=50, recall_target=0.5, tail_share=0.5)
N = 300


class Exactly(TextVectors):
    """Gives the text "v:N" the N-th of some vectors."""

    def __init__(self, vectors):
        super().__init__(DIM)
        self.vectors = vectors

    def encode_texts(self, texts):
        return np.stack([self.vectors[int(text.partition(":")[2])] for text in texts])


of_any_route = pytest.mark.parametrize("route", ["graph", "cells", "exact"])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A library of 300 vectors in a graph and in cells, and a tail of 20; 30 pictures were removed since."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(indexes_module, "measured_efforts", finds_all_at_once)
        vectors = filled(folder, N)
        with Store.writer(folder) as store:
            store.indexes.update(SETTINGS, random_units(5, DIM, seed=1))
            tail = random_units(20, DIM, seed=77)
            store.commit(Changes(stored=[file(N + i, v) for i, v in enumerate(tail)]))
            ids = {image.path: image.image_id for image in store.catalog.images()}
            store.remove_images([ids[f"/photos/{i}.jpg"] for i in range(0, N, 10)])
            assert not store.indexes.update(SETTINGS, random_units(5, DIM, seed=1))
    return folder, np.concatenate([vectors, tail])


def searcher(made, route="graph"):
    """What answers by one route: of indexes as good, that of a searcher that is asked once opens in no time."""
    options = {"use_graph": route != "exact", "is_asked_once": route == "cells"}
    asked = Searcher(Store.open(made[0]), lambda: Exactly(made[1]), no_decoder, **options)
    if route == "graph":  # filters too
        asked._neighbours.wholes._rows._kinds = [GRAPH]
    return asked


def at_unit_length(vectors):
    stored = vectors.astype(np.float16).astype(np.float64)
    return stored / np.linalg.norm(stored, axis=1, keepdims=True)


def numbers(result):
    return [int(hit.path.rpartition("/")[2].removesuffix(".jpg")) for hit in result.hits]


def expected(made, query, k, keep=lambda i: True):
    """The k best live pictures by plain arithmetic on the stored vectors at unit length."""
    stored = at_unit_length(made[1])
    live = [i for i in range(N + 20) if (i % 10 or i >= N) and keep(i)]
    return sorted(live, key=lambda i: -float(stored[i] @ made[1][query]))[:k]


@of_any_route
@given(query=st.integers(0, N + 19), k=st.integers(1, 40))
def test_every_route_gives_the_best_live_pictures(made, route, query, k):
    result = searcher(made, route).search(Query(text=f"v:{query}"), SearchOptions(k=k))
    assert result.route == route
    assert numbers(result) == expected(made, query, k)


def test_picture_that_is_not_in_the_graph_yet_is_found(made):
    assert numbers(searcher(made).search(Query(text=f"v:{N + 7}"), SearchOptions(k=1))) == [N + 7]


def test_deleted_picture_is_never_returned(made):
    assert 20 not in numbers(searcher(made).search(Query(text="v:20"), SearchOptions(k=N + 20)))


@pytest.mark.parametrize("k", [1, 10, N + 20, 10_000])
def test_answer_has_as_many_hits_as_there_are_matches(made, k):
    n_live = N + 20 - 30
    assert len(searcher(made).search(Query(text="v:5"), SearchOptions(k=k)).hits) == min(k, n_live)


@pytest.mark.parametrize(
    ("where", "keep"),
    [
        ("name = 41.jpg", lambda i: i == 41),
        ("name ~ 1*.jpg", lambda i: str(i).startswith("1")),
        ("size < 400", lambda i: i < 300),
        ("size >= 100", lambda i: True),
        ("name ~ none*", lambda i: False),
    ],
)
def test_filter_never_costs_a_match(made, where, keep):
    for k in (1, 5, 400):
        result = searcher(made).search(Query(text="v:5", where=[where]), SearchOptions(k=k))
        assert numbers(result) == expected(made, 5, k, keep)


@pytest.mark.parametrize("where", ["size >= 100", "size < 400", "name ~ *7*", "name ~ 1[24]*"])
@pytest.mark.parametrize("route", ["graph", "cells"])
def test_broad_filter_over_an_index_never_costs_a_match(made, where, monkeypatch, route):
    monkeypatch.setattr(routes_module, "_FEW", 10)
    keep = {
        "size >= 100": lambda i: True,
        "size < 400": lambda i: i < 300,
        "name ~ *7*": lambda i: "7" in str(i),
        "name ~ 1[24]*": lambda i: str(i)[:2] in ("12", "14"),
    }[where]
    routes = set()
    for k in (1, 5, 15):
        result = searcher(made, route).search(Query(text="v:5", where=[where]), SearchOptions(k=k))
        assert numbers(result) == expected(made, 5, k, keep)
        routes.add(result.route)
    if where.startswith("size"):
        assert route in routes


def test_too_few_matches_among_the_neighbours_are_not_taken_for_all(made):
    neighbours = searcher(made)._neighbours.wholes._rows
    with neighbours.store.catalog.reading():
        neighbours.refresh()
        way = neighbours._way(neighbours._plans["text"])
        passing = neighbours._all_passing(condition_of(["name = 41.jpg"]))
        assert (len(passing.rows), passing.n_pictures) == (1, 1)
        assert neighbours._filtered_afterwards(made[1][5:6], 2, passing, way) is None


def copy_of(made, folder):
    shutil.copytree(made[0], folder)
    return folder, made[1]


def ids_of(made):
    return {int(Path(image.path).stem): image.image_id for image in Store.open(made[0]).catalog.images()}


def old_plans(made, tmp_path):
    """A copy of the library whose graph was measured by an older version: only pictures go by it."""
    folder, vectors = copy_of(made, tmp_path / "old")
    with Store.writer(folder) as store:
        graph, facts = store.indexes.load(GRAPH).index, store.indexes.facts()["graph"]
        without = {name: facts[name] for name in facts if name != "measured"}
        store.publish("graph", "hnsw-2", graph.save, without, replaces=["cells"])
    return folder, vectors


def test_route_and_answer_do_not_depend_on_what_was_asked_before(made, tmp_path):
    made = old_plans(made, tmp_path)
    shown = library_status(Store.open(made[0])).search
    assert (shown["text"]["route"], shown["image"]["route"]) == ("exact", "graph")
    queries = [Query(text="v:5"), Query(images=[ids_of(made)[7]]), Query(text="v:6", where=["size >= 100"])]
    answers = [
        Searcher(Store.open(made[0]), lambda: Exactly(made[1]), no_decoder).search(query, SearchOptions(k=5))
        for query in queries
    ]
    assert [answer.route for answer in answers] == ["exact", "graph", "filtered"]
    opened_once = Searcher(Store.open(made[0]), lambda: Exactly(made[1]), no_decoder)
    for place in (2, 0, 1, 0, 1, 2):
        again = opened_once.search(queries[place], SearchOptions(k=5))
        assert (again.route, again.hits) == (answers[place].route, answers[place].hits)


@of_any_route
def test_queries_answered_together_have_the_bits_of_each_alone(made, route):
    asked = searcher(made, route)
    gone = tuple(ids_of(made)[number] for number in (5, 7))
    queries = [Query(text=f"v:{i}", irrelevant=gone if i % 3 else ()) for i in range(20)]
    options = SearchOptions(k=4)
    for query, together in zip(queries, asked.search_each(queries, options), strict=True):
        alone = asked.search(query, options)
        assert (together.route, together.n_candidates) == (alone.route, alone.n_candidates)
        assert together.hits == alone.hits


def test_any_mix_of_queries_is_answered_as_each_of_them_alone(made):
    asked, options = searcher(made), SearchOptions(k=4, explain=True)
    seven = ids_of(made)[7]
    queries = [
        Query(text="v:2", where=["size >= 100"]), Query(text="v:1"), Query(images=[seven]), Query(text="v:3"),
        Query(relevant=[seven]), Query(text="v:4", images=[seven]), Query(text="v:5", exclude=["v:6"]),
    ]  # fmt: skip
    for query, answer in zip(queries, asked.search_each(queries, options), strict=True):
        alone = asked.search(query, options)
        assert (answer.route, answer.n_candidates, answer.hits) == (alone.route, alone.n_candidates, alone.hits)


def test_an_error_of_one_query_hurts_no_other_and_is_found_in_few_scans(made):
    steps = []
    asked = Searcher(
        Store.open(made[0]), lambda: Exactly(made[1]), no_decoder, check=lambda: steps.append("answered")
    )
    queries = [Query(text=f"v:{i}") for i in range(16)]
    queries[5] = Query(text=" ")
    answers = asked.search_each(queries, SearchOptions(k=1))
    assert "a text of the query is empty" in str(answers.pop(5))
    assert [numbers(answer) for answer in answers] == [expected(made, i, 1) for i in range(16) if i != 5]
    assert len(steps) == 1 + 2 * 4  # all; then the halves of 16, 8, 4 and 2


def test_at_most_64_texts_are_encoded_together(made):
    class Counting(Exactly):
        def encode_texts(self, texts):
            batches.append(len(texts))
            return super().encode_texts(texts)

    batches, encoder = [], Counting(made[1])
    asked = Searcher(Store.open(made[0]), lambda: encoder, no_decoder)
    queries = [
        Query(text=f"v:{i:06d}", exclude=[f"v:{i + j + 1:07d}" for j in range(i % 5)]) for i in range(100, 200, 2)
    ]  # spelled as nowhere else: none is remembered
    answers = asked.search_each(queries, SearchOptions(k=2))
    assert max(batches) <= 64
    assert len(batches) == 3  # for 150 texts
    for query, answer in zip(queries, answers, strict=True):
        assert answer.hits == asked.search(query, SearchOptions(k=2)).hits


def test_queries_that_nobody_waits_for_are_given_up_between_two_of_them(made):
    def leave():
        if len(answered) == 2:
            raise InterruptedError("nobody waits")
        answered.append(True)

    answered = []
    asked = Searcher(Store.open(made[0]), lambda: Exactly(made[1]), no_decoder, check=leave)
    with pytest.raises(InterruptedError):
        asked.search_each([Query(text=f"v:{i}", where=["width > 1"]) for i in range(5)])


@pytest.mark.parametrize("route", ["graph", "cells"])
def test_index_and_scan_give_a_picture_the_same_score_to_the_last_bit(made, route):
    for i in (1, 7, N + 3):
        indexed, exact = (
            searcher(made, asked).search(Query(text=f"v:{i}"), SearchOptions(k=20)) for asked in (route, "exact")
        )
        assert (indexed.route, exact.route) == (route, "exact")
        assert indexed.hits == exact.hits


@pytest.mark.parametrize("route", ["graph", "cells"])
def test_a_picture_that_an_index_misses_is_first_when_asked_by_itself(made, tmp_path, route):
    made = copy_of(made, tmp_path / "copy")
    asked = searcher(made, route)
    image_id = ids_of(made)[41]
    asked.search(Query(images=[image_id]))
    asked._neighbours.wholes._rows._published[route].index.delete([41])  # as if no path led there
    for k in (1, 3):
        assert numbers(asked.search(Query(images=[image_id]), SearchOptions(k=k)))[0] == 41
    assert 41 not in numbers(asked.search(Query(images=[image_id], where=["name != 41.jpg"]), SearchOptions(k=10)))


def test_an_open_searcher_follows_what_is_measured_anew(made, tmp_path, monkeypatch):
    folder, vectors = copy_of(made, tmp_path / "copy")
    asked = searcher((folder, vectors))
    assert asked.search(Query(text="v:5")).route == "graph"
    nothing = Ladder(((1000, Recall(0.0, 0.0, 0.0, 1.0, 1.0), 0.0001),), exact_ms=1.0, n_queries=5)
    monkeypatch.setattr(indexes_module, "measured_efforts", lambda index, probes, target: nothing)
    with Store.writer(folder) as store:
        store.indexes.update(replace(SETTINGS, tail_share=0.0), random_units(5, DIM, seed=1))
    assert asked.search(Query(text="v:5")).route == "exact"


@of_any_route
@pytest.mark.parametrize("k", [1, 7, 270, 400])
def test_irrelevant_pictures_leave_the_answer_and_cost_no_other_hit(made, route, k):
    irrelevant = expected(made, 5, 6) + expected(made, 11, 6)
    ids = ids_of(made)
    asked = searcher(made, route)
    query = Query(text="v:5", irrelevant=[ids[i] for i in irrelevant])
    answer = asked.search(query, SearchOptions(k=k))
    moved = asked.terms.encode([query])[0].vector
    scores = at_unit_length(made[1]) @ moved
    order = sorted(ids, key=lambda i: -scores[i])
    assert numbers(answer) == [i for i in order if i not in irrelevant][:k]
    assert answer.n_candidates == len(ids) - len(set(irrelevant))


@pytest.mark.parametrize("where", ["size < 400", "name ~ 1[24]*"])
def test_irrelevant_pictures_leave_filtered_answers_too(made, where, monkeypatch):
    monkeypatch.setattr(routes_module, "_FEW", 10)
    ids = ids_of(made)
    query = Query(text="v:5", where=[where], irrelevant=[ids[124], ids[141], ids[N + 1]])
    for k in (1, 5, 400):
        ids_of_hits = numbers(searcher(made).search(query, SearchOptions(k=k)))
        passing = [i for i in ids if (i < 300 if where.startswith("size") else str(i)[:2] in ("12", "14"))]
        assert len(ids_of_hits) == min(k, len(passing) - 2)
        assert not {124, 141, N + 1} & set(ids_of_hits)


def test_an_irrelevant_picture_leaves_without_those_that_share_its_vector(tmp_path):
    vectors = random_units(3, DIM, seed=0)
    with Store.writer(tmp_path, create=META) as store:
        store.commit(Changes(stored=[file(i, vectors[i // 2]) for i in range(6)]))
    asked = searcher((tmp_path, vectors), "exact")
    ids = ids_of((tmp_path, vectors))
    answer = asked.search(Query(text="v:0", irrelevant=[ids[0]]), SearchOptions(k=1))
    assert (numbers(answer), answer.n_candidates) == ([1], 5)
    answer = asked.search(Query(text="v:0", irrelevant=[ids[0], ids[1]]), SearchOptions(k=10))
    assert sorted(numbers(answer)) == [2, 3, 4, 5]
    assert answer.n_candidates == 4


def test_of_equal_pictures_the_one_that_is_asked_by_its_id_is_first(tmp_path):
    vectors = random_units(2, DIM, seed=0)
    with Store.writer(tmp_path, create=META) as store:
        store.commit(Changes(stored=[file(i, vectors[i // 4]) for i in range(5)]))
    ids = ids_of((tmp_path, vectors))
    for i in range(4):
        ids_of_hits = numbers(
            searcher((tmp_path, vectors), "exact").search(Query(images=[ids[i]]), SearchOptions(k=4))
        )
        assert ids_of_hits == [i, *(j for j in range(4) if j != i)]


def all_pages(asked, query, options):
    """The answers of all pages, one after the other."""
    pages = [asked.search(query, options)]
    while pages[-1].next is not None:
        pages.append(asked.search(query, replace(options, after=pages[-1].next)))
        assert pages[-1].hits
    return pages


@of_any_route
@pytest.mark.parametrize("where", [[], ["name ~ *7*"]])
def test_pages_of_any_route_are_one_ranking(made, route, where):
    asked, exact = searcher(made, route), searcher(made, "exact")
    ids = ids_of(made)
    for query in (Query(text="v:5", where=where), Query(images=[ids[7]], where=where, irrelevant=[ids[17]])):
        whole = exact.search(query, SearchOptions(k=1_000, explain=True))
        pages = all_pages(asked, query, SearchOptions(k=47, explain=True))
        assert tuple(hit for page in pages for hit in page) == whole.hits
        assert pages[0].route in (route, "filtered")
        assert {page.route for page in pages[1:]} <= {"exact", "filtered"}
        assert {page.n_candidates for page in pages} == {whole.n_candidates}
        assert whole.next is None


@pytest.mark.parametrize("route", ["graph", "cells"])
def test_what_an_index_misses_comes_on_the_second_page(made, tmp_path, route):
    made = copy_of(made, tmp_path / "copy")
    asked, query = searcher(made, route), Query(text="v:41")
    asked.search(query)
    asked._neighbours.wholes._rows._published[route].index.delete([41])  # as if no path led there
    pages = [numbers(page) for page in all_pages(asked, query, SearchOptions(k=100))]
    whole = expected(made, 41, 1_000)
    assert whole[0] == 41
    assert pages == [whole[1:101], [41, *whole[101:200]], whole[200:]]


def test_copies_of_an_example_come_before_all_others_on_every_page(tmp_path):
    vectors = random_units(2, DIM, seed=0)
    with Store.writer(tmp_path, create=META) as store:
        files = [file(i, vectors[i // 9]) for i in range(12)]  # nine look alike
        same = sha256(b"contents").digest()
        store.commit(Changes(stored=[replace(each, content_hash=same) if i in (2, 5, 8) else each
                                     for i, each in enumerate(files)]))  # fmt: skip
    asked, query = searcher((tmp_path, vectors), "exact"), Query(images=PictureBytes(b"contents"))
    for k in (1, 2, 3, 5, 20):
        pages = [numbers(page) for page in all_pages(asked, query, SearchOptions(k=k, collapse="none"))]
        assert [number for page in pages for number in page] == [2, 5, 8, 0, 1, 3, 4, 6, 7, 9, 10, 11]
        assert {len(page) for page in pages[:-1]} <= {k}


def test_a_page_after_another_asks_for_no_picture_that_the_query_was_made_of(made, tmp_path):
    folder, vectors = copy_of(made, tmp_path / "copy")
    ids = ids_of(made)
    queries = [Query(images=[ids[7]]), Query(text="v:5", relevant=[ids[8]], irrelevant=[ids[9]])]
    asked, options = searcher((folder, vectors), "exact"), SearchOptions(k=100)
    whole = [asked.search(query, SearchOptions(k=1_000)) for query in queries]
    first = [asked.search(query, options) for query in queries]
    with Store.writer(folder) as store:
        store.remove_images([ids[7], ids[8], ids[9]])
    for query, before, after in zip(queries, whole, first, strict=True):
        rest = asked.search(query, replace(options, k=1_000, after=after.next))
        later = [n for n in numbers(before)[100:] if n not in (7, 8, 9)]
        assert numbers(rest) == later
        assert [hit.rank for hit in rest] == list(range(101, 101 + len(later)))


def test_a_page_of_another_query_or_of_visual_words_alone_is_refused(made):
    asked = searcher(made, "exact")
    after = asked.search(Query(text="v:5")).next
    for query, options, sentence in (
        (Query(text="v:6"), SearchOptions(after=after), "after is the `next` of another query"),
        (Query(text="v:5"), SearchOptions(after="x"), "after is 'x'; expected the `next` of a search"),
        (Query(text="v:5"), SearchOptions(after=after, mode="local"), "visual words alone answer in one page"),
    ):
        with pytest.raises(QueryError, match=sentence):
            asked.search(query, options)
    first, second = asked.search_each([Query(text="v:5"), Query(text="v:6")], SearchOptions(after=after))
    assert len(first.hits) == 10
    assert "another query" in str(second)


def test_damaged_graph_means_exact_search_at_once(made, tmp_path):
    folder, _ = copy_of(made, tmp_path / "copy")
    path = next(folder.glob("hnsw-*.bin"))
    path.write_bytes(path.read_bytes()[:-1])
    result = searcher((folder, made[1])).search(Query(text="v:5"), SearchOptions(k=10))
    assert result.route == "exact"
    assert numbers(result) == expected(made, 5, 10)


def test_excluded_text_is_subtracted(made):
    result = searcher(made).search(Query(text="v:5", exclude=[Term("v:6", 0.5)]), SearchOptions(k=10))
    total = made[1][5] - 0.5 * made[1][6]
    stored = at_unit_length(made[1])
    live = [i for i in range(N + 20) if i % 10 or i >= N]
    assert numbers(result) == sorted(live, key=lambda i: -float(stored[i] @ total))[:10]


def test_explained_scores_are_the_cosines_to_every_term(made):
    result = searcher(made).search(Query(text="v:5", exclude=["v:6"]), SearchOptions(k=3, explain=True))
    stored = at_unit_length(made[1])
    for hit, i in zip(result.hits, numbers(result), strict=True):
        assert hit.terms["v:5"] == pytest.approx(float(stored[i] @ made[1][5]), abs=1e-9)
        assert hit.terms["not v:6"] == pytest.approx(float(stored[i] @ made[1][6]), abs=1e-9)


@of_any_route
def test_vectors_cut_and_restored_under_an_open_library_are_noticed_at_the_next_query(made, tmp_path, route):
    shutil.copytree(made[0], tmp_path / "library")
    path, opened_before = (
        tmp_path / "library" / "vectors-0.f16",
        searcher((tmp_path / "library", made[1]), route),
    )
    whole, query = path.read_bytes(), Query(text="v:7")
    before = opened_before.search(query, SearchOptions(k=5))
    assert before.route == route
    for n_left in (100, 0):
        os.truncate(path, n_left * 2 * DIM)
        cut = opened_before.search(query, SearchOptions(k=5))
        assert numbers(cut) == expected(made, 7, 5, keep=lambda i, n=n_left: i < n)
        assert f"vectors-0.f16 holds {n_left} of 320 vectors" in cut.problems[0]
    path.write_bytes(whole)
    after = opened_before.search(query, SearchOptions(k=5))
    assert (after.hits, after.route, after.problems) == (before.hits, before.route, ())
