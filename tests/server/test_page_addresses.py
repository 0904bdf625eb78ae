"""The page by its address, by "back", and by keys alone."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.server.browser import expect_first, expect_focus, expect_names, found_by, give, id_of, open_page, sample


def test_an_address_restores_a_search(page, process, api):
    moose = id_of(api, "moose.jpg")
    open_page(page, process, f"/?q*2=an+animal&not=a+cat&where=name+~+*o*&view={moose}&rank=none")
    expect(page.locator("#view-title")).to_have_text("moose.jpg")
    page.keyboard.press("Escape")
    expect(page.locator("#text")).to_have_value("an animal")
    expect(page.locator(".term.not")).to_contain_text("less ofa cat")
    expect(page.locator("#chips")).to_have_text("Name: *o*")
    query = {"text": "an animal", "text_weight": 2, "exclude": [{"text": "a cat"}], "where": ["name ~ *o*"]}
    expect_names(page, found_by(api, **query))


@pytest.mark.full
def test_addresses_and_states_are_the_same_thing(page, process):
    open_page(page, process)
    addresses = [
        "/", "/?q=2:30+pm", "/?q*0.5=a+%26+b", "/?like=3&like=4@1,2,30,40*0.5&not*2=snow&not=2:rain",
        "/?q=a&yes=1,2&no=3&keep=1&where=folder+%3D+%2Fa+b&rank=words", "/?upload=12-34*2&view=7",
        "/?classify=4&label=a+cat&label=b", "/?like=3&rank=local&expand=1",
    ]  # fmt: skip
    script = """async all => {
        const { fromAddress, toAddress } = await import("/static/state.js");
        return all.map(one => toAddress(fromAddress(one.slice(1))));
    }"""
    assert page.evaluate(script, addresses) == addresses
    odd = [
        "/?like=x&like=0&like=1@5,5,1,1&yes=1,1,z&view=-3&rank=magic&not=+",
        "/?q*0=none&like=1*0&not*x=a&colour=red",
    ]
    assert page.evaluate(script, odd) == ["/?yes=1", "/"]


@pytest.mark.full
def test_an_address_cannot_hold_a_picture_that_was_brought_and_says_so(page, process):
    open_page(page, process)
    give(page, "drop", sample("fig"))
    expect_first(page, "fig.jpg")
    page.reload()
    expect_first(page, "fig.jpg")  # it stays in the tab
    expect(page.locator("#terms .term-text")).to_have_text("mine")
    page.evaluate("() => sessionStorage.clear()")  # as in another tab
    page.reload()
    expect(page.locator("#state")).to_contain_text("An address cannot hold its bytes")
    give(page, "drop", sample("fig"))
    expect_first(page, "fig.jpg")
    expect(page.locator("#terms li")).to_have_count(1)


@pytest.mark.full
def test_pictures_that_were_brought_are_bounded_and_those_of_closed_tabs_leave(page, process):
    open_page(page, process)
    kept = page.evaluate(
        """async () => {
            const { keepForTab, restored } = await import("/static/kept.js");
            for (let n = 0; n < 20; n++) await keepForTab(`1-${n}`, new File([`${n}`], `${n}.jpg`));
            await keepForTab("large", new File([new Uint8Array(7e6)], "large.jpg"));
            const own = [...(await restored()).keys()].sort();
            sessionStorage.clear();
            const before = (await restored()).size;
            const now = Date.now;
            Date.now = () => now() + 25 * 3600e3;
            await restored();
            Date.now = now;
            sessionStorage.setItem("mmsearch-brought", JSON.stringify(own));
            return [own, before, (await restored()).size];
        }"""
    )
    assert kept == [sorted(f"1-{n}" for n in range(5, 20)), 0, 0]


def test_pictures_that_were_brought_leave_when_the_next_tab_opens_after_theirs_is_closed(page, process):
    open_page(page, process)
    give(page, "drop", sample("fig"))
    expect_first(page, "fig.jpg")
    n_kept = """async () => (await new Promise((done) => {
        const opening = indexedDB.open("mmsearch-brought", 1);
        opening.onsuccess = () => {
            const counting = opening.result.transaction("files").objectStore("files").count();
            counting.onsuccess = () => done([counting.result, opening.result.close()]);
        };
    }))[0]"""
    other = page.context.new_page()
    open_page(other, process)
    assert other.evaluate(n_kept) == 1
    page.close()
    other.reload()
    expect(other.locator("#results li a").first).to_be_visible()
    assert other.evaluate(n_kept) == 0


def test_back_and_forward_restore_each_step(page, process):
    open_page(page, process)
    page.locator("#text").press_sequentially("a cat", delay=20)
    expect_first(page, "cat.jpg")
    page.press("#text", "Enter")
    page.fill("#text", "a rocket")
    expect_first(page, "rocket.jpg")
    give(page, "drop", sample("fig"))
    expect(page.locator("#terms li")).to_have_count(1)
    page.locator("#results a").first.click()
    expect(page.locator("#view")).to_be_visible()
    page.go_back()
    expect(page.locator("#view")).to_be_hidden()
    page.go_back()
    expect_first(page, "rocket.jpg")
    expect(page.locator("#terms")).to_be_hidden()
    page.go_back()
    expect_first(page, "cat.jpg")
    expect(page.locator("#text")).to_have_value("a cat")
    page.go_back()
    expect(page.locator("#summary")).to_have_text("29 pictures")
    for _ in range(3):
        page.go_forward()
    expect(page.locator("#terms li")).to_have_count(1)
    expect(page.locator("#view")).to_be_hidden()
    expect(page.locator(".term.missing")).to_have_count(0)


@pytest.mark.full
def test_back_and_forward_have_the_marks_of_each_question(page, process, api):
    palace = id_of(api, "winter-palace.jpg")
    open_page(page, process, f"/?q=a+building&yes={palace}")
    expect(page.locator("#marks")).to_contain_text("1 relevant")
    page.fill("#text", "a cat")
    page.wait_for_function("() => location.search === '?q=a+cat'")
    page.locator("#results a").first.press("x")
    expect(page.locator("#marks")).to_contain_text("1 not relevant")
    page.go_back()
    expect(page.locator("#text")).to_have_value("a building")
    expect(page.locator("#marks")).to_contain_text("1 relevant")
    expect(page.locator("#marks")).not_to_contain_text("not relevant")
    expect(page.locator("#again")).to_be_hidden()
    page.go_forward()
    expect(page.locator("#text")).to_have_value("a cat")
    expect(page.locator("#marks")).to_be_hidden()


@pytest.mark.full
def test_everything_goes_by_keys(page, process, api):
    open_page(page, process)
    page.keyboard.press("/")
    page.keyboard.type("a windmill")
    expect_first(page, "windmill-stone.jpg")
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("() => document.activeElement.matches('#results a')"):
            break
    names = found_by(api, text="a windmill")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("r")
    expect(page.locator("#marks")).to_contain_text("1 relevant")
    page.keyboard.press("Enter")
    expect(page.locator("#view-title")).to_have_text(names[1])
    page.keyboard.press("ArrowRight")
    expect(page.locator("#view-title")).to_have_text(names[2])
    page.keyboard.press("Escape")
    expect(page.locator("#view")).to_be_hidden()
    expect_focus(page, names[2])
    page.keyboard.press("ArrowDown")
    assert page.evaluate("() => document.activeElement.closest('li').offsetTop") > 0
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Search again with the marks").press("Enter")
    page.wait_for_function("() => location.search.includes('yes=')")
    page.keyboard.press("m")
    page.wait_for_function("() => location.search.startsWith('?like=')")
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
