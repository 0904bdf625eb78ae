"""How soon the page of `mmsearch serve` shows its results after the answer has come, in a headless Chromium.

    python benchmarks/page.py PICTURES TEXT... [--model offline] [--out FILE]

PICTURES is a folder that is indexed first. Every text is typed twice: when no thumbnail is made yet, and in a new
window after they were. Milliseconds from the last byte of the answer: until the grid has its tiles, and until all
pictures on the screen (1280 x 860) are drawn. Needs Chromium (Debian's package) and `playwright`.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from machine import report
from playwright.sync_api import Browser, Page, sync_playwright
from serving import TOKEN, serving

from mmsearch import Library

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
WATCH = """() => {
  window.changes = [];
  new MutationObserver(() => window.changes.push(performance.now()))
    .observe(document.querySelector("#results"), { childList: true, subtree: true });
}"""
SHOWN = """async () => {
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  const answers = performance.getEntriesByType("resource").filter((entry) => entry.name.endsWith("/search"));
  const end = answers.at(-1).responseEnd;
  const isDrawn = (image) => {
    const box = image.getBoundingClientRect();
    return box.top >= innerHeight || box.bottom <= 0 || (image.complete && image.naturalWidth > 0);
  };
  while (!window.changes.some((time) => time >= end)) await frame();
  while (![...document.querySelectorAll("#results img")].every(isDrawn)) await frame();
  return [window.changes.find((time) => time >= end) - end, performance.now() - end];
}"""


@contextmanager
def opened(browser: Browser, address: str) -> Iterator[Page]:
    """Open the page in a new window that the server lets in."""
    context = browser.new_context(viewport={"width": 1280, "height": 860}, base_url=address)
    context.request.post("/session", data={"token": TOKEN}, headers={"origin": address})
    page = context.new_page()
    page.goto("/")
    page.wait_for_selector("#results img")
    yield page
    context.close()


def typed(browser: Browser, address: str, texts: list[str]) -> dict[str, Any]:
    """Type texts into a new window; return medians and maxima of both times."""
    with opened(browser, address) as page:
        page.evaluate(WATCH)
        times = []
        for text in texts:
            page.evaluate("() => { window.changes.length = 0; performance.clearResourceTimings(); }")  # holds 250
            with page.expect_response("**/search"):
                page.fill("#text", text)
            times.append(page.evaluate(SHOWN))
    tiles, drawn = np.array(times).T
    return {
        name: {"median ms": round(float(np.median(column))), "most ms": round(float(column.max()))}
        for name, column in (("tiles in the grid", tiles), ("pictures on the screen drawn", drawn))
    }


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("texts", nargs="+", metavar="TEXT")
    parser.add_argument("--model", default="offline")
    parser.add_argument("--out")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        with Library.open(Path(folder) / "library") as library:
            library.index([arguments.pictures], model=arguments.model, local=False)
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        with serving(Path(folder) / "library") as (port, _):
            address = f"http://127.0.0.1:{port}"
            figures = {
                name: typed(browser, address, arguments.texts) for name in ("thumbnails made", "thumbnails kept")
            }
        browser.close()
    report("page", figures, arguments.out)


if __name__ == "__main__":
    main()
