"""The view of one picture: close to, among others, by mouse, keys and fingers, and what it says and gives."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from mmsearch.samples import sample_folder
from tests.server import browser as browsers
from tests.server.browser import expect_focus, found_by, id_of, open_page

PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}


def opened(page, process, api, name="cat.jpg"):
    """Open the view of a picture among the hits of a search, and return the names of all hits."""
    open_page(page, process, "/?q=a+cat")
    names = found_by(api, text="a cat", k=29)
    page.locator(f"#results li[data-id='{id_of(api, name)}'] a").click()
    expect_title(page, name)
    return names


def expect_title(page, name):
    expect(page.locator("#view-title")).to_have_text(name)


def picture_box(page):
    """Return where the picture is, once it is shown and moves no more."""
    picture = page.locator("#view figure > img")
    expect(picture).to_be_visible()
    page.wait_for_function("() => document.getAnimations().every((one) => one.playState !== 'running')")
    return picture.bounding_box()


def middle(box):
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


# -- close to ----------------------------------------------------------------------------------------------


def test_a_picture_is_zoomed_and_moved_by_wheel_mouse_and_keys(page, process, api):
    names = opened(page, process, api)
    whole = picture_box(page)
    page.keyboard.press("+")
    page.keyboard.press("+")
    near = picture_box(page)
    assert near["width"] == pytest.approx(1.96 * whole["width"], abs=1)
    page.mouse.move(near["x"] + 0.4 * near["width"], near["y"] + 0.4 * near["height"])
    page.mouse.wheel(0, -200)
    page.wait_for_function(  # the browser answers before it has turned the wheel
        "width => document.querySelector('#view figure > img').getBoundingClientRect().width > width + 1",
        arg=near["width"],
    )
    nearer = picture_box(page)
    by = nearer["width"] / near["width"]
    assert by == pytest.approx(1.49, abs=0.02)
    for edge, side in (("x", "width"), ("y", "height")):  # what is under the mouse stays there
        assert nearer[edge] + 0.4 * nearer[side] == pytest.approx(near[edge] + 0.4 * near[side], abs=1)
    page.mouse.down()
    page.mouse.move(near["x"] + 0.4 * near["width"] + 30, near["y"] + 0.4 * near["height"] + 20, steps=2)
    page.mouse.up()
    moved = picture_box(page)
    assert (moved["x"] - nearer["x"], moved["y"] - nearer["y"]) == pytest.approx((30, 20), abs=1)
    page.keyboard.press("Shift+ArrowRight")
    assert picture_box(page)["x"] < moved["x"]
    page.keyboard.press("0")
    assert picture_box(page) == pytest.approx(whole, abs=0.5)
    page.keyboard.press("+")
    assert picture_box(page)["width"] == pytest.approx(1.4 * whole["width"], abs=1)
    page.keyboard.press("-")
    page.keyboard.press("-")  # it is never smaller than it fits
    assert picture_box(page) == pytest.approx(whole, abs=0.5)
    page.mouse.dblclick(*middle(whole))
    assert picture_box(page)["width"] == pytest.approx(2 * whole["width"], abs=1)
    page.mouse.dblclick(*middle(whole))
    assert picture_box(page) == pytest.approx(whole, abs=0.5)
    expect(page.locator(".zoomed")).to_have_text("160 %")
    page.click("#view-plus")
    expect(page.locator(".zoomed")).to_have_text("224 %")
    page.keyboard.press("ArrowRight")  # the next is seen as a whole again
    expect_title(page, names[names.index("cat.jpg") + 1])
    expect(page.locator("#view figure > img")).to_have_attribute("style", re.compile(r"scale\(1\)"))


@pytest.mark.full
def test_the_thumbnail_of_the_grid_is_shown_until_a_sharper_one_is_there(browser, process):
    with browsers.watched(browser, process.address, browsers.TOKEN, **PHONE) as page:
        held = []
        page.route("**/thumbnail?side=640", lambda route: held.append(route))
        open_page(page, process)
        tile = page.locator("#results li.loaded img").first
        address = tile.get_attribute("src")
        assert address.endswith("side=320")
        with page.expect_request("**/thumbnail?side=640"):
            tile.tap()
        picture = page.locator("#view figure > img")
        expect(picture).to_have_attribute("src", re.compile(f"{re.escape(address)}$"))
        assert picture.evaluate("image => image.complete && image.naturalWidth") == 320
        box = picture_box(page)
        held[0].continue_()
        expect(picture).to_have_attribute("src", address.replace("320", "640"))
        assert picture_box(page) == box


def test_views_and_the_pixels_that_they_need_are_computed_right(page, process):
    open_page(page, process)
    computed = page.evaluate(
        """async () => {
            const { closer, held, sideFor } = await import("/static/zoom.js");
            const { photographed } = await import("/static/details.js");
            const photo = { width: 6000, height: 4000, format: "JPEG" };
            return [
                closer({ zoom: 1, x: 0, y: 0 }, 2, [100, 50], 8),
                closer({ zoom: 2, x: -100, y: -50 }, 0.1, [100, 50], 8),
                closer({ zoom: 6, x: 0, y: 0 }, 9, [0, 0], 8).zoom,
                held({ zoom: 2, x: 900, y: -900 }, [600, 300], [800, 400]),
                [900, 2000, 3000].map((pixels) => String(sideFor(pixels, photo))),
                String(sideFor(3000, { ...photo, format: "TIFF" })),
                String(sideFor(3000, { ...photo, width: 400, height: 300 })),
                photographed({ exposure_s: 30, latitude: -33.85, longitude: 151.21 }),
                photographed({}),
            ];
        }"""
    )
    assert computed == [
        {"zoom": 2, "x": -100, "y": -50}, {"zoom": 1, "x": 0, "y": 0}, 8, {"zoom": 2, "x": 200, "y": -100},
        ["1280", "2560", "Infinity"], "2560", "640",
        {"Exposure": "30 s", "Place": "33.85000° S, 151.21000° E"}, {},
    ]  # fmt: skip


def fingers(page):
    """Return a function that puts fingers on the screen, at some points; none: they leave."""
    session = page.context.new_cdp_session(page)

    def put(kind, *points):
        touches = [{"x": x, "y": y, "id": n} for n, (x, y) in enumerate(points)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})

    return put


@pytest.mark.full
def test_fingers_swipe_pinch_and_tap(browser, process, api):
    with browsers.watched(browser, process.address, browsers.TOKEN, **PHONE) as page:
        names = opened(page, process, api)
        touch = fingers(page)

        def swipe(across, down):
            x, y = middle(picture_box(page))
            touch("touchStart", (x, y))
            touch("touchMove", (x + across / 2, y + down / 2))
            touch("touchMove", (x + across, y + down))
            touch("touchEnd")

        at = names.index("cat.jpg")
        swipe(-120, 10)
        expect_title(page, names[at + 1])
        swipe(120, 10)
        expect_title(page, names[at])
        whole = picture_box(page)
        x, y = middle(whole)
        touch("touchStart", (x - 40, y), (x + 40, y))
        touch("touchMove", (x - 80, y), (x + 80, y))
        touch("touchEnd")
        assert picture_box(page)["width"] == pytest.approx(2 * whole["width"], abs=2)
        swipe(-60, 0)  # moves what is close, and goes to no other
        assert picture_box(page)["x"] < whole["x"] - whole["width"] / 2 + 5
        expect_title(page, names[at])
        for _ in range(2):
            page.touchscreen.tap(x, y)
        assert picture_box(page) == pytest.approx(whole, abs=1)
        swipe(0, -120)
        expect(page.locator("#view-like")).to_be_in_viewport()
        page.locator("#view figure").scroll_into_view_if_needed()
        swipe(0, 120)
        expect(page.locator("#view")).to_be_hidden()
        expect_focus(page, "cat.jpg")


# -- among others ------------------------------------------------------------------------------------------


@pytest.mark.full
def test_the_filmstrip_has_what_is_before_and_after(page, process, api):
    names = opened(page, process, api)
    strip = page.locator(".filmstrip")
    at = names.index("cat.jpg")
    expect(strip.locator("[aria-current=true]")).to_have_attribute("aria-label", "cat.jpg")
    strip.get_by_role("button", name=names[at + 2]).click()
    expect_title(page, names[at + 2])
    current = strip.locator("[aria-current=true]")
    expect(current).to_have_attribute("aria-label", names[at + 2])
    frame = strip.bounding_box()
    assert middle(current.bounding_box())[0] == pytest.approx(middle(frame)[0], abs=2)
    shown = strip.locator("button").evaluate_all("all => all.map(one => one.ariaLabel)")
    assert shown == names[: len(shown)]


@pytest.mark.full
def test_a_click_beside_the_picture_closes_and_the_grid_has_the_focus_again(page, process, api):
    opened(page, process, api)
    box = picture_box(page)
    page.mouse.click(*middle(box))
    expect(page.locator("#view")).to_be_visible()
    page.mouse.click(box["x"] - 20, box["y"] + box["height"] / 2)
    expect(page.locator("#view")).to_be_hidden()
    expect_focus(page, "cat.jpg")


@pytest.mark.full
def test_the_picture_takes_the_width_of_a_large_screen(browser, process, api):
    with browsers.watched(
        browser, process.address, browsers.TOKEN, viewport={"width": 2560, "height": 1300}
    ) as page:
        opened(page, process, api)
        figure = page.locator("#view figure").bounding_box()
        assert figure["width"] > 2_000
        page.keyboard.press("i")
        expect(page.locator(".view-side")).to_be_hidden()
        assert page.locator("#view figure").bounding_box()["width"] > figure["width"] + 300


# -- what it says and gives ----------------------------------------------------------------------------------


@pytest.mark.full
def test_the_view_says_what_the_file_says_of_its_photograph(page, process, api):
    open_page(page, process, f"/?view={id_of(api, 'windmill-stone.jpg')}")
    facts = page.locator(".facts")
    expect(facts).to_contain_text("Place")
    said = dict(zip(facts.locator("dt").all_inner_texts(), facts.locator("dd").all_inner_texts(), strict=True))
    assert {name: said[name] for name in ("Camera", "Exposure", "Focal length", "Place")} == {
        "Camera": "FUJIFILM X-T3", "Exposure": "1/250 s, f/2.8, ISO 400", "Focal length": "35 mm",
        "Place": "52.37025° N, 4.89517° W",
    }  # fmt: skip


@pytest.mark.full
def test_the_path_is_copied_and_the_file_downloaded(browser, process, api):
    permissions = ["clipboard-read", "clipboard-write"]
    with browsers.watched(browser, process.address, browsers.TOKEN, permissions=permissions) as page:
        opened(page, process, api)
        path = api.get(f"/pictures/{id_of(api, 'cat.jpg')}").json()["path"]
        page.click("#view-copy")
        expect(page.locator("#view-copy")).to_have_text("Path copied")
        assert page.evaluate("() => navigator.clipboard.readText()") == path
        # A page of another machine that is not encrypted has no such clipboard.
        page.evaluate("() => Object.defineProperty(navigator, 'clipboard', { value: undefined })")
        page.keyboard.press("ArrowRight")
        expect(page.locator("#view-copy")).to_have_text("Copy path")
        page.click("#view-copy")
        expect(page.locator("#view-copy")).to_have_text("Path copied")
        expect(page.locator("#view-copy")).to_be_focused()
        page.keyboard.press("ArrowLeft")
        expect_title(page, "cat.jpg")
        with page.expect_download() as download:
            page.click("#view-download")
        assert download.value.suggested_filename == "cat.jpg"
        original = api.get(f"/pictures/{id_of(api, 'cat.jpg')}/file").content
        assert download.value.path().read_bytes() == original
        assert original[:2] == (sample_folder() / "cat.jpg").read_bytes()[:2]


def test_a_hit_says_what_it_stands_for_and_links_to_each(page, process, api):
    wanted = found_by(api, text="a cat")
    others = [api.get(f"/pictures/{id_of(api, name)}").json() for name in wanted[1:3]]

    def folded(route):
        response = route.fetch()
        found = response.json()
        kinds = zip(others, ("same-file", "look-alike"), strict=True)
        pictures = [
            {"id": one["id"], "path": one["path"], "name": one["name"], "kind": kind} for one, kind in kinds
        ]
        found["hits"][0]["folded"] = {
            "n_same_file": 1, "n_same_picture": 0, "n_look_alike": 5, "pictures": pictures
        }  # fmt: skip
        route.fulfill(response=response, json=found)

    page.route("**/search", folded)
    open_page(page, process, "/?q=a+cat&collapse=look-alike")
    expect(page.locator("#collapse")).to_have_value("look-alike")
    first = page.locator("#results li a").first
    expect(first.locator(".badge.folded")).to_have_text("2 copies, 5 similar")
    expect(first).to_have_attribute("aria-label", re.compile(r"^1\. .*, 2 copies, 5 similar"))
    expect(page.locator("#results .badge.folded").nth(1)).to_be_hidden()
    first.click()
    expect(page.locator("#view-folded h3")).to_have_text(["Copies of the file", "Pictures that look alike"])
    expect(page.locator("#view-folded li")).to_have_text([*(one["path"] for one in others), "and 4 more"])
    page.click("#view-folded a")
    expect_title(page, wanted[1])
    page.go_back()
    expect_title(page, wanted[0])


@pytest.mark.full
def test_what_is_one_hit_is_chosen_beside_the_search(page, process):
    open_page(page, process)
    expect(page.locator("#collapse-field")).to_be_hidden()
    open_page(page, process, "/?q=a+cat")
    with page.expect_request("**/search") as asked:
        page.select_option("#collapse", "same-picture")
    assert asked.value.post_data_json["collapse"] == "same-picture"
    expect(page).to_have_url(re.compile(r"[?&]collapse=same-picture$"))
