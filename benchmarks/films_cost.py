"""What it costs that hits are films: searches over frames beside searches over as many photographs.

    python benchmarks/films_cost.py FOLDER [--films N] [--frames N] [--queries N] [--out FILE]

FOLDER is filled with two libraries of random unit vectors: frames of films of an hour, and photographs. Searches by
a vector are timed in both by turns, for the first page and for the second; nothing is decoded.
"""

from __future__ import annotations

import argparse
import statistics
import time
from hashlib import sha256
from pathlib import Path

import numpy as np
from machine import report

from mmsearch import Library, Query
from mmsearch.frames import frame_hash, frame_name
from mmsearch.records import READING, FileLook
from mmsearch.store.changes import Changes, FilmProgress, FrameTimes, StoredFile
from mmsearch.store.folder import Store
from mmsearch.store.place import is_library

DIM, K, SECONDS = 512, 10, 3600
LOOK = FileLook(1, 1, 1)
Vectors = np.ndarray


def units(n: int, seed: int) -> Vectors:
    """Return n random unit vectors float32."""
    vectors = np.random.default_rng(seed).standard_normal((n, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def film(number: int, vectors: Vectors) -> Changes:
    """Return a film with frames of these vectors."""
    path, content_hash = b"/films/%d.mp4" % number, sha256(b"%d" % number).digest()
    step, frames = SECONDS / len(vectors), []
    for part, vector in enumerate(vectors):
        at = round(part * step, 3)
        frames.append(
            StoredFile(
                frame_name(path, at), LOOK, frame_hash(content_hash, at), 640, 360, "MP4", None, READING,
                vector=vector, frame=FrameTimes(part, at, at, at + step),
            )
        )  # fmt: skip
    progress = FilmProgress(path, LOOK, content_hash, bytes(32), SECONDS, "", SECONDS, is_whole=True, problem="")
    return Changes(stored=frames, films=[progress])


def photographs(number: int, vectors: Vectors) -> Changes:
    """Return as many photographs as a film has frames, of these vectors."""
    names = [b"/photographs/%d/%d.jpg" % (number, place) for place in range(len(vectors))]
    return Changes(
        stored=[
            StoredFile(name, LOOK, sha256(name).digest(), 640, 360, "JPEG", None, READING, vector=vector)
            for name, vector in zip(names, vectors, strict=True)
        ]
    )


def seconds_of(library: Library, query: Query) -> tuple[float, float]:
    """Return how long the first page of an answer takes, and the second where there is one."""
    begin = time.perf_counter()
    after = library.search(query, k=K).next
    first = time.perf_counter() - begin
    if after is None:
        return first, float("nan")
    begin = time.perf_counter()
    library.search(query, k=K, after=after)
    return first, time.perf_counter() - begin


def main() -> None:
    """Make the libraries and time searches in them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--films", type=int, default=10)
    parser.add_argument("--frames", type=int, default=1400, help="of each film")
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--out")
    asked = parser.parse_args()
    vectors = units(asked.films * asked.frames, 0)
    kinds = {"films": film, "photographs": photographs}
    for name, made in kinds.items():
        if is_library(asked.folder / name):
            continue
        with Store.writer(asked.folder / name, create={"fingerprint": "0" * 64, "dim": DIM, "model": "x"}) as store:
            for number in range(asked.films):
                store.commit(made(number, vectors[number * asked.frames :][: asked.frames]))
    libraries = {name: Library.open(asked.folder / name) for name in kinds}
    queries = [Query(vector=vector) for vector in units(asked.queries + 1, 1)]
    times = {name: [] for name in kinds}
    for query in queries:
        for name, library in libraries.items():
            times[name].append(seconds_of(library, query))
    milliseconds = {
        name: {
            page: round(1000 * statistics.median(of_page), 2)
            for page, of_page in zip(("first", "second"), zip(*measured[1:], strict=True), strict=True)
        }
        for name, measured in times.items()
    }
    ratio = milliseconds["films"]["first"] / milliseconds["photographs"]["first"]
    figures = {"n_films": asked.films, "n_frames": asked.frames, "ms": milliseconds, "ratio": round(ratio, 2)}
    report("films_cost", figures, asked.out)


if __name__ == "__main__":
    main()
