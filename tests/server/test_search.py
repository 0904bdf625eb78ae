"""`POST /search`, `/searches` and `/classify` as other programs use them."""

from __future__ import annotations

import io
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter

from mmsearch import Library, Query
from mmsearch.contract import FORMAT_HEADER, FORMAT_VERSION, SearchAnswer, versioned
from mmsearch.encoders.calibration import answer_strength, strength
from mmsearch.server.schemas import Labelled
from tests.forms import check_form
from tests.server.conftest import hits, names, running


def post(client, **asked):
    return client.post("/search", json=asked)


def send(client, *pictures, path="/search/upload", **asked):
    files = [("picture", (name, data)) for name, data in pictures]
    return client.post(path, data={"query": json.dumps(asked)}, files=files)


def id_of(client, name):
    body = client.get("/pictures", params={"where": f"name = {name}"}).json()["pictures"]
    return body[0]["id"]


@pytest.fixture(scope="module")
def library(served, cache):
    """The same library through the Python interface."""
    with Library.open(served.folder, cache=cache) as opened:
        yield opened


def test_texts_beside_pictures_can_be_asked_alone(client):
    answer = post(client, text="a cat", words="only").json()
    assert (answer["route"], [hit["name"] for hit in answer["hits"]]) == ("words", ["cat.jpg"])  # by its name
    assert post(client, text="a cat", words="never").status_code == 422


def test_a_text_is_answered_as_by_the_python_interface(client, library):
    ranked = hits(post(client, text="a cat", k=7, exclude=[{"text": "snow", "weight": 0.5}], explain=True))
    from mmsearch import Term

    expected = library.search(Query("a cat", exclude=[Term("snow", 0.5)]), k=7, explain=True)
    assert [hit["id"] for hit in ranked] == [hit.image_id for hit in expected.hits]
    np.testing.assert_allclose([h["score"] for h in ranked], [h.score for h in expected.hits], atol=1e-5)
    assert [term["term"] for term in ranked[0]["terms"]] == ["a cat", "not snow"]
    assert ranked[0]["rank"] == 1
    assert ranked[0]["local"] is None


def test_weights_of_terms_are_heeded(client):
    cat = id_of(client, "cat.jpg")
    word = post(client, text="a rocket", text_weight=50, pictures=[{"id": cat, "weight": 0.1}], rerank="none")
    assert names(word)[:5] == names(post(client, text="a rocket"))[:5]
    picture = post(client, text="a rocket", text_weight=0.1, pictures=[{"id": cat, "weight": 50}], rerank="none")
    assert names(picture)[0] == "cat.jpg"


def test_more_like_this_gives_the_picture_itself_first(client):
    answer = post(client, pictures=[{"id": id_of(client, "coffee.jpg")}], k=3)
    assert names(answer)[0] == "coffee.jpg"
    assert hits(answer)[0]["local"]["is_verified"]
    assert "hits verified by local features" in answer.json()["message"]
    assert set(answer.json()["seconds"]) == {"local", "encode", "search", "total"}


def test_a_picture_that_comes_with_the_request_is_found_by_its_contents(client, served):
    data = (served.photos / "moose.jpg").read_bytes()
    answer = send(client, ("holiday.jpg", data), k=2, explain=True)
    assert names(answer)[0] == "moose.jpg"
    assert hits(answer)[0]["score"] == pytest.approx(1, abs=0.01)  # decoded at another size than by index
    assert hits(answer)[0]["terms"][0]["term"] == "holiday.jpg"


def test_a_form_needs_no_query(client, served):
    answer = client.post("/search/upload", files={"picture": (served.photos / "moose.jpg").read_bytes()})
    assert names(answer)[0] == "moose.jpg"


def test_two_pictures_of_one_name_are_two_terms(client, served):
    pictures = [("x.jpg", (served.photos / name).read_bytes()) for name in ("moose.jpg", "fig.jpg")]
    answer = send(client, *pictures, pictures=[{"upload": 1, "weight": 3}, {"upload": 0}], explain=True, k=2)
    assert [term["term"] for term in hits(answer)[0]["terms"]] == ["x.jpg (1)", "x.jpg"]
    assert set(names(answer)) >= {"fig.jpg"}


