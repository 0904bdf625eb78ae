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


def answer_of(page, operation):
    """Try an operation as it is filled in, and return the body of its answer."""
    block = page.locator(f"#operations-{operation}")
    block.get_by_role("button", expanded=False).first.click()
    block.get_by_role("button", name="Try it out").click()
    block.get_by_role("button", name="Execute").click()
    expect(block.locator(".live-responses-table .response-col_status").last).to_have_text(re.compile("^200"))
    return json.loads(block.locator(".live-responses-table .highlight-code code").first.inner_text())


def test_all_operations_are_described_and_can_be_tried_with_the_cookie(docs, served):
    described = docs.request.get(f"{served.address}/openapi.json").json()
    n_operations = sum(len(path) for path in described["paths"].values())
    expect(docs.locator(".opblock")).to_have_count(n_operations)
    docs.screenshot(path="/tmp/docs1.png", full_page=True)
    assert answer_of(docs, "server-show_health") == {"status": "ok"}
    docs.screenshot(path="/tmp/docs2.png", full_page=True)
