"""How fast visual words are searched: milliseconds a query as the gallery grows, and scipy.sparse beside it.

    python benchmarks/inverted_file.py [--images 10000 100000 1000000] [--words 65536] [--out FILE]

Synthetic posting lists, 500 features a picture, their lengths falling as a power of the rank: more uneven (1.9)
than the lists of photographs in 65,536 words are (1.3; seen on 1,000 photographs that the words were not learned
on). Signatures are random, as those of pictures that show other things. Queries have 500 features, words drawn as
the gallery's. One thread. scipy.sparse computes the same tf-idf cosines from a matrix of normalised bags, up to
the size where that fits; its scores must equal ours.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from machine import report
from scipy import sparse

from mmsearch.bow.inverted_file import InvertedFile
from mmsearch.bow.postings import Postings
from mmsearch.bow.vocabulary import ImageWords
from mmsearch.bow.weighting import inverse_document_frequency

N_FEATURES = 500
N_QUERIES = 40
MAX_SCIPY = 200_000  # pictures: 12 bytes a feature, and as much again while it is made


def chances(n_words: int) -> np.ndarray:
    """Return the share of features of every word."""
    weights = (np.arange(n_words) + 1000.0) ** -0.7
    return np.random.default_rng(0).permutation(weights / weights.sum())


def synthetic_postings(n_images: int, n_words: int) -> Postings:
    """Return posting lists of 500 features a picture on average."""
    rng = np.random.default_rng(1)
    lengths = rng.multinomial(n_images * N_FEATURES, chances(n_words))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    n = int(offsets[-1])
    rows, document_counts = np.empty(n, np.int32), np.empty(n_words, np.int32)
    for word, (start, end) in enumerate(itertools.pairwise(offsets)):
        images = np.sort(rng.integers(0, n_images, end - start, dtype=np.int32))
        rows[start:end] = images
        document_counts[word] = np.count_nonzero(np.diff(images)) + (end > start)
    return Postings(
        offsets=offsets, rows=rows, signatures=rng.integers(0, 2**64, n, dtype=np.uint64),
        positions=np.zeros((n, 2), np.uint16), scales=np.zeros(n, np.uint8), angles=np.zeros(n, np.uint8),
        image_ids=np.arange(n_images), feature_counts=np.bincount(rows, minlength=n_images).astype(np.int32),
        document_counts=document_counts,
    )  # fmt: skip


def synthetic_queries(n_words: int) -> list[ImageWords]:
    """Return queries drawn as the gallery is."""
    rng = np.random.default_rng(2)
    shares = chances(n_words)
    numbers = np.arange(N_FEATURES)
    zeros = np.zeros(N_FEATURES, np.float32)
    return [
        ImageWords(
            rng.choice(n_words, N_FEATURES, p=shares).astype(np.int32),
            rng.integers(0, 2**64, N_FEATURES, dtype=np.uint64), np.zeros((N_FEATURES, 2), np.float32),
            zeros, zeros, numbers,
        )
        for _ in range(N_QUERIES)
    ]  # fmt: skip


def milliseconds(search: Callable[[ImageWords], Any], queries: list[ImageWords]) -> float:
    """Return the median time of a query after a first one."""
    search(queries[0])
    times = []
    for query in queries:
        start = time.perf_counter()
        search(query)
        times.append(time.perf_counter() - start)
    return round(1e3 * float(np.median(times)), 2)


def scipy_search(postings: Postings) -> tuple[Callable[[ImageWords], np.ndarray], int]:
    """Return a function that gives tf-idf cosines by a sparse matrix product, and the bytes of the matrix."""
    n_images, n_words = len(postings.image_ids), postings.n_words
    idf = inverse_document_frequency(postings.document_counts, n_images)
    ones = np.ones(len(postings.rows), np.float32)
    # A copy: duplicates are summed in place.
    bags = sparse.csr_matrix((ones, postings.rows, postings.offsets), shape=(n_words, n_images), copy=True)
    bags.sum_duplicates()
    bags.data *= np.repeat(idf, np.diff(bags.indptr)).astype(np.float32)
    lengths = np.sqrt(np.bincount(bags.indices, np.square(bags.data), minlength=n_images))
    bags.data /= lengths[bags.indices].astype(np.float32)

    def search(query: ImageWords) -> np.ndarray:
        words, counts = np.unique(query.words, return_counts=True)
        bag = (counts * idf[words]).astype(np.float32)
        bag /= np.linalg.norm(bag)
        row = sparse.csr_matrix((bag, words, [0, len(words)]), shape=(1, n_words))
        return (row @ bags).toarray()[0]

    return search, sum(array.nbytes for array in (bags.data, bags.indices, bags.indptr))


def opening(postings: Postings) -> float:
    """Return the milliseconds to open the lists from their file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "postings"
        postings.save(path)
        start = time.perf_counter()
        InvertedFile([Postings.open(path)])
        return round(1e3 * (time.perf_counter() - start), 2)


def measure(n_images: int, n_words: int, queries: list[ImageWords]) -> dict[str, Any]:
    """All figures for one size of the gallery."""
    postings = synthetic_postings(n_images, n_words)
    index = InvertedFile([postings])
    size = sum(value.nbytes for value in vars(postings).values())
    chosen = list(range(0, n_images, n_images // 20))[:20]
    start = time.perf_counter()
    index.scores(queries[0], "tfidf")
    first = time.perf_counter() - start
    shares = np.array([index.touched(query) for query in queries])
    figures: dict[str, Any] = {
        "imbalance of lists": round(index.statistics().imbalance, 2),
        "lists touched": round(float(shares[:, 0].mean()), 4),
        "features touched": round(float(shares[:, 1].mean()), 4),
        "KB a picture": round(size / n_images / 1e3, 2),
        "ms a query": {
            name: milliseconds(lambda query, name=name: index.scores(query, name), queries)
            for name in ("he", "tf", "tfidf", "sqrt")
        },
        "ms, matches with 20 pictures": milliseconds(lambda query: index.matches(query, chosen), queries),
        "seconds, first tf-idf query": round(first, 2),
    }
    if n_images <= MAX_SCIPY:
        figures["ms, opening the file"] = opening(postings)
        search, n_bytes = scipy_search(postings)
        for query in queries[:3]:
            np.testing.assert_allclose(search(query), index.scores(query, "tfidf"), atol=1e-5)
        other = milliseconds(search, queries)
        figures["scipy.sparse tf-idf"] = {
            "ms a query": other,
            "KB a picture": round(n_bytes / n_images / 1e3, 2),
            "KB a picture of what our tf-idf reads": round(postings.rows.nbytes / n_images / 1e3, 2),
            "times our tf-idf": round(other / figures["ms a query"]["tfidf"], 2),
            "times our he": round(other / figures["ms a query"]["he"], 2),
        }
    return figures


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--words", type=int, default=65_536)
    parser.add_argument("--out")
    arguments = parser.parse_args()
    queries = synthetic_queries(arguments.words)
    figures = {f"{n} pictures": measure(n, arguments.words, queries) for n in arguments.images}
    report("inverted file", figures, arguments.out)


if __name__ == "__main__":
    main()
