"""Films on the page: among pictures by their moments, and played in the view where the browser can."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.server import browser as browsers
from tests.server.browser import asked, id_of
from tests.server.conftest import hits
from tests.server.test_page_states import SHAPES, check


@pytest.fixture
def program(filmed):
    with filmed.allowed() as client:
        yield client


@pytest.fixture
def page(browser, filmed):
    with browsers.watched(browser, filmed.address, filmed.access.token) as watched:
        yield watched


def moments_of(program, name):
    return program.get(f"/pictures/{id_of(program, name)}/moments").json()["moments"]


def viewed(page, filmed, image_id, query=""):
    page.goto(f"{filmed.address}/?{query}view={image_id}")
    expect(page.locator("#view-title")).to_be_visible()


def film(page):
    """Return what the film in the view is at, once it is known how long it is."""
    page.wait_for_function("() => document.querySelector('video')?.readyState > 0")
    return page.evaluate(
        "() => (({ currentTime, duration, paused }) => ({ currentTime, duration, paused }))"
        "(document.querySelector('video'))"
    )


def until(page, condition):
    page.wait_for_function(f"() => {{ const film = document.querySelector('video'); return {condition}; }}")


@pytest.mark.full
def test_films_stand_among_pictures_with_their_times(page, filmed, program):
    page.goto(f"{filmed.address}/")
    tile = page.locator(f"#results li[data-id='{id_of(program, 'holiday.mp4')}']")
    expect(tile.locator("a")).to_have_attribute("aria-label", "holiday.mp4, film of length 0:06")
    expect(tile.locator(".badge.film")).to_have_text("0:06")
    expect(page.locator("#summary")).to_have_text("5 pictures and films")
    expect(page.locator("#about-summary")).to_have_text("2 pictures, 3 films")
    expect(page.locator("#results li:not(.filmed) .badge.film").first).to_be_hidden()
    page.goto(f"{filmed.address}/?q=a+cat")
    (hit,) = [hit for hit in hits(program.post("/search", json={"text": "a cat"})) if hit["name"] == "holiday.mp4"]
    tile, at = page.locator(f"#results li[data-id='{hit['id']}']"), f"0:0{hit['film']['at']:.0f}"
    expect(tile.locator("a")).to_have_attribute("aria-label", re.compile(rf"holiday\.mp4, film at {at} of 0:06"))
    expect(tile.locator(".badge.film")).to_have_text(f"{at} / 0:06")
    page.click("#toggle-filters")
    page.get_by_label("films", exact=False).first.check()
    expect(page.locator("#chips")).to_have_text("Kind: film")
    assert asked(page)["where"] == ["kind = film"]


def test_a_film_plays_from_its_moment_and_from_others(page, filmed, program):
    _, second, third = moments_of(program, "holiday.mp4")
    viewed(page, filmed, second["id"], f"like={second['id']}&")
    assert film(page) == {"currentTime": 2, "duration": 6, "paused": True}
    expect(page.locator(".moments button")).to_have_text(["0:00", "0:02", "0:04"])
    expect(page.locator(".moments [aria-current]")).to_have_attribute("aria-label", "Moment at 0:02")
    page.keyboard.press("Space")
    until(page, "!film.paused && film.currentTime > 2")
    page.keyboard.press("Space")
    until(page, "film.paused")
    page.get_by_label("Moment at 0:04").click()
    until(page, f"film.currentTime === 4 && film.poster.includes('/pictures/{third['id']}/')")
    expect(page.locator(".moments [aria-current]")).to_have_attribute("aria-label", "Moment at 0:04")
    expect(page.locator(".facts")).to_contain_text("0:02, from 0:02 to 0:04")
    page.keyboard.press("m")  # like the moment that is shown
    expect(page.locator("#view")).to_be_hidden()
    assert asked(page)["like"] == [str(third["id"])]


@pytest.mark.full
def test_the_keys_of_the_view_stay_those_of_pictures(page, filmed, program):
    viewed(page, filmed, id_of(program, "holiday.mp4"))
    film(page)
    page.locator("video").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#view-title")).not_to_have_text("holiday.mp4")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#view-title")).to_have_text("holiday.mp4")
    page.locator("#view-details").focus()
    page.keyboard.press("Space")
    expect(page.locator("#view-details")).to_have_attribute("aria-pressed", "false")
    assert film(page)["paused"]
    page.keyboard.press("Escape")
    expect(page.locator("#view")).to_be_hidden()


def test_of_a_film_that_the_browser_cannot_play_the_moment_stays(page, filmed, program):
    image_id = id_of(program, "camera.avi")
    viewed(page, filmed, image_id)
    said = re.compile(r"^This browser cannot play this film \(AVI\)")
    expect(page.locator("#view figure .note")).to_have_text(said)
    expect(page.locator("#view figure img")).to_have_attribute("src", f"/pictures/{image_id}/thumbnail?side=1280")
    expect(page.locator("video")).to_have_count(0)


@pytest.mark.full
def test_of_a_film_that_is_gone_the_page_says_that(browser, filmed, program):
    path, image_id = filmed.photos / "trip.webm", id_of(program, "trip.webm")
    away = path.rename(path.with_name("away"))
    try:
        with browsers.watched(browser, filmed.address, filmed.access.token, expected=("410",)) as page:
            viewed(page, filmed, image_id)
            expect(page.locator("#view figure .note")).to_have_text(re.compile("^The file is gone"))
    finally:
        away.rename(path)


@pytest.mark.full
def test_a_film_that_is_opened_on_its_own_plays(page, filmed, program):
    page.goto(f"{filmed.address}/pictures/{id_of(program, 'holiday.mp4')}/file")
    assert film(page)["duration"] == 6


@pytest.mark.full
def test_moments_that_were_not_found_are_shown_when_they_are_asked_for(page, filmed, program):
    def best_alone(route):
        response = route.fetch()
        found = response.json()
        for hit in found["hits"]:
            hit.get("film", {})["others"] = []
        route.fulfill(response=response, json=found)

    page.route("**/search", best_alone)
    page.goto(f"{filmed.address}/?q=a+cat")
    page.locator("#results li a[aria-label*='holiday.mp4']").click()
    moments = page.locator(".moments button")
    expect(moments).to_have_count(1)
    page.get_by_role("button", name="All 3 moments").click()
    expect(moments).to_have_text(["0:00", "0:02", "0:04"])
    expect(page.locator(".moments [aria-current]")).to_have_count(1)
    expect(page.locator("#view-moments")).to_be_hidden()


@pytest.mark.full
@pytest.mark.parametrize("shape", SHAPES)
def test_films_are_accessible(browser, filmed, program, shape):
    with browsers.watched(browser, filmed.address, filmed.access.token, **SHAPES[shape]) as page:
        page.goto(f"{filmed.address}/")
        page.locator(".badge.film").first.wait_for()
        check(page, "tiles")
        for name, awaited in (("holiday.mp4", ".moments img"), ("camera.avi", "#view figure .note")):
            viewed(page, filmed, id_of(program, name))
            page.locator(awaited).first.wait_for()
            check(page, name)
