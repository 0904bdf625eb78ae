"""What words beside pictures cost: indexing and searching with and without them, side by side in one run.

    python benchmarks/words_cost.py DATA [--pictures 280] [--rows 100000] [--out FILE]

One thread; DATA holds flickr8k-test. CPU time, of this process and its workers, as other work may go on beside.
Indexed are copies of the sample photographs, each with an XMP sidecar of 20 words, by a run that keeps annotations
and by one that does not. Searched are made-up vectors with 20 words each: 20 tags, or 10 tags and a caption of 10,
which has a vector. Captions of Flickr8k are asked, with words and without in turns.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import argparse
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from embeddings import Realistic
from machine import report
from platformdirs import user_cache_path

from mmsearch import Library
from mmsearch.annotations import Annotation, Annotations, Kind
from mmsearch.annotations.xmp_sidecar import xmp_sidecar
from mmsearch.datasets.captions import read_captions
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.encoders.prepare import prepare_encoder
from mmsearch.ingest.beside import Beside
from mmsearch.ingest.plan import make_plan
from mmsearch.ingest.pool import WorkerPool
from mmsearch.ingest.run import execute
from mmsearch.samples import sample_folder
from mmsearch.store.changes import AnnotatedFile, Changes
from mmsearch.store.folder import CATALOG, Store

N_TOGETHER = 2_000
N_TURNS = 3


def cpu_seconds() -> float:
    """User and system time of this process and its ended children."""
    process, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return process.ru_utime + process.ru_stime + children.ru_utime + children.ru_stime


def said(words: Sequence[str], *, is_captioned: bool = True) -> Annotations:
    """Return 20 words as tags, or as 10 tags and a caption of 10."""
    tags = [Annotation(Kind.TAG, "xmp:dc:subject", word) for word in words]
    caption = Annotation(Kind.CAPTION, "xmp:dc:description", " ".join(words[10:]))
    return Annotations((*tags[:10], caption) if is_captioned else tuple(tags))


def written(folder: Path, n: int, draws: Iterator[Sequence[str]]) -> None:
    """Write n pictures that no two are alike, each with a sidecar."""
    samples = sorted(sample_folder().glob("*.jpg"))
    for number in range(n):
        name = folder / f"{number:05}.jpg"
        name.write_bytes(samples[number % len(samples)].read_bytes() + str(number).encode())
        Path(f"{name}.xmp").write_bytes(xmp_sidecar(said(next(draws)).texts))


def index_seconds(photos: Path, encoder: OnnxEncoder, *, is_annotated: bool) -> float:
    """CPU seconds of a run that makes a library, but for the start of its worker."""
    roots = [os.fsencode(photos)]
    with tempfile.TemporaryDirectory() as folder:
        settings = {"dim": encoder.dim, "fingerprint": encoder.fingerprint, "model": "offline"}
        with Store.writer(Path(folder), create=settings) as store:
            plan = make_plan(store, roots, beside=Beside(roots) if is_annotated else None)
            pool = WorkerPool.for_encoder(encoder.folder, cwd=Path(folder), n_workers=1)
            start = cpu_seconds()
            execute(store, plan, encoder.folder, pool=pool)
            return cpu_seconds() - start


def filled(folder: Path, n: int, encoder: OnnxEncoder, cache: Path) -> None:
    """Make a library of n made-up vectors."""
    source = Realistic()
    with Library.open(folder, cache=cache) as library:
        library.index(sample_folder(), model="offline", local=False, remember=False)
        for start in range(0, n, 10 * N_TOGETHER):
            rows = min(10 * N_TOGETHER, n - start)
            paths = [f"/made-up/{number:07}.jpg" for number in range(start, start + rows)]
            library.add_vectors(
                paths, source.pictures(rows, seed=start + 1), model="offline", fingerprint=encoder.fingerprint
            )


def annotate(folder: Path, draws: Iterator[Sequence[str]], encoder: OnnxEncoder, *, is_captioned: bool) -> None:
    """Give every picture of a library 20 words, and captions vectors of their own."""
    rng = np.random.default_rng(0)
    with Store.writer(folder) as store:
        ids = [file.image_id for file in store.known_files(b"/made-up")]
        for start in range(0, len(ids), N_TOGETHER):
            texts = [said(next(draws), is_captioned=is_captioned) for _ in ids[start : start + N_TOGETHER]]
            files = map(AnnotatedFile, ids[start : start + N_TOGETHER], texts)
            store.commit(Changes(annotated=list(files)))
        store.annotations.embed_captions(
            lambda texts: rng.standard_normal((len(texts), encoder.dim)).astype(np.float32), lambda *_: None
        )
        store.settle(encoder.text_probes(), on_progress=lambda *_: None)


def search_ms(library: Library, texts: Sequence[str]) -> dict[str, dict[str, float]]:
    """CPU milliseconds of searches with and without words: the median, and what nine of ten stay below."""
    spent: dict[Literal["none", "auto"], list[float]] = {"none": [], "auto": []}
    for text in texts:
        for words, times in spent.items():
            start = time.process_time()
            library.search(text, words=words)
            times.append(1e3 * (time.process_time() - start))
    return {
        words: {"median": round(float(np.median(times)), 2), "90 % below": round(float(np.quantile(times, 0.9)), 2)}
        for words, times in spent.items()
    }


def main() -> None:
    """Index and search both ways and print the ratios."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--pictures", type=int, default=280)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--cache", type=Path, default=user_cache_path("mmsearch"))
    parser.add_argument("--out")
    options = parser.parse_args()
    texts = read_captions(options.data / "flickr8k-test").texts
    vocabulary = [word for text in texts for word in text.split()]  # as often as they are
    rng = np.random.default_rng(1)
    draws = ([vocabulary[at] for at in rng.integers(0, len(vocabulary), 20)] for _ in iter(int, 1))
    encoder = OnnxEncoder.open(prepare_encoder("offline", cache=options.cache))
    figures: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as work:
        photos = Path(work, "photos")
        photos.mkdir()
        written(photos, options.pictures, draws)
        pairs = [
            tuple(index_seconds(photos, encoder, is_annotated=is_annotated) for is_annotated in (False, True))
            for _ in range(N_TURNS)
        ]
        shutil.rmtree(photos)
        figures["CPU seconds of indexing, without and with"] = [[round(s, 2) for s in pair] for pair in pairs]
        figures["indexing, ratio"] = round(float(np.median([with_words / plain for plain, with_words in pairs])), 3)
        folder = Path(work, "library")
        filled(folder, options.rows, encoder, options.cache)
        bare = (folder / CATALOG).stat().st_size
        asked = [texts[at] for at in rng.integers(0, len(texts), 150)]
        for is_captioned, what in ((False, "20 tags"), (True, "10 tags and a caption")):
            annotate(folder, draws, encoder, is_captioned=is_captioned)
            with Library.open(folder, cache=options.cache) as library:
                search_ms(library, asked[:20])  # loads what is loaded once
                of_searches = search_ms(library, asked[20:])
            ratio = of_searches["auto"]["median"] / of_searches["none"]["median"]
            figures[f"{what}, bytes a picture"] = round(((folder / CATALOG).stat().st_size - bare) / options.rows)
            figures[f"{what}, CPU ms of a search"] = of_searches
            figures[f"{what}, ratio"] = round(ratio, 3)
    report("words_cost", figures, options.out)


if __name__ == "__main__":
    main()
