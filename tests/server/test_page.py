"""The page of `mmsearch serve` in a real browser: everything that can be asked for."""

from __future__ import annotations

import io
import re
from urllib.parse import quote_plus

import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.server import browser as browsers
from tests.server.browser import (
    asked,
    expect_first,
    expect_focus,
    expect_names,
    found_by,
    give,
    id_of,
    judge,
    open_page,
    sample,
    side_by_side,
)

# -- words ---------------------------------------------------------------------------------------------


def test_the_link_that_is_printed_opens_the_library(browser, gallery, cache):
    started = browsers.start(gallery, cache)
    page = browser.new_page()
    page.goto(started.link)
    expect(page.locator("#summary")).to_have_text("29 pictures")
    assert page.url == f"{started.address}/"
    page.close()
    started.stop()


def test_the_right_picture_is_first_when_typing_pauses(page, process, api):
    open_page(page, process)
    page.locator("#text").press_sequentially("a cat", delay=20)
    expect_first(page, "cat.jpg")
    assert asked(page) == {"q": ["a cat"]}
    assert page.title() == "a cat - mmsearch"
    expect(page.locator("#summary")).to_have_text("29 pictures, best first")
    expect_names(page, found_by(api, text="a cat"))


@pytest.mark.full
def test_a_late_answer_never_takes_the_place_of_a_newer_one(page, process):
    open_page(page, process)
    held = []
    page.route("**/search", lambda route: held.append(route) if not held else route.continue_())
    page.fill("#text", "a windmill")
    page.wait_for_function("() => document.title.startsWith('a windmill')")
    page.fill("#text", "a cat")
    expect_first(page, "cat.jpg")
    held[0].fulfill(json={"hits": [], "route": "exact", "n_candidates": 0, "message": "late", "seconds": {}})
    page.wait_for_timeout(300)
    expect_first(page, "cat.jpg")


@pytest.mark.full
def test_what_is_left_out_moves_the_answer_away(page, process, api):
    open_page(page, process, "/?q=an+animal")
    page.fill("#exclude", "a cat")
    page.press("#exclude", "Enter")
    expect(page.locator(".term.not")).to_have_text("less ofa cat")
    page.wait_for_function("() => location.search.includes('not=')")
    expected = found_by(api, text="an animal", exclude=[{"text": "a cat"}])
    assert expected != found_by(api, text="an animal")
    expect_names(page, expected)
    page.get_by_role("button", name="No longer less of a cat").click()
    expect(page.locator("#terms")).to_be_hidden()
    assert asked(page) == {"q": ["an animal"]}


# -- how likely a hit is what was asked for ------------------------------------------------------------


def standings(page):
    return page.locator("#results .standing").all_text_contents()


def test_a_line_stands_between_what_is_likely_and_what_is_weak(page, process, api):
    judge(page, [0.9, 0.5, 0.1, 0.01])
    open_page(page, process, "/?q=a+cat")
    wanted = found_by(api, text="a cat")
    expect_names(page, wanted)
    expect(page.locator("#summary")).to_have_text("29 pictures, best first")
    assert standings(page) == ["strong", "strong", "fair", *["weak"] * 26]
    expect(page.locator("#results li").nth(3)).to_have_text("Less likely what you asked for")
    expect(page.locator("#results a").nth(2)).to_have_attribute("aria-label", f"3. {wanted[2]}, fair")
    tops = page.locator("#results li").evaluate_all("all => all.map(one => one.offsetTop)")
    assert max(tops[:3]) < tops[3] < min(tops[4:])


@pytest.mark.full
def test_keys_pass_over_the_line(page, process, api):
    judge(page, [0.9, 0.5, 0.01])
    open_page(page, process, "/?q=a+cat")
    wanted = found_by(api, text="a cat")
    page.locator("#results a").nth(1).focus()
    page.keyboard.press("ArrowRight")
    expect_focus(page, wanted[2])
    page.keyboard.press("ArrowLeft")
    expect_focus(page, wanted[1])
    page.keyboard.press("ArrowDown")
    assert page.evaluate("() => document.activeElement.closest('li').offsetTop") > page.evaluate(
        "() => document.querySelector('.divider').offsetTop"
    )
    page.keyboard.press("End")
    expect_focus(page, wanted[-1])


