"""The grid of the page over more pictures than a document can hold: what is in it, and where one is."""

from __future__ import annotations

import json
import re
from urllib.parse import quote_plus

import pytest
from playwright.sync_api import expect

from mmsearch.store.changes import Changes
from mmsearch.store.folder import Store
from tests.server import browser as browsers
from tests.server.many import made, serving_many
from tests.server.test_page_states import LOOK_AGAIN, REFUSED, SHAPES, check

N = 2_000
MOST_TILES = 500
FRAME_MS = 50
# One step of scrolling, until what it has changed is drawn.
STEP = """by => new Promise((done) => {
    scrollBy(0, by);
    requestAnimationFrame(() => setTimeout(() => done(document.querySelectorAll("#results li").length)));
})"""
# 6,000 pixels in a second; returns what fills the window at the end.
RUSH = """() => new Promise((done) => {
    const begun = performance.now();
    const goOn = (now) => {
        scrollTo(0, 6 * (now - begun));
        if (now - begun < 1000) return requestAnimationFrame(goOn);
        const isSeen = (one) => {
            const { top, bottom } = one.getBoundingClientRect();
            return top < innerHeight && bottom > 0;
        };
        const seen = (kind) => [...document.querySelectorAll(`#results ${kind}`)].some(isSeen);
        done(["li[data-id]", ".cells"].map(seen));
    };
    requestAnimationFrame(goOn);
})"""
FIRST_IN_SIGHT = """() => {
    const isSeen = (tile) => tile.getBoundingClientRect().top >= 0;
    const tile = [...document.querySelectorAll("#results li[data-id]")].find(isSeen);
    return tile ? [tile.dataset.id, Math.round(tile.getBoundingClientRect().top)] : null;
}"""


@pytest.fixture(scope="module")
def many(chromium, tmp_path_factory):
    """A server over some thousand pictures of twenty years; tests leave its library as it is."""
    with serving_many(tmp_path_factory.mktemp("many") / "library", N) as server:
        yield server


@pytest.fixture
def page(browser, many):
    with browsers.watched(browser, many.address, many.access.token) as watched:
        watched.route("**/facts", lambda route: route.fulfill(json={}))  # there are no files to say any
        yield watched


def first_in_sight(page):
    """The first picture that is seen whole, and where it stands; windows scroll by whole pixels."""
    image_id, top = page.evaluate(FIRST_IN_SIGHT)
    return image_id, pytest.approx(top, abs=2)


def listed(server, **parameters):
    with server.allowed() as client:
        return client.get("/pictures", params={"order": "taken", "limit": 1000} | parameters).json()["pictures"]


def months(server):
    with server.allowed() as client:
        return client.get("/timeline").json()["months"]


def scroll_to(page, share):
    page.evaluate("share => window.scrollTo(0, share * document.documentElement.scrollHeight)", share)
    settled(page)


def settled(page):
    """Wait until all that is in sight is loaded, and stands."""
    page.wait_for_function(
        """() => {
            const isSeen = (one) => {
                const { top, bottom } = one.getBoundingClientRect();
                return bottom > 0 && top < innerHeight;
            };
            const all = (selector) => [...document.querySelectorAll(selector)].filter(isSeen);
            const tiles = all("#results li[data-id]");
            return tiles.length && !all(".waiting").length && tiles.every((one) => one.matches(".loaded, .broken"));
        }"""
    )
    page.wait_for_timeout(450)  # until the place is kept


# -- what is in the document -----------------------------------------------------------------------------


def scrolled(browser, page, n_steps):
    """Scroll at several speeds; return the most tiles that there were, and the longest task of the page's thread.

    That is the time of the processor, in milliseconds: other programs do not count.
    """
    browser.start_tracing(page=page, categories=["toplevel"])
    n_tiles = max(page.evaluate(STEP, by) for by in (100, 300, 900, 30_000, -150) for _ in range(n_steps))
    events = json.loads(browser.stop_tracing())["traceEvents"]
    names = {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}
    tasks = [event["tdur"] for event in events if "tdur" in event and names.get(event["tid"]) == "CrRendererMain"]
    assert len(tasks) > n_steps
    return n_tiles, max(tasks) / 1000


@pytest.mark.full
def test_few_pictures_are_in_the_document_and_frames_are_short_however_far_one_scrolls(browser, page, many):
    browsers.open_page(page, many)
    n_tiles, longest = scrolled(browser, page, 12)
    assert 10 < n_tiles <= MOST_TILES
    assert longest < FRAME_MS
    scroll_to(page, 1)
    last = listed(many, offset=N - 20)
    assert len(last) == 20
    shown = page.locator("#results li[data-id] a").evaluate_all("all => all.map(one => one.ariaLabel)")
    assert shown[-20:] == [picture["name"] for picture in last]
    assert page.locator("#results li[data-id]").last.get_attribute("aria-setsize") == str(months(many)[-1]["n"])
    assert page.locator("#results li[data-id]").last.get_attribute("aria-posinset") == str(months(many)[-1]["n"])


