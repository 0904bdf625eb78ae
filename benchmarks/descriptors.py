"""How well the image encoders find the same object and the same class, as they are and PCA-whitened.

    python benchmarks/descriptors.py DATA [--out FILE] [--model NAME]...

DATA holds smvs-dvd (400 photographs of 100 covers among 241 others: one relevant picture a query), imagenette-val
(every picture queries the other 599; those of its class are relevant) and flickr8k-train, on which whitening is
learned. Milliseconds are CPU time of one thread a picture, decoding not counted.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from machine import report
from platformdirs import user_cache_path
from quality_offline import image_vectors

from mmsearch.encoders.cnn import DESCRIPTORS, PREFIX
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.encoders.prepare import prepare_encoder
from mmsearch.evaluation.metrics.average_precision import average_precision
from mmsearch.evaluation.metrics.ranks import Qrels, rank_relevant_by_vectors
from mmsearch.evaluation.metrics.recall import hit_at_k
from mmsearch.whitening import fit_whitening, whiten

N_TO_LEARN = 1500
N_COMPONENTS = 256


def lines(file: Path) -> list[dict[str, Any]]:
    """Read JSON lines."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def covers(folder: Path) -> tuple[list[Path], list[Path], Qrels]:
    """Return gallery, queries and which picture of the gallery each query shows."""
    gallery, queries = lines(folder / "database.jsonl"), lines(folder / "queries.jsonl")
    row_of = {one["id"]: row for row, one in enumerate(gallery)}
    shown = [[row_of[name] for name in one["relevant"]] for one in queries]
    return (
        [folder / one["image"] for one in gallery],
        [folder / one["query"] for one in queries],
        Qrels.from_lists(shown),
    )


def classes(folder: Path) -> tuple[list[Path], Qrels]:
    """Return pictures, and the others of its class for each; itself is junk."""
    with (folder / "labels.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    labels = np.array([row["class_index"] for row in rows])
    others = [[i for i in np.flatnonzero(labels == label) if i != own] for own, label in enumerate(labels)]
    itself = [[own] for own in range(len(labels))]
    return [folder / row["image"] for row in rows], Qrels.from_lists(others, junk=itself)


def milliseconds(encoder: OnnxEncoder) -> float:
    """CPU time of the image tower a picture, in batches of 8; the best of 5."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, *encoder.preprocessing.size, 3), dtype=np.uint8)
    encoder.encode_images(pixels)
    times = []
    for _ in range(5):
        start = time.process_time()
        encoder.encode_images(pixels)
        times.append(time.process_time() - start)
    return round(1000 * min(times) / len(pixels), 1)


def quality(
    gallery: np.ndarray, queries: np.ndarray, shown: Qrels, pictures: np.ndarray, same: Qrels
) -> dict[str, float]:
    """R@1 and mAP of finding the cover, mAP of finding the class."""
    cover = rank_relevant_by_vectors(queries, gallery, shown)
    return {
        "covers R@1": round(float(hit_at_k(cover, 1).mean()), 4),
        "covers mAP": round(float(average_precision(cover).mean()), 4),
        "classes mAP": round(
            float(average_precision(rank_relevant_by_vectors(pictures, pictures, same)).mean()), 4
        ),
    }


def measured(model: str, data: Path) -> dict[str, Any]:
    """Everything about one encoder."""
    encoder = OnnxEncoder.open(prepare_encoder(model, cache=user_cache_path("mmsearch")))
    gallery_files, query_files, shown = covers(data / "smvs-dvd")
    class_files, same = classes(data / "imagenette-val")
    gallery, queries, pictures = (
        image_vectors(encoder, files) for files in (gallery_files, query_files, class_files)
    )
    others = sorted((data / "flickr8k-train" / "images").iterdir())[:N_TO_LEARN]
    learned = fit_whitening(image_vectors(encoder, others), min(N_COMPONENTS, encoder.dim))
    return {
        "dim": encoder.dim,
        "ms": milliseconds(encoder),
        **quality(gallery, queries, shown, pictures, same),
        f"whitened to {N_COMPONENTS}": quality(
            whiten(gallery, learned), whiten(queries, learned), shown, whiten(pictures, learned), same
        ),
    }


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out")
    parser.add_argument("--model", action="append")
    arguments = parser.parse_args()
    models = arguments.model or ["offline", *(PREFIX + name for name in DESCRIPTORS)]
    report("descriptors", {model: measured(model, arguments.data) for model in models}, arguments.out)


if __name__ == "__main__":
    main()
