"""People on the page: named, made one, taken apart, hidden, forgotten; as filters, and in frames on a picture."""

from __future__ import annotations

import re
from contextlib import contextmanager

import pytest
from playwright.sync_api import expect

from mmsearch import Library
from tests.server import browser as browsers
from tests.server.browser import asked, open_page
from tests.server.test_page_parts import edges, inside
from tests.server.test_page_states import SHAPES, check
from tests.server.test_page_view import picture_box

BOX = [0.25, 0.125, 0.75, 0.5]


@pytest.fixture
def people(browser, peopled):
    """A page that shows the people, and a program that asks its server."""
    server, client = peopled
    with browsers.watched(browser, server.address, server.access.token) as page:
        page.goto(server.address)
        page.click("#open-people")
        expect(page.locator(".people li")).to_have_count(3)
        yield page, client


def name(page, group, words):
    page.fill(f"#person-{group}", words)
    page.press(f"#person-{group}", "Enter")


def named(client):
    people = client.get("/people", params={"hidden": True}).json()["people"]
    return {person["group"]: (person["name"], person["n_faces"]) for person in people}


def test_people_are_named_made_one_and_filter_what_is_looked_for(people):
    page, client = people
    assert page.locator(".people img").first.get_attribute("src").count("&box=") == 4
    name(page, 1, " <i>Anna ")
    expect(page.locator("#people [role=status]")).to_have_text("Group 1 is <i>Anna")
    expect(page.locator("#person-1")).to_be_focused()
    name(page, 3, "<i>Anna")
    page.click("#people-same")
    expect(page.locator("#people [role=status]")).to_have_text("<i>Anna has 4 faces now")
    expect(page.locator(".people li")).to_have_count(2)
    assert named(client) == {1: ("<i>Anna", 4), 2: (None, 2)}
    page.get_by_role("button", name="Pictures of <i>Anna").click()
    expect(page.locator("#people")).to_be_hidden()
    expect(page.locator("#chips li")).to_have_text(["Person: <i>Anna"])
    expect(page.locator("#results li[data-id]")).to_have_count(4)
    page.fill("#text", "a cat")
    expect(page.locator("#results a").first).to_have_attribute("aria-label", re.compile(r"^1\. "))
    expect(page.locator("#results li[data-id]")).to_have_count(4)
    assert asked(page) == {"q": ["a cat"], "where": ["person = <i>Anna"]}


@contextmanager
def held(page, method, path):
    """Let requests to addresses that end so, a regular expression, wait until the block is left; one must come."""
    waiting, pattern = [], re.compile(f"{path}$")

    def hold(route):
        if route.request.method == method:
            waiting.append(route)
        else:
            route.fallback()

    page.route(pattern, hold)
    with page.expect_request(lambda request: request.method == method and pattern.search(request.url)):
        yield
    for route in waiting:
        route.continue_()
        if answer := route.request.response():  # of one that was given up there is none
            answer.finished()
    page.unroute(pattern, hold)
    page.evaluate("new Promise(requestAnimationFrame)")  # the page has seen it


def in_pages_of_two(page):
    """Let the page get two groups or faces at a time."""
    page.route(
        re.compile(r"/people.*limit="),
        lambda route: route.fallback(url=re.sub(r"limit=\d+", "limit=2", route.request.url)),
    )


@pytest.mark.full
def test_a_late_answer_changes_nothing_of_what_is_shown_by_then(people):
    page, client = people
    title, said = page.locator("#people-title"), page.locator("#people [role=status]")
    with held(page, "PUT", "/people/1/name"):
        name(page, 1, "Anna")
        page.click("#person-2-faces")
        expect(title).to_have_text("Group 2")
        expect(page.locator("#person-name")).to_have_count(0)
    expect(said).to_have_text("Group 1 is Anna")
    expect(page.locator(".faces li")).to_have_count(2)
    expect(title).to_have_text("Group 2")
    with held(page, "PUT", "/people/2/name"):
        page.fill("#person-name", "Berta")
        page.click("#person-back")
    expect(page.locator("#person-2")).to_have_value("Berta")
    expect(title).to_have_text("People")
    page.click("#person-1-faces")
    page.fill("#person-name", "Cora")
    with held(page, "PUT", "/people/1/name"):
        page.click("#person-pictures")
    expect(page.locator("#chips li")).to_have_text(["Person: Cora"])
    assert named(client) == {1: ("Cora", 3), 2: ("Berta", 2), 3: (None, 1)}


@pytest.mark.full
def test_more_faces_are_those_of_the_group_that_is_shown(people):
    page, _ = people
    in_pages_of_two(page)
    more, faces = page.locator(".person-faces > button"), page.locator(".faces li")
    page.click("#person-1-faces")
    expect(faces).to_have_count(2)
    with held(page, "GET", r"/people/1\?offset=2.*"):
        more.dblclick()
    expect(faces).to_have_count(3)
    page.click("#person-back")
    page.click("#person-1-faces")
    expect(faces).to_have_count(2)
    with held(page, "GET", r"/people/1\?offset=2.*"):
        more.click()
        page.click("#person-back")
        page.click("#person-2-faces")
        expect(page.locator(".faces a[title='coffee.jpg']")).to_be_visible()
    expect(faces).to_have_count(2)


