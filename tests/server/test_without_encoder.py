"""A server over a library of local features alone."""

from __future__ import annotations

import pytest

from mmsearch import Library
from mmsearch.samples import sample_folder
from tests.conftest import copied_samples
from tests.server.conftest import hits, running


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    base = tmp_path_factory.mktemp("plain")
    copied_samples(base / "photos")
    with Library.open(base / "library", cache=base / "no-cache") as library:
        library.index([base / "photos"], model="none")
    with running(base / "library", base / "photos") as served, served.allowed() as client:
        yield client


def test_status_says_that_it_has_no_encoder_and_local_features(client):
    body = client.get("/status").json()
    assert (body["model"], body["dim"], body["has_words"], body["has_local"]) == ("none", 0, False, True)


def test_a_picture_finds_itself_by_its_words(client):
    pictures = client.get("/pictures").json()["pictures"]
    cat = next(picture["id"] for picture in pictures if picture["name"] == "cat.jpg")
    first = hits(client.post("/search", json={"pictures": [{"id": cat}], "explain": True}))[0]
    assert (first["id"], first["local"]["is_verified"]) == (cat, True)
    file = (sample_folder() / "cat.jpg").read_bytes()
    assert hits(client.post("/search/upload", files={"picture": ("x.jpg", file)}))[0]["id"] == cat


def test_a_text_is_answered_by_the_names_of_files(client):
    answer = client.post("/search", json={"text": "a cat"})
    assert (answer.json()["route"], [hit["name"] for hit in hits(answer)]) == ("words", ["cat.jpg"])
    assert client.get("/status").json()["answers_texts"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/search", {"text": "a cat", "words": "none"}),
        ("/search", {"relevant": [1]}),
        ("/classify", {"labels": ["a", "b"], "pictures": [{"id": 1}]}),
        ("/embed", {"pictures": [{"id": 1}]}),
    ],
    ids=["text", "judgement", "labels", "embedding"],
)
def test_what_needs_an_encoder_is_refused_with_the_reason(client, path, body):
    answer = client.post(path, json=body)
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:mmsearch:query")
    assert "has no encoder: it is searched by one example picture" in answer.json()["detail"]
