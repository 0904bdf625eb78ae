"""Pictures that are the same, by HTTP."""

from __future__ import annotations

import shutil

import pytest

from mmsearch import Library
from tests.conftest import copied_photos, copy_library
from tests.server.conftest import running


@pytest.fixture(scope="module")
def client(indexed_once, cache, tmp_path_factory):
    """A program that knows the token of a server over eight photographs, of which two have a copy."""
    base = tmp_path_factory.mktemp("copies")
    photos = copied_photos(base / "photos")
    copy_library(indexed_once / "library", base / "library", indexed_once / "photos", photos)
    for name in ("cat", "dam"):
        shutil.copyfile(photos / f"{name}.jpg", photos / f"{name}-copy.jpg")
    with Library.open(base / "library", cache=cache) as library:
        library.index([photos])
    with running(base / "library", photos, cache=cache) as server, server.allowed() as program:
        yield program


def test_groups_are_given_with_what_would_be_kept_and_as_many_as_are_asked_for(client):
    answer = client.get("/duplicates", params={"limit": 1}).json()
    assert (answer["n_groups"], answer["n_pictures"], len(answer["groups"])) == (2, 10, 1)
    group = answer["groups"][0]
    assert (group["kind"], group["keeper"]["name"], group["others"][0]["name"]) == (
        "same-file", "cat.jpg", "cat-copy.jpg",
    )  # fmt: skip
    assert group["size_bytes"] == group["others"][0]["size_bytes"]


def test_copies_are_one_hit_of_a_search_unless_that_is_not_asked_for(client):
    answer = client.post("/search", json={"text": "a cat", "k": 20}).json()
    assert (len(answer["hits"]), answer["n_candidates"]) == (8, 10)
    folded = {hit["name"]: hit["folded"] for hit in answer["hits"] if "folded" in hit}
    assert sorted(folded) == ["cat.jpg", "dam.jpg"]
    (copy,) = folded["cat.jpg"]["pictures"]
    assert (copy["name"], copy["kind"], folded["cat.jpg"]["n_same_file"]) == ("cat-copy.jpg", "same-file", 1)
    for collapse, n in (("none", 10), ("same-picture", 8), ("look-alike", 8)):
        asked = {"text": "a cat", "k": 20, "collapse": collapse}
        (outcome,) = client.post("/searches", json={"queries": [asked]}).json()["outcomes"]
        assert len(outcome["result"]["hits"]) == n
    assert client.post("/search", json={"text": "a cat", "collapse": "all"}).status_code == 422


def test_only_the_kinds_that_are_asked_for_are_given_and_others_are_refused(client):
    assert client.get("/duplicates", params={"kind": ["same-picture", "look-alike"]}).json()["groups"] == []
    for wrong in ({"kind": "same"}, {"keep": "newest"}, {"limit": 0}):
        assert client.get("/duplicates", params=wrong).status_code == 422