def test_a_part_of_a_picture_is_matched_in_pixels_of_both_originals(client, served):
    data, box = (served.photos / "coffee.jpg").read_bytes(), [60, 50, 420, 330]
    by_upload = send(client, ("c.jpg", data), pictures=[{"upload": 0, "box": box}], k=1, explain=True)
    by_id = post(client, pictures=[{"id": id_of(client, "coffee.jpg"), "box": box}], k=1, explain=True)
    for answer in (by_upload, by_id):
        local = hits(answer)[0]["local"]
        assert local["is_verified"]
        assert local["n_inliers"] == len(local["inliers"]) > 20
        pairs = np.array(local["inliers"])
        np.testing.assert_allclose(pairs[:, :2], pairs[:, 2:], atol=6)
        assert pairs[:, 0].min() >= 60
        assert np.array(local["homography"]).shape == (3, 3)


def test_places_are_left_out_when_nobody_asks(client):
    local = hits(post(client, pictures=[{"id": id_of(client, "coffee.jpg")}], k=1))[0]["local"]
    assert local["n_inliers"] > 20
    assert local["inliers"] == []
    assert local["homography"] is None


def test_visual_words_can_be_asked_alone(client):
    answer = post(client, pictures=[{"id": id_of(client, "coffee.jpg")}], mode="local", k=3)
    assert answer.json()["route"] == "local"
    assert names(answer)[0] == "coffee.jpg"


def test_judged_pictures_move_the_answer(client, library):
    moose, fig = id_of(client, "moose.jpg"), id_of(client, "fig.jpg")
    asked = {"text": "a cat", "relevant": [moose], "irrelevant": [fig], "k": 29}
    ranked = hits(post(client, **asked))
    expected = library.search(Query("a cat", relevant=[moose], irrelevant=[fig]), k=29)
    assert [hit["id"] for hit in ranked] == [hit.image_id for hit in expected.hits]
    rank = {hit["name"]: hit["rank"] for hit in hits(post(client, text="a cat", k=29))}
    assert ranked[0]["name"] == "moose.jpg"
    assert rank["moose.jpg"] > 1
    assert names(post(client, relevant=[moose], k=1)) == ["moose.jpg"]


def test_a_picture_judged_irrelevant_is_never_a_hit(client):
    cat = id_of(client, "cat.jpg")
    for asked in (
        {"text": "a cat"},
        {"text": "a cat", "where": ["name ~ c*"]},
        {"pictures": [{"id": cat}]},
        {"pictures": [{"id": cat}], "mode": "local"},
        {"pictures": [{"id": cat}], "rerank": "local"},
        {"relevant": [cat]},
    ):
        answer = post(client, **asked, irrelevant=[cat], k=100)
        assert "cat.jpg" not in names(answer)
    assert len(hits(post(client, text="a cat", irrelevant=[cat], k=100))) == 28


@pytest.mark.parametrize("name", ["cat", "fig", "moose"])
def test_a_picture_is_first_when_it_is_sent_and_no_score_exceeds_one(client, served, name):
    data = (served.photos / f"{name}.jpg").read_bytes()
    form = {"query": (None, json.dumps({"k": 3, "rerank": "none"})), "picture": (f"{name}.jpg", data)}
    ranked = hits(client.post("/search/upload", files=form))
    assert ranked[0]["name"] == f"{name}.jpg"
    assert 1 - 1e-6 < ranked[0]["score"] <= 1 + 1e-6


def test_filters_hold(client):
    ranked = hits(post(client, text="a", where=["name ~ c*", "width >= 1"], k=100))
    assert {hit["name"][0] for hit in ranked} == {"c"}
    assert hits(post(client, text="a", where=["width > 100000"])) == []


def test_filters_may_be_trees(client):
    wide = {"field": "width", "op": ">", "value": 100.5}
    named = {"or": [{"field": "name", "op": "~", "value": "C*"}, "name = moose.jpg or name ~ fig*"]}
    ranked = hits(post(client, text="a", where=[{"and": [wide, named]}, {"not": {"not": "format = jpg"}}], k=100))
    assert {hit["name"][0] for hit in ranked} == {"c", "f", "m"}
    exact = {"field": "name", "op": "=", "value": "a and width > 5"}
    assert hits(post(client, text="a", where=[exact])) == []


