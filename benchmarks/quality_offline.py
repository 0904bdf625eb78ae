"""How good the offline encoder is, on public research sets that are not part of this project.

    python benchmarks/quality_offline.py DATA [--out FILE]

DATA holds flickr8k-test (captions.jsonl, images/), imagenet-sample and imagenette-val (labels.csv, images/).
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from machine import report
from platformdirs import user_cache_path

from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.encoders.prepare import prepare_encoder
from mmsearch.evaluation.metrics.first_rank import first_relevant_rank
from mmsearch.evaluation.metrics.ranks import Qrels, RankedRelevant, rank_relevant
from mmsearch.evaluation.metrics.recall import hit_at_k
from mmsearch.images import decode
from mmsearch.vectors import inner_products
from mmsearch.zeroshot import class_embeddings


def image_vectors(encoder: OnnxEncoder, files: list[Path]) -> np.ndarray:
    """Embed pictures in batches of 8."""
    batches = []
    for start in range(0, len(files), 8):
        pixels = [decode(file.read_bytes(), encoder.preprocessing).pixels for file in files[start : start + 8]]
        batches.append(encoder.encode_images(np.stack(pixels)))
    return np.concatenate(batches)


def summary(ranked: RankedRelevant) -> dict[str, float]:
    """R@k (any) in percent and the median rank."""
    rates = {f"R@{k} (any)": round(100 * float(hit_at_k(ranked, k).mean()), 1) for k in (1, 5, 10)}
    return {**rates, "median rank": float(np.median(first_relevant_rank(ranked)))}


def flickr(encoder: OnnxEncoder, folder: Path) -> dict[str, Any]:
    """Captions to pictures and back, 5 captions a picture."""
    rows = [json.loads(line) for line in (folder / "captions.jsonl").read_text().splitlines()]
    images = image_vectors(encoder, [folder / row["image"] for row in rows])
    texts = encoder.encode_texts([caption for row in rows for caption in row["captions"]])
    owner = np.repeat(np.arange(len(rows)), [len(row["captions"]) for row in rows])
    scores = inner_products(texts, images)
    captions = [np.flatnonzero(owner == row) for row in range(len(rows))]
    return {
        "text to image": summary(rank_relevant(scores, Qrels.from_lists(owner[:, None]))),
        "image to text": summary(rank_relevant(scores.T, Qrels.from_lists(captions))),
    }


def classes(encoder: OnnxEncoder, folder: Path) -> dict[str, Any]:
    """Zero-shot top-1 from the plain class names and from the default templates; class name to picture."""
    with (folder / "labels.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = {int(row["class_index"]): row["class_name"] for row in rows}
    order = sorted(names)
    truth = np.array([order.index(int(row["class_index"])) for row in rows])
    images = image_vectors(encoder, [folder / row["image"] for row in rows])
    plain = encoder.encode_texts([names[i] for i in order])
    prompted = np.stack([class_embeddings(encoder.encode_texts, [names[i]])[0] for i in order])
    pictures = Qrels.from_lists([np.flatnonzero(truth == label) for label in range(len(order))])
    logits = encoder.logit_scale * inner_products(images, prompted).astype(np.float64)
    log_probabilities = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    return {
        "top-1 from names": float(np.mean(np.argmax(inner_products(images, plain), axis=1) == truth)),
        "top-1 from templates": float(np.mean(np.argmax(logits, axis=1) == truth)),
        "mean log-loss from templates": float(-log_probabilities[np.arange(len(truth)), truth].mean()),
        "class name to image": summary(rank_relevant(inner_products(plain, images), pictures)),
    }


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out")
    arguments = parser.parse_args()
    encoder = OnnxEncoder.open(prepare_encoder("offline", cache=user_cache_path("mmsearch")), threads=2)
    figures = {
        "flickr8k-test": flickr(encoder, arguments.data / "flickr8k-test"),
        "imagenet-sample": classes(encoder, arguments.data / "imagenet-sample"),
        "imagenette-val": classes(encoder, arguments.data / "imagenette-val"),
    }
    report("quality_offline", figures, arguments.out)


if __name__ == "__main__":
    main()
