"""Crops of photographs searched among the photographs: embeddings, CNN descriptors, parts, local features on top.

    python benchmarks/crops.py DATA [--vocabulary FILE] [--model NAME]... [--cache DIR] [--out FILE]

DATA holds imagenet-sample, and flickr8k-train, on whose pictures, which are in no gallery, the vocabulary is
learned unless FILE is one. Every fourth picture of imagenet-sample and all sample photographs are asked for, among
all of both, by a window of 60 % of both sides; of 45 %, turned by 30 degrees; of 35 %, turned by 90 degrees with
noise. Parts are those of libraries with five views, asked by vectors alone. Prints a table in Markdown with 95 %
intervals, and the figures as JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from machine import report
from PIL import Image
from platformdirs import user_cache_path

from mmsearch import Library, Query
from mmsearch.arguments import PartsMost, Views
from mmsearch.datasets.instances import read_instances
from mmsearch.evaluation.encode import SetEncoder
from mmsearch.evaluation.instance import run_instance
from mmsearch.evaluation.local import LocalOptions
from mmsearch.evaluation.metrics.ranks import Qrels
from mmsearch.evaluation.page import interval_text
from mmsearch.evaluation.ranking import Ranking, Scored, results_of, score
from mmsearch.evaluation.records import Result
from mmsearch.ingest.train_vocabulary import train_vocabulary
from mmsearch.records import SearchOptions
from mmsearch.samples import sample_folder

CROPS = {"60 %": (0.6, 0, 0), "45 %, 30 degrees": (0.45, 30, 0), "35 %, 90 degrees, noise": (0.35, 90, 12)}
RERANKED = "offline"
OTHERS = ("cnn:codes", "cnn:gem", "cnn:rmac")
MEASURES = ("R@1 (any)", "mAP")
VIEWS: Views = 5
PARTS: tuple[PartsMost, ...] = (13, 4)  # the second are cut from the first


def crop(image: Image.Image, rng: np.random.Generator, share: float, degrees: int, noise: float) -> Image.Image:
    """Return a window of a picture, turned about its own centre, with normal noise."""
    size = np.array(image.size)
    half = share * size / 2
    half = half[::-1] if degrees == 90 else half  # keeps the shape of the picture
    cosine, sine = abs(np.cos(np.radians(degrees))), abs(np.sin(np.radians(degrees)))
    reach = np.minimum(cosine * half + sine * half[::-1], size / 2)
    centre = rng.uniform(reach, size - reach)
    side = float(np.hypot(*half))
    around = image.crop(tuple(np.rint([*(centre - side), *(centre + side)]).astype(int)))
    turned = around.rotate(degrees, resample=Image.Resampling.BICUBIC)
    middle = np.array(turned.size) / 2
    window = turned.crop(tuple(np.rint([*(middle - half), *(middle + half)]).astype(int)))
    pixels = np.asarray(window, dtype=np.float64)
    return Image.fromarray((pixels + rng.normal(0, noise, pixels.shape)).clip(0, 255).round().astype(np.uint8))


def photographs(data: Path) -> tuple[list[Path], list[int]]:
    """Return the gallery, and the places in it of the pictures that are asked for."""
    samples = sorted(sample_folder().glob("*.jpg"))
    files = [*samples, *sorted((data / "imagenet-sample" / "images").glob("*.jpg"))]
    return files, [*range(len(samples)), *range(len(samples), len(files), 4)]


def crops_of(files: list[Path], chosen: list[int], kind: str) -> list[Image.Image]:
    """Return one crop of a kind of every chosen picture; the same every time."""
    rng = np.random.default_rng(0)
    return [crop(Image.open(files[i]).convert("RGB"), rng, *CROPS[kind]) for i in chosen]


def write_set(folder: Path, data: Path) -> None:
    """Write gallery and crops as an instance set whose queries say their kind."""
    files, chosen = photographs(data)
    database, queries = [], []
    for place, file in enumerate(files):
        (folder / file.name).symlink_to(file.resolve())
        database.append(json.dumps({"id": place, "image": file.name}))
    for number, kind in enumerate(CROPS):
        for place, picture in zip(chosen, crops_of(files, chosen, kind), strict=True):
            name = f"crop-{number}-{place}.png"
            picture.save(folder / name)
            queries.append(json.dumps({"query": name, "relevant": [place], "kind": kind}))
    (folder / "database.jsonl").write_text("\n".join(database))
    (folder / "queries.jsonl").write_text("\n".join(queries))


def by_parts(folder: Path, model: str, cache: Path) -> dict[str, dict[str, Result]]:
    """Return the figures of searches by vectors alone in a library with views and parts of the set in a folder."""
    gallery = [folder / json.loads(line)["image"] for line in (folder / "database.jsonl").open()]
    asked = [json.loads(line) for line in (folder / "queries.jsonl").open()]
    place_of = {str(path): place for place, path in enumerate(gallery)}
    scored: dict[str, dict[str, Scored]] = {}
    with tempfile.TemporaryDirectory() as work, Library.open(Path(work, "library"), cache=cache) as library:
        for most in PARTS:
            paths = gallery if most == PARTS[0] else []
            library.index(paths, model=model, views=VIEWS, parts=most)
            for kind in CROPS:
                queries = [each for each in asked if each["kind"] == kind]
                scores = np.zeros((len(queries), len(gallery)), dtype=np.float32)
                options = SearchOptions(len(gallery), rerank="none", collapse="none")
                for row, each in enumerate(queries):
                    hits = library.search_many(Query(images=[folder / each["query"]]), options)[0].hits
                    scores[row, [place_of[hit.path] for hit in hits]] = 1 / np.arange(1, len(hits) + 1)
                ranking = Ranking(
                    [{"path": each["query"]} for each in queries],
                    [{"path": str(path)} for path in gallery],
                    scores.__getitem__,
                    Qrels.from_lists([each["relevant"] for each in queries]),
                    np.arange(len(queries)),
                )
                scored.setdefault(f"{model}, {VIEWS} views, {most} parts", {})[f"kind={kind}"] = score(ranking)
    return results_of(scored, seed=0)


def table(results: Mapping[str, Mapping[str, Result]], scales: dict[str, str]) -> str:
    """Return the figures as a table in Markdown: a line a system, columns for every kind of crop."""
    lines = [f"| system | {' | '.join(f'{kind}, {name}' for kind in CROPS for name in MEASURES)} |"]
    lines.append("|---" * (1 + len(CROPS) * len(MEASURES)) + "|")
    for system, parts in results.items():
        cells = [
            " ".join(interval_text(parts[f"kind={kind}"]["measures"][name], scales[name]))
            for kind in CROPS
            for name in MEASURES
        ]
        lines.append(f"| {system} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--vocabulary", type=Path, metavar="FILE")
    parser.add_argument("--model", action="append", metavar="NAME", help=f"default: {RERANKED}; reranked too")
    parser.add_argument("--cache", type=Path, default=user_cache_path("mmsearch"))
    parser.add_argument("--out")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder, learned = Path(temporary) / "crops", Path(temporary) / "words.bin"
        folder.mkdir()
        write_set(folder, arguments.data)
        if arguments.vocabulary is None:
            train_vocabulary([arguments.data / "flickr8k-train"])[0].save(learned)
        benchmark = read_instances(folder, by="kind")
        others = [SetEncoder(name, cache=arguments.cache) for name in OTHERS]
        reranked = [SetEncoder(name, cache=arguments.cache) for name in arguments.model or [RERANKED]]
        first = run_instance(benchmark, others)
        second = run_instance(benchmark, reranked, local=LocalOptions(arguments.vocabulary or learned))
        of_parts = by_parts(folder, RERANKED, arguments.cache)
    results = {**first["results"], **second["results"], **of_parts}
    print(table(results, first["scales"]))
    figures = {
        system: {part: result["measures"] for part, result in parts.items()} for system, parts in results.items()
    }
    report("crops", figures, arguments.out)


if __name__ == "__main__":
    main()
