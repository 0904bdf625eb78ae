"""Several pictures: how they are selected, and what can be done with them."""

from __future__ import annotations

import csv
import io
import json
import re
from zipfile import ZipFile

import pytest
from playwright.sync_api import expect

from tests.server import browser as browsers
from tests.server.browser import asked, expect_first, found_by, id_of, open_page
from tests.server.test_page_states import SHAPES, check
from tests.server.test_page_view import fingers, middle


def expect_selected(page, *names):
    """Wait until just these pictures are marked as selected, and the bar counts them."""
    bar = page.locator("#selection")
    if not names:
        expect(bar).to_be_hidden()
    else:
        expect(bar.locator(".selected")).to_have_text(re.compile(rf"^{len(names)} selected, "))
    chosen = page.locator("#results li:has(.check[aria-pressed=true]) .caption")
    expect(chosen).to_have_count(len(names))  # after a reload, the list comes after the bar
    assert sorted(chosen.all_text_contents()) == sorted(names)


def tile(page, api, name):
    return page.locator(f"#results li[data-id='{id_of(api, name)}']")


def test_pictures_are_selected_by_check_marks_clicks_and_keys(page, process, api):
    open_page(page, process, "/?q=a+cat")
    names = found_by(api, text="a cat", k=29)
    first = page.locator("#results li").first
    expect(first.locator(".check")).to_have_css("opacity", "0")
    first.hover()
    expect(first.locator(".check")).to_have_css("opacity", "1")
    first.locator(".check").click()
    expect_selected(page, names[0])
    tile(page, api, names[3]).locator("a").click(modifiers=["Shift"])
    expect_selected(page, *names[:4])
    tile(page, api, names[1]).locator("a").click()  # it opens nothing while some are selected
    expect_selected(page, names[0], *names[2:4])
    assert asked(page) == {"q": ["a cat"]}
    page.keyboard.press("Escape")
    expect_selected(page)
    tile(page, api, names[2]).locator("a").focus()
    page.keyboard.press("Space")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    expect_selected(page, *names[2:5])
    page.keyboard.press("Space")
    expect_selected(page, *names[2:4])
    page.keyboard.press("Control+a")
    expect_selected(page, *names)
    page.locator("#text").fill("a rocket")
    expect_first(page, "rocket.jpg")
    expect_selected(page, *names)  # whatever is looked for next
    page.locator("#selection-clear").press("Enter")
    expect_selected(page)
    expect(page.locator("#results a:focus")).to_have_count(1)
    page.keyboard.press("Enter")
    expect(page.locator("#view")).to_be_visible()


def test_a_selection_is_there_when_the_page_is_loaded_again(page, process, api):
    open_page(page, process)
    for name in ("cat.jpg", "fig.jpg"):
        tile(page, api, name).locator("a").press("Space")
    page.reload()
    expect_selected(page, "cat.jpg", "fig.jpg")
    page.locator("#selection-clear").click()
    page.reload()
    expect(page.locator("#results li a").first).to_be_visible()
    expect_selected(page)


@pytest.mark.full
def test_a_long_press_selects_and_a_short_one_opens(browser, process, api):
    with browsers.watched(browser, process.address, browsers.TOKEN, **SHAPES["phone"]) as page:
        open_page(page, process)
        touch, names = fingers(page), page.locator("#results .caption").all_text_contents()
        touch("touchStart", middle(page.locator("#results li").nth(1).bounding_box()))
        expect(page.locator("#selection")).to_be_visible()
        touch("touchEnd")
        expect_selected(page, names[1])
        page.locator("#results li").first.tap()
        expect_selected(page, *names[:2])
        page.locator("#selection-clear").tap()
        page.locator("#results li").first.tap()
        expect(page.locator("#view")).to_be_visible()


def saved(page, press):
    with page.expect_download() as download:
        press()
    return download.value.suggested_filename, download.value.path().read_bytes()


@pytest.mark.full
def test_the_selection_is_copied_exported_and_downloaded(browser, process, api):
    permissions = ["clipboard-read", "clipboard-write"]
    with browsers.watched(browser, process.address, browsers.TOKEN, permissions=permissions) as page:
        open_page(page, process)
        names = ("cat.jpg", "coffee.jpg")
        for name in names:
            tile(page, api, name).hover()
            tile(page, api, name).locator(".check").click()
        known = [api.get("/pictures", params={"where": f"name = {name}"}).json()["pictures"][0] for name in names]
        page.click("#selection-copy")
        expect(page.locator("#selection")).to_contain_text("2 paths copied")
        copied = page.evaluate("() => navigator.clipboard.readText()")
        assert copied.split("\n") == [picture["path"] for picture in known]
        name, archive = saved(page, lambda: page.click("#selection-download"))
        assert name == "pictures.zip"
        with ZipFile(io.BytesIO(archive)) as files:
            assert files.namelist() == list(names)
            assert files.read("cat.jpg") == api.get(f"/pictures/{known[0]['id']}/file").content
        exported = {}
        for kind in ("JSON", "CSV", "TSV"):
            page.click("#selection-export")
            exported[kind] = saved(page, page.get_by_role("button", name=kind, exact=True).click)
            expect(page.locator("#selection-export")).to_be_focused()
        assert [name for name, _ in exported.values()] == ["pictures.json", "pictures.csv", "pictures.tsv"]
        assert json.loads(exported["JSON"][1]) == known
        for kind, separator in (("CSV", ","), ("TSV", "\t")):
            rows = list(csv.DictReader(io.StringIO(exported[kind][1].decode()), delimiter=separator))
            columns = ("path", "width", "height", "format", "size_bytes", "taken_at")
            assert rows == [{name: str(one[name] or "") for name in columns} for one in known]


