"""Rocchio's formula by hand numbers, and judgements as part of a query."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch import Query, SearchOptions
from mmsearch.errors import QueryError
from mmsearch.query.feedback import expanded, rocchio
from tests.conftest import random_units

NONE = np.zeros((0, 2), np.float32)


def test_rocchio_adds_three_quarters_of_the_mean_of_the_relevant_and_takes_fifteen_percent_of_the_others():
    query = np.array([1, 0], np.float32)
    relevant = np.array([[0, 1], [1, 0]], np.float32)  # mean (.5, .5)
    irrelevant = np.array([[0, 1]], np.float32)
    np.testing.assert_allclose(rocchio(query, relevant, irrelevant), [1.375, 0.375 - 0.15], atol=1e-6)


def test_rocchio_leaves_the_query_alone_when_nothing_is_judged():
    query = np.array([0.6, 0.8], np.float32)
    np.testing.assert_array_equal(rocchio(query, NONE, NONE), query)


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 5))
def test_a_query_is_never_farther_from_the_mean_of_the_relevant_than_before(seed, n):
    query, *relevant = random_units(n + 1, 8, seed=seed)
    mean = np.mean(relevant, axis=0)
    moved = rocchio(query, np.stack(relevant), np.zeros((0, 8), np.float32))
    assert moved @ mean / np.linalg.norm(moved) >= query @ mean - 1e-5


def test_alpha_expansion_weighs_verified_pictures_by_a_power_of_their_cosine():
    query = np.array([1, 0], np.float32)
    verified = np.array([[0.5, 0.75**0.5], [-0.6, 0.8]], np.float32)  # the second points away: it weighs nothing
    np.testing.assert_allclose(expanded(query, verified, alpha=1), [1 + 0.25, 0.5 * 0.75**0.5], atol=1e-6)
    np.testing.assert_allclose(expanded(query, verified, alpha=3), [1 + 0.0625, 0.125 * 0.75**0.5], atol=1e-6)


def test_average_expansion_adds_every_verified_picture_whole():
    query, verified = np.array([1, 0], np.float32), np.array([[0, 1], [-0.6, 0.8]], np.float32)
    np.testing.assert_allclose(expanded(query, verified, alpha=0), [0.4, 1.8], atol=1e-6)
    np.testing.assert_array_equal(expanded(query, NONE, alpha=0), query)


@pytest.fixture
def ids(indexed):
    return {hit.path.rpartition("/")[2]: hit.image_id for hit in indexed.search("a cat", k=8).hits}


def score(indexed, query, image_id):
    return next(hit.score for hit in indexed.search(query, k=8).hits if hit.image_id == image_id)


def test_search_scores_judged_pictures_by_the_moved_query(indexed, ids):
    cat, fig = ids["cat.jpg"], ids["fig.jpg"]
    terms = indexed._search().terms
    word = terms.text_vectors(["a cat"])[0]
    moved = word + 0.75 * terms.picture_vector(cat) - 0.15 * terms.picture_vector(fig)
    expected = float(moved @ terms.picture_vector(cat) / np.linalg.norm(moved))
    judged_score = score(indexed, Query("a cat", relevant=[cat], irrelevant=[fig]), cat)
    assert judged_score == pytest.approx(expected, abs=1e-3)
    assert judged_score > score(indexed, Query("a cat"), cat)


def test_relevant_pictures_alone_are_a_query(indexed, ids):
    best = indexed.search(Query(relevant=[ids["moose.jpg"]]), k=1)
    assert [hit.image_id for hit in best.hits] == [ids["moose.jpg"]]


def test_judging_a_picture_twice_counts_once(indexed, ids):
    cat, fig = ids["cat.jpg"], ids["fig.jpg"]
    once, twice = Query("a", relevant=[cat, fig]), Query("a", relevant=[cat, fig, fig])
    assert score(indexed, once, cat) == score(indexed, twice, cat)


def test_a_judged_picture_that_is_not_there_is_named(indexed):
    with pytest.raises(QueryError, match="there is no picture 999 in the library"):
        indexed.search(Query("a cat", irrelevant=[999]))


def test_irrelevant_pictures_alone_are_no_query(indexed, ids):
    with pytest.raises(QueryError, match="the query is empty"):
        indexed.search(Query(irrelevant=[ids["cat.jpg"]]))


def test_an_irrelevant_picture_is_no_answer_to_any_query(indexed, ids):
    cat = ids["cat.jpg"]
    for query in (
        Query("a cat", irrelevant=[cat]),
        Query("a cat", relevant=[cat, ids["fig.jpg"]], irrelevant=[cat]),
        Query(images=[cat], irrelevant=[cat]),
        Query("a cat", irrelevant=[cat], where=["name ~ c*"]),
    ):
        ids_of_hits = [hit.image_id for hit in indexed.search(query, k=8).hits]
        assert len(ids_of_hits) == (2 if query.where else 7)
        assert cat not in ids_of_hits
    for together in indexed.search_many([Query("a cat", irrelevant=[cat])] * 2, SearchOptions(k=8)):
        assert together.hits == indexed.search(Query("a cat", irrelevant=[cat]), k=8).hits


def test_an_answer_of_which_all_is_irrelevant_is_empty(indexed, ids):
    answer = indexed.search(Query("a cat", irrelevant=list(ids.values())), k=8)
    assert (answer.hits, answer.n_candidates) == ((), 0)