@pytest.mark.full
def test_that_nothing_matches_well_is_said_first_and_the_nearest_are_shown(page, process, api):
    judge(page, [0.1, 0.01], answer=0.1)
    open_page(page, process, "/?q=a+cat")
    expect(page.locator("#summary")).to_have_text("Nothing here matches well")
    expect(page.locator("#message")).to_have_text(
        "29 pictures, best first, but most likely none is what you asked for."
    )
    expect_names(page, found_by(api, text="a cat"))
    page.fill("#text", "")
    expect(page.locator("#summary")).to_have_text("29 pictures")
    expect(page.locator("#message")).to_be_hidden()
    expect(page.locator("#results .standing")).to_have_text([""] * 29)


@pytest.mark.full
def test_ranks_stand_on_pictures_where_nobody_knows_how_likely_they_are(page, process):
    judge(page, None)
    open_page(page, process, "/?q=a+cat")
    expect_first(page, "cat.jpg")
    expect(page.locator(".divider")).to_have_count(0)
    assert standings(page) == [str(rank) for rank in range(1, 30)]
    page.locator("#results a").first.click()
    expect(page.locator("#view .numbers summary")).to_be_visible()
    expect(page.locator("#view .verdict")).to_have_count(0)


@pytest.mark.full
def test_the_view_says_how_likely_a_picture_is_what_was_asked_for(page, process):
    judge(page, [0.9, 0.01])
    open_page(page, process, "/?q=a+cat")
    expect_first(page, "cat.jpg")
    page.locator("#results a").first.click()
    expect(page.locator("#view .verdict")).to_have_text("A strong match: most likely what you asked for.")
    expect(page.locator("#view .scores")).to_be_hidden()
    page.locator("#view .numbers summary").press("Enter")
    expect(page.locator(".scores tr").first).to_have_text("Probability that it is what you asked for0.900")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#view .verdict")).to_have_text("A weak match: most likely not what you asked for.")
    expect(page.locator("#view .scores")).to_be_visible()


@pytest.mark.full
def test_no_words_of_engineers_stand_on_the_page(page, process, api):
    wall = id_of(api, "great-wall.jpg")
    for address in ("/", f"/?like={wall}@40,20,300,220&view={wall}"):
        open_page(page, process, address)
        page.locator("#about").evaluate("about => (about.open = true)")
        words = page.locator("body").inner_text().lower()
        assert not re.findall(r"cosine|local feature|visual word|abstain|inlier|vector|embed|encod|rerank", words)
    said = re.compile(r"^\d+ pictures? shows? the same thing as the example\.$")
    expect(page.locator("#message")).to_have_text(said)


# -- pictures ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["drop", pytest.param("paste", marks=pytest.mark.full)])
def test_a_picture_that_is_brought_is_searched_by(page, process, kind):
    open_page(page, process)
    give(page, kind, sample("goldfish"))
    expect_first(page, "goldfish.jpg")
    assert list(asked(page)) == ["upload"]
    expect(page.locator("#upload-note")).to_contain_text("cannot be part of the address")


@pytest.mark.full
def test_what_is_no_picture_is_not_searched_by(page, process):
    open_page(page, process)
    give(page, "drop", b"notes", "text/plain")
    expect(page.locator("#message")).to_have_text("What was dropped is not a picture that can be read.")
    assert asked(page) == {}