@pytest.mark.full
def test_tables_hold_any_name_and_no_formula(page, process):
    open_page(page, process)
    odd = [{"path": '=a,"b"\nc\td', "width": 1}, {"path": "/\ufffd", "path_base64": "L/8="}]
    table = page.evaluate(
        """async (odd) => {
            const { asTable } = await import("/static/export.js");
            return [asTable(odd, ","), asTable(odd, "\\t")];
        }""",
        odd,
    )
    for text, separator in zip(table, ",\t", strict=True):
        rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=separator))
        assert [row["path"] for row in rows] == ["'" + odd[0]["path"], odd[1]["path"]]
        assert [row["path_base64"] for row in rows] == ["", "L/8="]


@pytest.mark.full
def test_the_selection_is_classified_and_is_an_example_of_a_query(page, process, api):
    open_page(page, process)
    names = ("cat.jpg", "rocket.jpg")
    for name in names:
        tile(page, api, name).locator("a").press("Space")
    page.click("#selection-classify")
    page.fill("#labels", "a cat, a rocket")
    rows = page.locator("#classify .several tr")
    expect(rows).to_have_count(2)
    expect(rows.nth(0)).to_contain_text(re.compile(r"cat\.jpg\s*a cat"))
    expect(rows.nth(1)).to_contain_text(re.compile(r"rocket\.jpg\s*a rocket"))
    page.click("#classify-close")
    page.click("#selection-like")
    ids = [id_of(api, name) for name in names]
    page.wait_for_function("() => location.search.includes('like=')")
    assert asked(page) == {"like": [str(image_id) for image_id in ids]}
    expect(page.locator("#terms li")).to_have_count(2)
    expect_selected(page)


@pytest.mark.full
def test_a_picture_is_dragged_into_the_query_with_all_that_are_selected(page, process):
    open_page(page, process)
    tiles = page.locator("#results li")  # the first, as the query is in sight then
    first = tiles.first.get_attribute("data-id")
    tiles.first.drag_to(page.locator("#bar"))
    page.wait_for_function("() => location.search.includes('like=')")
    assert asked(page) == {"like": [first]}
    expect(page.locator("#summary")).to_have_text("28 pictures, best first")  # the answer stands
    expect(tiles.first).not_to_have_attribute("data-id", first)  # an example is none of its hits
    for place in (1, 2):
        tiles.nth(place).locator("a").press("Space")
    others = [tiles.nth(place).get_attribute("data-id") for place in (1, 2)]
    tiles.nth(3).drag_to(page.locator("#summary"))  # nothing takes it there
    tiles.nth(2).drag_to(page.locator("#bar"))
    expect(page.locator("#terms li")).to_have_count(3)
    assert asked(page) == {"like": [first, *others]}


@pytest.mark.full
def test_an_archive_that_cannot_be_had_is_a_sentence(browser, process, api):
    with browsers.watched(browser, process.address, browsers.TOKEN, expected=("Failed to load resource",)) as page:
        page.route("**/archive", lambda route: route.continue_(post_data='{"ids": []}'))
        open_page(page, process)
        page.locator("#results a").first.press("Space")
        page.click("#selection-download")
        expect(page.locator("#selection")).to_contain_text("The request does not fit")
        expect(page.locator("#selection-download")).to_be_enabled()


@pytest.mark.full
@pytest.mark.parametrize("shape", SHAPES)
def test_a_selection_and_a_picture_close_to_are_accessible(browser, process, shape):
    with browsers.watched(browser, process.address, browsers.TOKEN, **SHAPES[shape]) as page:
        open_page(page, process)
        page.locator("#results a").first.press("Space")
        page.click("#selection-export")
        check(page, "selection")
        page.keyboard.press("Escape")
        page.click("#selection-clear")
        page.locator("#results a").first.press("Enter")
        page.keyboard.press("+")
        expect(page.locator(".facts")).to_be_visible()
        check(page, "close to")
