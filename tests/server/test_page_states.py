"""The page when things are odd: hostile names, other libraries, a server that is gone; and that all can use it."""

from __future__ import annotations

import os
import re
import shutil

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from mmsearch import Library
from mmsearch.samples import sample_folder
from mmsearch.store.progress import shown_progress
from tests.conftest import random_units
from tests.server import browser as browsers
from tests.server.conftest import running
from tests.tiers import tiered

REFUSED = "Failed to load resource"
SHAPES = {"wide": {}, "phone": {"viewport": {"width": 375, "height": 740}, "is_mobile": True, "has_touch": True}}
LOOK_AGAIN = "() => document.dispatchEvent(new Event('visibilitychange'))"


def opened(browser, server, **options):
    return browsers.watched(browser, server.address, server.access.token, **options)


def wait_for_pictures(page, n):
    expect(page.locator("#results li")).to_have_count(n)


# -- names of files ------------------------------------------------------------------------------------------

HOSTILE = {
    b"<img src=x onerror=alert(1)>.jpg": "<img src=x onerror=alert(1)>.jpg",
    b'"><script>alert(2)<.jpg': '"><script>alert(2)<.jpg',
    b"caf\xe9.jpg": "caf\ufffd.jpg",
    "safe\u202egpj.exe.jpg".encode(): "safe\\u202egpj.exe.jpg",
    b"two\nlines\x1b[31m.jpg": "two\\u000alines\\u001b[31m.jpg",
    "ünï çödé 写真.jpg".encode(): "ünï çödé 写真.jpg",
}


@pytest.fixture(scope="module")
def hostile(checkpoint, cache, tmp_path_factory):
    """A server over pictures whose names want to be more than names."""
    base = os.fsencode(tmp_path_factory.mktemp("hostile"))
    folder = os.path.join(base, b"photos", b"<b>dir\xff")
    os.makedirs(folder)
    for name in HOSTILE:
        with open(os.path.join(folder, name), "wb") as file:  # no copies, which would be one hit
            file.write((sample_folder() / "cat.jpg").read_bytes() + name)
    shutil.copyfile(os.fsencode(sample_folder() / "fig.jpg"), os.path.join(base, b"photos", b"fig.jpg"))
    library = os.fsdecode(os.path.join(base, b"library"))
    with Library.open(library, cache=cache) as opened_library:
        opened_library.index([os.path.join(base, b"photos")], model=str(checkpoint), local=False)
    with running(opened_library.folder, None, cache=cache) as server:
        yield server


def test_names_of_files_are_shown_as_text_whatever_they_hold(browser, hostile):
    with opened(browser, hostile) as page:
        dialogs = []
        page.on("dialog", lambda dialog: dialogs.append(dialog.message) or dialog.dismiss())
        page.goto(hostile.address)
        wait_for_pictures(page, len(HOSTILE) + 1)
        labels = page.locator("#results a").evaluate_all("all => all.map(one => one.ariaLabel)")
        assert sorted(labels) == sorted([*HOSTILE.values(), "fig.jpg"])
        page.locator("#results a").first.click()
        expect(page.locator("#view-title")).to_have_text(labels[0])
        page.click("#view-like")
        expect(page.locator("#terms .term-text")).to_have_text(labels[0])
        page.click("#toggle-filters")
        expect(page.locator("#filters")).to_contain_text("<b>dir\ufffd")
        assert page.locator("#filters b, #results script, #results img[onerror], dialog img[onerror]").count() == 0
        assert dialogs == []


@pytest.mark.full
def test_a_folder_whose_name_is_no_text_can_be_a_filter_and_an_address(browser, hostile):
    with opened(browser, hostile) as page:
        page.goto(hostile.address)
        page.click("#toggle-filters")
        page.locator("#filters .choice", has_text="dir").click()
        wait_for_pictures(page, len(HOSTILE))
        page.reload()
        wait_for_pictures(page, len(HOSTILE))
        page.fill("#text", "a cat")
        expect(page.locator("#summary")).to_have_text(f"{len(HOSTILE)} pictures, best first")


# -- the server and the library --------------------------------------------------------------------------------