def test_a_part_drawn_on_a_picture_is_what_is_looked_for(page, process):
    data, middle = side_by_side("cat", "great-wall")
    open_page(page, process)
    give(page, "drop", data)
    page.get_by_role("button", name="Choose a part of mine").click()
    stage = page.locator(".crop-stage").bounding_box()
    share = middle / Image.open(io.BytesIO(data)).width
    page.mouse.move(stage["x"] + stage["width"] * (share + 0.01), stage["y"] + 2)
    page.mouse.down()
    page.mouse.move(stage["x"] + stage["width"] - 1, stage["y"] + stage["height"] - 1, steps=4)
    page.mouse.up()
    page.click("#crop-use")
    page.wait_for_function("() => location.search.includes('@')")
    expect_first(page, "great-wall.jpg")
    (left, top, right, bottom) = map(float, asked(page)["upload"][0].partition("@")[2].split(","))
    assert middle <= left <= middle + 20
    assert right - left > 300
    assert (top, bottom) == pytest.approx((0, 300), abs=8)


@pytest.mark.full
def test_a_part_can_be_given_in_numbers_and_taken_back(page, process, api):
    wall = id_of(api, "great-wall.jpg")
    open_page(page, process, f"/?like={wall}")
    page.get_by_role("button", name="Choose a part of great-wall.jpg").press("Enter")
    page.get_by_label("Left").fill("25")
    page.get_by_label("Bottom").fill("50")
    page.get_by_label("Bottom").blur()
    page.locator("#crop-use").press("Enter")
    page.wait_for_function("() => location.search.includes('@')")
    assert asked(page)["like"] == [f"{wall}@80,0,320,120"]
    page.get_by_role("button", name="Choose a part of great-wall.jpg").press("Enter")
    page.locator("#crop-whole").press("Enter")
    page.wait_for_function("() => !location.search.includes('@')")
    assert asked(page)["like"] == [str(wall)]


@pytest.mark.full
def test_words_and_a_picture_go_together_with_their_weights(page, process, api):
    cat = id_of(api, "cat.jpg")
    open_page(page, process, f"/?like={cat}")
    page.fill("#text", "a rocket")
    sliders = page.locator("#terms input[type=range]")
    expect(page.locator("#weights")).to_be_visible()
    expect(sliders).to_have_count(0)
    page.locator("#weights").press("Enter")
    expect(sliders).to_have_count(2)
    page.get_by_label("Weight of the words").press("End")
    page.get_by_label("Weight of cat.jpg").press("Home")
    expect_first(page, "rocket.jpg")
    page.wait_for_function("() => location.search.includes('*0.1')")
    assert asked(page) == {"q*3": ["a rocket"], "like": [f"{cat}*0.1"]}
    query = {"text": "a rocket", "text_weight": 3, "pictures": [{"id": cat, "weight": 0.1}], "rerank": "auto"}
    expect_names(page, [name for name in found_by(api, **query) if name != "cat.jpg"])
    page.locator("#weights").press("Enter")
    expect(sliders).to_have_count(0)
    assert asked(page) == {"q": ["a rocket"], "like": [str(cat)]}


def test_more_like_this_searches_by_the_picture(page, process, api):
    open_page(page, process, "/?q=a+dog")
    page.locator("#results li", has=page.get_by_label(re.compile("two-dogs"))).locator("a").click()
    page.click("#view-like")
    dogs = id_of(api, "two-dogs.jpg")
    like = found_by(api, pictures=[{"id": dogs}])
    assert like[0] == "two-dogs.jpg"
    expect_names(page, like[1:])  # nobody looks for what they have
    assert asked(page) == {"like": [str(dogs)]}
    expect(page.locator("#terms .term-text")).to_have_text("two-dogs.jpg")
    expect_focus(page, like[1])


@pytest.mark.full
def test_a_search_can_go_on_from_what_shows_the_same_thing(page, process, api):
    wall = id_of(api, "great-wall.jpg")
    open_page(page, process, f"/?like={wall}@40,20,300,220")
    with page.expect_request("**/search") as request:
        page.locator("#expand").press("Space")
    assert request.value.post_data_json["expand"] == "average"
    page.wait_for_function("() => location.search.includes('expand=1')")
    expect_names(page, found_by(api, pictures=[{"id": wall, "box": [40, 20, 300, 220]}], expand="average", k=100))
    page.reload()
    expect(page.locator("#expand")).to_be_checked()


