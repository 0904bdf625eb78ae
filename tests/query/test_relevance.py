"""What cosines mean: by hand, by law, and in answers by every route and of every kind of library."""

from __future__ import annotations

import json
import math
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch import Library, Query, SearchOptions
from mmsearch.encoders.calibration import CALIBRATION, Calibration, RelevanceModel, strength
from mmsearch.encoders.probes import N_PROBES
from mmsearch.errors import EncoderError, QueryError
from mmsearch.places import place_of
from mmsearch.query.relevance import Relevance, familiarity, relevance_of
from mmsearch.query.searcher import Searcher
from mmsearch.samples import sample_folder
from mmsearch.store.folder import Store
from tests.conftest import copy_library, no_decoder, random_units
from tests.query.test_searcher import Exactly, all_pages, ids_of, made, of_any_route, searcher  # noqa: F401
from tests.store.test_store import DIM

MODEL = RelevanceModel(-4.0, 5.0, 8.0, 0.25, -1.0, 8.0, 16.0, 0.75)
numbers = st.floats(0, 50)
models = st.builds(RelevanceModel, st.floats(-50, 50), numbers, numbers, numbers, st.floats(-50, 50), numbers,
                   numbers, numbers)  # fmt: skip
cosines = st.lists(st.floats(-1, 1), min_size=1, max_size=12)


def sigmoid(logit):
    return 1 / (1 + math.exp(-logit))


def test_the_relevance_of_an_answer_is_that_of_the_formula():
    answers, hits = relevance_of(MODEL, np.array([[0.5, 0.4]]), np.array([0.5]), 100)
    size = math.log(100)
    assert answers == pytest.approx([sigmoid(-4 + 5 * 0.5 + 8 * 0.5 - 0.25 * size)])
    assert hits == pytest.approx(
        np.array([[sigmoid(-1 + 8 * 0.5 - 0.75 * size), sigmoid(-1 + 8 * 0.5 - 16 * 0.1 - 0.75 * size)]])
    )


def test_a_joined_score_above_the_best_cosine_stands_in_its_place_and_those_below_are_behind_that_cosine():
    answers, hits = relevance_of(MODEL, np.array([[0.9, 0.4]]), np.array([0.5]), 100, best=np.array([0.5]))
    size = math.log(100)
    assert answers == pytest.approx([sigmoid(-4 + 5 * 0.9 + 8 * 0.5 - 0.25 * size)])
    assert hits == pytest.approx(
        np.array([[sigmoid(-1 + 8 * 0.9 - 0.75 * size), sigmoid(-1 + 8 * 0.5 - 16 * 0.1 - 0.75 * size)]])
    )


def test_a_hit_is_never_likelier_than_that_there_is_a_match():
    answers, hits = relevance_of(MODEL, np.array([[0.9]]), np.array([-0.5]), 1)
    assert hits[0, 0] == answers[0] == pytest.approx(sigmoid(-4 + 5 * 0.9 - 8 * 0.5))


def test_where_there_are_no_more_pictures_nothing_is_relevant():
    _, hits = relevance_of(MODEL, np.array([[0.9, -np.inf]]), np.array([0.5]), 1)
    assert hits[0, 1] == 0


@given(model=models, cosines=cosines, familiar=st.floats(-1, 1), n=st.integers(1, 10**9))
def test_relevance_is_a_probability_that_never_falls_as_the_cosine_rises(model, cosines, familiar, n):
    (answer,), (hits,) = relevance_of(model, np.array([sorted(cosines)]), np.array([familiar]), n)
    assert 0 <= answer <= 1
    assert (np.diff(hits) >= 0).all()
    assert hits[0] >= 0
    assert hits[-1] <= answer


@given(model=models, cosines=cosines, familiar=st.floats(-1, 1), n=st.integers(1, 10**6), factor=st.integers(1, 99))
def test_the_more_pictures_were_looked_at_the_less_relevant_is_the_same_answer(model, cosines, familiar, n, factor):
    few = relevance_of(model, np.array([cosines]), np.array([familiar]), n)
    many = relevance_of(model, np.array([cosines]), np.array([familiar]), n * factor)
    assert all((after <= before + 1e-12).all() for before, after in zip(few, many, strict=True))


def test_a_text_is_familiar_by_the_captions_that_are_nearest_to_it():
    captions = np.eye(32, dtype=np.float32)
    text = np.zeros(32, dtype=np.float32)
    text[:2] = 0.6, 0.8
    assert familiarity(text, captions) == pytest.approx(1.4 / 16)
    assert familiarity(text, captions[:2]) == pytest.approx(0.7)


# -- in answers --------------------------------------------------------------------------------------------


class Measured(Exactly):
    """Gives the text "v:N" the N-th of some vectors, and was calibrated."""

    calibration = Calibration(search=MODEL)

    def background(self):
        return random_units(N_PROBES, DIM, seed=5)


