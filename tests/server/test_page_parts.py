"""The part that answered, on the page: its frame on tiles and pictures, in words, and as what is searched by."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from mmsearch.images.windows import PART_WINDOWS
from mmsearch.records import place_text
from tests.server import browser as browsers
from tests.server.browser import asked, expect_first, id_of, open_page
from tests.server.test_page_states import SHAPES, check
from tests.server.test_page_view import PHONE, picture_box

BOX = [0.5, 0.5, 1.0, 1.0]


def found_by_part(page, sizes=()):
    """Let all hits of searches by words be found by a part of them, and the first have these sizes."""

    def answered(route):
        if "text" not in route.request.post_data_json:
            return route.continue_()
        response = route.fetch()
        found = response.json()
        for hit in found["hits"]:
            hit["part"] = {"box": BOX, "cosine": 0.3, "whole": 0.2}
        for hit, (width, height) in zip(found["hits"], sizes, strict=False):
            hit |= {"width": width, "height": height}
        return route.fulfill(response=response, json=found)

    page.route("**/search", answered)


@pytest.fixture
def by_part(page, process):
    """A page of hits that were found by a part of them."""
    found_by_part(page)
    open_page(page, process, "/?q=a+cat")
    return page


def edges(box):
    return [box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"]]


def inside(box, shares):
    """Return the edges of a part of a picture that fills a box."""
    left, top, right, bottom = edges(box)
    width, height = right - left, bottom - top
    x1, y1, x2, y2 = shares
    return [left + x1 * width, top + y1 * height, left + x2 * width, top + y2 * height]


def cut(box, ratio, shares):
    """Return the edges of a part of a picture that covers a box, as far as it is seen."""
    width, height = max(box["width"], box["height"] * ratio), max(box["height"], box["width"] / ratio)
    x, y = box["x"] + (box["width"] - width) / 2, box["y"] + (box["height"] - height) / 2
    of_all = inside({"x": x, "y": y, "width": width, "height": height}, shares)
    least, most = edges(box)[:2] * 2, edges(box)[2:] * 2
    return [min(max(edge, low), high) for edge, low, high in zip(of_all, least, most, strict=True)]


def test_places_are_named_as_everywhere(page, process):
    open_page(page, process)
    named = page.evaluate(
        "async (boxes) => boxes.map((await import('/static/part.js')).placeOf)", [list(box) for box in PART_WINDOWS]
    )
    assert named == list(map(place_text, PART_WINDOWS))


@pytest.mark.full
def test_the_frame_of_a_tile_is_where_the_part_is_however_it_is_cut(page, process):
    sizes = [(1_600, 300), (300, 1_400), (450, 300)]
    found_by_part(page, sizes)
    open_page(page, process, "/?q=a+cat")
    for place, (width, height) in enumerate(sizes):
        tile = page.locator("#results li[data-id]").nth(place)
        tile.hover()
        frame = tile.get_by_role("button", name="Search by this part: bottom right")
        expect(frame).to_be_visible()
        assert edges(frame.bounding_box()) == pytest.approx(cut(tile.bounding_box(), width / height, BOX), abs=0.6)


@pytest.mark.full
def test_a_click_on_the_sign_of_a_frame_searches_by_the_part_and_any_other_opens_the_picture(by_part, process, api):
    tile = by_part.locator("#results li").first
    picture = api.get(f"/pictures/{tile.get_attribute('data-id')}").json()
    frame = tile.locator(".frame").bounding_box()
    for away in (1, 30):  # on the line, whose corner is in the middle of the tile, and within it
        by_part.mouse.click(frame["x"] + away, frame["y"] + away)
        expect(by_part.locator("#view-title")).to_have_text(picture["name"])
        by_part.keyboard.press("Escape")
        expect(by_part.locator("#view")).to_be_hidden()
    tile.locator(".frame .icon").click()
    expect(by_part.locator("#terms .picture .term-text")).to_have_text(picture["name"])
    width, height = picture["width"], picture["height"]
    box = [round(width / 2), round(height / 2), width, height]
    assert asked(by_part) == {"like": [f"{picture['id']}@{','.join(map(str, box))}"]}
    for _ in range(2):
        expect(by_part.locator("#terms svg.thumb")).to_have_attribute(
            "viewBox", f"{box[0]} {box[1]} {box[2] - box[0]} {box[3] - box[1]}"
        )
        expect_first(by_part, picture["name"])
        by_part.reload()


def test_the_frame_of_the_view_stays_on_the_part_however_close_one_is(by_part):
    by_part.locator("#results li a").first.click()
    frame = by_part.locator("#view-frame")
    for act in (
        lambda: expect(frame).to_be_visible(), lambda: by_part.keyboard.press("+"),
        lambda: by_part.keyboard.press("+"), lambda: by_part.keyboard.press("Shift+ArrowRight"),
        lambda: by_part.keyboard.press("ArrowRight"),
    ):  # fmt: skip
        act()
        assert inside(picture_box(by_part), BOX) == pytest.approx(edges(frame.bounding_box()), abs=0.6)
    expect(by_part.locator("#view .verdict").last).to_have_text(
        "A part of it is nearer to the search than the whole: bottom right."
    )
    line = by_part.evaluate("getComputedStyle(document.getElementById('view-frame'), '::before').borderWidth")
    assert line == "2px"
    by_part.keyboard.press("i")  # the picture alone
    expect(frame).to_be_hidden()
    by_part.keyboard.press("p")
    expect(by_part.locator("#terms .picture")).to_be_visible()
    expect(by_part.locator("#view")).to_be_hidden()
    assert re.fullmatch(r"\d+@\d+,\d+,\d+,\d+", asked(by_part)["like"][0])


@pytest.mark.full
def test_the_part_is_searched_by_with_keys_frame_and_button(by_part):
    link, frame = by_part.locator("#results li a").first, by_part.locator("#view-frame")
    expect(link).to_have_attribute("aria-label", re.compile(", by its part: bottom right"))
    found = link.locator("..").get_attribute("data-id")
    link.focus()
    for search in (
        lambda: by_part.keyboard.press("p"),
        lambda: (link.click(), by_part.keyboard.press("p")),
        lambda: (link.click(), frame.focus(), by_part.keyboard.press("Enter")),
        lambda: (link.click(), by_part.get_by_role("button", name="Search by this part", exact=True).click()),
    ):  # fmt: skip
        search()
        expect(by_part.locator("#terms .picture")).to_be_visible()
        expect(by_part.locator("#view")).to_be_hidden()
        assert asked(by_part)["like"][0].startswith(f"{found}@")
        by_part.goto(by_part.url.split("?")[0] + "?q=a+cat")


@pytest.mark.full
def test_hits_of_the_whole_have_no_frame(page, process):
    open_page(page, process, "/?q=a+cat")
    page.locator("#results li").first.hover()
    expect(page.locator("#results li .judge").first).to_be_visible()
    page.locator("#results li a").first.focus()
    page.keyboard.press("p")
    page.keyboard.press("Enter")
    expect(page.locator("#view .numbers")).to_be_visible()
    assert asked(page)["q"] == ["a cat"]
    assert page.locator(".frame").count() == page.locator("#view-by-part").count() == 0


@pytest.mark.full
@pytest.mark.parametrize("shape", SHAPES)
def test_frames_can_be_used_by_all(browser, process, shape):
    with browsers.watched(browser, process.address, browsers.TOKEN, **SHAPES[shape]) as page:
        found_by_part(page)
        open_page(page, process, "/?q=a+cat")
        page.locator("#results li a").first.focus()
        check(page, "tile")
        page.locator("#results li a").first.click()
        check(page, "view")


@pytest.mark.full
def test_on_a_phone_frames_are_in_the_view_alone(browser, process, api):
    with browsers.watched(browser, process.address, browsers.TOKEN, **PHONE) as page:
        found_by_part(page)
        open_page(page, process, "/?q=a+cat")
        tile = page.locator("#results li a").first
        tile.tap()
        expect(page.locator("#view-frame")).to_be_visible()
        expect(page.locator("#results .framed").first).to_be_hidden()
        frame = page.locator("#view-frame").bounding_box()
        page.touchscreen.tap(frame["x"] + 4, frame["y"] + frame["height"] / 2)
        expect(page.locator("#terms .picture .term-text")).to_have_text("cat.jpg")
        assert id_of(api, "cat.jpg") == int(asked(page)["like"][0].split("@")[0])


@pytest.mark.full
def test_labels_are_looked_for_in_parts_where_the_library_has_some(browser, process, api):
    cat = id_of(api, "cat.jpg")
    query = {"labels": ["a cat", "a wooden fence"], "pictures": [{"id": cat}], "parts": True}
    labels = api.post("/classify", json=query).json()["pictures"][0]["labels"]
    with browsers.watched(browser, process.address, browsers.TOKEN) as page:
        open_page(page, process, f"/?view={cat}&classify={cat}&label=a+cat&label=a+wooden+fence")
        rows = page.locator(".classify-answer tr")
        expect(rows.first).to_be_visible()
        expect(page.locator("#label-parts")).to_be_hidden()
        with_parts = {"has_parts": True}
        page.route("**/status", lambda route: route.fulfill(json=route.fetch().json() | with_parts))
        page.reload()
        page.check("#label-parts")
        for label in labels:
            probability, part = label["probability"], label["part"]
            shown = rows.filter(has_text=label["label"])
            expect(shown.locator(".number")).to_have_text(f"{100 * max(probability, part['probability']):.1f} %")
            place = [f" {place_text(part['box'])}"] if part["probability"] > probability else []
            expect(shown.locator("th .note")).to_have_text(place)
        assert any(label["part"]["probability"] > label["probability"] for label in labels)
        check(page, "parts")
