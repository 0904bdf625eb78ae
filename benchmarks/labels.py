"""Labels for a whole library: how long they take to give, to filter by and to count.

    python benchmarks/labels.py LIBRARY [--labels 1000] [--out FILE]

One thread. LIBRARY is a copy of a large library in a folder, such as one that benchmarks/search.py made; it is
given a label set of typical texts, with a scale by which most pictures are given a label, and keeps it. Times of
the bare product of the same vectors and labels, of facets without labels and of a filter by format stand beside.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import argparse
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
from embeddings import Realistic
from machine import report

from mmsearch.encoders.zeroshot import ZeroShotClassifier
from mmsearch.store.folder import CATALOG, Store
from mmsearch.store.labels import Labelling, LabelOptions
from mmsearch.vectors import l2_normalize

SCALE, LEAST = 100.0, 0.2
BLOCK = 4096


def milliseconds(call: Callable[[], object], n: int = 5) -> float:
    """Median of n calls after a first one."""
    call()
    seconds = []
    for _ in range(n):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return round(1e3 * float(np.median(seconds)), 1)


def product_seconds(store: Store, vectors: np.ndarray) -> float:
    """Seconds for the cosines of all rows to all labels, and nothing else."""
    matrix, start = store.matrix(), time.perf_counter()
    for first in range(0, len(matrix), BLOCK):
        l2_normalize(matrix[first : first + BLOCK].astype(np.float32)) @ vectors.T
    return time.perf_counter() - start


def told(folder: Path) -> object:
    """Label sets as a process counts them that has not counted them yet."""
    with closing(Store.open(folder)) as store:
        return store.label_sets()


def asked(store: Store, name: str) -> dict[str, float]:
    """Milliseconds of what people ask, by a label that many pictures have and by one that few have."""
    labels = store.facets().labels[0].facets
    common, rare = labels[0], labels[-1]

    def page(*where: str) -> Callable[[], object]:
        return lambda: store.page(where, order="added", after=None, offset=0, limit=100)

    return {
        f"page and count, {common.n} have it": milliseconds(page(f"label = {common.label}")),
        f"page and count, {rare.n} have it": milliseconds(page(f"label = {rare.label}")),
        "page and count, !=": milliseconds(page(f"label != {common.label}")),
        "page and count, glob of all labels": milliseconds(page(f"label ~ {name}/*")),
        "page and count, format = JPEG": milliseconds(page("format = JPEG")),
        "rows that pass": milliseconds(
            lambda: store.rows_passing(store.compiled(store.condition([f"label = {common.label}"])))
        ),
        "facets": milliseconds(store.facets, 2),
        "facets of a label": milliseconds(lambda: store.facets([f"label = {common.label}"]), 2),
        "label sets, as status tells them": milliseconds(lambda: told(store.folder), 2),
        "labels of 100 pictures": milliseconds(lambda: store.labels_of(range(1, 101))),
    }


def main() -> None:
    """Give the labels, and ask for them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("library", type=Path)
    parser.add_argument("--labels", type=int, default=1000)
    parser.add_argument("--out")
    given = parser.parse_args()
    vectors = Realistic().texts("alike", given.labels, seed=11)
    names = tuple(f"label {n}" for n in range(given.labels))
    catalog = given.library / CATALOG
    with Store.writer(given.library) as store:
        before = milliseconds(store.facets, 2)
        product = product_seconds(store, vectors)
        size, start = catalog.stat().st_size, time.perf_counter()
        labelling = Labelling(
            ZeroShotClassifier(names, vectors, SCALE),
            LabelOptions(("{}",), min_probability=LEAST),
            store.fingerprint(),
        )
        store.labels.define("typical", labelling)
        store.labels.update(lambda *_: None)
        seconds = time.perf_counter() - start
        (known,) = store.label_sets()
        figures = {
            "pictures": store.n_pictures, "labels": given.labels, "labels given": known.n_given,
            "pictures with a label": known.n_labelled, "seconds": round(seconds, 1),
            "seconds for a million": round(1e6 * seconds / store.n_pictures),
            "times the bare product": round(seconds / product, 2),
            "bytes of the catalog a label given": round(
                (catalog.stat().st_size - size) / max(1, known.n_given), 1
            ),
            "facets before, ms": before, "ms": asked(store, "typical"),
        }  # fmt: skip
    report("labels", figures, given.out)


if __name__ == "__main__":
    main()
