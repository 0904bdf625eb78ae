"""Photographs that share a mark and nothing else: what is verified, and whether the own picture still goes first.

    python benchmarks/marks.py DATA [--set SET] [--images N] [--mark KIND]... [--vocabulary FILE] [--out FILE]

For every kind of mark a library of DATA/SET/images with that mark, and without any. It is asked by the same
photographs, marked likewise: mirrored, so that their own content has no match and nothing should be verified; and
by a window of 60 % of both sides, whose own picture should. JPEG quality and, for `logo, other sizes`, the size of
the photograph are drawn anew for every picture. Prints shares with 95 % intervals (Wilson) as JSON.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from crops import crop
from machine import report
from PIL import Image, ImageDraw, ImageFont, ImageOps
from platformdirs import user_cache_path

from mmsearch import Library, Query
from mmsearch.evaluation.metrics.uncertainty import wilson_interval
from mmsearch.records import Hit

Mark: TypeAlias = Callable[[Image.Image, np.random.Generator], Image.Image]
"""Draws on a picture, which may be changed, and returns it or a larger one."""
WINDOW = 0.6


def _font(size: int) -> Any:
    return ImageFont.load_default(size=size)


def caption_bar(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Cover the lowest 44 px with a bar of words."""
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, image.height - 44, *image.size), fill=(20, 20, 20))
    draw.text((12, image.height - 38), "Lakeside Photo & Film - 2019", font=_font(26), fill="white")
    return image