@pytest.mark.full
def test_what_is_typed_while_a_name_is_saved_stays(people):
    page, client = people
    said = page.locator("#people [role=status]")
    with held(page, "PUT", "/people/1/name"):
        name(page, 1, "Anna")
        page.fill("#person-1", "Anna B")
    expect(said).to_have_text("Group 1 is Anna")
    expect(page.locator("#person-1")).to_have_value("Anna B")
    page.press("#person-1", "Enter")
    expect(page.get_by_role("button", name="Pictures of Anna B")).to_be_visible()
    page.click("#person-1-faces")
    page.fill("#person-name", "Cora")
    with held(page, "PUT", "/people/1/name"):
        page.press("#person-name", "Enter")
        page.fill("#person-name", "Cora D")
    expect(page.locator("#people-title")).to_have_text("Cora")
    expect(page.locator("#person-name")).to_have_value("Cora D")
    page.press("#person-name", "Enter")
    expect(page.get_by_role("button", name="Not Cora D: cat.jpg")).to_be_visible()
    assert named(client)[1] == ("Cora D", 3)


@pytest.mark.full
def test_who_is_gone_leaves_nobody_else_and_the_rest_is_shown(browser, peopled):
    server, client = peopled
    with browsers.watched(browser, server.address, server.access.token, expected=("404", "409")) as page:
        page.goto(server.address)
        page.click("#open-people")
        for group in (1, 2, 3):
            page.check(f"#person-{group}-check")
        refuse = {"status": 409, "json": {"detail": "somebody writes"}}
        page.route("**/people/2/hidden", lambda route: route.fulfill(**refuse))
        page.click("#people-hide")
        expect(page.locator("#people [role=alert]")).to_have_text("Somebody writes.")
        expect(page.locator(".people li")).to_have_count(2)
        page.click("#person-2-faces")
        page.click(".faces a[title='dam.jpg']")
        page.press("#view-title", "f")
        client.delete("/people/2")
        page.locator(".face-frame", has_text="Group 2").press("Enter")
        expect(page.locator("#people [role=alert]")).to_contain_text("There is no group 2 of faces")
        expect(page.locator("#people-title")).to_have_text("Group 2")
        expect(page.locator("#person-forget")).to_have_count(0)
        page.click("#person-back")
        expect(page.locator(".people li")).to_have_count(1)
        expect(page.locator("#people [role=alert]")).to_have_text("")


@pytest.mark.full
def test_frames_are_those_that_are_wanted_now_or_it_is_said_why_there_are_none(browser, peopled):
    server, client = peopled
    dam = client.get("/pictures", params={"where": "name = dam.jpg"}).json()["pictures"][0]["id"]
    with browsers.watched(browser, server.address, server.access.token, expected=("503",)) as page:
        page.goto(f"{server.address}/?view={dam}")
        frames, why = page.locator(".face-frame"), page.locator("#view-no-faces")
        toggle = page.locator("#view-faces")
        with held(page, "GET", "/faces"):
            page.click("#view-faces")
            page.press("#view-title", "f")
        expect(toggle).to_have_attribute("aria-pressed", "false")
        page.press("#view-title", "i")  # a detail has its frame no more, faces have
        page.press("#view-title", "f")
        expect(frames).to_have_count(2)
        expect(frames.first).to_be_visible()
        page.press("#view-title", "i")
        for group in (1, 2):
            client.put(f"/people/{group}/hidden", json={"is_hidden": True})
        page.press("#view-title", "f")
        page.press("#view-title", "f")
        expect(why).to_have_text("No faces to frame: 2 hidden.")
        expect(frames).to_have_count(0)
        page.press("#view-title", "f")
        expect(why).to_have_text("")
        page.route("**/faces", lambda route: route.fulfill(status=503, json={"detail": "it cannot be read"}))
        page.press("#view-title", "f")
        expect(why).to_have_text("It cannot be read.")


@pytest.mark.full
def test_two_who_are_selected_are_made_one_or_hidden(people):
    page, client = people
    merge, hide = page.locator("#people-merge"), page.locator("#people-hide")
    expect(merge).to_be_disabled()
    for group in (2, 3):
        page.check(f"#person-{group}-check")
    merge.click()
    expect(page.locator(".people li")).to_have_count(2)
    assert named(client) == {1: (None, 3), 2: (None, 3)}
    page.check("#person-2-check")
    hide.click()
    expect(page.locator(".people li")).to_have_count(1)
    page.check("#people-hidden")
    expect(page.locator(".people li")).to_have_count(2)
    page.check("#person-2-check")
    expect(hide).to_have_text("List again")
    hide.click()
    expect(page.locator(".hidden-person")).to_have_count(0)