@pytest.mark.parametrize(
    ("tree", "kind", "sentence"),
    [
        ({"field": "colour", "op": "=", "value": "red"}, "request", "'path', 'folder'"),
        ({"field": "width", "op": "~", "value": 5}, "query", "~ (glob) works on path"),
        ({"field": "taken", "op": ">", "value": "2023-15"}, "query", "there is no such date"),
        ({"and": []}, "request", "is a list of 0; expected at least 1"),
        ({"and": ["width > 1"], "or": []}, "request", "is not known here"),
        ({"not": ["width > 1"]}, "request", "is a list of 1; expected a text"),
        ({"or": [{"or": ["width > 1"] * 100}] * 3}, "query", "300 comparisons in the filters; at most 200"),
        (json.loads('{"not":' * 15 + '"width > 1"' + "}" * 15), "request", "nested more than 16 deep"),
    ],
)
def test_a_tree_that_means_nothing_is_a_problem(client, tree, kind, sentence):
    answer = post(client, text="a", where=[tree])
    assert answer.status_code == 422
    assert answer.json()["type"] == f"urn:mmsearch:{kind}"
    assert sentence in answer.text


def test_an_answer_goes_on_after_the_one_before(client, served):
    moose = ("moose.jpg", (served.photos / "moose.jpg").read_bytes())
    for ask in (
        lambda **asked: post(client, text="a cat", where=["width > 1"], **asked),
        lambda **asked: post(client, text="a cat", **asked),
        lambda **asked: send(client, moose, rerank="none", **asked),
    ):
        whole, answer = hits(ask(k=100)), ask(k=12)
        assert ask(k=100).json()["next"] is None
        ranked = hits(answer)
        while answer.json()["next"] is not None:
            assert TypeAdapter(SearchAnswer).validate_python(answer.json()) == answer.json()
            answer = ask(k=12, after=answer.json()["next"])
            ranked += hits(answer)
        assert [(hit["id"], hit["rank"]) for hit in ranked] == [(hit["id"], hit["rank"]) for hit in whole]


def test_many_at_once_get_the_answers_that_they_get_alone(client, served):
    texts = [f"text number {i}" for i in range(24)]
    alone = {text: hits(post(client, text=text, k=5)) for text in texts}
    with served.allowed() as other, ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda text: hits(post(other, text=text, k=5)), texts))
        metrics = other.get("/metrics").text
    for text, ranked in zip(texts, answers, strict=True):
        assert [hit["id"] for hit in ranked] == [hit["id"] for hit in alone[text]]
    count = {line.split()[0]: float(line.split()[1]) for line in metrics.splitlines() if line[0] != "#"}
    assert count["mmsearch_text_batch_queries_sum"] > count["mmsearch_text_batch_queries_count"]  # some together


def test_one_bad_query_does_not_spoil_those_beside_it(client, served):
    with ThreadPoolExecutor(8) as pool:
        asked = [{"text": "   "} if i % 2 else {"text": f"a thing {i}"} for i in range(16)]
        answers = list(pool.map(lambda query: post(client, **query), asked))
    assert [answer.status_code for answer in answers] == [200, 422] * 8


PROBLEMS = [
    ({}, 422, "query", "the query is empty"),
    ({"text": " "}, 422, "query", "a text of the query is empty"),
    ({"text": "a", "exclude": [{"text": "a"}]}, 422, "query", "cancel each other out"),
    ({"text": "a", "where": ["colour = red"]}, 422, "query", "filter 'colour = red' is not understood"),
    ({"text": "a", "where": ["width > 9" + "9" * 400]}, 200, "", ""),
    ({"pictures": [{"id": 999}]}, 422, "query", "there is no picture 999"),
    ({"text": "a", "relevant": [999]}, 422, "query", "there is no picture 999"),
    ({"pictures": [{"upload": 0}]}, 422, "request", "picture 0 did not come with the request, which has 0"),
    ({"text": "x" * 1001}, 422, "request", "text"),
    ({"text": "a", "exclude": [{"text": "x" * 1001}]}, 422, "request", "exclude.0.text"),
    ({"text": "a", "where": ["x" * 5001]}, 422, "request", "where.0"),
    ({"text": "a", "k": 1001}, 422, "request", "k"),
    ({"text": "a", "k": 0}, 422, "request", "k"),
    ({"text": "a", "k": "5"}, 422, "request", "k"),
    ({"text": "a", "colour": "red"}, 422, "request", "colour"),
    ({"text": "a", "after": "here"}, 422, "query", "after is 'here'; expected the `next` of a search"),
    ({"text": "a", "after": "A" * 99_999}, 422, "query", "expected the `next` of a search"),
    ({"text": "a", "after": "A" * 100_001}, 422, "request", "after"),
    ({"text": "a", "text_weight": -1}, 422, "request", "text_weight"),
    ({"pictures": [{"id": 1, "box": [0, 0, -5, -5]}]}, 422, "picture", "lies outside of a picture"),
    ({"text": "a", "mode": "local"}, 422, "query", "local features compare pictures"),
    ({"text": "a", "rerank": "local"}, 422, "query", "local features compare pictures"),
]