def title(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Cover the uppermost 36 px with words in the middle."""
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, image.width, 36), fill="white")
    draw.text(
        (image.width // 2, 18), "Annual meeting of the valley walkers", font=_font(20), fill="black", anchor="mm"
    )
    return image


def date(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Print the same date and time into the lower right corner."""
    place = (image.width - 190, image.height - 40)
    ImageDraw.Draw(image).text(place, "'19  5 12  14:30", font=_font(26), fill=(255, 140, 0))
    return image


def any_date(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Print a day of the same month into the lower right corner."""
    place = (image.width - 190, image.height - 40)
    text = f"'19  5 {rng.integers(10, 31)}  1{rng.integers(10)}:{rng.integers(10, 60)}"
    ImageDraw.Draw(image).text(place, text, font=_font(26), fill=(255, 140, 0))
    return image


def emblem() -> Image.Image:
    """Return a round logo of 96 px on nothing."""
    image = Image.new("RGBA", (96, 96))
    draw = ImageDraw.Draw(image)
    blue = (10, 60, 140, 255)
    draw.ellipse((2, 2, 94, 94), fill=(240, 240, 240, 255), outline=blue, width=5)
    draw.polygon([(14, 70), (36, 32), (52, 58), (62, 44), (82, 70)], fill=blue)
    draw.ellipse((58, 18, 74, 34), fill=(230, 160, 20, 255))
    draw.text((48, 80), "VALLEY", font=_font(14), fill=blue, anchor="mm")
    draw.text((30, 22), "EST", font=_font(11), fill="black", anchor="mm")
    return image


def logo(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Put the logo into the upper left corner."""
    image.paste(emblem(), (14, 14), emblem())
    return image


def logo_on_any_size(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Put the logo into the lower right corner of the photograph at another size."""
    resized = ImageOps.scale(image, float(rng.uniform(0.6, 2.2)), Image.Resampling.LANCZOS)
    resized.paste(emblem(), (resized.width - 110, resized.height - 110), emblem())
    return resized


def _in_white(image: Image.Image, layer: Image.Image, degrees: float) -> Image.Image:
    """Lay white over a picture as far as a square layer, turned about its middle, says."""
    left, top = (layer.width - image.width) // 2, (layer.height - image.height) // 2
    mask = layer.rotate(degrees, Image.Resampling.BICUBIC)
    mask = mask.crop((left, top, left + image.width, top + image.height))
    image.paste("white", (0, 0, *image.size), mask)
    return image


def watermark(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Write two large words across the middle, half transparent."""
    side = 2 * max(image.size)
    layer = Image.new("L", (side, side))
    ImageDraw.Draw(layer).text((side // 2, side // 2), "SAMPLE  PHOTO", font=_font(54), fill=130, anchor="mm")
    return _in_white(image, layer, 25)


def tiled_watermark(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Write two words all over the picture, half transparent."""
    side = 2 * max(image.size)
    layer = Image.new("L", (side, side))
    draw = ImageDraw.Draw(layer)
    for y in range(0, side, 90):
        for x in range(y // 90 % 2 * 60, side, 230):
            draw.text((x, y), "Lakeside Photo", font=_font(28), fill=150)
    return _in_white(image, layer, 30)


def frame(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Cover 22 px at all edges with an ornament."""
    side = 22
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, image.width - 1, image.height - 1), outline=(90, 50, 20), width=side)
    right, low = image.width - side, image.height - side
    across, down = range(0, right + 1, side), range(side, low, side)
    for x, y in [*((x, y) for x in across for y in (0, low)), *((x, y) for x in (0, right) for y in down)]:
        corners = [(x + 11, y + 2), (x + 20, y + 11), (x + 11, y + 20), (x + 2, y + 11)]
        draw.polygon(corners, outline=(230, 200, 90))
        draw.ellipse((x + 8, y + 8, x + 14, y + 14), fill=(230, 200, 90))
    return image


def screenshot(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Put the bars of a viewer on a telephone above and below the picture."""
    screen = ImageOps.expand(image, (0, 56, 0, 54), fill=(245, 245, 245))
    width, height = screen.size
    draw = ImageDraw.Draw(screen)
    draw.text((10, 4), "14:30", font=_font(16), fill="black")
    draw.text((width - 90, 4), "LTE  87%", font=_font(16), fill="black")
    draw.text((40, 28), "< Photos", font=_font(20), fill=(0, 90, 220))
    draw.text((width - 60, 28), "Edit", font=_font(20), fill=(0, 90, 220))
    for number, word in enumerate(("Share", "Like", "Info", "Bin")):
        x, y = width * (2 * number + 1) // 8, height - 48
        draw.rectangle((x - 12, y, x + 12, y + 22), outline="black", width=2)
        draw.line((x - 8, y + 18, x, y + 6, x + 8, y + 18), fill="black", width=2)
        draw.text((x, y + 35), word, font=_font(14), fill="black", anchor="mm")
    return screen


MARKS: dict[str, Mark] = {
    "none": lambda image, rng: image,
    "caption bar": caption_bar,
    "title": title,
    "date": date,
    "date, other days": any_date,
    "logo": logo,
    "logo, other sizes": logo_on_any_size,
    "watermark": watermark,
    "watermark, tiled": tiled_watermark,
    "frame": frame,
    "screenshot": screenshot,
}


def write_pictures(files: list[Path], mark: Mark, folder: Path) -> None:
    """Write every photograph, its mirror image and a window of it, all marked, into folders of their own."""
    rng = np.random.default_rng(0)
    ways: dict[str, Callable[[Image.Image], Image.Image]] = {
        "library": lambda image: image,
        "mirrored": ImageOps.mirror,
        "window": lambda image: crop(image, rng, WINDOW, 0, 0),
    }
    for name, way in ways.items():
        (folder / name).mkdir()
        for file in files:
            picture = mark(way(Image.open(file).convert("RGB")), rng)
            picture.save(folder / name / file.name, quality=int(rng.integers(60, 95)))


def answers(library: Library, folder: Path) -> list[tuple[str, list[Hit], Hit]]:
    """Return the name of every example of a folder, its hits, and the first hit without local features."""
    answered = []
    for file in sorted(folder.iterdir()):
        query = Query(images=[file])
        hits = list(library.search(query, k=len(list(folder.iterdir())), rerank="local", collapse="none").hits)
        answered.append((file.name, hits, library.search(query, k=1, rerank="none").hits[0]))
    return answered


def shares(answered: list[tuple[str, list[Hit], Hit]]) -> dict[str, Any]:
    """Return what was verified and what went first, as shares with their intervals."""
    wrong_pairs, any_wrong, right, first, plain_first = [], [], [], [], []
    for name, hits, plain in answered:
        looked_at = [hit for hit in hits if hit.local is not None and (hit.local.is_verified or hit.local.reason)]
        wrong = [hit.local.is_verified for hit in looked_at if hit.local and Path(hit.path).name != name]
        verified = [hit.local.is_verified for hit in looked_at if hit.local and Path(hit.path).name == name]
        wrong_pairs += wrong
        any_wrong.append(any(wrong))
        right.append(any(verified))
        first.append(Path(hits[0].path).name == name)
        plain_first.append(Path(plain.path).name == name)
    return {
        "wrong pairs verified": share_of(wrong_pairs),
        "queries with a wrong one verified": share_of(any_wrong),
        "own picture verified": share_of(right),
        "own picture first": share_of(first),
        "own picture first, without local features": share_of(plain_first),
    }


def share_of(successes: list[bool]) -> dict[str, Any]:
    """Return a share with its 95 % interval, and of how many."""
    share = sum(successes) / max(len(successes), 1)
    low, high = wilson_interval(share, max(len(successes), 1))
    return {"value": round(share, 4), "low": round(low, 4), "high": round(high, 4), "of": len(successes)}


def measure(
    files: list[Path], marks: dict[str, Mark], vocabulary: Path | None, cache: Path, model: str
) -> dict[str, Any]:
    """Return the shares of every kind of mark, for both kinds of example."""
    figures: dict[str, Any] = {}
    for kind, mark in marks.items():
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            write_pictures(files, mark, folder)
            with Library.open(folder / "index", cache=cache) as library:
                library.index([folder / "library"], model=model, local=True, vocabulary=vocabulary)
                figures[kind] = {name: shares(answers(library, folder / name)) for name in ("mirrored", "window")}
    return figures


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--set", default="flickr8k-test")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--mark", action="append", choices=MARKS, help="default: every kind")
    parser.add_argument(
        "--vocabulary", type=Path, metavar="FILE", help="default: learned on the marked photographs"
    )
    parser.add_argument("--model", default="offline")
    parser.add_argument("--cache", type=Path, default=user_cache_path("mmsearch"))
    parser.add_argument("--out")
    arguments = parser.parse_args()
    files = sorted((arguments.data / arguments.set / "images").glob("*.jpg"))
    chosen = [files[i] for i in np.random.default_rng(0).permutation(len(files))[: arguments.images]]
    marks = {kind: MARKS[kind] for kind in arguments.mark or MARKS}
    figures = measure(sorted(chosen), marks, arguments.vocabulary, arguments.cache, arguments.model)
    report("marks", figures, arguments.out)


if __name__ == "__main__":
    main()
