"""Copies of pictures found among others: by `mmsearch duplicates`, and by the perceptual hash of imagededup.

    python benchmarks/duplicates.py DATA [--half HALF] [--pictures N] [--bystanders N] [--side N] [--model NAME]
        [--join N]... [--out FILE]

The pictures of all sets below DATA are of two halves by the hash of their files. N of one half are drawn and
changed in ten named ways; they, the bystanders, and the copies made in one way are compared, way by way. All
thresholds were chosen on the choosing half, which is compared with itself alone; the reported half is among both.
Figures are how many copies are in a group with their original (recall), and of all copies in groups how many are
with their own original (precision). Groups of pictures that nobody changed are printed, to be looked at: some are
true. imagededup is measured beside it where it is installed. `--side` makes the originals so small first.
`--join` times the comparison of so many signatures, windows of the pictures, and of so many vectors.
"""

from __future__ import annotations

import argparse
import io
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from machine import report
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from platformdirs import user_cache_path

from mmsearch import Library
from mmsearch.duplicates.join import near_pairs
from mmsearch.duplicates.same_picture import ALIKE
from mmsearch.duplicates.vectors import nearest_pairs
from mmsearch.images.kinds import is_named_like_a_picture

Way = Callable[[Image.Image, np.random.Generator], Image.Image]
HALVES = CHOOSING, REPORTED = "choosing", "reported"
LEAST_SIDE = 96
"""Of pictures that are changed: of a third of less little is left."""
FRAME_SHARE, CROP, COLOURS, QUARTERS = 0.08, 0.9, ("white", "black", "#a06030"), (90, 180, 270)