def test_a_browser_that_is_not_known_is_told_what_to_do_and_let_in_with_the_token(browser, hostile):
    expected = (REFUSED,)
    with browsers.watched(browser, hostile.address, "expired", expected=expected) as page:
        page.goto(hostile.address + "/?q=a+cat")
        expect(page.locator("#banner")).to_contain_text("The server does not know this browser")
        page.fill("#token", "wrong")
        page.press("#token", "Enter")
        expect(page.locator("#banner")).to_contain_text("This is not the token")
        page.fill("#token", hostile.access.token)
        page.get_by_role("button", name="Let me in").click()
        wait_for_pictures(page, len(HOSTILE) + 1)
        expect(page.locator("#banner")).to_be_hidden()
        expect(page.locator("#text")).to_have_value("a cat")


@pytest.mark.full
def test_a_server_that_was_stopped_is_said_and_its_return_noticed(browser, indexed, cache):
    server = browsers.start(indexed.folder, cache)
    with browsers.watched(browser, server.address, browsers.TOKEN, expected=(REFUSED,)) as page:
        page.goto(server.address)
        wait_for_pictures(page, 8)
        server.stop()
        page.fill("#text", "a cat")
        expect(page.locator("#banner")).to_contain_text("The server does not answer. Is mmsearch serve still")
        wait_for_pictures(page, 8)
        again = browsers.start(indexed.folder, cache, port=int(server.address.rpartition(":")[2]))
        expect(page.locator("#banner")).to_contain_text("The server does not know this browser")
        page.fill("#token", browsers.TOKEN)
        page.press("#token", "Enter")
        expect(page.locator("#banner")).to_be_hidden(timeout=10_000)
        expect(page.locator("#results a").first).to_have_attribute("aria-label", re.compile(r"^1\. "))
        again.stop()


@pytest.mark.full
def test_a_query_that_makes_no_sense_is_a_sentence_with_a_way_out(browser, hostile):
    with opened(browser, hostile, expected=(REFUSED,)) as page:
        page.goto(hostile.address + "/?q=a&where=colour+%3D+red")
        expect(page.locator("#state")).to_contain_text("Filter 'colour = red' is not understood")
        page.get_by_role("button", name="Remove the filters").click()
        wait_for_pictures(page, len(HOSTILE) + 1)
        for query in ("q=a&", ""):
            page.goto(hostile.address + f"/?{query}where=folder+%3D+%2Fleft")
            expect(page.locator("#state")).to_contain_text("the library holds no picture below /left; correct it")
            page.click("#toggle-filters")
            expect(page.locator("#filters .choice", has_text="dir")).to_be_visible()
        page.get_by_role("button", name="Remove the filters").click()
        wait_for_pictures(page, len(HOSTILE) + 1)
        page.goto(hostile.address + "/?view=999")
        expect(page.locator("#view")).to_contain_text("There is no picture 999 in the library")


@pytest.mark.full
def test_a_library_that_is_emptied_and_filled_again_is_followed(browser, changeable, indexed, photos):
    server, _ = changeable
    with opened(browser, server, expected=(REFUSED,)) as page:
        page.goto(server.address)
        wait_for_pictures(page, 8)
        aside = photos.parent / "aside"
        aside.mkdir()
        for path in list(photos.rglob("*.jpg")):
            path.rename(aside / path.name)
        indexed.remove([photos])
        page.evaluate(LOOK_AGAIN)
        expect(page.locator("#summary")).to_have_text("No pictures yet")
        expect(page.locator("#state")).to_contain_text("mmsearch index ~/Pictures")
        (aside / "cat.jpg").rename(photos / "cat.jpg")
        indexed.index([photos], local=False)
        page.evaluate(LOOK_AGAIN)
        wait_for_pictures(page, 1)
        expect(page.locator("#state")).to_be_hidden()


def test_the_progress_of_indexing_is_shown_while_it_lasts(browser, changeable):
    server, _ = changeable
    with opened(browser, server) as page:
        page.goto(server.address)
        wait_for_pictures(page, 8)
        with shown_progress(server.folder, lambda *_: None) as on_progress:
            on_progress("embed", 300, 1200)
            page.evaluate(LOOK_AGAIN)
            expect(page.locator("#indexing")).to_contain_text("Describing pictures: 300 of 1,200")
            assert page.locator("#indexing-bar").evaluate("bar => bar.value") == 0.25
            on_progress("graph", 0, 0)
            expect(page.locator("#indexing")).to_contain_text("Building the index")
        expect(page.locator("#indexing")).to_be_hidden()