@pytest.mark.parametrize(("asked", "status", "kind", "detail"), PROBLEMS, ids=lambda value: str(value)[:40])
def test_what_cannot_be_answered_is_a_problem_with_a_sentence(client, asked, status, kind, detail):
    answer = post(client, **asked)
    assert answer.status_code == status, answer.text
    if status != 200:
        body = answer.json()
        assert answer.headers["content-type"] == "application/problem+json"
        assert body["type"] == f"urn:mmsearch:{kind}"
        assert body["status"] == status
        assert detail in body["detail"]


def test_a_request_that_does_not_fit_says_where(client):
    body = post(client, text="a", pictures=[{"id": 0}]).json()
    assert any(error["at"].startswith("pictures.0") for error in body["errors"])


def test_hits_of_a_text_say_how_likely_they_are_where_the_encoder_is_calibrated(calibrated):
    answer = post(calibrated, text="a cat").json()
    assert answer["answer"]["relevance"] >= answer["hits"][0]["relevance"] > answer["hits"][-1]["relevance"] > 0
    for hit in answer["hits"]:
        assert hit["strength"] == strength(hit["relevance"])
    assert answer["answer"]["strength"] == answer_strength(answer["answer"]["relevance"])
    assert TypeAdapter(SearchAnswer).validate_python(answer) == answer
    least = answer["hits"][3]["relevance"]
    assert names(post(calibrated, text="a cat", min_relevance=least)) == [
        hit["name"] for hit in answer["hits"] if hit["relevance"] >= least
    ]


def test_an_answer_has_the_form_and_the_version_that_the_command_line_has(client):
    answer = post(client, text="a cat", explain=True)
    check_form("search", json.dumps(versioned(answer.json())))
    together = client.post("/searches", json={"queries": [{"text": "a cat"}]})
    assert answer.headers[FORMAT_HEADER] == together.headers[FORMAT_HEADER] == str(FORMAT_VERSION)
    described = client.get("/openapi.json").json()["paths"]["/search"]["post"]["responses"]["200"]
    assert list(described["headers"]) == [FORMAT_HEADER]
    assert described["content"]["application/json"]["schema"]["$ref"].endswith("/SearchAnswer")


def test_what_is_more_than_a_text_or_by_another_encoder_says_nothing_of_relevance(calibrated, client):
    by_picture = {"pictures": [{"id": 1}]}
    for answer in (
        post(calibrated, **by_picture),
        post(calibrated, text="a", **by_picture),
        post(client, text="a"),
    ):
        assert "answer" not in answer.json()
        assert not {"relevance", "strength"} & hits(answer)[0].keys()


@pytest.mark.parametrize(
    ("asked", "kind", "detail"),
    [
        ({"text": "a", "pictures": [{"id": 1}], "min_relevance": 0.5}, "query", "only hits of one text have"),
        ({"text": "a", "min_relevance": 1.5}, "request", "min_relevance"),
        ({"text": "a", "min_relevance": "much"}, "request", "min_relevance"),
    ],
)
def test_a_least_relevance_that_cannot_be_had_is_a_problem(calibrated, asked, kind, detail):
    answer = post(calibrated, **asked)
    assert (answer.status_code, answer.json()["type"]) == (422, f"urn:mmsearch:{kind}")
    assert detail in answer.json()["detail"]


def test_a_least_relevance_needs_a_calibrated_encoder(client):
    answer = post(client, text="a", min_relevance=0.5)
    assert answer.status_code == 422
    assert "run `mmsearch calibrate`" in answer.json()["detail"]


def test_a_picture_shows_none_of_the_labels_with_a_probability_of_its_own(calibrated):
    asked = {"labels": ["a cat", "a fig"], "pictures": [{"id": 1}]}
    (open_labels,) = calibrated.post("/classify", json=asked).json()["pictures"]
    shares = [label["probability"] for label in open_labels["labels"]]
    assert sum(shares) + open_labels["none_of_these"] == pytest.approx(1)
    assert TypeAdapter(Labelled).validate_python(open_labels) == open_labels
    (closed,) = calibrated.post("/classify", json=asked | {"closed": True}).json()["pictures"]
    assert "none_of_these" not in closed
    assert sum(label["probability"] for label in closed["labels"]) == pytest.approx(1)
    several = calibrated.post("/classify", json=asked | {"multi": True}).json()
    one = calibrated.post("/classify", json=asked | {"multi": True, "labels": ["a fig"]}).json()
    both = {label["label"]: label["probability"] for label in several["pictures"][0]["labels"]}
    assert one["pictures"][0]["labels"][0]["probability"] == pytest.approx(both["a fig"])
    assert several["warnings"] == []


