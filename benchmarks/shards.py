"""Embedding into shards: from tars and Parquet files against a folder, and on a Ray cluster, all in one run.

    python benchmarks/shards.py WORK [--model offline] [--n N] [--rounds N] [--ray] [--out FILE]

WORK is a folder for the photographs, kept between runs. Every figure is pictures a second of a whole run; ratios
are of runs that took turns, and the median of the rounds. Those on a cluster are without the time in which Ray
starts, and once more without that in which a run starts its workers.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import tarfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from machine import report
from platformdirs import user_cache_path
from synthetic import write_photographs

from mmsearch import Library
from mmsearch.ingest.embed import EmbedOptions, embed_pictures

SIZE = (640, 480)
FEW = 16  # pictures of a run that is all start


def bundles(work: Path, n: int) -> dict[str, Path]:
    """Return a folder of photographs, a tar and a Parquet file of the same bytes."""
    folder, tar, table = work / f"photographs-{n}", work / f"{n}.tar", work / f"{n}.parquet"
    if not folder.exists():
        write_photographs(folder, n, SIZE)
    files = [(file.name, file.read_bytes()) for file in sorted(folder.iterdir())]
    with tarfile.open(tar, "w") as archive:
        for name, contents in files:
            info = tarfile.TarInfo(name)
            info.size = len(contents)
            archive.addfile(info, io.BytesIO(contents))
    pq.write_table(pa.table({"key": [name for name, _ in files], "jpg": [data for _, data in files]}), table)
    return {"folder": folder, "tar": tar, "parquet": table}


def rate(source: Path, out: Path, **options: Any) -> float:
    """Pictures a second of a whole run."""
    shutil.rmtree(out, ignore_errors=True)
    start = time.perf_counter()
    done = embed_pictures(source, out, EmbedOptions(**options))
    return done.new / (time.perf_counter() - start)


def rate_of_index(source: Path, library: Path, model: str) -> float:
    """Pictures a second of `index --no-local`, with as many workers as there are cores."""
    shutil.rmtree(library, ignore_errors=True)
    with Library.open(library, cache=user_cache_path("mmsearch")) as opened:
        start = time.perf_counter()
        done = opened.index([source], model=model, local=False)
        return done.new / (time.perf_counter() - start)


def measure(work: Path, model: str, n: int, rounds: int) -> dict[str, Any]:
    """Figures of one machine without a cluster."""
    sources, cores = bundles(work, n), len(os.sched_getaffinity(0))
    options = {"model": model, "cache": user_cache_path("mmsearch"), "n_workers": cores}
    rates = defaultdict(list)
    for _ in range(rounds):
        rates["index"].append(rate_of_index(sources["folder"], work / "library", model))
        for name, source in sources.items():
            rates[name].append(rate(source, work / "shards", **options))
    figures = {f"{name}, pictures/s": round(median(values), 1) for name, values in rates.items()}
    for name, base in (("folder", "index"), ("tar", "folder"), ("parquet", "folder")):
        ratios = [own / other for own, other in zip(rates[name], rates[base], strict=True)]
        figures[f"{name} / {base}"] = round(median(ratios), 3)
    return {"pictures": n, "workers": cores, **figures}


def measure_ray(work: Path, model: str, n: int, rounds: int) -> dict[str, Any]:
    """Two Ray workers against one, on a cluster that is started once: whole runs, and without their start."""
    import ray

    tar, few = bundles(work, n)["tar"], bundles(work, FEW)["tar"]
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, object_store_memory=1 << 28)
    options = {"model": model, "cache": user_cache_path("mmsearch"), "ray": "local"}
    whole, steady, here = defaultdict(list), defaultdict(list), defaultdict(list)
    for _ in range(rounds):
        for n_workers in (1, 2):
            start_s = FEW / rate(few, work / "shards", n_workers=n_workers, **options)
            whole[n_workers].append(rate(tar, work / "shards", n_workers=n_workers, **options))
            steady[n_workers].append((n - FEW) / (n / whole[n_workers][-1] - start_s))
            here[n_workers].append(rate(tar, work / "shards", n_workers=n_workers, **{**options, "ray": None}))
    ray.shutdown()
    figures = {"pictures": n}
    for name, rates in (("whole run", whole), ("without its start", steady), ("without Ray", here)):
        figures[f"{name}, one worker, pictures/s"] = round(median(rates[1]), 1)
        figures[f"{name}, two workers, pictures/s"] = round(median(rates[2]), 1)
        figures[f"{name}, two / one"] = round(median(b / a for a, b in zip(rates[1], rates[2], strict=True)), 3)
    return figures


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--model", default="offline")
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ray", action="store_true")
    parser.add_argument("--out")
    arguments = parser.parse_args()
    run = measure_ray if arguments.ray else measure
    figures = run(arguments.work, arguments.model, arguments.n, arguments.rounds)
    report("shards on Ray" if arguments.ray else "shards", figures, arguments.out)


if __name__ == "__main__":
    main()
