"""How long the frames are while one scrolls the page over 100,000 pictures of twenty years, in a headless Chromium.

    python benchmarks/scrolling.py [--n-pictures 100000] [--speeds 600 1200 3600 7200 30000] [--seconds 8]

A frame lasts, by the clock, from one call of `requestAnimationFrame` to the next, so other programs on the machine
count: the load says how many there were. Speeds are in pixels a second; the window is 1280 x 860. The pictures are
the samples under many names, with dates, and with vectors that nothing is asked of. Needs Chromium (Debian's
package) and `playwright`.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import tempfile
from hashlib import sha256
from pathlib import Path

import numpy as np
from machine import report
from page import FLAGS, opened
from PIL import Image
from playwright.sync_api import Page, sync_playwright
from serving import serving

from mmsearch.records import READING, FileLook
from mmsearch.samples import sample_folder
from mmsearch.store.base import given_fingerprint
from mmsearch.store.changes import Changes, StoredFile
from mmsearch.store.folder import Store

DIM = 8
LIMIT_MS = 50
COMMITTED = 10_000
SCROLL = """([speed, seconds]) => new Promise((done) => {
  const frames = [];
  const top = scrollY;
  let begun, last, mostTiles = 0;
  const step = (now) => {
    if (begun === undefined) begun = now;
    else frames.push(now - last);
    last = now;
    scrollTo(0, top + (speed * (now - begun)) / 1000);
    mostTiles = Math.max(mostTiles, document.querySelectorAll("#results li").length);
    if (now - begun < 1000 * seconds) requestAnimationFrame(step);
    else done([frames, mostTiles]);
  };
  requestAnimationFrame(step);
})"""


def write_library(folder: Path, photos: Path, n: int) -> None:
    """Write a library of the samples under n names, of which every tenth has no date; files are links to one each.

    Given vectors by themselves have no dates, so these go through the store's own commits.
    """
    samples = []
    for path in sorted(sample_folder().glob("*.jpg")):
        with Image.open(shutil.copy(path, photos)) as image:
            samples.append((photos / path.name, sha256(path.read_bytes()).digest(), image.size))
    settings = {"dim": DIM, "fingerprint": given_fingerprint("scrolling"), "model": "scrolling"}
    with Store.writer(folder, create=settings) as store:
        for start in range(0, n, COMMITTED):
            stored = []
            for number in range(start, min(n, start + COMMITTED)):
                source, content_hash, size = samples[number % len(samples)]
                path = photos / f"IMG_{number:06d}.jpg"
                os.link(source, path)
                chance = random.Random(number)
                day = f"{2005 + chance.randrange(20)}-{chance.randint(1, 12):02}-{chance.randint(1, 28):02}"
                vector = np.random.default_rng(number).normal(size=DIM).astype(np.float32)
                stored.append(
                    StoredFile(
                        os.fsencode(path), FileLook.of(path.stat()), content_hash, *size, "JPEG",
                        f"{day}T12:00:00" if number % 10 else None, READING, vector=vector / np.linalg.norm(vector),
                    )
                )  # fmt: skip
            store.commit(Changes(stored=stored))


def scrolled(page: Page, speed: float, seconds: float) -> dict[str, float]:
    """Scroll on for some seconds; return what the frames took, and the most tiles that were in the document."""
    frames, most_tiles = page.evaluate(SCROLL, [speed, seconds])
    median, high = np.percentile(frames, [50, 99])
    return {
        "frames": len(frames),
        "p50 ms": round(float(median), 1),
        "p99 ms": round(float(high), 1),
        "longest ms": round(max(frames), 1),
        f"over {LIMIT_MS} ms": sum(frame > LIMIT_MS for frame in frames),
        "most tiles": most_tiles,
    }


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n-pictures", type=int, default=100_000)
    parser.add_argument("--speeds", type=int, nargs="+", default=[600, 1200, 3600, 7200, 30_000])
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--out")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        library, photos = Path(folder, "library"), Path(folder, "photos")
        photos.mkdir()
        write_library(library, photos, arguments.n_pictures)
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        with serving(library) as (port, _), opened(browser, f"http://127.0.0.1:{port}") as page:
            page.wait_for_function("() => document.querySelectorAll('#results li.loaded').length > 20")
            figures: dict[str, object] = {
                f"{speed} px/s": scrolled(page, speed, arguments.seconds) for speed in arguments.speeds
            }
        browser.close()
    figures["load"] = os.getloadavg()[0]
    report("scrolling", figures, arguments.out)


if __name__ == "__main__":
    main()
