"""What parts of pictures cost: indexing, bytes, and searches of many pictures with and without them, in one run.

    python benchmarks/parts_cost.py DATA [--photographs 250] [--rows 100000] [--timed 40] [--out FILE]

One thread; DATA holds flickr8k-train. CPU time of this process, as other work may go on beside. Timed are the
worker's own steps for one photograph: as it is, and with 4 parts of 13 windows. Searched are vectors near to those
of the first photographs and of their parts, by captions of these and by crops, in a library with 4 parts a picture
and in a copy of it without. The recall of the first ten is against scores of all pictures, whole and parts.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from crops import crop
from machine import report
from PIL import Image
from platformdirs import user_cache_path
from words_cost import N_TOGETHER, Photographs, filled

from mmsearch import Library, Query
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.ingest.worker import Job, embed_files
from mmsearch.query.searcher import Searcher
from mmsearch.records import parts_layout
from mmsearch.store.base import ALL, AskedVector, Passed
from mmsearch.store.folder import CATALOG, Store

MOST = 4
K = 10


def indexing_ms(paths: Sequence[Path], encoder: OnnxEncoder, n: int) -> dict[str, float]:
    """CPU milliseconds of a photograph, with and without parts in turns."""
    tower = OnnxEncoder.open(encoder.folder, is_indexing=True)
    files = [os.fsencode(path) for path in paths[:n]]
    embed_files(files[:1], tower)  # loads it
    spent = {"without": 0.0, "with": 0.0}
    for start in range(0, n, 2):
        for what, job in (("without", Job()), ("with", Job(parts=MOST))):
            before = time.process_time()
            embed_files(files[start : start + 2], tower, job=job)
            spent[what] += time.process_time() - before
    return {what: round(1e3 * seconds / n, 1) for what, seconds in spent.items()}


def parts_of(paths: Sequence[Path], encoder: OnnxEncoder) -> list[np.ndarray]:
    """Return the parts of photographs, as they are stored."""
    layout = parts_layout(encoder.dim)
    facts, _, _ = embed_files([os.fsencode(path) for path in paths], encoder, job=Job(parts=MOST))
    return [np.frombuffer(bytes.fromhex(fact["parts"]), layout) for fact in facts]


def add_parts(folder: Path, photographs: Photographs, parts: Sequence[np.ndarray]) -> None:
    """Give every picture variations of the parts of its photograph."""
    with Store.writer(folder) as store:
        store.parts.keep_most(MOST)
        files = sorted(store.known_files(b"/made-up"), key=lambda file: file.path)
        floats = [each["vector"].astype(np.float32) * each["scale"][:, None] for each in parts]
        for start in range(0, len(files), N_TOGETHER):
            rows = range(start, min(len(files), start + N_TOGETHER))
            pending = {}
            for row in rows:
                of_photograph = parts[row % len(parts)].copy()
                vectors = photographs.varied(floats[row % len(parts)], range(row, row + len(of_photograph)))
                scale = np.abs(vectors).max(axis=1) / 127
                of_photograph["vector"], of_photograph["scale"] = np.rint(vectors / scale[:, None]), scale
                pending[files[row].content_hash] = of_photograph.tobytes()
            store.parts.keep(pending)
        store.settle(photographs.encoder.text_probes(), on_progress=lambda *_: None)


def search_ms(search_of: dict[str, Callable[[Query], object]], queries: Sequence[Query]) -> dict[str, float]:
    """Median CPU milliseconds of searches of each kind, in turns."""
    spent: dict[str, list[float]] = {what: [] for what in search_of}
    for query in queries:
        for what, search in search_of.items():
            before = time.process_time()
            search(query)
            spent[what].append(1e3 * (time.process_time() - before))
    return {what: round(float(np.median(times)), 2) for what, times in spent.items()}


def recall(searcher: Searcher, queries: Sequence[Query]) -> float:
    """Return which share of the ten best of all scores searches find."""
    kept = []
    for query in queries:
        encoded = searcher.terms.encode([query])[0]
        asked = AskedVector(encoded.vector, encoded.itself)
        with searcher.store.reading():
            (near,) = searcher._neighbours.shortlists([asked], K, ALL, encoded.modality)
            exact = searcher._neighbours.following(asked, K, ALL, Passed(frozenset()), encoded.modality)
        ids = [{image.image_id for _, image in each.pictures} for each in (near, exact)]
        kept.append(len(ids[0] & ids[1]) / K)
    return float(np.mean(kept))


def main() -> None:
    """Measure both ways and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--photographs", type=int, default=250)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--timed", type=int, default=40)
    parser.add_argument("--cache", type=Path, default=user_cache_path("mmsearch"))
    parser.add_argument("--out")
    options = parser.parse_args()
    photographs = Photographs(options.data / "flickr8k-train", options.cache)
    paths = photographs.paths[: options.photographs]
    photographs.pictures = photographs.pictures[: len(paths)]
    indexing = indexing_ms(paths, photographs.encoder, options.timed)
    figures: dict[str, object] = {
        "indexing, CPU ms": indexing, "indexing, ratio": round(indexing["with"] / indexing["without"], 2)
    }  # fmt: skip
    rng = np.random.default_rng(1)
    texts = [Query(photographs.texts[at]) for at in rng.integers(0, 5 * len(paths), 120)]
    with tempfile.TemporaryDirectory() as work:
        crops = []
        for number, place in enumerate(rng.integers(0, len(paths), 40).tolist()):
            file = Path(work, f"{number}.png")
            crop(Image.open(paths[place]).convert("RGB"), rng, 0.45, 0, 0).save(file)
            crops.append(Query(images=[file]))
        plain, folder = Path(work, "plain"), Path(work, "parts")
        filled(plain, options.rows, photographs, options.cache)
        shutil.copytree(plain, folder)
        add_parts(folder, photographs, parts_of(paths, photographs.encoder))
        sizes = {
            "the catalog": (folder / CATALOG).stat().st_size - (plain / CATALOG).stat().st_size,
            "vectors": sum(file.stat().st_size for file in folder.glob("parts-*.i8")),
            "caches": sum(file.stat().st_size for file in folder.glob("part*.bin")),
        }
        figures["bytes a picture, for 1,024 of its vector"] = {
            where: round(size / options.rows) for where, size in sizes.items()
        }
        with (
            Library.open(plain, cache=options.cache) as without,
            Library.open(folder, cache=options.cache) as with_parts,
        ):
            search_of = {"without": without.search, "with": with_parts.search}
            for what, queries in (("texts", texts), ("crops", crops)):
                search_ms(search_of, queries[:10])  # loads what is loaded once
                spent = search_ms(search_of, queries[10:])
                figures[f"{what}, CPU ms of a search"] = spent
                figures[f"{what}, ratio"] = round(spent["with"] / spent["without"], 2)
                figures[f"{what}, recall@10"] = round(recall(with_parts._search(), queries[:40]), 4)
    report("parts_cost", figures, options.out)


if __name__ == "__main__":
    main()
