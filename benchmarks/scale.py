"""What a library of 10^6 to 10^9 pictures takes: bytes, nodes, hours and the kind of index.

    python benchmarks/scale.py WORK [--milvus FILE] [--model NAME] [--out FILE]

Measured here, in this run: pictures/s of one core through the workers of `index` (by default ViT-B-32 with random
weights, as fast as a trained one), bytes of a picture in a shard, and bytes of a vector in an HNSW graph. FILE is
what `milvus_library.py --out` wrote, for pictures/s of `load`. All else is stated with its source in `STATED`. The
plan is arithmetic over these: it shows what to order first, and is no promise; a cluster was never run.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from embeddings import DIM, Realistic
from machine import report
from synthetic import write_photographs, write_vit_b_32

from mmsearch import GraphSettings, Library
from mmsearch.file_array import HalfRows
from mmsearch.indexes.hnsw import GRAPH
from mmsearch.records import READING, FileLook, Preprocessing
from mmsearch.shards.folder import ShardFolder
from mmsearch.shards.format import ShardFacts
from mmsearch.store.changes import StoredFile
from mmsearch.store.matrix import append_rows, open_rows

SIZES = (10**6, 10**7, 10**8, 10**9)
STATED = {
    "gpu_pictures_per_s": (1500.0, "ViT-B/32 on an RTX 3080: README of rom1504/clip-retrieval"),
    "diskann_memory_share": (
        0.25, "PQCodeBudgetGBRatio and SearchCacheBudgetGBRatio, each .125: Milvus documentation, On-disk Index",
    ),
    "diskann_bytes_of_links": (4.0 * 56, "MaxDegree 56, four bytes each: Milvus documentation, On-disk Index"),
    "bytes_of_facts": (600.0, "assumed: path of 60 characters in three spellings, hash, sizes and dates of a row"),
}  # fmt: skip
NODE_BYTES, USABLE = 64e9, 0.7  # memory of a query node, and the share that vectors may take
REPLICAS, GPUS, CPU_CORES, LOADERS = 2, 8, 256, 8
MOST_IN_MEMORY = 10**7  # pictures up to which an index in memory is the plain choice
N_PHOTOGRAPHS, N_ROWS = 48, 4096


@dataclass(frozen=True)
class Measured:
    """What was measured, for one picture or one second."""

    core_pictures_per_s: float
    shard_bytes: float
    graph_bytes: float
    load_pictures_per_s: float


@dataclass(frozen=True)
class Plan:
    """What so many pictures take."""

    pictures: int
    index: str
    shard_gb: float
    memory_gb: float
    disk_gb: float
    query_nodes: int
    embed_hours_gpus: float
    embed_hours_cores: float
    load_hours: float


def plan(n: int, measured: Measured, dim: int = DIM) -> Plan:
    """Return what n pictures with vectors of float32 (dim,) in the engine take."""
    stated = {name: value for name, (value, _) in STATED.items()}
    vectors = 4.0 * dim * n
    if n <= MOST_IN_MEMORY:
        index, memory = "HNSW", vectors + (measured.graph_bytes + stated["bytes_of_facts"]) * n
        disk = memory
    else:
        index = "DISKANN"
        memory = stated["diskann_memory_share"] * vectors + stated["bytes_of_facts"] * n
        disk = vectors + (stated["diskann_bytes_of_links"] + stated["bytes_of_facts"]) * n
    return Plan(
        n, index, measured.shard_bytes * n / 1e9, memory / 1e9, disk / 1e9,
        math.ceil(REPLICAS * memory / (NODE_BYTES * USABLE)),
        n / (GPUS * stated["gpu_pictures_per_s"]) / 3600, n / (CPU_CORES * measured.core_pictures_per_s) / 3600,
        n / (LOADERS * measured.load_pictures_per_s) / 3600,
    )  # fmt: skip


def core_rate(work: Path, model: str) -> float:
    """Return pictures/s of one core: those of `index` over new photographs, by the number of its workers."""
    photographs, folder = work / "photographs", work / "library"
    shutil.rmtree(folder, ignore_errors=True)
    if not photographs.is_dir():
        write_photographs(photographs, N_PHOTOGRAPHS, (1024, 768))
    with Library.open(folder, cache=work / "cache") as library:
        first = next(photographs.iterdir())
        library.index([first], model=model, local=False)  # makes the encoder
        start = time.perf_counter()
        done = library.index([photographs], local=False)
        seconds = time.perf_counter() - start
    return done.new / seconds / len(os.sched_getaffinity(0))


def bytes_of_shards(work: Path) -> float:
    """Return the bytes of a picture in a shard."""
    folder = work / "shards"
    shutil.rmtree(folder, ignore_errors=True)
    vectors = np.concatenate(list(Realistic().gallery(N_ROWS)))
    rng = np.random.default_rng(0)
    files = [
        StoredFile(
            b"/photos/2024/%04d/IMG_%08d.jpg" % (i % 100, i), FileLook(int(rng.integers(1e5, 8e6)), i, i),
            rng.bytes(32), 4032, 3024, "JPEG", "2024-05-06T07:08:09", READING, vector=vector,
        )
        for i, vector in enumerate(vectors)
    ]  # fmt: skip
    facts = ShardFacts("0" * 64, "ViT-B-32", DIM, Preprocessing((224, 224), 224))
    with ShardFolder.writer(folder, facts, print) as shards:
        shards.add(files)
    return sum(path.stat().st_size for path in folder.glob("*.parquet")) / N_ROWS


def bytes_of_graph(work: Path) -> float:
    """Return the bytes of a vector in an HNSW graph beside the vector itself."""
    path = work / "vectors.f16"
    path.unlink(missing_ok=True)
    append_rows(path, np.concatenate(list(Realistic().gallery(N_ROWS))).astype(np.float16), at=0)
    rows: HalfRows = open_rows(path, N_ROWS, DIM)
    index = GRAPH.make(DIM, vars(GraphSettings()), np.zeros((0, DIM), np.float32))
    index.build(rows)
    return index.facts.size_bytes / N_ROWS - 4 * DIM


def table(plans: list[Plan]) -> str:
    """Return the rows of the README's table."""
    lines = [
        f"| pictures | index | shards | memory x {REPLICAS} | disk | query nodes | embed, {GPUS} GPUs | embed, "
        f"{CPU_CORES} cores | load, {LOADERS} loaders |",
        "|---:|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in plans:
        lines.append(
            f"| {row.pictures:,} | {row.index} | {row.shard_gb:,.0f} GB | {REPLICAS * row.memory_gb:,.0f} GB | "
            f"{row.disk_gb:,.0f} GB | {row.query_nodes} | {row.embed_hours_gpus:,.1f} h | "
            f"{row.embed_hours_cores:,.1f} h | {row.load_hours:,.1f} h |"
        )
    return "\n".join(lines)


def load_rate(milvus: Mapping[str, object]) -> float:
    """Return pictures/s of `load` from the figures of `milvus_library.py`."""
    figures = json.loads(json.dumps(milvus))["figures"]["load"]
    return float(figures["pictures"] / figures["library s"])


def main() -> None:
    """Measure, plan, and print both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("work", type=Path)
    parser.add_argument("--milvus", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--out")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    model = given.model or str(write_vit_b_32(given.work / "ViT-B-32"))
    loads = load_rate(json.loads(given.milvus.read_text())) if given.milvus else math.nan
    measured = Measured(
        core_rate(given.work, model), bytes_of_shards(given.work), bytes_of_graph(given.work), loads
    )
    plans = [plan(n, measured) for n in SIZES]
    print(table(plans))
    figures = {"measured": asdict(measured), "stated": STATED, "plans": [asdict(row) for row in plans]}
    report("scale", figures, given.out)


if __name__ == "__main__":
    main()