@pytest.mark.full
def test_an_empty_box_has_examples_to_try(page, process, api):
    open_page(page, process)
    page.get_by_role("group", name="Examples").get_by_role("button", name="a cat").click()
    expect_first(page, "cat.jpg")
    expect(page.locator("#text")).to_have_value("a cat")
    expect(page.locator("#text")).to_be_focused()
    expect(page.locator("#examples")).to_be_hidden()
    assert asked(page) == {"q": ["a cat"]}


@pytest.mark.full
def test_a_file_that_is_called_a_picture_and_is_none_is_said(browser, process):
    expected = ("Failed to load resource",)
    with browsers.watched(browser, process.address, browsers.TOKEN, expected=expected) as page:
        open_page(page, process)
        give(page, "drop", b"nonsense" * 10)
        expect(page.locator("#state")).to_contain_text("Your picture: no known picture format")
        page.locator("#state").get_by_role("button", name="Start over").click()
        expect(page.locator("#summary")).to_have_text("29 pictures")


# -- the view of one picture -----------------------------------------------------------------------------


@pytest.mark.full
def test_the_view_shows_scores_by_stage_and_the_matched_places_on_both_pictures(page, process, api):
    wall = id_of(api, "great-wall.jpg")
    part = {"pictures": [{"id": wall, "box": [40, 20, 300, 220]}], "explain": True, "k": 1}
    hit = api.post("/search", json=part).json()["hits"][0]
    assert hit["local"]["is_verified"]
    open_page(page, process, f"/?like={wall}@40,20,300,220")
    page.locator("#results a").first.click()
    sides = page.locator(".matches > svg")
    expect(sides).to_have_count(2)
    for side in (0, 1):
        assert sides.nth(side).locator("circle").count() == hit["local"]["n_inliers"]
        assert sides.nth(side).locator("polygon.region").count() == 1
        assert sides.nth(side).locator("polygon.outline").count() == 1
    page.locator("#view .numbers summary").click()
    rows = page.locator("#view .scores tr").all_inner_texts()
    shown = [float(re.findall(r"-?\d[\d.]*$", row)[-1]) for row in rows]
    local = hit["local"]
    expected = [hit["score"], hit["terms"][0]["cosine"], local["score"], local["n_inliers"]]
    assert shown == pytest.approx(expected, abs=6e-4)
    expect(page.locator(".verdict")).to_have_text("The same thing as in the example, by many small details.")
    page.click("#show-Picture")
    expect(page.locator("#view figure > img")).to_have_attribute("alt", "great-wall.jpg")


def test_matched_regions_are_computed_right(page, process):
    open_page(page, process)
    computed = page.evaluate(
        """async () => {
            const { hull, mapped } = await import("/static/matches.js");
            const { dragged } = await import("/static/crop.js");
            const { justified } = await import("/static/layout.js");
            return [
                hull([[0, 0], [2, 0], [1, 1], [2, 2], [0, 2]]),
                mapped([[2, 0, 1], [0, 2, 3], [0, 0, 2]], [5, 6]),
                dragged([0.2, 0.2, 0.6, 0.6], [0.3, 0.3], [0.9, 0.2], "all"),
                dragged([0.2, 0.2, 0.6, 0.6], [0.6, 0.6], [0.1, 0.9], [2, 3]),
                justified([1, 1, 1, 2], 310, 100, 5),
            ];
        }"""
    )
    assert sorted(computed[0]) == [[0, 0], [0, 2], [2, 0], [2, 2]]
    assert computed[1] == [5.5, 7.5]
    assert computed[2] == pytest.approx([0.6, 0.1, 1, 0.5])
    assert computed[3] == pytest.approx([0.1, 0.2, 0.2, 0.9])
    assert computed[4] == [{"height": 100, "widths": [100, 100, 100]}, {"height": 100, "widths": [200]}]


