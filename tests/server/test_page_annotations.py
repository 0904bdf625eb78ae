"""What is written about pictures, on the page: captions and tags in the view, for several pictures, as filters."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from mmsearch import Library
from tests.conftest import copied_photos, copy_library
from tests.server import browser as browsers
from tests.server.conftest import running
from tests.server.test_page_states import SHAPES, check

SAID = 'Three <b>figs</b> & "a" plate, which somebody put on a table in the garden: 日本 🦌 sunlight.'


@pytest.fixture
def written(indexed_once, cache, tmp_path):
    """A server over a small library, in which one picture has a tag, and a program that asks it."""
    photos = copied_photos(tmp_path / "photos")
    copy_library(indexed_once / "library", tmp_path / "library", indexed_once / "photos", photos)
    with Library.open(tmp_path / "library", cache=cache) as library:
        library.tag(photos / "dam.jpg", "water")
    with running(tmp_path / "library", photos, cache=cache) as server, server.allowed() as client:
        yield server, client


def typed(client, name):
    picture = client.get("/pictures", params={"where": f"name = {name}"}).json()["pictures"][0]
    said = client.get(f"/pictures/{picture['id']}/annotations").json()["annotations"]
    return {(each["kind"], each["text"]) for each in said if each["source"] == "user"}


def open_picture(page, name):
    page.locator(f"#results a[aria-label='{name}']").click()
    expect(page.locator("#view-title")).to_have_text(name)


def test_a_tag_is_given_in_the_view_filters_and_is_taken_from_a_selection(browser, written):
    server, client = written
    with browsers.watched(browser, server.address, server.access.token) as page:
        page.goto(server.address)
        open_picture(page, "cat.jpg")
        page.fill("#view-caption", "It looks at you")
        page.press("#view-caption", "Enter")
        page.focus("#view-tag")
        expect(page.locator("#known-tags option[value=water]")).to_have_count(1)
        for tag in ("<i>fur", "water"):
            page.fill("#view-tag", tag)
            page.press("#view-tag", "Enter")
            expect(page.locator("#view .tags li", has_text=tag)).to_be_visible()
            expect(page.locator("#view-tag")).to_have_value("")
        assert typed(client, "cat.jpg") == {("caption", "It looks at you"), ("tag", "<i>fur"), ("tag", "water")}
        check(page, "what is written")
        page.get_by_role("button", name="Remove the tag <i>fur").click()
        expect(page.locator("#view .tags li")).to_have_text(["water"])
        page.locator("#view .tags button", has_text="water").first.click()
        expect(page.locator("#chips li")).to_have_text(["Tag: water"])
        expect(page.locator("#results li")).to_have_count(2)
        page.click("#toggle-filters")
        tags = page.get_by_role("group", name="Tag")
        expect(tags.locator(".choice")).to_have_text([re.compile(r"water\s*2")])
        for tile in page.locator("#results li a").all():
            tile.press("Space")
        page.click("#selection-tags")
        page.fill("#selection-tag", "Water")
        page.click("#selection-untag")
        expect(page.locator("#selection")).to_contain_text("Removed from 2 pictures")
        expect(page.locator("#summary")).to_have_text("No pictures")
        assert [typed(client, name) for name in ("cat.jpg", "dam.jpg")] == [{("caption", "It looks at you")}, set()]


@pytest.mark.full
def test_words_beside_a_picture_are_marked_where_they_made_it_a_hit(browser, written):
    server, _ = written
    (server.photos / "fig.txt").write_text(SAID)
    with Library.open(server.folder) as library:
        library.index([server.photos], local=False)
    with browsers.watched(browser, server.address, server.access.token) as page:
        page.goto(f"{server.address}/?q=garden+sunlight")
        first = page.locator("#results li").first
        expect(first.locator("mark")).to_have_text(["garden", "sunlight"])
        assert first.locator(".matched").text_content().startswith("…")
        assert first.locator("a").get_attribute("aria-label").startswith("1. fig.jpg")
        assert page.locator("#results b").count() == 0
        first.locator("a").click()
        said = page.locator("#view .said li")
        expect(said).to_have_text([f"{SAID}beside the file"])
        expect(said.locator("mark")).to_have_text(["garden", "sunlight"])
        assert said.locator("b").count() == 0
        check(page, "a hit by its words")


@pytest.mark.full
def test_what_cannot_be_written_is_said_and_stays_typed(browser, written):
    server, client = written
    refused = ("Failed to load resource",)
    with browsers.watched(browser, server.address, server.access.token, expected=refused) as page:
        page.goto(server.address)
        open_picture(page, "cat.jpg")
        expect(page.locator("#view-caption")).to_be_visible()
        with Library.open(server.folder) as library, library.place.writer():
            page.fill("#view-tag", "late")
            page.press("#view-tag", "Enter")
            expect(page.locator("#view .written .error")).to_contain_text("is writing to this library")
            expect(page.locator("#view-tag")).to_have_value("late")
        page.press("#view-tag", "Enter")
        expect(page.locator("#view .tags li")).to_have_text(["late"])
        expect(page.locator("#view .written .error")).to_have_text("")
        page.fill("#view-caption", "unfinished")
        page.keyboard.press("Escape")  # which leaves the view
        expect(page.locator("#view")).to_be_hidden()
        open_picture(page, "cat.jpg")
        expect(page.locator("#view-caption")).to_have_value("unfinished")
        assert typed(client, "cat.jpg") == {("caption", "unfinished"), ("tag", "late")}


@pytest.mark.full
def test_the_page_asks_for_no_tags_where_none_are_kept(browser, written):
    server, _ = written
    with browsers.watched(browser, server.address, server.access.token) as page:
        page.route(
            "**/status", lambda route: route.fulfill(json=route.fetch().json() | {"keeps_annotations": False})
        )
        page.goto(server.address)
        open_picture(page, "cat.jpg")
        expect(page.locator("#view .written")).to_be_hidden()
        page.keyboard.press("Escape")
        page.locator("#results a").first.press("Space")
        expect(page.locator("#selection-download")).to_be_visible()
        expect(page.locator("#selection-tags")).to_be_hidden()


@pytest.mark.full
@pytest.mark.parametrize("shape", SHAPES)
def test_tags_in_the_view_and_of_a_selection_are_accessible(browser, written, shape):
    server, _ = written
    with browsers.watched(browser, server.address, server.access.token, **SHAPES[shape]) as page:
        page.goto(server.address)
        page.locator("#results a").first.press("Space")
        page.click("#selection-tags")
        page.fill("#selection-tag", "holiday")
        page.press("#selection-tag", "Enter")
        expect(page.locator("#selection")).to_contain_text("Added to 1 picture")
        check(page, "tags of a selection")
        page.keyboard.press("Escape")
        page.click("#selection-clear")
        page.locator("#results a").first.press("Enter")
        expect(page.locator("#view .tags li")).to_have_text(["holiday"])
        check(page, "what is written")