def test_what_passes_by_too_fast_to_be_seen_is_neither_made_nor_asked_for(page, many):
    browsers.open_page(page, many)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    assert page.evaluate(RUSH) == [False, True]  # no pictures, but where they stand
    assert len(asked) < 60  # those round the first window; twice as many went by
    settled(page)
    assert len(page.locator("#results li.loaded").all()) > 10


@pytest.mark.full
def test_frames_are_short_over_a_hundred_thousand_pictures(browser, chromium, tmp_path):
    with (
        serving_many(tmp_path / "library", 100_000) as server,
        browsers.watched(browser, server.address, server.access.token) as page,
    ):
        browsers.open_page(page, server)
        n_tiles, longest = scrolled(browser, page, 150)
        assert n_tiles <= MOST_TILES
        assert longest < FRAME_MS
        scroll_to(page, 1)
        last = page.locator("#results li[data-id] a").last
        expect(last).to_have_attribute("aria-label", listed(server, offset=99_999)[0]["name"])


# -- months ----------------------------------------------------------------------------------------------


def test_months_stand_above_their_pictures_the_newest_first_and_what_has_no_date_last(page, many):
    browsers.open_page(page, many)
    settled(page)
    counted = months(many)
    first = page.locator("#results h3").first
    assert first.inner_text().split("\n")[-1] == str(counted[0]["n"])
    expect(first).to_contain_text(re.compile(r"^\w+ 2024"))
    in_first = page.locator("#results ul").first
    assert in_first.locator("li").count() == counted[0]["n"]
    assert in_first.get_attribute("aria-labelledby") == first.get_attribute("id")
    tops = [
        page.locator(selector).first.evaluate("one => one.getBoundingClientRect().top")
        for selector in ("#results h3", "#results ul li")
    ]
    assert tops[0] < tops[1]
    scroll_to(page, 1)
    expect(page.locator("#results h3").last).to_have_accessible_name(f"Without a date {counted[-1]['n']}")


@pytest.mark.full
def test_the_timeline_leads_to_any_month_by_keys_and_by_the_pointer(page, many):
    browsers.open_page(page, many)
    slider = page.get_by_role("slider", name="Timeline")
    newest = page.locator("#results h3 span").first.inner_text()
    expect(slider).to_have_attribute("aria-valuetext", newest)
    slider.press("PageDown")
    expect(slider).to_have_attribute("aria-valuetext", "December 2023")
    slider.press("ArrowDown")
    expect(slider).to_have_attribute("aria-valuetext", "November 2023")
    expect(page.locator("#results h3", has_text="November 2023")).to_be_in_viewport()
    slider.press("End")
    expect(slider).to_have_attribute("aria-valuetext", "Without a date")
    expect(page.locator("#results h3", has_text="Without a date")).to_be_in_viewport()
    settled(page)
    slider.press("Home")
    expect(slider).to_have_attribute("aria-valuetext", newest)
    box = slider.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(slider).to_have_attribute("aria-valuetext", re.compile(r" 201[3-6]$"))
    settled(page)
    expect(page.locator("#results h3", has_text=re.compile(r" 201[3-6]")).first).to_be_visible()


@pytest.mark.full
def test_filters_leave_the_months_that_pass_them_and_in_these_what_passes(page, many):
    where = ["taken = 2010", "width > 450"]
    browsers.open_page(page, many, f"/?where={quote_plus(where[0])}&where={quote_plus(where[1])}")
    passing = listed(many, where=where)
    expect(page.locator("#summary")).to_have_text(f"{len(passing)} of 2,000 pictures")
    scroll_to(page, 1)
    expect(page.locator("#results h3").last).to_contain_text("January 2010")
    shown = page.locator("#results li[data-id] a").evaluate_all("all => all.map(one => one.ariaLabel)")
    assert 0 < len(shown) <= len(passing)
    assert shown == [picture["name"] for picture in passing][-len(shown) :]


@pytest.mark.full
@pytest.mark.parametrize("width", [1280, 390])
def test_months_and_the_timeline_are_accessible(browser, many, width):
    viewport = {"viewport": {"width": width, "height": 780}}
    with browsers.watched(browser, many.address, many.access.token, **viewport) as page:
        browsers.open_page(page, many)
        scroll_to(page, 0.5)
        check(page, f"{width} pixels wide")