@pytest.mark.full
def test_rows_of_the_grid_fill_its_width(page, process):
    judge(page, None)
    open_page(page, process, "/?q=a")
    rows = page.evaluate(
        """() => Object.values(Object.groupBy(document.querySelectorAll("#results li"), (tile) => tile.offsetTop))
            .map((tiles) => tiles.at(-1).getBoundingClientRect().right)"""
    )
    right = page.locator("#results").evaluate("grid => grid.getBoundingClientRect().right")
    assert len(rows) > 3
    assert rows[:-1] == pytest.approx([right] * (len(rows) - 1), abs=1)
    assert page.locator("#results img:not([loading=lazy])").count() == 0


@pytest.mark.full
def test_pictures_can_be_ranked_by_their_details_alone(page, process, api):
    wall = id_of(api, "great-wall.jpg")
    open_page(page, process, f"/?like={wall}@40,20,300,220")
    page.get_by_label("Rank by").select_option("words")
    expected = found_by(api, pictures=[{"id": wall, "box": [40, 20, 300, 220]}], mode="local", k=100)
    expect(page.locator("#summary")).to_have_text(f"{len(expected)} pictures with details in common")
    expect_names(page, expected)
    assert asked(page)["rank"] == ["words"]


# -- marks -----------------------------------------------------------------------------------------------


def test_marked_pictures_move_the_query_when_searched_again(page, process, api):
    open_page(page, process, "/?q=a+building")
    ids = {name: id_of(api, name) for name in ("winter-palace.jpg", "windmill-stone.jpg")}
    for name, kind in (("winter-palace.jpg", "Relevant"), ("windmill-stone.jpg", "Not relevant")):
        tile = page.locator(f"#results li[data-id='{ids[name]}']")
        tile.hover()
        tile.get_by_role("button", name=kind, exact=True).click()
    expect(page.locator("#marks")).to_contain_text("1 relevant, 1 not relevant")
    assert asked(page) == {"q": ["a building"]}
    page.click("#again")
    judged = {"relevant": [ids["winter-palace.jpg"]], "irrelevant": [ids["windmill-stone.jpg"]]}
    expected = found_by(api, text="a building", **judged)
    assert expected != found_by(api, text="a building")
    expect_names(page, expected)
    assert asked(page) == {
        "q": ["a building"],
        "yes": [str(judged["relevant"][0])],
        "no": [str(judged["irrelevant"][0])],
    }
    page.click("#forget")
    expect(page.locator("#marks")).to_be_hidden()
    assert asked(page) == {"q": ["a building"]}


def mark(page, api, name, kind):
    tile = page.locator(f"#results li[data-id='{id_of(api, name)}']")
    tile.hover()
    tile.get_by_role("button", name=kind, exact=True).click()


@pytest.mark.full
def test_a_picture_that_is_not_relevant_leaves_and_comes_back_when_marks_are_forgotten(page, process, api):
    open_page(page, process, "/?q=a+cat")
    mark(page, api, "cat.jpg", "Not relevant")
    page.click("#again")
    expect(page.locator("#summary")).to_have_text("28 pictures, best first")
    expect(page.locator(f"#results li[data-id='{id_of(api, 'cat.jpg')}']")).to_have_count(0)
    page.click("#forget")
    expect_first(page, "cat.jpg")


@pytest.mark.full
def test_an_answer_of_which_all_is_marked_as_not_relevant_says_so(page, process, api):
    open_page(page, process, "/?q=a+cat&where=name+%3D+cat.jpg")
    mark(page, api, "cat.jpg", "Not relevant")
    page.click("#again")
    expect(page.locator("#state")).to_contain_text("All pictures that are left are marked as not relevant.")


@pytest.mark.full
@pytest.mark.parametrize("is_searched_with", [True, False])
def test_other_words_and_another_picture_start_without_marks(page, process, api, is_searched_with):
    for change in (
        lambda: page.fill("#text", "a rocket"),
        lambda: give(page, "drop", sample("fig")),
        lambda: page.locator("#results a").first.press("m"),
    ):
        open_page(page, process, "/?q=a+building")
        mark(page, api, "winter-palace.jpg", "Relevant")
        if is_searched_with:
            page.click("#again")
            page.wait_for_function("() => location.search.includes('yes=')")
        before = page.url
        change()
        page.wait_for_function("before => location.href !== before", arg=before)
        expect(page.locator("#marks")).to_be_hidden()
        assert not {"yes", "no", "keep"} & set(asked(page))
        expect(page.locator("#results [aria-pressed=true]")).to_have_count(0)


