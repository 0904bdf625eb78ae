"""The page of the API, in a real browser: it works under the policy of all pages, and asks no other host."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import expect

from tests.server import browser as browsers


@pytest.fixture
def docs(chromium, browser, served):
    """The page of the API; it must meet no error and ask no other host."""
    with browsers.watched(browser, served.address, served.access.token) as page:
        page.goto(f"{served.address}/docs")
        yield page


def answer_of(page, path, *, body=None):
    """Try an operation, and return the body of its answer."""
    block = page.locator(f'.opblock:has([data-path="{path}"])')
    block.locator(".opblock-summary-control").click()
    block.get_by_role("button", name="Try it out").click()
    if body is not None:
        block.locator("textarea.body-param__text").fill(json.dumps(body))
    block.get_by_role("button", name="Execute").click()
    expect(block.locator(".live-responses-table .response-col_status").last).to_have_text(re.compile("^200"))
    return json.loads(block.locator(".live-responses-table .highlight-code code").first.inner_text())


def test_all_operations_are_described_and_can_be_tried_with_the_cookie(docs, served):
    described = docs.request.get(f"{served.address}/openapi.json").json()
    n_operations = sum(len(path) for path in described["paths"].values())
    expect(docs.locator(".opblock")).to_have_count(n_operations)
    assert answer_of(docs, "/status")["n_pictures"] == 29
    assert len(answer_of(docs, "/search", body={"text": "a cat", "k": 3})["hits"]) == 3


@pytest.mark.full
def test_what_is_tried_may_have_the_token_instead_and_goes_to_the_name_in_the_address(chromium, browser, served):
    address = served.address.replace("127.0.0.1", "localhost")
    with browsers.watched(browser, address, "no cookie", expected=("401",)) as page:
        page.goto(f"{address}/docs")
        page.get_by_role("button", name="Authorize").click()
        page.locator(".auth-container input").fill(served.access.token)
        page.locator(".auth-btn-wrapper .authorize").click()
        page.locator(".btn-done").click()
        assert answer_of(page, "/status")["n_pictures"] == 29