# -- keys ------------------------------------------------------------------------------------------------


def focused(page):
    return page.evaluate("() => document.activeElement.closest('#results li')?.dataset.id")


@pytest.mark.full
def test_keys_go_on_to_pictures_that_are_not_loaded_yet(page, many):
    pictures = [str(picture["id"]) for picture in listed(many)]
    browsers.open_page(page, many)
    page.locator("#results a").first.focus()
    for place in range(1, 150):
        page.keyboard.press("ArrowRight")
        page.wait_for_function("id => document.activeElement.closest('li')?.dataset.id === id", arg=pictures[place])
    page.keyboard.press("ArrowDown")
    page.wait_for_function("id => document.activeElement.closest('li')?.dataset.id !== id", arg=pictures[149])
    assert pictures.index(focused(page)) in range(150, 160)
    expect(page.locator("#results a:focus")).to_be_in_viewport()
    page.keyboard.press("End")
    last = str(listed(many, offset=N - 1)[0]["id"])
    page.wait_for_function("id => document.activeElement.closest('li')?.dataset.id === id", arg=last)
    expect(page.locator("#results a:focus")).to_be_in_viewport()


def test_the_picture_that_has_the_focus_stays_however_far_one_scrolls(page, many):
    browsers.open_page(page, many)
    page.locator("#results a").nth(3).focus()
    before = focused(page)
    scroll_to(page, 0.7)
    assert focused(page) == before
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#results a:focus")).to_be_in_viewport()
    assert focused(page) == str(listed(many)[2]["id"])


# -- the bar to search by ---------------------------------------------------------------------------------

EDGES = """selector => {
    const { top, bottom } = document.querySelector(selector).getBoundingClientRect();
    return [top, bottom];
}"""
BEGINNING = "() => scrollY + document.querySelector('#results').getBoundingClientRect().top"


def edges(page, selector):
    """Where something begins and ends, in pixels from the top of the window."""
    return page.evaluate(EDGES, selector)


def test_the_bar_stays_in_view_and_hides_no_picture_that_keys_lead_to(page, many):
    browsers.open_page(page, many)
    beginning = page.evaluate(BEGINNING)
    scroll_to(page, 0.3)
    top, bottom = edges(page, "#bar")
    assert (top, 50 < bottom < 70) == (0, True)
    assert page.evaluate(BEGINNING) == beginning
    image_id, _ = first_in_sight(page)
    page.locator(f"#results li[data-id='{image_id}'] a").focus()
    for _ in range(6):
        before = focused(page)
        page.keyboard.press("ArrowUp")
        page.wait_for_function("id => document.activeElement.closest('li').dataset.id !== id", arg=before)
        assert edges(page, "#results a:focus")[0] > bottom
    assert edges(page, "#timeline")[0] > bottom


@pytest.mark.full
def test_filters_and_what_is_wrong_stand_below_each_other_and_below_the_bar(browser, many):
    with browsers.watched(browser, many.address, many.access.token, expected=(REFUSED,)) as page:
        browsers.open_page(page, many)
        scroll_to(page, 0.3)
        page.click("#toggle-filters")
        expect(page.locator("#filters legend").first).to_be_in_viewport()
        page.context.set_offline(True)
        page.evaluate(LOOK_AGAIN)
        expect(page.locator("#banner")).to_be_visible()
        page.wait_for_function("() => document.querySelector('#bar').getBoundingClientRect().top > 20")
        banner, bar, filters = [edges(page, selector) for selector in ("#banner", "#bar", "#filters")]
        assert (banner[0], banner[1]) == (0, bar[0])
        assert bar[1] < filters[0]
        assert filters[1] < page.viewport_size["height"]
        page.context.set_offline(False)


@pytest.mark.full
def test_on_a_phone_the_box_alone_stays_in_view_and_what_has_the_focus(browser, many):
    with browsers.watched(browser, many.address, many.access.token, **SHAPES["phone"]) as page:
        page.route("**/facts", lambda route: route.fulfill(json={}))
        page.route("**/status", lambda route: route.fulfill(json=route.fetch().json() | {"answers_texts": True}))
        browsers.open_page(page, many, "/?like=3&like=4&where=width+%3E+300")
        expect(page.locator("#terms li")).to_have_count(2)
        scroll_to(page, 0.5)
        for seen in ("#text", "#choose", "#toggle-filters"):
            expect(page.locator(seen)).to_be_in_viewport(ratio=1)
        expect(page.locator("#terms li").first).not_to_be_in_viewport()
        assert edges(page, "#bar")[1] < 70
        check(page, "a phone that scrolls")
        page.locator("#text").focus()
        page.keyboard.press("Shift+Tab")
        expect(page.locator("#chips button:focus")).to_be_in_viewport(ratio=1)
        page.locator("#toggle-filters").press("Enter")
        expect(page.locator("#filters legend").first).to_be_in_viewport(ratio=1)


