"""A real Chromium that looks at the page, and a server in a process of its own."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from PIL import Image
from playwright.sync_api import expect, sync_playwright

from mmsearch.encoders.calibration import answer_strength, strength
from mmsearch.samples import sample_folder
from tests.programs import path_of

PAGE = Path(__file__).parents[2] / "mmsearch" / "server" / "page"
TOKEN = "a-token-that-only-tests-know"
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip
TIMEOUT_MS = 15_000
expect.set_options(timeout=TIMEOUT_MS)  # Playwright's own 5 s are short where everything runs at once


@contextmanager
def chromium():
    """A headless browser until the end of the block."""
    path = path_of("chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@dataclass
class Process:
    """A server as a user starts it."""

    address: str
    link: str
    process: subprocess.Popen

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.process.stderr.close()


def start(folder: Path, cache: Path, *, port: int = 0) -> Process:
    """Run `mmsearch serve` over a library until it has said where it is."""
    environment = os.environ | {
        "MMSEARCH_LIBRARY": str(folder), "MMSEARCH_CACHE": str(cache), "MMSEARCH_TOKEN": TOKEN,
        "HF_HUB_OFFLINE": "1",
    }  # fmt: skip
    command = [sys.executable, "-c", "from mmsearch.cli.app import main; main()", "serve", "--no-open"]
    process = subprocess.Popen([*command, "--port", str(port)], env=environment, stderr=subprocess.PIPE, text=True)
    said = ""
    while (line := process.stderr.readline()) != "":
        said += line
        if match := re.search(r"(http://[^/]+)/start\?key=\S+", line):
            process.stderr.readline()  # the token
            return Process(match[1], match[0], process)
    pytest.fail(f"`mmsearch serve` ended before it said where it is: {said}")


@dataclass
class Watched:
    """A page with what went wrong in it and where it asked."""

    page: object
    errors: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def __post_init__(self):
        self.page.set_default_timeout(TIMEOUT_MS)
        self.page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))


@contextmanager
def watched(browser, address: str, token: str, *, expected: tuple[str, ...] = (), **options):
    """A page whose browser is let in; at the end, it must have met no other error and asked no other host.

    `expected` are parts of messages that a test provokes: a browser reports every refused request in its console.
    """
    context = browser.new_context(**({"viewport": {"width": 1280, "height": 800}} | options))
    context.request.post(f"{address}/session", data={"token": token})
    seen = Watched(context.new_page())
    yield seen.page
    context.close()
    unexpected = [error for error in seen.errors if not any(part in error for part in expected)]
    assert not unexpected, unexpected
    others = seen.hosts - {"", urlsplit(address).netloc}
    assert not others, others  # blob: addresses have no host


# -- what tests look at and do -------------------------------------------------------------------------------


def open_page(page, process, address="/"):
    page.goto(process.address + address)
    expect(page.locator("#results li a").first).to_be_visible()


def expect_first(page, name):
    expect(page.locator("#results li a").first).to_have_attribute(
        "aria-label", re.compile(rf"^1\. {re.escape(name)}")
    )


def expect_names(page, names):
    """Wait until these pictures are shown, in this order."""
    patterns = [re.compile(rf"^{rank}\. {re.escape(name)}(,|$)") for rank, name in enumerate(names, 1)]
    for place in (0, len(names) // 2, len(names) - 1):
        expect(page.locator("#results li a").nth(place)).to_have_attribute("aria-label", patterns[place])
    labels = page.locator("#results li a").evaluate_all("all => all.map(one => one.ariaLabel)")
    assert len(labels) == len(names)
    assert all(pattern.match(label) for pattern, label in zip(patterns, labels, strict=True))


def expect_focus(page, name):
    expect(page.locator("#results a:focus")).to_have_attribute(
        "aria-label", re.compile(rf"^\d+\. {re.escape(name)}")
    )


def asked(page):
    return parse_qs(urlsplit(page.url).query)


def found_by(api, **query):
    return [hit["name"] for hit in api.post("/search", json=query).json()["hits"]]


def id_of(api, name):
    return api.get("/pictures", params={"where": f"name = {name}"}).json()["pictures"][0]["id"]


def give(page, kind, data, media_type="image/jpeg"):
    """Drop or paste a file, as a browser tells a page of it."""
    page.evaluate(
        """([kind, bytes, type]) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], "mine", { type }));
            const options = { bubbles: true, cancelable: true };
            document.body.dispatchEvent(kind === "paste"
                ? new ClipboardEvent("paste", { clipboardData: transfer, ...options })
                : new DragEvent("drop", { dataTransfer: transfer, ...options }));
        }""",
        [kind, list(data), media_type],
    )


def side_by_side(left, right):
    """Return one JPEG with two samples beside each other, 300 pixels high, and the width of the left one."""
    images = [Image.open(sample_folder() / f"{name}.jpg") for name in (left, right)]
    images = [image.resize((round(image.width * 300 / image.height), 300)) for image in images]
    both = Image.new("RGB", (images[0].width + images[1].width, 300))
    both.paste(images[0], (0, 0))
    both.paste(images[1], (images[0].width, 0))
    buffer = io.BytesIO()
    both.save(buffer, "JPEG", quality=95)
    return buffer.getvalue(), images[0].width


def judge(page, relevance, *, answer=0.9):
    """Let hits of searches from now on have these relevances, the last for all others; None for none at all."""

    def judged(route):
        response = route.fetch()
        found = {name: value for name, value in response.json().items() if name != "answer"}
        for place, hit in enumerate(found["hits"]):
            hit.pop("relevance", None), hit.pop("strength", None)
            if relevance is not None:
                of_hit = relevance[min(place, len(relevance) - 1)]
                hit |= {"relevance": of_hit, "strength": strength(of_hit)}
        if relevance is not None:
            found["answer"] = {"relevance": answer, "strength": answer_strength(answer)}
        route.fulfill(response=response, json=found)

    page.route("**/search", judged)


def sample(name):
    return (sample_folder() / f"{name}.jpg").read_bytes()
