"""Indexing: CPU time a picture against its parts, cores kept busy, and naive loops, all in one run.

    python benchmarks/indexing.py WORK [--model offline|vit-b-32] [--precision int8]... [--pictures DIR] [--small N]
        [--large N] [--out FILE]

WORK is a folder for the photographs, kept between runs. The naive loops open, transform and encode one
picture after the other: one on the same ONNX runtime, one with open_clip's eager model. Precisions besides fp32 are
admitted by the pictures in DIR, of which there must be 171 at least; one that is refused is said and left out.
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
from mmsearch.arguments import Precision
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.encoders.prepare import prepare_encoder
from mmsearch.errors import EncoderError
from mmsearch.images import decode
from mmsearch.samples import sample_folder

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


def index(folder: Path, model: str, library: Path, *, precision: str, first: Path) -> dict[str, float]:
    """One whole `index` run of a library that is there: wall and CPU seconds.

    It is made of other pictures, so that what admits a precision is not measured.
    """
    shutil.rmtree(library, ignore_errors=True)
    with Library.open(library) as opened:
        opened.index([first], model=model, precision=precision, local=False)
        cpu, start = cpu_seconds(), time.perf_counter()
        done = opened.index([folder])
        wall = time.perf_counter() - start
    return {"n": done.new, "wall": wall, "cpu": cpu_seconds() - cpu}


def other_precisions(
    photographs: Path, model: str, work: Path, precisions: list[Precision], first: Path, rate: float
) -> dict[str, Any]:
    """Figures of runs in other precisions than fp32, whose rate is given."""
    figures: dict[str, Any] = {}
    few = sorted(photographs.iterdir())[:16]
    for precision in precisions:
        try:
            run = index(photographs, model, work / "library", precision=precision, first=first)
        except EncoderError as error:
            figures[f"{precision} refused"] = str(error)
            continue
        figures[f"index in {precision}, pictures/s"] = round(run["n"] / run["wall"], 1)
        figures[f"index in {precision}, times fp32"] = round(run["n"] / run["wall"] / rate, 2)
        folder = prepare_encoder(model, cache=user_cache_path("mmsearch"), precision=precision)
        forward = parts(OnnxEncoder.open(folder, is_indexing=True), few)["forward"]
        figures[f"forward alone in {precision}, CPU ms"] = round(forward, 1)
        figures[f"index in {precision}, CPU ms a picture"] = round(1e3 * run["cpu"] / run["n"], 1)
    return figures


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


def measure(work: Path, given: argparse.Namespace) -> dict[str, Any]:
    """All figures for one model."""
    model, n = given.model, {"0.3 MP": given.small, "12 MP": given.large}
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
        run = index(photographs, name, work / "library", precision="fp32", first=given.pictures)
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
        figures[label] |= other_precisions(photographs, name, work, given.precision, given.pictures, rate)
        if model == "vit-b-32":
            eager = naive_open_clip(work / "vit-b-32", few)
            figures[label]["the naive open_clip loop, pictures/s"] = round(eager, 2)
            for precision in ("fp32", *given.precision):
                own = figures[label].get(f"index in {precision}, pictures/s", rate if precision == "fp32" else None)
                if own is not None:
                    figures[label][f"{precision}, times the naive open_clip loop"] = round(own / eager, 2)
    return figures


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--model", choices=["offline", "vit-b-32"], default="offline")
    parser.add_argument("--precision", action="append", choices=["int8", "bf16"], default=[])
    parser.add_argument("--pictures", type=Path, default=sample_folder())
    parser.add_argument("--small", type=int, default=1000)
    parser.add_argument("--large", type=int, default=240)
    parser.add_argument("--out")
    arguments = parser.parse_args()
    figures = measure(arguments.work, arguments)
    report(f"indexing {arguments.model}", figures, arguments.out)


if __name__ == "__main__":
    main()