def measured(made, route="exact"):  # noqa: F811
    asked = searcher(made, route)
    encoder = Measured(made[1])
    asked._encoder = asked.terms._encoder = lambda: encoder
    return asked


@of_any_route
def test_relevance_is_the_same_by_every_route_alone_and_in_a_batch(made, route):  # noqa: F811
    asked, exact = measured(made, route), measured(made)
    queries = [f"v:{number}" for number in range(20)]
    together = asked.search_each([Query(text=text) for text in queries], SearchOptions(k=6))
    for text, answer in zip(queries, together, strict=True):
        assert answer.relevance == exact.search(Query(text=text)).relevance
        alone = asked.search(Query(text=text), SearchOptions(k=6))
        assert (answer.relevance, answer.hits) == (alone.relevance, alone.hits)
        relevances = [hit.relevance for hit in answer.hits]
        assert relevances == sorted(relevances, reverse=True)
        assert relevances[0] <= answer.relevance
        assert relevances[:2] == [
            hit.relevance for hit in exact.search(Query(text=text), SearchOptions(k=2)).hits
        ]  # whatever k


@of_any_route
def test_hits_that_pass_a_filter_have_the_relevance_of_the_best_of_those_that_pass(made, route):  # noqa: F811
    query = Query(text="v:3", where=["size >= 110"])
    answer = measured(made, route).search(query, SearchOptions(k=3))
    relevance = Relevance.of(Measured(made[1]))
    scores = [hit.score for hit in answer.hits]
    expected, hits = relevance.judge(made[1][3], scores, len(expected_passing(made)))
    assert answer.relevance == expected
    assert [hit.relevance for hit in answer.hits] == hits.tolist()


def expected_passing(made):  # noqa: F811
    everything = searcher(made, "exact").search(Query(text="v:3", where=["size >= 110"]), SearchOptions(k=1000))
    return everything.hits


def test_hits_below_the_least_relevance_are_left_out_and_none_by_default(made):  # noqa: F811
    asked = measured(made)
    every = asked.search(Query(text="v:1"), SearchOptions(k=300)).hits
    assert len(every) == 300 - 10
    least = every[4].relevance
    some = asked.search(Query(text="v:1"), SearchOptions(k=300, min_relevance=least)).hits
    assert some == every[: len(some)]
    assert [hit.relevance >= least for hit in every] == [True] * len(some) + [False] * (len(every) - len(some))
    assert asked.search(Query(text="v:1"), SearchOptions(min_relevance=1.0)).hits == ()


@of_any_route
def test_hits_of_later_pages_are_as_relevant_as_on_one_and_end_where_too_little_is(made, route):  # noqa: F811
    asked, query = measured(made, route), Query(text="v:1")
    every = measured(made).search(query, SearchOptions(k=300))
    pages = all_pages(asked, query, SearchOptions(k=41))
    assert tuple(hit for page in pages for hit in page) == every.hits
    assert {page.relevance for page in pages} == {every.relevance}
    for place in (40, 41, 59):
        least = every[place].relevance
        expected = tuple(hit for hit in every if hit.relevance >= least)
        pages = all_pages(asked, query, SearchOptions(k=41, min_relevance=least))
        assert tuple(hit for page in pages for hit in page) == expected


def test_a_weight_of_a_single_text_changes_no_relevance(made):  # noqa: F811
    from mmsearch import Term

    asked = measured(made)
    assert asked.search(Query(text=Term("v:1", 7))).relevance == asked.search(Query(text="v:1")).relevance


def test_what_is_more_or_other_than_one_text_has_no_relevance(made):  # noqa: F811
    asked, seven = measured(made), ids_of(made)[7]
    for query in (
        Query(images=[seven]), Query(text="v:1", images=[seven]), Query(text="v:1", exclude=["v:2"]),
        Query(text="v:1", relevant=[seven]), Query(text="v:1", irrelevant=[seven]), Query(relevant=[seven]),
    ):  # fmt: skip
        answer = asked.search(query)
        assert answer.relevance is None
        assert {hit.relevance for hit in answer.hits} == {None}
        with pytest.raises(QueryError, match="only hits of one text have a relevance"):
            asked.search(query, SearchOptions(min_relevance=0.1))


def test_without_a_calibration_nothing_is_invented(made):  # noqa: F811
    asked = searcher(made, "exact")
    answer = asked.search(Query(text="v:1"))
    assert (answer.relevance, answer.hits[0].relevance, answer.problems) == (None, None, ())
    with pytest.raises(QueryError, match=r"nobody has measured what scores of .* mean; run `mmsearch calibrate`"):
        asked.search(Query(text="v:1"), SearchOptions(min_relevance=0.1))


def test_a_calibration_that_cannot_be_used_is_said_with_the_answer(made):  # noqa: F811
    class Damaged(Measured):
        @property
        def calibration(self):
            raise EncoderError("the calibration is damaged; make it again")

    asked = searcher(made, "exact")
    asked._encoder = asked.terms._encoder = lambda: Damaged(made[1])
    answer = asked.search(Query(text="v:1"))
    assert (answer.relevance, answer.problems) == (None, ("the calibration is damaged; make it again",))
    with pytest.raises(QueryError, match="make it again, or leave out min_relevance"):
        asked.search(Query(text="v:1"), SearchOptions(min_relevance=0.1))


