"""Labels by HTTP and on the page: what pictures were given, counts, filters."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from mmsearch import Library
from tests.conftest import copied_samples
from tests.server import browser as browsers
from tests.server.conftest import running

NAMES = ("cat", "dog", "windmill", "rocket", "panda")


@pytest.fixture(scope="module")
def labelled(offline_folder, cache, tmp_path_factory):
    """A server over the samples with two sets of labels."""
    base = tmp_path_factory.mktemp("labelled")
    photos = copied_samples(base / "photos")
    with Library.open(base / "library", cache=cache) as library:
        library.index([photos], model="offline", local=False)
        library.set_labels("things", NAMES, min_probability=0.9)
        library.set_labels("animals", ["cat", "<b>moose"], min_probability=0.9)
    with running(base / "library", photos, cache=cache) as server:
        yield server


@pytest.fixture
def client(labelled):
    with labelled.allowed() as program:
        yield program


def test_a_picture_comes_with_its_labels_their_sets_and_probabilities(client):
    (cat,) = client.get("/pictures", params={"where": "name = cat.jpg"}).json()["pictures"]
    assert "labels" not in cat
    labels = client.get(f"/pictures/{cat['id']}").json()["labels"]
    assert {(label["label_set"], label["label"]) for label in labels} == {("things", "cat"), ("animals", "cat")}
    probabilities = [label["probability"] for label in labels]
    assert probabilities == sorted(probabilities, reverse=True)
    assert all(0.9 <= probability <= 1 for probability in probabilities)


def test_facets_count_labels_with_filters_that_give_them(client):
    for where in ([], ["name ~ [a-m]*"]):
        facets = client.get("/facets", params={"where": where}).json()
        assert [of["label_set"] for of in facets["labels"]] == ["animals", "things"]
        for of in facets["labels"]:
            assert of["labels"]
            for each in of["labels"]:
                listed = client.get("/pictures", params={"where": [*where, *each["where"]]}).json()
                assert listed["n"] == each["n"] > 0


def test_filters_by_label_are_taken_as_text_and_as_data_and_unknown_ones_are_a_problem(client):
    (cat,) = client.get("/pictures", params={"where": "label = things/cat and name = cat.jpg"}).json()["pictures"]
    asked = {"text": "a", "where": [{"and": [{"field": "label", "op": "=", "value": "CAT"}, "name = cat.jpg"]}]}
    assert [hit["id"] for hit in client.post("/search", json=asked).json()["hits"]] == [cat["id"]]
    answer = client.post("/search", json={"text": "a", "where": ["label = catt"]})
    assert answer.status_code == 422
    assert (
        "no label is called so in the label sets of the library: animals (2 labels), things (5 labels)"
        in (answer.json()["detail"])
    )


def test_status_names_the_label_sets(client):
    animals, things = client.get("/status").json()["labels"]
    assert (animals["name"], things["name"], things["n_labels"], things["n_left"]) == ("animals", "things", 5, 0)
    assert 0 < things["n_labelled"] < 29


@pytest.mark.full
def test_the_page_filters_by_labels_set_by_set_and_shows_those_of_a_picture(browser, labelled, client):
    counts = client.get("/facets").json()["labels"]
    (n_cats,) = (each["n"] for each in counts[1]["labels"] if each["label"] == "cat")
    with browsers.watched(browser, labelled.address, labelled.access.token) as page:
        page.goto(labelled.address)
        page.click("#toggle-filters")
        things = page.get_by_role("group", name="Label: things")
        cat = things.locator(".choice", has_text="cat")
        expect(cat.locator(".count")).to_have_text(str(n_cats))
        cat.click()
        expect(page.locator("#results li")).to_have_count(n_cats)
        expect(page.locator("#chips li")).to_have_text(["things: cat"])
        page.get_by_role("group", name="Label: animals").locator(".choice", has_text="cat").click()
        expect(page.locator("#chips li")).to_have_text(["things: cat", "animals: cat"])
        page.reload()
        expect(page.locator("#chips li")).to_have_text(["things: cat", "animals: cat"])
        page.get_by_role("button", name="Remove the filter animals: cat").click()
        expect(page.locator("#chips li")).to_have_text(["things: cat"])
        page.locator("#results a[aria-label='cat.jpg']").click()
        given = page.locator("#view .given-labels li")
        expect(given).to_have_text([re.compile(r"cat\s*\d+ %"), re.compile(r"cat\s*\d+ %")])


@pytest.mark.full
def test_the_page_shows_no_labels_where_there_are_none(page, process):
    browsers.open_page(page, process)
    page.click("#toggle-filters")
    expect(page.locator("#filters legend")).to_have_text(
        ["Folder", "Date", "Shape", "Width", "Size of the file", "Format", "Name of the file"]
    )
