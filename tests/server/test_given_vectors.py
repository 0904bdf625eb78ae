"""A server over a library of vectors of one's own, which has no encoder."""

from __future__ import annotations

import pytest

from mmsearch import Library
from tests.conftest import copied_samples, random_units
from tests.server.conftest import hits, running


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    base = tmp_path_factory.mktemp("given")
    paths = sorted(copied_samples(base / "photos", 4).iterdir())
    with Library.open(base / "library") as library:
        library.add_vectors(paths, random_units(4, 16), model="mine")
    with running(base / "library", base / "photos") as served, served.allowed() as client:
        yield client


def test_status_says_that_it_knows_no_words(client):
    body = client.get("/status").json()
    assert (body["model"], body["dim"], body["has_words"], body["has_local"]) == ("mine", 16, False, False)


def test_its_pictures_are_asked_and_shown_and_texts_are_refused_with_the_reason(client):
    first = hits(client.post("/search", json={"pictures": [{"id": 2}]}))[0]
    assert first["id"] == 2
    assert client.get(f"/pictures/{first['id']}/thumbnail").headers["content-type"] == "image/jpeg"
    refused = client.post("/search", json={"text": "a cat", "words": "none"})
    assert refused.status_code == 422
    assert "made by no encoder of mmsearch" in refused.json()["detail"]


def test_status_says_that_texts_are_answered_once_something_is_written_about_a_picture(client):
    assert not client.get("/status").json()["answers_texts"]
    client.post("/tags", json={"ids": [3], "add": ["wedding"]})
    assert client.get("/status").json()["answers_texts"]
    assert [hit["id"] for hit in hits(client.post("/search", json={"text": "wedding"}))] == [3]