def test_a_library_without_pictures_holds_no_match(tmp_path):
    with Store.writer(tmp_path / "library", create={"dim": DIM, "fingerprint": "f" * 64, "model": "m"}):
        pass
    asked = Searcher(Store.open(tmp_path / "library"), lambda: Measured(random_units(3, DIM, seed=1)), no_decoder)
    answer = asked.search(Query(text="v:1"))
    assert (answer.relevance, answer.hits) == (0.0, ())


@pytest.mark.parametrize("least", [-0.1, 1.1, float("nan")])
def test_a_least_relevance_that_is_no_probability_is_refused(least):
    with pytest.raises(QueryError, match="expected a probability from 0 to 1"):
        SearchOptions(min_relevance=least)


# -- real encoders -----------------------------------------------------------------------------------------


@pytest.mark.full
def test_offline_tells_what_is_there_from_what_is_not(tmp_path, cache, offline_folder):
    with Library.open(tmp_path / "library", cache=cache) as library:
        library.index([sample_folder()], model="offline", local=False)
        there = library.search_many(["goldfish", "a cat", "the tower of Pisa", "a panda"])
        gone = library.search_many(["hjkq wrtp zzk", "ein Regenschirm am Bahnhof", "xylophone"])
        assert min(answer.relevance for answer in there) > 0.6 > max(answer.relevance for answer in gone)
        assert min(answer.hits[0].relevance for answer in there) > 0.3
        assert "strong" not in {strength(answer.hits[0].relevance) for answer in gone}
        (once,) = library.search_many("a cat")
        assert (once.relevance, once.hits) == (there[1].relevance, there[1].hits)


def test_a_library_of_one_picture_has_relevance(tmp_path, cache, offline_folder):
    (tmp_path / "pictures").mkdir()
    shutil.copyfile(sample_folder() / "cat.jpg", tmp_path / "pictures" / "cat.jpg")
    with Library.open(tmp_path / "library", cache=cache) as library:
        library.index([tmp_path / "pictures"], model="offline", local=False)
        assert library.search("a cat").hits[0].relevance > 0.5 > library.search("an aeroplane").hits[0].relevance


def test_a_calibration_counts_from_the_next_search_on_and_goes_with_the_encoder(indexed_once, tmp_path, cache):
    copy_library(indexed_once / "library", tmp_path / "library", indexed_once / "photos", indexed_once / "photos")
    with Library.open(tmp_path / "library", cache=cache) as library:
        before = library.search("a cat")
        assert before.relevance is None
        library.calibrate(Calibration(search=MODEL))
        after = library.search("a cat")
        assert 0 < after.relevance < 1
        assert [hit.score for hit in after.hits] == [hit.score for hit in before.hits]
        assert library.verify().problems == ()
        path = library.installed_encoder().folder / CALIBRATION
        path.write_text(path.read_text().replace('"format": 1', '"format": 9'))
    with Library.open(tmp_path / "library", cache=cache) as library:
        assert "calibration of format 9" in library.search("a cat").problems[0]
        assert "calibration of format 9" in library.verify().problems[0]
        assert library.verify(is_repair=True).problems != ()
        assert library.verify().problems == ()
        assert library.search("a cat").relevance is None


@pytest.mark.full
def test_a_library_in_milvus_has_the_relevance_of_one_in_a_folder(
    milvus, indexed_once, tmp_path, cache, tiny_folder
):
    own = tmp_path / "cache"
    (own / "encoders").mkdir(parents=True, mode=0o700)
    shutil.copytree(tiny_folder, own / "encoders" / tiny_folder.name)
    fingerprint = json.loads((tiny_folder / "spec.json").read_text())["fingerprint"]
    kept = json.dumps(Calibration(search=MODEL).to_json(fingerprint))
    (own / "encoders" / tiny_folder.name / CALIBRATION).write_text(kept)
    copy_library(indexed_once / "library", tmp_path / "library", indexed_once / "photos", indexed_once / "photos")
    with Library.open(tmp_path / "library", cache=own) as folder:
        folder.calibrate(Calibration(search=MODEL))
        expected = [folder.search(text) for text in ("a cat", "snow")]
        model = folder.reader().setting("model")
        pictures = folder.reader().roots()
    with Library.open(milvus.address("relevance"), cache=own) as remote:
        remote.index(pictures, model=model)
        for text, answer in zip(("a cat", "snow"), expected, strict=True):
            there = remote.search(text)
            assert there.relevance == pytest.approx(answer.relevance, abs=1e-4)
            assert [hit.relevance for hit in there.hits] == pytest.approx(
                [hit.relevance for hit in answer.hits], abs=1e-4
            )
    assert place_of(milvus.address("relevance"), own).folder is None