@pytest.mark.full
def test_a_file_that_is_gone_is_said_in_its_place(browser, changeable, photos):
    server, _ = changeable
    (photos / "cat.jpg").unlink()
    with opened(browser, server, expected=(REFUSED,)) as page:
        page.goto(server.address)
        broken = page.locator("#results li.broken")
        expect(broken).to_have_count(1)
        broken.locator("a").click()
        expect(page.locator("#view figure")).to_contain_text("The file is gone, or is not what was indexed")


@pytest.mark.full
def test_a_library_without_words_offers_pictures_only(browser, photos, cache, gem_folder, tmp_path):
    with Library.open(tmp_path / "library", cache=cache) as library:
        library.index([photos], model="cnn:gem", local=False)
    with running(tmp_path / "library", photos, cache=cache) as server, opened(browser, server) as page:
        page.goto(server.address + "/?q=a+cat&not=snow")
        wait_for_pictures(page, 8)
        for gone in ("#text", "#exclude", "#open-classify", "#rank"):
            expect(page.locator(gone)).to_be_hidden()
        expect(page.locator("#choose")).to_have_text("Drop, paste or choose a picture to find others like it")
        page.locator("#results a[aria-label='coffee.jpg']").focus()
        page.keyboard.press("m")
        expect(page.locator("#terms .term-text")).to_have_text("coffee.jpg")
        wait_for_pictures(page, 7)  # but for the example itself


@pytest.mark.full
@pytest.mark.parametrize("shape", SHAPES)
def test_a_library_without_an_encoder_is_searched_by_what_is_written_about_its_pictures(
    browser, photos, tmp_path, shape
):
    paths = sorted(photos.glob("*.jpg"))
    with Library.open(tmp_path / "library") as library:
        library.add_vectors(paths, random_units(len(paths), 4), model="mine")
        with (
            running(library.folder, photos) as server,
            opened(browser, server, **SHAPES[shape]) as page,
        ):
            page.goto(server.address + "/?q=mimi")
            wait_for_pictures(page, len(paths))
            box = page.locator("#text")
            expect(box).to_be_hidden()  # as nothing is written yet
            library.tag(photos / "cat.jpg", "Mimi")
            page.evaluate(LOOK_AGAIN)
            expect(box).to_be_visible()
            expect(box).to_have_attribute("placeholder", "Search captions, tags and other texts")
            page.keyboard.press("/")
            page.keyboard.type("mimi")
            browsers.expect_names(page, ["cat.jpg"])
            expect(page.locator("#summary")).to_have_text("1 picture found by these words")
            check(page, "found by its tag")
            page.locator("#results a").press("Enter")
            expect(page.locator("#view-relevant")).to_have_count(0)  # a mark would move nothing
            page.click("#view-add")
            expect(page.locator("#terms .term-text")).to_have_text("cat.jpg")
            expect(box).to_have_value("")
            wait_for_pictures(page, len(paths) - 1)
            page.fill("#text", "a dog")  # words stand alone
            expect(page.locator("#state")).to_contain_text("These words stand beside no picture")
            expect(page.locator("#terms")).to_be_hidden()


# -- for whom it is to work --------------------------------------------------------------------------------------

IS_WITHIN = "() => document.documentElement.scrollWidth <= document.documentElement.clientWidth"
MOVING = """all => all.map(one => getComputedStyle(one))
    .filter(style => style.animationName !== "none" || parseFloat(style.transitionDuration) > 0).length"""


def findings(page, *rules):
    """Return what axe-core finds serious or critical, by all its rules or some."""
    options = {"runOnly": list(rules)} if rules else None
    violations = Axe().run(page, options=options).response["violations"]
    grave = [violation for violation in violations if violation["impact"] in ("serious", "critical")]
    return [f"{violation['id']}: {node['html'][:200]}" for violation in grave for node in violation["nodes"]]


def settled(page):
    page.wait_for_function("() => document.getAnimations().every((one) => one.playState !== 'running')")


