"""Cold commands from the shell: CPU time of whole processes, in turns, medians and their ratios.

    python benchmarks/cold_shell.py WORK [--out FILE]

Searches run on a library of 100,000 synthetic vectors that is given the encoder in question.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

from embeddings import Realistic
from machine import report
from platformdirs import user_cache_path
from synthetic import build_library, write_vit_b_32

from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.encoders.prepare import prepare_encoder

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


def library_with(work: Path, model: str) -> tuple[Path, Path]:
    """Return a library of N vectors under an encoder, and the encoder's folder."""
    encoder = prepare_encoder(model, cache=user_cache_path("mmsearch"))
    opened = OnnxEncoder.open(encoder)
    folder = work / f"cold-{opened.fingerprint[:12]}"
    if not folder.exists():
        build_library(folder, Realistic(), N, fingerprint=opened.fingerprint, model=opened.name)
        shutil.copytree(encoder, folder / "encoder")
    return folder, encoder


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--out")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    checkpoint = write_vit_b_32(arguments.work / "vit-b-32")
    offline, _ = library_with(arguments.work, "offline")
    clip, _ = library_with(arguments.work, str(checkpoint))
    program = shutil.which("mmsearch") or os.fspath(Path(sys.executable).with_name("mmsearch"))
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