@pytest.mark.full
def test_what_is_the_same_question_keeps_its_marks(page, process, api):
    open_page(page, process, "/?q=a+building")
    mark(page, api, "winter-palace.jpg", "Relevant")
    page.click("#again")
    page.fill("#exclude", "water")
    page.press("#exclude", "Enter")
    page.wait_for_function("() => location.search.includes('not=')")
    assert asked(page)["yes"] == [str(id_of(api, "winter-palace.jpg"))]


@pytest.mark.full
def test_marks_that_are_kept_go_along_with_the_next_question(page, process, api):
    palace = id_of(api, "winter-palace.jpg")
    open_page(page, process, "/?q=a+building")
    mark(page, api, "winter-palace.jpg", "Relevant")
    keep = page.get_by_label("Keep marks for the next question")
    keep.focus()
    page.keyboard.press("Space")
    expect(keep).to_be_checked()
    expect(keep).to_be_focused()
    page.fill("#text", "a rocket")
    page.wait_for_function("() => location.search.includes('rocket')")
    assert asked(page) == {"q": ["a rocket"], "yes": [str(palace)], "keep": ["1"]}
    expect_names(page, found_by(api, text="a rocket", relevant=[palace]))
    page.go_back()
    expect(page.locator("#text")).to_have_value("a building")
    page.go_forward()
    expect(page.locator("#text")).to_have_value("a rocket")
    expect(page.locator("#marks")).to_contain_text("1 relevant")
    expect(keep).to_be_checked()
    page.reload()
    expect(keep).to_be_checked()
    page.click("#forget")
    expect(page.locator("#marks")).to_be_hidden()
    assert asked(page) == {"q": ["a rocket"]}


# -- filters ---------------------------------------------------------------------------------------------


def test_filters_have_counts_and_leave_what_passes(page, process, api):
    open_page(page, process, "/?q=a+landscape")
    page.click("#toggle-filters")
    trip = page.locator("#filters .choice", has_text="trip")
    n = int(trip.locator(".count").inner_text())
    assert n == 14
    trip.click()
    expect(page.locator("#summary")).to_have_text("14 pictures, best first")
    page.locator("#filters .choice", has_text="2021").click()
    where = [*asked(page)["where"]]
    among = api.get("/pictures", params={"where": where}).json()
    assert len(where) == 2
    expect(page.locator("#results li[data-id]")).to_have_count(among["n"])
    page.get_by_role("button", name="Remove the filter Date: 2021").click()
    expect(page.locator("#results li[data-id]")).to_have_count(14)
    page.locator("#filters .choice", has_text="up to 100 kB").click()
    expect(page.locator("#chips li")).to_have_text(["Folder: trip", "Size: below 100 kB"])
    small = api.get("/pictures", params={"where": [where[0], "size < 100000"]}).json()
    expect(page.locator("#results li[data-id]")).to_have_count(small["n"])