def test_labels_that_cannot_be_judged_so_are_a_problem(calibrated, client):
    asked = {"labels": ["a", "b"], "pictures": [{"id": 1}]}
    both = calibrated.post("/classify", json=asked | {"closed": True, "multi": True})
    assert (both.status_code, both.json()["type"]) == (422, "urn:mmsearch:query")
    alone = client.post("/classify", json=asked | {"multi": True})
    assert alone.status_code == 422
    assert "is not calibrated" in alone.json()["detail"]


def test_searches_together_give_what_each_gives_alone_and_words_share_a_scan(client):
    cat, batches = id_of(client, "cat.jpg"), "mmsearch_text_batch_queries_count"
    queries = [
        {"text": "a cat", "k": 3}, {"text": "a rocket", "k": 5, "exclude": [{"text": "snow"}], "explain": True},
        {"pictures": [{"id": cat}], "k": 2}, {"text": "a", "where": ["name ~ c*"], "k": 4},
    ]  # fmt: skip
    before = counted(client, batches)
    outcomes = client.post("/searches", json={"queries": queries}).json()["outcomes"]
    assert counted(client, batches) == before + 1
    for query, outcome in zip(queries, outcomes, strict=True):
        assert outcome["problem"] is None
        assert outcome["result"]["hits"] == hits(post(client, **query))


def counted(client, name):
    """Return the value of a counter of the server."""
    (line,) = (line for line in client.get("/metrics").text.splitlines() if line.startswith(f"{name} "))
    return float(line.rpartition(" ")[2])


def test_a_search_among_others_has_the_problem_that_it_has_alone(client):
    queries = [
        {"text": "a", "where": ["nonsense"]}, {}, {"pictures": [{"id": 10**6}]}, {"pictures": [{"upload": 0}]},
        {"text": "a cat", "k": 1},
    ]  # fmt: skip
    outcomes = client.post("/searches", json={"queries": queries}).json()["outcomes"]
    for query, outcome in zip(queries[:-1], outcomes, strict=False):
        assert outcome == {"result": None, "problem": post(client, **query).json()}
    assert len(outcomes[-1]["result"]["hits"]) == 1


@pytest.mark.parametrize(
    ("queries", "sentence"),
    [
        ([], "queries is a list of 0; expected at least 1"),
        ([{"text": "a"}] * 65, "queries is a list of 65; expected at most 64"),
        ([{"text": "a", "k": 1_000}] * 6, "the k of all add up to 6,000; at most 5,000 hits are given at once"),
        ([{"text": "a"}, {"k": 0}], "queries.1.k is 0; expected at least 1"),
    ],
)  # fmt: skip
def test_searches_are_asked_together_within_limits(client, queries, sentence):
    answer = client.post("/searches", json={"queries": queries})
    assert answer.status_code == 422
    assert sentence in answer.json()["detail"]


def test_labels_of_pictures_by_id_and_of_pictures_that_come_along(client, served, library):
    data = (served.photos / "fig.jpg").read_bytes()
    cat = id_of(client, "cat.jpg")
    asked = {"labels": ["a cat", "a fig", "a car"], "k": 2, "pictures": [{"id": cat}, {"upload": 0}]}
    body = send(client, ("f.jpg", data), ("broken.jpg", b"nonsense" * 4), path="/classify/upload", **asked).json()[
        "pictures"
    ]
    assert [entry["picture"] for entry in body] == [f"picture {cat}", "f.jpg", "broken.jpg"]
    assert body[2]["error"].startswith("broken.jpg: no known picture format")
    expected = library.classify([served.photos / "cat.jpg"], ["a cat", "a fig", "a car"], k=2)[0]
    assert [entry["label"] for entry in body[0]["labels"]] == [entry.label for entry in expected.predictions]
    assert body[0]["labels"][0]["probability"] == pytest.approx(expected.predictions[0].probability, abs=1e-4)


@pytest.fixture(scope="module")
def with_parts(parted, cache):
    """A program that knows the token of a server over a library with parts of pictures."""
    with (
        running(parted / "library", parted / "photos", cache=cache) as server,
        server.allowed() as program,
    ):
        yield program