# -- where one is ----------------------------------------------------------------------------------------


@pytest.mark.full
def test_reloading_and_going_back_lead_to_the_same_pictures(page, many):
    browsers.open_page(page, many)
    scroll_to(page, 0.4)
    before = first_in_sight(page)
    page.reload()
    settled(page)
    assert first_in_sight(page) == before
    page.locator(f"#results li[data-id='{before[0]}'] a").focus()
    page.keyboard.press("m")
    browsers.expect_first(page, "IMG_")
    assert page.evaluate("() => scrollY") == 0
    scroll_to(page, 0.9)  # where more hits are loaded
    expect(page.locator("#summary")).to_contain_text("The best 299")  # an example is none of its hits
    scroll_to(page, 0.9)
    in_search = first_in_sight(page)
    page.go_back()
    expect(page.locator("#summary")).to_have_text("2,000 pictures")
    settled(page)
    assert first_in_sight(page) == before
    page.go_forward()
    expect(page.locator("#summary")).to_contain_text("The best")
    settled(page)
    assert first_in_sight(page) == in_search


@pytest.mark.full
def test_what_comes_to_the_library_does_not_move_what_is_seen(browser, chromium, tmp_path):
    folder = tmp_path / "library"
    with (
        serving_many(folder, 400) as server,
        browsers.watched(browser, server.address, server.access.token) as page,
    ):
        browsers.open_page(page, server)
        scroll_to(page, 0.5)
        before = first_in_sight(page)
        with Store.writer(folder) as store:
            store.commit(Changes(stored=made(range(1_001, 1_010), first_year=2030)))
        page.evaluate(LOOK_AGAIN)
        expect(page.locator("#summary")).to_have_text("409 pictures")
        settled(page)
        assert first_in_sight(page) == before
        scroll_to(page, 0)
        expect(page.locator("#results h3").first).to_contain_text(re.compile(r"20[34]\d"))


# -- hits ------------------------------------------------------------------------------------------------


@pytest.mark.full
def test_the_view_goes_on_past_the_hundredth_hit(page, many):
    with many.allowed() as client:
        found = client.post("/search", json={"pictures": [{"id": 5}], "k": 101}).json()["hits"]
    browsers.open_page(page, many, f"/?like=5&view={found[98]['id']}")
    for hit in found[98:]:
        expect(page.locator("#view-title")).to_have_text(hit["name"])
        page.click("#view-next")
    expect(page.locator("#view-title")).not_to_have_text(found[100]["name"])
    page.keyboard.press("Escape")
    expect(page.locator("#results a:focus")).to_have_attribute("aria-label", re.compile(r"^101\. "))


@pytest.mark.full
def test_the_view_knows_what_stands_beside_a_picture_that_was_not_scrolled_to(page, many):
    before, picture, after = listed(many, offset=900, limit=3)
    page.goto(f"{many.address}/?view={picture['id']}")
    expect(page.locator("#view-title")).to_have_text(picture["name"])
    page.click("#view-next")
    expect(page.locator("#view-title")).to_have_text(after["name"])
    page.click("#view-previous")
    page.click("#view-previous")
    expect(page.locator("#view-title")).to_have_text(before["name"])
    page.keyboard.press("Escape")
    expect(page.locator("#results a:focus")).to_have_attribute("aria-label", before["name"])


# -- when the server is away -----------------------------------------------------------------------------


@pytest.mark.full
def test_pictures_that_failed_come_when_the_server_is_back_and_what_is_wrong_stays_in_view(browser, many):
    expected = (REFUSED,)
    with browsers.watched(browser, many.address, many.access.token, expected=expected) as page:
        browsers.open_page(page, many)
        settled(page)
        page.context.set_offline(True)
        page.evaluate("() => window.scrollTo(0, 1500)")
        expect(page.locator("#results li.broken").first).to_be_visible()
        scroll_to_unloaded = "() => window.scrollTo(0, 0.6 * document.documentElement.scrollHeight)"
        page.evaluate(scroll_to_unloaded)
        banner = page.locator("#banner")
        expect(banner).to_contain_text("The server does not answer")
        expect(banner).to_be_in_viewport()
        page.evaluate("() => window.scrollTo(0, 1500)")
        expect(page.locator("#results li.broken").first).to_be_visible()
        page.context.set_offline(False)
        expect(banner).to_be_hidden()
        settled(page)
        expect(page.locator("#results li.broken")).to_have_count(0)
        page.evaluate(scroll_to_unloaded)
        settled(page)