@pytest.mark.full
def test_several_choices_of_one_kind_are_alternatives_and_what_is_left_of_others_follows(page, process, api):
    open_page(page, process)
    page.click("#toggle-filters")
    choice = lambda words: page.locator("#filters .choice", has_text=words)  # noqa: E731
    years = api.get("/facets").json()["years"]
    choice("2020").click()
    expect(page.locator("#summary")).to_have_text(f"{years[0]['n']} of 29 pictures")
    expect(choice("2021").locator(".count")).to_have_text(str(years[1]["n"]))  # as if no year was chosen
    home = choice("home").locator("input")
    expect(home).to_be_disabled()  # none of it has a date
    choice("2021").click()
    expect(page.locator("#summary")).to_have_text(f"{years[0]['n'] + years[1]['n']} of 29 pictures")
    expect(page.locator("#chips li")).to_have_text(["Date: 2020 or 2021"])
    assert asked(page) == {"where": ["taken = 2020 or taken = 2021"]}
    expect(page.locator("#filters input:focus")).to_have_count(1)
    choice("2020").click()
    expect(page.locator("#chips li")).to_have_text(["Date: 2021"])
    choice("2021").click()
    choice("portrait").click()
    choice("up to 1,000 px").click()
    n = api.get("/pictures", params={"where": ["orientation = portrait", "width < 1000"]}).json()["n"]
    expect(page.locator("#summary")).to_have_text(f"{n} of 29 pictures")
    expect(page.locator("#chips li")).to_have_text(["Shape: portrait", "Width: below 1,000 px"])


@pytest.mark.full
def test_folders_are_a_tree_of_which_any_may_be_chosen(page, process):
    computed = page.goto(process.address) and page.evaluate(
        """async () => {
            const { treeOf } = await import("/static/folders.js");
            const { fieldOf, alternativesOf } = await import("/static/state.js");
            const paths = ["/p/b", "/p/a-b", "/p/a/c", "/p/a", "/p/a/c/d"];
            const brief = (nodes) => nodes.map(({ name, below }) => (below.length ? [name, brief(below)] : name));
            return [
                brief(treeOf(paths.map((path) => ({ path })))),
                ["folder = /a or path ~ */b/*", "width >= 1 and width < 5 or width > 9", "name ~ a or width > 1",
                 '(folder = "/a or b (2)")', "not width > 1", "name ~ a or (name ~ b)"].map(fieldOf),
                alternativesOf(["size >= 1", "size < 9", "folder = /a or folder = /b or c"], "size"),
                alternativesOf(["size >= 1", "size < 9", "folder = /a or folder = /b or c"], "folder"),
            ];
        }"""
    )
    assert computed[0] == [["a", [["c", ["d"]]]], "a-b", "b"]
    assert computed[1] == [
        "folder", "width", "name ~ a or width > 1", "folder", "not width > 1", "name ~ a or (name ~ b)",
    ]  # fmt: skip
    assert computed[2:] == [["size >= 1 and size < 9"], ["folder = /a", "folder = /b or c"]]


@pytest.mark.full
def test_dates_and_names_are_filters(page, process, api):
    open_page(page, process)
    page.click("#toggle-filters")
    page.fill("#taken-from", "2021-01-01")
    page.locator("#taken-from").blur()
    n = api.get("/pictures", params={"where": "taken >= 2021-01-01"}).json()["n"]
    expect(page.locator("#summary")).to_have_text(f"{n} of 29 pictures")
    page.get_by_role("button", name="Remove the filter Date: from 2021-01-01").click()
    page.fill("#filter-name", "windmill")
    page.press("#filter-name", "Enter")
    expect(page.locator("#results li")).to_have_count(2)
    assert asked(page) == {"where": ["name ~ *windmill*"]}


@pytest.mark.full
def test_a_filter_of_several_comparisons_stands_by_itself(page, process, api):
    where = "name ~ *wood* or (name ~ *stone* and width > 1)"
    open_page(page, process, f"/?where={quote_plus(where)}&where=name+~+windmill*")
    expect(page.locator("#chips li")).to_have_text([where, "Name: windmill*"])
    expect(page.locator("#results li")).to_have_count(2)
    page.get_by_role("button", name="Remove the filter Name: windmill*").click()
    expect(page.locator("#results li")).to_have_count(2)
    assert asked(page) == {"where": [where]}
    page.get_by_role("button", name=f"Remove the filter {where}").click()
    expect(page.locator("#results li")).to_have_count(29)


