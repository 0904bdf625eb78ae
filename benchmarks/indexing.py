"""Indexing: CPU time a picture against its parts, cores kept busy, and naive loops, all in one run.

    python benchmarks/indexing.py WORK [--model offline|vit-b-32] [--small N] [--large N] [--out FILE]

WORK is a folder for the photographs, kept between runs. The naive loops open, transform and encode one
picture after the other: one on the same ONNX runtime, one with open_clip's eager model.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
from machine import report
from PIL import Image
from platformdirs import user_cache_path
from synthetic import write_photographs, write_vit_b_32

from mmsearch import Library
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.encoders.prepare import prepare_encoder
from mmsearch.images import decode

SIZES = {"0.3 MP": (640, 480), "12 MP": (4000, 3000)}


def cpu_seconds() -> float:
    """User and system time of this process and its ended children."""
    process, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return process.ru_utime + process.ru_stime + children.ru_utime + children.ru_stime


def parts(encoder: OnnxEncoder, files: list[Path]) -> dict[str, float]:
    """CPU milliseconds a picture of scaled decoding alone and of the image tower alone, one thread."""
    data = [file.read_bytes() for file in files]
    start = time.process_time()
    pixels = [decode(file, encoder.preprocessing).pixels for file in data]
    decoded = time.process_time()
    batches = [np.stack(pixels[i : i + 8]) for i in range(0, len(pixels), 8)]
    encoder.encode_images(batches[0])  # loads the tower
    before = time.process_time()
    for batch in batches:
        encoder.encode_images(batch)
    forward = time.process_time() - before
    return {"decode": 1e3 * (decoded - start) / len(files), "forward": 1e3 * forward / len(files)}


def cosine_of_draft(encoder: OnnxEncoder, files: list[Path]) -> float:
    """Smallest cosine between embeddings of scaled and full decodes."""
    vectors = [
        encoder.encode_images(
            np.stack([decode(f.read_bytes(), encoder.preprocessing, use_draft=use).pixels for f in files])
        )
        for use in (True, False)
    ]
    return float((vectors[0] * vectors[1]).sum(axis=1).min())


def index(folder: Path, model: str, library: Path) -> dict[str, float]:
    """One whole `index` run: wall and CPU seconds."""
    shutil.rmtree(library, ignore_errors=True)
    with Library.open(library) as opened:
        cpu, start = cpu_seconds(), time.perf_counter()
        done = opened.index([folder], model=model)
        wall = time.perf_counter() - start
    return {"n": done.new, "wall": wall, "cpu": cpu_seconds() - cpu}


def naive(encoder: OnnxEncoder, files: list[Path]) -> float:
    """Pictures a second of the naive loop on the same runtime with all its threads."""
    start = time.perf_counter()
    for file in files:
        encoder.encode_images(decode(file.read_bytes(), encoder.preprocessing, use_draft=False).pixels[None])
    return len(files) / (time.perf_counter() - start)


def naive_open_clip(checkpoint: Path, files: list[Path]) -> float:
    """Pictures a second of the loop in open_clip's README."""
    import open_clip
    import torch

    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{checkpoint}")
    model.eval()
    start = time.perf_counter()
    for file in files:
        with torch.no_grad():
            vectors = model.encode_image(transform(Image.open(file)).unsqueeze(0))
            vectors /= vectors.norm(dim=-1, keepdim=True)
    return len(files) / (time.perf_counter() - start)


def measure(work: Path, model: str, n: dict[str, int]) -> dict[str, Any]:
    """All figures for one model."""
    name = str(write_vit_b_32(work / "vit-b-32")) if model == "vit-b-32" else model
    folder = prepare_encoder(name, cache=user_cache_path("mmsearch"))
    cores = len(os.sched_getaffinity(0))
    figures: dict[str, Any] = {}
    for label, size in SIZES.items():
        photographs = work / f"{label.replace(' ', '')}-{n[label]}"
        if not photographs.exists():
            write_photographs(photographs, n[label], size)
        files = sorted(photographs.iterdir())
        few = files[: max(16, len(files) // 10)]
        alone = parts(OnnxEncoder.open(folder), few)
        run = index(photographs, name, work / "library")
        assert run["n"] == len(files)
        rate = len(files) / run["wall"]
        cpu_ms = 1e3 * run["cpu"] / len(files)
        loop = naive(OnnxEncoder.open(folder, threads=cores), few)
        figures[label] = {
            "pictures": len(files),
            "decode alone, CPU ms": round(alone["decode"], 1),
            "forward alone, CPU ms": round(alone["forward"], 1),
            "index, CPU ms a picture": round(cpu_ms, 1),
            "index / (decode + forward)": round(cpu_ms / (alone["decode"] + alone["forward"]), 3),
            "cores busy": round(run["cpu"] / run["wall"] / cores, 3),
            "index, pictures/s": round(rate, 1),
            "times the naive loop on the same runtime": round(rate / loop, 2),
            "cosine of scaled to full decode, min": round(cosine_of_draft(OnnxEncoder.open(folder), few[:32]), 5),
        }
        if model == "vit-b-32":
            eager = naive_open_clip(work / "vit-b-32", few)
            figures[label]["times the naive open_clip loop"] = round(rate / eager, 2)
    return figures


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--model", choices=["offline", "vit-b-32"], default="offline")
    parser.add_argument("--small", type=int, default=1000)
    parser.add_argument("--large", type=int, default=240)
    parser.add_argument("--out")
    arguments = parser.parse_args()
    figures = measure(arguments.work, arguments.model, {"0.3 MP": arguments.small, "12 MP": arguments.large})
    report(f"indexing {arguments.model}", figures, arguments.out)


if __name__ == "__main__":
    main()
