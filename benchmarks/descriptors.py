"""How fast the image encoders are, and whether whitening their descriptors would help.

    python benchmarks/descriptors.py DATA [--out FILE] [--model NAME]...

DATA holds smvs-dvd (400 photographs of 100 covers among 241 others), imagenette-val (every picture queries the
other 599; those of its class are relevant) and flickr8k-train, on which the whitening is learned. Milliseconds are
CPU time of one thread a picture, decoding not counted. `mmsearch bench instance` has the first two with intervals.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from machine import report
from platformdirs import user_cache_path

from mmsearch.datasets.instances import read_instances
from mmsearch.encoders.cnn import DESCRIPTORS, PREFIX
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.encoders.prepare import prepare_encoder
from mmsearch.encoders.whitening import fit_whitening, whiten
from mmsearch.evaluation.metrics.average_precision import average_precision
from mmsearch.evaluation.metrics.ranks import Qrels, rank_relevant
from mmsearch.evaluation.metrics.recall import hit_at_k
from mmsearch.images import decode
from mmsearch.records import Matrix
from mmsearch.vectors import inner_products

SETS = ("smvs-dvd", "imagenette-val")
N_COMPONENTS = 256


def image_vectors(encoder: OnnxEncoder, files: list[Path]) -> Matrix:
    """Embed pictures in batches of 8."""
    batches = []
    for start in range(0, len(files), 8):
        pixels = [decode(file.read_bytes(), encoder.preprocessing).pixels for file in files[start : start + 8]]
        batches.append(encoder.encode_images(np.stack(pixels)))
    return np.concatenate(batches)


def measured_on(encoder: OnnxEncoder, folder: Path) -> Callable[[Callable[[Matrix], Matrix]], dict[str, float]]:
    """Encode an instance set; return what measures it after some change of its vectors."""
    known = read_instances(folder)
    (task,) = known.tasks.values()
    qrels = Qrels.from_lists(task.relevant, junk=task.junk)
    gallery = image_vectors(encoder, list(known.gallery))
    queries = gallery if known.queries == known.gallery else image_vectors(encoder, list(known.queries))

    def measure(change: Callable[[Matrix], Matrix]) -> dict[str, float]:
        ranked = rank_relevant(inner_products(change(queries), change(gallery)), qrels)
        return {"R@1": float(hit_at_k(ranked, 1).mean()), "mAP": float(average_precision(ranked).mean())}

    return measure


def milliseconds(encoder: OnnxEncoder) -> float:
    """CPU time of the image tower a picture, in batches of 8; the best of 5."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, *encoder.preprocessing.size, 3), dtype=np.uint8)
    encoder.encode_images(pixels)
    times = []
    for _ in range(5):
        start = time.process_time()
        encoder.encode_images(pixels)
        times.append(time.process_time() - start)
    return 1000 * min(times) / len(pixels)


def measured(model: str, data: Path) -> dict[str, Any]:
    """Everything about one encoder."""
    encoder = OnnxEncoder.open(prepare_encoder(model, cache=user_cache_path("mmsearch")))
    others = sorted((data / "flickr8k-train" / "images").iterdir())
    learned = fit_whitening(image_vectors(encoder, others), N_COMPONENTS)
    results: dict[str, Any] = {"dim": encoder.dim, "ms": milliseconds(encoder)}
    for name in SETS:
        measure = measured_on(encoder, data / name)
        results[name] = measure(lambda vectors: vectors)
        results[f"{name}, whitened to {N_COMPONENTS}"] = measure(lambda vectors: whiten(vectors, learned))
    return results


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