def crop(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return a window of nine tenths of both sides."""
    size = np.array(image.size)
    left, top = rng.random(2) * (1 - CROP) * size
    return image.crop(tuple(np.rint([left, top, left + CROP * size[0], top + CROP * size[1]]).astype(int)))


def bordered(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return a picture in a frame of one colour."""
    return ImageOps.expand(image, round(FRAME_SHARE * max(image.size)), COLOURS[rng.integers(len(COLOURS))])


def lettered(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return a picture with a text on white in it."""
    written = image.copy()
    width, height = image.size
    draw = ImageDraw.Draw(written)
    draw.rectangle((0.03 * width, 0.75 * height, 0.6 * width, 0.93 * height), fill="white")
    draw.text((0.06 * width, 0.8 * height), "Happy birthday!", fill="black", font_size=max(6, 0.07 * height))
    return written


def framed_by(other: Image.Image) -> Way:
    """Return what puts another picture round a picture."""

    def framed(image: Image.Image, rng: np.random.Generator) -> Image.Image:
        width, height = image.size
        around = other.resize((round(1.3 * width), round(1.3 * height)))
        around.paste(image, (round(0.15 * width), round(0.15 * height)))
        return around

    return framed


def ways(frame: Image.Image) -> dict[str, Way]:
    """Return the ten ways to change a picture."""
    return {
        "quality 30": lambda image, rng: image,
        "third": lambda image, rng: image.resize((max(1, image.width // 3), max(1, image.height // 3))),
        "grey": lambda image, rng: image.convert("L"),
        "tone": lambda image, rng: ImageEnhance.Brightness(ImageEnhance.Color(image).enhance(0.5)).enhance(1.3),
        "border": bordered,
        "crop": crop,
        "mirrored": lambda image, rng: ImageOps.mirror(image),
        "turned": lambda image, rng: image.rotate(QUARTERS[rng.integers(3)], expand=True),
        "text": lettered,
        "frame": framed_by(frame),
    }


def jpeg(image: Image.Image, quality: int) -> bytes:
    """Return a picture as JPEG."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def pictures_of(data: Path, half: str = "") -> list[Path]:
    """Return the pictures below a folder whose contents belong to a half, or all, in an order drawn once."""
    files = sorted(
        path for path in data.rglob("*.*") if is_named_like_a_picture(path.name.encode()) or path.suffix == ".pgm"
    )
    order = np.random.default_rng(0).permutation(len(files))
    return [files[place] for place in order if half in ("", half_of(files[place]))]


def half_of(path: Path) -> str:
    """Return which half a picture belongs to, by the hash of its file: equal files are never in both."""
    return HALVES[sha256(path.read_bytes()).digest()[0] % 2]


def write_set(folder: Path, data: Path, half: str, n_pictures: int, n_bystanders: int, side: int = 0) -> None:
    """Write originals and bystanders as NAME.EXT, and the copies of original NUMBER as NUMBER-WAY.jpg.

    The choosing half is alone with itself; the reported half is among all. A side makes originals so small.
    """
    rng = np.random.default_rng(0)
    large = (path for path in pictures_of(data, half) if min(Image.open(path).size) >= LEAST_SIDE)
    around, *drawn = islice(large, n_pictures + 1)
    frame = Image.open(around).convert("RGB")
    originals = folder / "originals"
    originals.mkdir()
    for number, path in enumerate(drawn):
        image = Image.open(path).convert("RGB")
        if side:
            image.thumbnail((side, side))
            image.save(originals / f"{number}.png")
        else:
            write_original(path, originals / f"{number}{path.suffix}")
        for way, changed in ways(frame).items():
            (folder / f"{number}-{way}.jpg").write_bytes(
                jpeg(changed(image, rng), 30 if way == "quality 30" else 90)
            )
    bystanders = folder / "bystanders"
    bystanders.mkdir()
    others = (path for path in pictures_of(data, half if half == CHOOSING else "") if path not in set(drawn))
    for path in islice(others, n_bystanders):
        write_original(path, bystanders / "-".join(path.relative_to(data).parts))


def write_original(path: Path, target: Path) -> None:
    """Copy a picture; one in a format that is not read as PNG."""
    if path.suffix == ".pgm":
        Image.open(path).save(target.with_suffix(".png"))
    else:
        target.write_bytes(path.read_bytes())


def source_of(path: str) -> tuple[str, str]:
    """Return the picture that a file is or was made of, and the way: empty for one that nobody changed."""
    number, dash, way = Path(path).stem.partition("-")
    if Path(path).parent.name == "bystanders":
        return Path(path).name, ""
    return number, way if dash else ""


Groups = list[list[str]]


def measure(groups_of: Mapping[str, Groups], n_pictures: int) -> dict[str, object]:
    """Return recall by way, precision, and the groups of what nobody changed."""
    recall, n_right, n_grouped, unchanged = dict[str, float](), 0, 0, set[tuple[str, ...]]()
    for way, groups in groups_of.items():
        n_found = 0
        for group in groups:
            sources = [source_of(path) for path in group]
            plain = sorted(path for path, (_, made) in zip(group, sources, strict=True) if not made)
            if len(plain) > 1:
                unchanged.add(tuple(plain))
            held = {name for name, made in sources if not made}
            copies = [name for name, made in sources if made]
            n_found += sum(name in held for name in copies)
            n_grouped += len(copies)
        n_right += n_found
        recall[way] = n_found / n_pictures
    return {"recall": recall, "precision": n_right / max(1, n_grouped), "unchanged": sorted(unchanged)}


def files_of(folder: Path, way: str) -> list[Path]:
    """Return the pictures that nobody changed, and those that were changed in one way."""
    plain = [*(folder / "originals").iterdir(), *(folder / "bystanders").iterdir()]
    return sorted([*plain, *folder.glob(f"*-{way}.jpg")])


def of_mmsearch(folder: Path, model: str, cache: Path) -> tuple[dict[str, Groups], float]:
    """Return the groups of the files by way, from one library, and the seconds that one way takes."""
    with TemporaryDirectory() as place, Library.open(place, cache=cache) as library:
        library.index([folder / "originals", folder / "bystanders"], model=model, local=False)
        library.duplicates()  # what is kept of this is not compared way by way
        library.index(folder, local=False)
        return groups_in(library, folder)


def groups_in(library: Library, folder: Path) -> tuple[dict[str, Groups], float]:
    """Return the groups of the files of a library by way, and the seconds that one way takes."""
    groups_of, start = {}, time.perf_counter()
    for way in ways(Image.new("RGB", (1, 1))):
        report = library.duplicates(files_of(folder, way), kinds="same-picture")
        groups_of[way] = [[group.keeper.path, *(other.image.path for other in group.others)] for group in report]
    return groups_of, (time.perf_counter() - start) / len(groups_of)


def of_imagededup(folder: Path) -> tuple[dict[str, Groups], float]:
    """Return the groups that the perceptual hash of imagededup makes, at its own threshold."""
    from imagededup.methods import PHash

    start, method = time.perf_counter(), PHash(verbose=False)
    hashes = method.encode_images(image_dir=folder, recursive=True)
    groups_of = {}
    for way in ways(Image.new("RGB", (1, 1))):
        names = [str(path.relative_to(folder)) for path in files_of(folder, way)]
        near = method.find_duplicates(encoding_map={name: hashes[name] for name in names if name in hashes})
        groups, taken = [], set[str]()
        for name in sorted(near, key=lambda name: "-" in Path(name).stem):  # originals first
            if name not in taken and (others := [other for other in near[name] if other not in taken]):
                groups.append([str(folder / path) for path in (name, *others)])
                taken.update((name, *others))
        groups_of[way] = groups
    return groups_of, (time.perf_counter() - start) / len(groups_of)


def seconds_of_join(n: int, folder: Path) -> float:
    """Return how many seconds of all cores it takes to compare so many signatures, of windows of the pictures."""
    rng, grids = np.random.default_rng(0), []
    files = sorted((folder / "bystanders").iterdir()) + sorted((folder / "originals").iterdir())
    for place in range(n):
        if place % len(files) == place:
            small = Image.open(files[place]).convert("L").resize((64, 64), Image.Resampling.BOX)
            grids.append(np.asarray(small, np.float32))
    cut = np.empty((n, 16, 16), np.int8)
    for place in range(n):
        left, top = rng.integers(0, 24, 2)
        side = int(rng.integers(24, 41))
        window = Image.fromarray(grids[place % len(grids)][top : top + side, left : left + side])
        cells = np.asarray(window.resize((16, 16), Image.Resampling.BOX))
        cells = cells - cells.mean()
        cut[place] = np.rint(cells * 127 / max(1.0, float(np.abs(cells).max())))
    start = time.process_time()
    for _ in near_pairs(cut, ALIKE, is_open=np.ones(n, dtype=bool)):
        pass
    return time.process_time() - start


def seconds_of_vectors(n: int) -> float:
    """Return how long it takes to find the nearest of so many vectors, in a thousand clusters, on one core."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(1_000, 512)).astype(np.float32)
    vectors = centres[rng.integers(0, len(centres), n)] + rng.normal(size=(n, 512)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    start = time.process_time()
    for _ in nearest_pairs(vectors.astype(np.float16)):
        pass
    return time.process_time() - start


def lines(figures: Mapping[str, Mapping[str, object]]) -> Iterator[str]:
    """Yield the figures as a table in Markdown, and the groups of what nobody changed."""
    names = list(ways(Image.new("RGB", (1, 1))))
    yield f"| system | precision | {' | '.join(names)} | seconds | groups of what nobody changed |"
    yield "|---" * (len(names) + 4) + "|"
    for system, of_system in figures.items():
        recall, unchanged = of_system["recall"], of_system["unchanged"]
        assert isinstance(recall, dict)
        assert isinstance(unchanged, list)
        cells = [f"{recall[name]:.3f}" for name in names]
        last = f"{of_system['seconds']:.1f} | {len(unchanged)}"
        yield f"| {system} | {of_system['precision']:.4f} | {' | '.join(cells)} | {last} |"
    for system, of_system in figures.items():
        unchanged = of_system["unchanged"]
        assert isinstance(unchanged, list)
        yield from (f"{system}: {'  '.join(Path(path).name for path in group)}" for group in unchanged)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--half", choices=HALVES, default=REPORTED)
    parser.add_argument("--pictures", type=int, default=300)
    parser.add_argument("--bystanders", type=int, default=100_000)
    parser.add_argument("--side", type=int, default=0)
    parser.add_argument("--model", default="offline")
    parser.add_argument("--cache", type=Path, default=user_cache_path("mmsearch"))
    parser.add_argument("--join", type=int, action="append", default=[], metavar="N")
    parser.add_argument("--out")
    arguments = parser.parse_args()
    figures: dict[str, dict[str, object]] = defaultdict(dict)
    with TemporaryDirectory() as temporary:
        folder = Path(temporary) / "pictures"
        folder.mkdir()
        write_set(folder, arguments.data, arguments.half, arguments.pictures, arguments.bystanders, arguments.side)
        systems = {"mmsearch": lambda: of_mmsearch(folder, arguments.model, arguments.cache)}
        if find_spec("imagededup") is not None:
            systems["imagededup, PHash"] = lambda: of_imagededup(folder)
        for system, grouped in systems.items():
            groups, seconds = grouped()
            figures[system] = {**measure(groups, arguments.pictures), "seconds": seconds}
        joins = {str(n): (seconds_of_join(n, folder), seconds_of_vectors(n)) for n in arguments.join}
    print("\n".join(lines(figures)))
    for n, (of_signatures, of_vectors) in joins.items():
        print(f"{n} signatures compared in {of_signatures:.1f} s and vectors in {of_vectors:.1f} s of all cores")
    report("duplicates", {**figures, "join_s": joins}, arguments.out)


if __name__ == "__main__":
    main()