@pytest.mark.full
def test_a_face_of_somebody_else_is_taken_out_and_who_is_forgotten_is_gone(people):
    page, client = people
    page.get_by_role("button", name="3 faces of Group 1").click()
    expect(page.locator("#people-title")).to_have_text("Group 1")
    page.fill("#person-name", "Anna")
    page.press("#person-name", "Enter")
    expect(page.locator("#people-title")).to_have_text("Anna")
    page.get_by_role("button", name="Not Anna: cat.jpg").click()
    expect(page.locator("#people [role=status]")).to_have_text("Taken out of Anna: it is in group 4 now")
    expect(page.locator(".faces li")).to_have_count(2)
    assert named(client) == {1: ("Anna", 2), 2: (None, 2), 3: (None, 1), 4: (None, 1)}
    page.click("#person-forget")
    expect(page.locator("#person-erase")).to_be_focused()
    page.click("#person-erase")
    expect(page.locator("#people [role=status]")).to_have_text("2 faces erased")
    expect(page.locator(".people li")).to_have_count(3)
    assert client.get("/pictures", params={"where": "person = Anna"}).json()["n"] == 0
    for group in (2, 3, 4):
        client.delete(f"/people/{group}")
    page.keyboard.press("Escape")
    page.reload()
    expect(page.locator("#open-classify")).to_be_visible()
    expect(page.locator("#open-people")).to_be_hidden()


@pytest.mark.full
def test_faces_are_framed_in_the_view_with_names_that_follow(people):
    page, _ = people
    name(page, 1, "Anna")
    page.get_by_role("button", name="3 faces of Anna").click()
    page.locator(".faces a[title='dam.jpg']").click()
    expect(page.locator("#view-title")).to_have_text("dam.jpg")
    frames = page.locator(".face-frame")
    expect(frames).to_have_count(0)
    page.keyboard.press("f")
    expect(frames).to_have_text(["Anna", "Who is it? Group 2"])
    assert page.locator("#view-faces").get_attribute("aria-pressed") == "true"
    for key in (None, "+", "Shift+ArrowRight"):
        if key:
            page.keyboard.press(key)
        expected = inside(picture_box(page), BOX)
        assert edges(frames.first.bounding_box()) == pytest.approx(expected, abs=1)
    frames.last.press("Enter")
    expect(page.locator("#people-title")).to_have_text("Group 2")
    page.fill("#person-name", "Berta")
    page.press("#person-name", "Enter")
    page.keyboard.press("Escape")  # the view is below
    expect(frames).to_have_text(["Anna", "Berta"])
    page.keyboard.press("ArrowRight")
    expect(page.locator("#view-title")).not_to_have_text("dam.jpg")
    expect(page.locator("#view-faces")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Escape")
    expect(page.locator("#people")).to_be_hidden()


@pytest.mark.full
def test_what_cannot_be_decided_is_said_and_stays_typed(browser, peopled):
    server, client = peopled
    with browsers.watched(browser, server.address, server.access.token, expected=("409",)) as page:
        page.goto(server.address)
        page.click("#open-people")
        with Library.open(server.folder) as library, library.place.writer():
            name(page, 1, "Anna")
            expect(page.locator("#people [role=alert]")).to_contain_text("is writing to this library")
        expect(page.locator("#person-1")).to_have_value("Anna")
        page.press("#person-1", "Enter")
        expect(page.locator("#people [role=alert]")).to_have_text("")
        expect(page.get_by_role("button", name="Pictures of Anna")).to_be_visible()
        assert named(client)[1] == ("Anna", 3)
        with Library.open(server.folder) as library, library.place.writer():
            name(page, 1, "Berta")
            expect(page.locator("#people [role=alert]")).to_contain_text("is writing to this library")
        name(page, 1, "")
        expect(page.get_by_role("button", name="Faces of group 1", exact=True)).to_be_visible()
        assert named(client)[1] == (None, 3)


@pytest.mark.full
@pytest.mark.parametrize("shape", SHAPES)
def test_people_can_be_used_by_all(browser, peopled, shape):
    server, client = peopled
    client.put("/people/1/name", json={"name": "Anna"})
    client.put("/people/2/hidden", json={"is_hidden": True})
    with browsers.watched(browser, server.address, server.access.token, **SHAPES[shape]) as page:
        page.goto(server.address)
        page.click("#open-people")
        page.check("#people-hidden")
        expect(page.locator(".people li")).to_have_count(3)
        name(page, 3, "Anna")
        expect(page.locator("#people-same")).to_be_visible()
        check(page, "people")
        page.locator("#person-1-faces").click()
        page.click("#person-forget")
        check(page, "one person")
        page.locator(".faces a").first.click()
        page.click("#view-faces")
        expect(page.locator(".face-frame")).to_have_count(1)  # the other is hidden
        check(page, "faces in a picture")


@pytest.mark.full
def test_a_library_without_faces_shows_nothing_of_people(page, process):
    open_page(page, process)
    expect(page.locator("#open-classify")).to_be_visible()
    expect(page.locator("#open-people")).to_be_hidden()
    page.locator("#results a").first.click()
    expect(page.locator("#view-copy")).to_be_visible()
    expect(page.locator("#view-faces")).to_have_count(0)
