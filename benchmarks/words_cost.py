"""What words beside pictures cost: indexing and searching with and without them, side by side in one run.

    python benchmarks/words_cost.py DATA [--pictures 280] [--rows 100000] [--out FILE]

One thread; DATA holds flickr8k-test. CPU time, of this process and its workers, as other work may go on beside.
Indexed are copies of the sample photographs, each with an XMP sidecar of 20 words, by a run that keeps annotations
and by one that does not. Searched are vectors near to those of the 1,000 photographs of the set, each with 20 words
of the captions of its photograph: 20 tags, or 10 tags and a caption of 10, whose vector is near to that of the
photograph's first caption. The captions are asked, with words and without in turns.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import argparse
import resource
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from embeddings import unit
from machine import report
from platformdirs import user_cache_path

from mmsearch import Library
from mmsearch.annotations import Annotation, Annotations, Kind
from mmsearch.annotations.xmp_sidecar import xmp_sidecar
from mmsearch.datasets.captions import read_captions
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.evaluation.encode import SetEncoder
from mmsearch.ingest.beside import Beside
from mmsearch.ingest.plan import make_plan
from mmsearch.ingest.pool import WorkerPool
from mmsearch.ingest.run import execute
from mmsearch.query.join import weights_of
from mmsearch.samples import sample_folder
from mmsearch.store.changes import AnnotatedFile, Changes
from mmsearch.store.folder import CATALOG, Store
from mmsearch.vectors import leading

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


def written(folder: Path, n: int, photographs: Photographs) -> None:
    """Write n pictures that no two are alike, each with a sidecar."""
    samples = sorted(sample_folder().glob("*.jpg"))
    for number in range(n):
        name = folder / f"{number:05}.jpg"
        name.write_bytes(samples[number % len(samples)].read_bytes() + str(number).encode())
        Path(f"{name}.xmp").write_bytes(xmp_sidecar(said(photographs.words(number)).texts))


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


class Photographs:
    """Photographs with captions, and as many variations of them as are wanted."""

    def __init__(self, folder: Path, cache: Path) -> None:
        encoder, captions = SetEncoder("offline", cache=cache), read_captions(folder)
        self.encoder = encoder.encoder
        self.texts = list(captions.texts)
        self.paths = list(captions.pictures)
        self.pictures = encoder.pictures(self.paths)[1]
        self.captions = encoder.texts([captions.texts[of_picture[0]] for of_picture in captions.texts_of_picture])
        self._words = [
            [word for place in of_picture for word in captions.texts[place].split()]
            for of_picture in captions.texts_of_picture
        ]

    def varied(self, vectors: np.ndarray, rows: range) -> np.ndarray:
        """Return unit vectors at a cosine of .8 to those of photographs, as of another photograph of the same."""
        rng = np.random.default_rng(rows.start)
        near = vectors[np.array(rows) % len(vectors)]
        away = rng.standard_normal(near.shape)
        return unit(near + 0.75 * away / np.linalg.norm(away, axis=1, keepdims=True)).astype(np.float32)

    def words(self, row: int) -> list[str]:
        """Return 20 words of the captions of a photograph."""
        return np.random.default_rng(row).choice(self._words[row % len(self._words)], 20).tolist()


def filled(folder: Path, n: int, photographs: Photographs, cache: Path) -> None:
    """Make a library of n variations of photographs."""
    with Library.open(folder, cache=cache) as library:
        library.index(sample_folder(), model="offline", local=False, remember=False)
        for start in range(0, n, 10 * N_TOGETHER):
            rows = range(start, min(n, start + 10 * N_TOGETHER))
            paths = [f"/made-up/{number:07}.jpg" for number in rows]
            vectors = photographs.varied(photographs.pictures, rows)
            fingerprint = photographs.encoder.fingerprint
            library.add_vectors(paths, vectors, model="offline", fingerprint=fingerprint)


def annotate(folder: Path, photographs: Photographs, *, is_captioned: bool) -> None:
    """Give every picture of a library 20 words, and captions vectors of their own."""
    with Store.writer(folder) as store:
        ids = [file.image_id for file in sorted(store.known_files(b"/made-up"), key=lambda file: file.path)]
        for start in range(0, len(ids), N_TOGETHER):
            rows = range(start, min(len(ids), start + N_TOGETHER))
            texts = [said(photographs.words(row), is_captioned=is_captioned) for row in rows]
            store.commit(Changes(annotated=list(map(AnnotatedFile, ids[start : rows.stop], texts))))
        given = iter(range(0, len(ids), 256))

        def encoded(texts: Sequence[str]) -> np.ndarray:
            start = next(given)
            return photographs.varied(photographs.captions, range(start, start + len(texts)))

        if is_captioned:
            store.annotations.embed_captions(encoded, lambda *_: None)
        probes, join = photographs.encoder.text_probes(), weights_of(photographs.encoder)
        store.annotations.index_captions(lambda: leading(probes, int(join.n_leading)))
        store.settle(probes, on_progress=lambda *_: None)


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
    photographs = Photographs(options.data / "flickr8k-test", options.cache)
    rng = np.random.default_rng(1)
    figures: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as work:
        photos = Path(work, "photos")
        photos.mkdir()
        written(photos, options.pictures, photographs)
        pairs = [
            tuple(
                index_seconds(photos, photographs.encoder, is_annotated=is_annotated)
                for is_annotated in (False, True)
            )
            for _ in range(N_TURNS)
        ]
        shutil.rmtree(photos)
        figures["CPU seconds of indexing, without and with"] = [[round(s, 2) for s in pair] for pair in pairs]
        figures["indexing, ratio"] = round(float(np.median([with_words / plain for plain, with_words in pairs])), 3)
        folder = Path(work, "library")
        filled(folder, options.rows, photographs, options.cache)
        bare = (folder / CATALOG).stat().st_size
        texts = photographs.texts
        asked = [texts[at] for at in rng.integers(0, len(texts), 150)]
        for is_captioned, what in ((False, "20 tags"), (True, "10 tags and a caption")):
            annotate(folder, photographs, is_captioned=is_captioned)
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