def test_a_hit_has_the_part_that_answered_which_can_be_asked_for_in_pixels(with_parts):
    ranked = hits(post(with_parts, text="a cat", k=8, words="none"))
    by_part = [hit for hit in ranked if "part" in hit]
    assert by_part
    for hit in by_part:
        part = hit["part"]
        assert part["cosine"] > part["whole"]
        assert hit["score"] == pytest.approx((part["cosine"] + part["whole"]) / 2, abs=1e-6)  # the weight of texts
        box = [share * hit[side] for share, side in zip(part["box"], ("width", "height") * 2, strict=True)]
        first, *_ = hits(post(with_parts, pictures=[{"id": hit["id"], "box": box}], k=8))
        assert (first["id"], first["part"]["box"]) == (hit["id"], part["box"])
    part = with_parts.get("/openapi.json").json()["components"]["schemas"]["FoundPicture"]["properties"]["part"]
    assert part["description"].startswith("Only in a library with parts")


def test_labels_are_told_with_the_part_they_are_most_probable_in(with_parts):
    asked = {"labels": ["a cat", "a dog"], "pictures": [{"id": id_of(with_parts, "cat.jpg")}], "parts": True}
    (entry,) = with_parts.post("/classify", json=asked).json()["pictures"]
    TypeAdapter(Labelled).validate_python(entry)
    assert all(label["part"]["box"][2] <= 1 for label in entry["labels"])
    (whole,) = with_parts.post("/classify", json=asked | {"parts": False}).json()["pictures"]
    assert [set(label) for label in whole["labels"]] == [{"label", "probability", "cosine"}] * 2


def test_labelling_needs_a_picture_and_labels(client):
    assert "there is none" in client.post("/classify", json={"labels": ["a"]}).json()["detail"]
    assert client.post("/classify", json={"labels": [], "pictures": [{"id": 1}]}).status_code == 422
    bad = client.post("/classify", json={"labels": ["a"], "templates": ["no hole"], "pictures": [{"id": 1}]})
    assert bad.json()["type"] == "urn:mmsearch:query"


@pytest.mark.parametrize(
    ("more", "at"),
    [
        ({"labels": ["x" * 1001]}, "labels.0"), ({"labels": ["a"] * 1001}, "labels"), ({"k": 1001}, "k"),
        ({"templates": ["{}" + "x" * 999]}, "templates.0"), ({"templates": ["{}"] * 101}, "templates"),
    ],
)  # fmt: skip
def test_labelling_is_asked_for_within_limits(client, more, at):
    answer = client.post("/classify", json={"labels": ["a"], "pictures": [{"id": 1}]} | more)
    assert answer.status_code == 422
    assert [error["at"] for error in answer.json()["errors"]] == [at]


def test_pictures_of_other_formats_are_taken(client, served):
    with Image.open(served.photos / "moose.jpg") as image:
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
    assert names(send(client, ("m.png", buffer.getvalue()), k=1)) == ["moose.jpg"]


def test_more_prompts_than_are_encoded_for_a_request_are_refused(client):
    labels, templates = [str(n) for n in range(101)], [f"{n} {{}}" for n in range(100)]
    refused = client.post("/classify", json={"labels": labels, "templates": templates, "pictures": [{"id": 1}]})
    assert refused.status_code == 422
    assert (
        "10100 prompts, of 101 labels in 100 templates each; at most 10000 are encoded" in refused.json()["detail"]
    )


def test_classification_is_given_up_when_the_client_leaves(served, client):
    labels = [f"thing {n}" for n in range(1_000)]
    templates = [f"{n} {'very ' * 60} {{}}" for n in range(10)]
    body = json.dumps({"labels": labels, "templates": templates, "pictures": [{"id": 1}]}).encode()
    head = (
        f"POST /classify HTTP/1.1\r\nHost: 127.0.0.1:{served.access.port}\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {served.access.token}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", served.access.port)) as connection:
        connection.sendall(head.encode() + body)
        while 'mmsearch_waiting{lane="labels"} 1.0' not in client.get("/metrics").text:
            time.sleep(0.01)
    # One that comes after it has the lane to itself.
    assert client.post("/classify", json={"labels": ["a", "b"], "pictures": [{"id": 1}]}).status_code == 200
    counted = 'mmsearch_requests_total{endpoint="/classify",method="POST",status="499"} 1.0'
    assert counted in client.get("/metrics").text