def test_the_library_is_shown_as_a_whole_the_newest_first(page, process, api):
    open_page(page, process)
    expect(page.locator("#results li")).to_have_count(29)
    shown = page.locator("#results li a").evaluate_all("links => links.map(link => link.ariaLabel)")
    assert shown == [
        picture["name"] for picture in api.get("/pictures", params={"order": "taken"}).json()["pictures"]
    ]
    titles = page.locator("#results h3").all_inner_texts()
    assert titles[0].startswith("May 2022")
    assert titles[-1].startswith("Without a date")


# -- labels ----------------------------------------------------------------------------------------------


def test_a_picture_of_the_library_is_classified_by_typed_labels(page, process, api):
    cat = id_of(api, "cat.jpg")
    open_page(page, process, f"/?view={cat}")
    page.click("#view-classify")
    page.fill("#labels", "a dog, a cat, a rocket")
    # What the encoder knows is embedded once, to tell labels that it hardly knows.
    expect(page.locator(".classify-answer tr").first).to_contain_text("a cat")
    expected = api.post(
        "/classify", json={"labels": ["a dog", "a cat", "a rocket"], "pictures": [{"id": cat}]}
    ).json()
    best = expected["pictures"][0]["labels"][0]
    expect(page.locator(".classify-answer tr").first).to_contain_text(f"{100 * best['probability']:.1f} %")
    assert asked(page)["label"] == ["a dog", "a cat", "a rocket"]
    page.reload()
    expect(page.locator(".classify-answer tr")).to_have_count(4)  # with none of these
    expect(page.locator("#view-title")).to_have_text("cat.jpg")
    page.click("#classify-close")  # lies above the view
    expect(page).to_have_url(f"{process.address}/?view={cat}")
    expect(page.locator("#classify")).to_be_hidden()


@pytest.mark.full
def test_a_picture_that_is_brought_is_classified(page, process):
    open_page(page, process)
    page.click("#open-classify")
    give(page, "drop", sample("panda"))
    page.fill("#labels", "a bear\na panda\na car")
    expect(page.locator(".classify-answer tr").first).to_contain_text("a panda")
    assert asked(page) == {}


def label(page, **answers):
    """Let labels be judged so from now on, and return what is asked."""
    asked = []

    def judged(route):
        asked.append(route.request.post_data_json)
        labels = [
            {"label": label, "probability": share, "cosine": 0.1}
            for label, share in zip(asked[-1]["labels"], (0.3, 0.2), strict=False)
        ]
        answer = {"picture": "picture 1", "labels": labels, "error": None}
        is_open = not (asked[-1]["closed"] if "closed" in asked[-1] else asked[-1].get("multi"))
        none = {"none_of_these": 0.25} if is_open else {}
        route.fulfill(json={"pictures": [answer | none], "warnings": [], **answers})

    page.route("**/classify", judged)
    return asked


@pytest.mark.full
def test_none_of_these_is_a_line_among_the_labels(page, process):
    label(page, warnings=["offline has hardly seen 'euphonium'"])
    page.goto(process.address + "/?classify=1&label=a+cat&label=euphonium")
    rows = page.locator(".classify-answer tr")
    expect(rows).to_have_count(3)
    assert [row.split("\t")[0] for row in rows.all_inner_texts()] == ["a cat", "none of these", "euphonium"]
    expect(rows.nth(1)).to_contain_text("25.0 %")
    expect(page.locator(".classify-answer .note")).to_have_text("offline has hardly seen 'euphonium'")


@pytest.mark.full
def test_labels_can_be_closed_or_judged_by_themselves(page, process):
    asked = label(page)
    page.goto(process.address + "/?classify=1&label=a+cat&label=a+dog")
    expect(page.locator(".classify-answer tr")).to_have_count(3)
    for way, more in (("any of these", {"multi": True}), ("one of these", {"closed": True})):
        with page.expect_response("**/classify"):
            page.get_by_label("It is").select_option(way)
        expect(page.locator(".classify-answer tr")).to_have_count(2)
        assert asked[-1] == {"labels": ["a cat", "a dog"], "k": 2, "pictures": [{"id": 1}]} | more
    page.get_by_label("It is").select_option("one of these, or none")
    expect(page.locator(".classify-answer tr")).to_have_count(3)
