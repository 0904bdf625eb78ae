"""Cold commands from the shell: CPU time of whole processes, in turns, medians and their ratios.

    python benchmarks/cold_shell.py WORK [--large 1000000] [--out FILE]

Searches run on a library of 100,000 synthetic vectors that is given the encoder in question. With --large, new
texts are looked for in so many vectors, by cells, and in 1,000 instead.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from embeddings import Realistic
from machine import report
from platformdirs import user_cache_path
from synthetic import build_library, write_vit_b_32

from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.encoders.prepare import prepare_encoder
from mmsearch.indexes.cells import CELLS
from mmsearch.store.folder import Store
from mmsearch.store.indexes import GraphSettings

N = 100_000
BARE_TYPER = """
import typer
app = typer.Typer()
@app.command()
def one(name: str): "One."
@app.command()
def two(name: str): "Two."
app()
"""
OPEN_CLIP = """
import sys, torch, open_clip, numpy as np
folder, vectors, text = sys.argv[1:]
model = open_clip.create_model(f"local-dir:{folder}").eval()
tokens = open_clip.get_tokenizer(f"local-dir:{folder}")([text])
with torch.no_grad():
    query = model.encode_text(tokens, normalize=True).numpy()[0]
gallery = np.fromfile(vectors, dtype=np.float16).reshape(-1, query.shape[0])
print(np.argsort(gallery.astype(np.float32) @ query)[-10:])
"""


def cpu_seconds(command: list[str]) -> float:
    """CPU seconds, user and system, of one process and what it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def library_with(work: Path, model: str, n: int = N) -> Path:
    """Return a library of n vectors under an encoder; the cells of many are fitted to texts like its vectors."""
    encoder = prepare_encoder(model, cache=user_cache_path("mmsearch"))
    opened = OnnxEncoder.open(encoder)
    folder = work / f"cold-{opened.fingerprint[:12]}-{n}"
    if not folder.exists():
        embeddings = Realistic()
        build_library(folder, embeddings, n, fingerprint=opened.fingerprint, model=opened.name)
        shutil.copytree(encoder, folder / "encoder")
        if n > N:
            with Store.writer(folder) as store:
                store.indexes.update(GraphSettings(), embeddings.texts("text", 1024, seed=1), kinds=[CELLS])
    return folder


def by_size(work: Path, program: str, n: int, n_runs: int) -> dict[str, Any]:
    """Compare the first search of a shell in n vectors with that in 1,000."""
    times: dict[int, list[tuple[float, float]]] = {}
    sizes = {size: library_with(work, "offline", size) for size in (1000, n)}
    for turn in range(n_runs):
        for size, folder in sizes.items():
            start = time.perf_counter()
            text = f"two dogs in the snow, take {os.getpid()} {turn}"
            cpu = cpu_seconds([program, "search", "-k", "10", "--library", str(folder), text])
            times.setdefault(size, []).append((cpu, time.perf_counter() - start))
    medians = {
        size: [round(median(kind), 3) for kind in zip(*of_size, strict=True)] for size, of_size in times.items()
    }
    return {
        "CPU and wall seconds": medians,
        "times that in 1,000, CPU": round(medians[n][0] / medians[1000][0], 2),
        "times that in 1,000, wall": round(medians[n][1] / medians[1000][1], 2),
    }


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--large", type=int)
    parser.add_argument("--out")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    program = shutil.which("mmsearch") or os.fspath(Path(sys.executable).with_name("mmsearch"))
    if arguments.large:
        report("cold_shell", by_size(arguments.work, program, arguments.large, arguments.runs), arguments.out)
        return
    checkpoint = write_vit_b_32(arguments.work / "vit-b-32")
    offline, clip = library_with(arguments.work, "offline"), library_with(arguments.work, str(checkpoint))
    runs: dict[str, list[float]] = {}

    def time_of(name: str, command: list[str]) -> None:
        runs.setdefault(name, []).append(cpu_seconds(command))

    for turn in range(arguments.runs):
        python = [sys.executable, "-c"]
        time_of("import numpy, hnswlib", [*python, "import numpy, hnswlib"])
        search = [program, "search", "-k", "10", "--library"]
        time_of("offline, new text", [*search, str(offline), f"two dogs in the snow, take {os.getpid()} {turn}"])
        time_of("offline, repeated text", [*search, str(offline), "two dogs in the snow"])
        time_of("ViT-B-32, new text", [*search, str(clip), f"two dogs in the snow, take {os.getpid()} {turn}"])
        time_of("mmsearch --help", [program, "--help"])
        time_of("bare typer --help", [*python, BARE_TYPER, "--help"])
        if turn % 3 == 0:
            vectors = str(clip / "vectors-0.f16")
            time_of("open_clip script", [*python, OPEN_CLIP, str(checkpoint), vectors, "two dogs in the snow"])
    medians = {name: round(median(times), 3) for name, times in runs.items()}
    base = medians["import numpy, hnswlib"]
    figures: dict[str, Any] = {
        "CPU seconds": medians,
        "offline new text / import": round(medians["offline, new text"] / base, 2),
        "offline repeated text / import": round(medians["offline, repeated text"] / base, 2),
        "open_clip script / ViT-B-32 new text": round(
            medians["open_clip script"] / medians["ViT-B-32, new text"], 1
        ),
        "--help / bare typer": round(medians["mmsearch --help"] / medians["bare typer --help"], 2),
    }
    report("cold_shell", figures, arguments.out)


if __name__ == "__main__":
    main()
