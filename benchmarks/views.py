"""What five views of a picture bring, and what they cost: captions, classes, crops as examples, CPU time.

    python benchmarks/views.py DATA [--set flickr8k-train] [--model offline] [--timed 200] [--cache DIR] [--out F]

DATA holds the captioned set, in which the weight of the windows was chosen, and imagenet-sample. Crops are upright
windows of every fourth of the first 1,000 pictures of the set, asked among these by vectors alone, which have one
view or five on either side. Prints tables in Markdown, and the figures as JSON.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from crops import crop
from machine import report
from PIL import Image
from platformdirs import user_cache_path

from mmsearch.arguments import Views
from mmsearch.datasets.open_set import SetOptions, open_captions, open_classes
from mmsearch.datasets.sets import CaptionSet
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.evaluation.classify import run_classification
from mmsearch.evaluation.encode import SetEncoder
from mmsearch.evaluation.retrieval import TEXT_TO_IMAGE, run_retrieval
from mmsearch.ingest.pool import BATCH
from mmsearch.ingest.worker import embed_files

VIEWS: tuple[Views, ...] = (1, 5)
SHARES = (0.6, 0.45, 0.35)
N_GALLERY, EVERY = 1000, 4
MEASURES = ("R@1 (any)", "R@5 (any)", "R@10 (any)")
Encoders = dict[Views, SetEncoder]


def by_words(known: CaptionSet, data: Path, encoders: Encoders) -> dict[str, dict[str, float]]:
    """Return the measures of captions, and the top-1 of ImageNet's sample, by the number of views."""
    classes = open_classes(str(data / "imagenet-sample"), SetOptions(data, None, None, (None, None)))
    figures: dict[str, dict[str, float]] = {}
    for views, encoder in encoders.items():
        name = encoder.encoder.name
        found = run_retrieval(known, [encoder])["results"][name][TEXT_TO_IMAGE]["measures"]
        told = run_classification(classes, [encoder], {"names": ("{}",)})["results"][name]["names"]["measures"]
        figures[str(views)] = {**{measure: found[measure]["value"] for measure in MEASURES},
                               "top-1": told["top-1"]["value"]}  # fmt: skip
    return figures


def by_crops(known: CaptionSet, encoders: Encoders, folder: Path) -> dict[str, dict[str, float]]:
    """Return R@1 of crops by their size, for one view or five of what is asked and of what is there."""
    gallery = known.pictures[:N_GALLERY]
    asked = np.arange(0, len(gallery), EVERY)
    there = {views: encoder.pictures(gallery)[1] for views, encoder in encoders.items()}
    figures: dict[str, dict[str, float]] = {}
    for share in SHARES:
        rng = np.random.default_rng(0)
        files = [folder / f"{share}-{place}.png" for place in asked]
        for place, file in zip(asked, files, strict=True):
            crop(Image.open(gallery[place]).convert("RGB"), rng, share, 0, 0).save(file)
        crops = {views: encoder.pictures(files)[1] for views, encoder in encoders.items()}
        figures[f"{share:.0%}"] = {
            f"{asks} asks {holds}": float((np.argmax(crops[asks] @ there[holds].T, axis=1) == asked).mean())
            for asks in VIEWS
            for holds in VIEWS
        }
    return figures


def cpu_ms(known: CaptionSet, encoders: Encoders, n: int) -> dict[str, float]:
    """Return the CPU time in ms that a worker takes for one of n pictures, in turns, by the number of views."""
    towers = {
        views: OnnxEncoder.open(encoder.encoder.folder, is_indexing=True) for views, encoder in encoders.items()
    }
    paths = [os.fsencode(path) for path in known.pictures[:n]]
    taken = dict.fromkeys(towers, 0.0)
    for tower in towers.values():
        embed_files(paths[:1], tower)  # loads it
    for start in range(0, n, BATCH):
        for views, tower in towers.items():
            before = time.process_time()
            embed_files(paths[start : start + BATCH], tower)
            taken[views] += time.process_time() - before
    return {str(views): round(1e3 * seconds / n, 1) for views, seconds in taken.items()}


def table(rows: dict[str, dict[str, float]], head: str) -> str:
    """Return figures in percent as a table in Markdown."""
    names = list(next(iter(rows.values())))
    lines = [f"| {' | '.join([head, *names])} |", "|---" * (1 + len(names)) + "|"]
    lines += [f"| {' | '.join([row, *(f'{100 * of[name]:.1f}' for name in names)])} |" for row, of in rows.items()]
    return "\n".join(lines)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--set", default="flickr8k-train", metavar="NAME")
    parser.add_argument("--model", default="offline", metavar="NAME")
    parser.add_argument("--cache", type=Path, default=user_cache_path("mmsearch"))
    parser.add_argument("--timed", type=int, default=200, metavar="N", help="pictures that work is timed by")
    parser.add_argument("--out")
    arguments = parser.parse_args()
    options = SetOptions(arguments.cache, None, None, (None, None))
    known = open_captions(str(arguments.data / arguments.set), options)
    encoders = {views: SetEncoder(arguments.model, cache=arguments.cache, views=views) for views in VIEWS}
    with tempfile.TemporaryDirectory() as folder:
        crops = by_crops(known, encoders, Path(folder))
    words = by_words(known, arguments.data, encoders)
    taken = cpu_ms(known, encoders, arguments.timed)
    print(table(words, "views"), table(crops, "crops"), sep="\n\n")
    report("views", {"words": words, "crops, R@1": crops, "CPU ms a picture": taken}, arguments.out)


if __name__ == "__main__":
    main()