def check(page, state):
    """Fail if something cannot be used, or is wider than the page; on a wide one in the dark, too."""
    settled(page)
    assert findings(page) == [], state
    assert page.evaluate(IS_WITHIN), state
    if page.viewport_size["width"] < 500:
        return
    page.emulate_media(color_scheme="dark")
    settled(page)
    assert findings(page, "color-contrast") == [], f"{state} in the dark"
    page.emulate_media(color_scheme="light")


@pytest.mark.parametrize(
    ("shape", "shown"),
    tiered(
        [
            ("wide", ("all parts",)), ("wide", ("matches", "error", "part")),
            ("wide", ("first", "labels", "missing")),
            ("phone", ("all parts", "matches", "part")),  # what is laid out in another way there
        ],
        [("wide", ("all parts",))],
    ),
)  # fmt: skip
def test_every_state_is_accessible(browser, process, api, shape, shown):
    wall = browsers.id_of(api, "great-wall.jpg")
    with browsers.watched(browser, process.address, browsers.TOKEN, expected=(REFUSED,), **SHAPES[shape]) as page:
        states = {
            "first": ("/", "#results a"),
            "all parts": (f"/?q=a&like={wall}&not=b&yes=3&no=4&where=format+%3D+JPEG", "#filters legend"),
            "matches": (f"/?like={wall}@60,40,300,220&view={wall}", ".matches circle"),
            "labels": ("/?view=3&classify=3&label=a+cat&label=a+dog", ".classify-answer tr"),
            "error": ("/?q=a&where=colour+%3D+red", "#state p"),
            "missing": ("/?upload=1-2", "#state p"),
            "part": (f"/?like={wall}", "#crop-use"),
        }
        for name in shown:
            address, awaited = states[name]
            page.goto(process.address + address)
            if name == "all parts":
                page.click("#toggle-filters")
            if name == "part":
                page.get_by_role("button", name="Choose a part").click()
            page.locator(awaited).first.wait_for()
            check(page, name)


@pytest.mark.full
def test_light_and_dark_can_be_chosen_and_are_kept(browser, process):
    background = "() => getComputedStyle(document.body).backgroundColor"
    light, dark = "rgb(250, 249, 247)", "rgb(21, 21, 20)"
    with browsers.watched(browser, process.address, browsers.TOKEN, color_scheme="dark") as page:
        page.goto(process.address)
        theme = page.locator("#theme")
        assert page.evaluate(background) == dark
        for words, seen in (("light", light), ("dark", dark)):
            theme.press("Enter")
            expect(theme).to_have_accessible_name(f"Light or dark: {words}")
            page.emulate_media(color_scheme="light" if words == "dark" else "dark")
            assert page.evaluate(background) == seen
        page.reload()
        assert page.evaluate(background) == dark
        assert findings(page, "color-contrast") == []
        theme.click()
        expect(theme).to_have_accessible_name("Light or dark: as the system has it")
        assert page.evaluate(background) == light


@pytest.mark.full
@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_weak_is_accessible(browser, process, shape):
    with browsers.watched(browser, process.address, browsers.TOKEN, **SHAPES[shape]) as page:
        for answer in (0.9, 0.1):
            browsers.judge(page, [0.9, 0.1, 0.01], answer=answer)
            page.goto(process.address + "/?q=a+cat")
            page.locator(".divider").wait_for()
            check(page, f"answer of {answer}")


@pytest.mark.full
def test_the_check_of_accessibility_can_fail(browser, process):
    with browsers.watched(browser, process.address, browsers.TOKEN) as page:
        page.goto(process.address)
        page.evaluate("() => document.querySelector('main').append(document.createElement('button'))")
        assert [finding.partition(":")[0] for finding in findings(page)] == ["button-name"]


@pytest.mark.full
def test_nothing_moves_for_those_who_do_not_want_it(browser, process):
    with browsers.watched(browser, process.address, browsers.TOKEN, reduced_motion="reduce") as page:
        page.goto(process.address)
        page.locator("#results img").first.wait_for()
        assert page.locator("#busy, #results img").evaluate_all(MOVING) == 0


def test_the_page_is_files_without_code_in_its_markup():
    text = (browsers.PAGE / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son\w+=|https?://", text)
    for path in browsers.PAGE.glob("*.js"):
        code = path.read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|\beval\(|document\.write", code), path.name
        assert len(code.splitlines()) <= 400
