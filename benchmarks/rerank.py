"""What local features add to a query by example, besides the extraction of its own: milliseconds of each step.

    python benchmarks/rerank.py [--images 100000] [--words 16384 65536] [--out FILE]

Synthetic posting lists as in inverted_file.py, a vocabulary of random unit vectors, an example of 500 random
features, a shortlist of 100 pictures with random cosines. One thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from inverted_file import N_FEATURES, synthetic_postings
from machine import report

from mmsearch.bow.inverted_file import InvertedFile
from mmsearch.bow.vocabulary import Vocabulary
from mmsearch.local.sift import DIM, EXTRACTOR
from mmsearch.records import ImageRecord, LocalFeatures
from mmsearch.rerank import N_OWN, N_WORDS, SHORTLIST, LocalQuery, LocalStage, final_order, to_verify
from mmsearch.vectors import l2_normalize

N_QUERIES = 15


def random_units(n: int, dim: int, seed: int) -> np.ndarray:
    """Return non-negative unit vectors, as RootSIFT are."""
    return l2_normalize(np.abs(np.random.default_rng(seed).standard_normal((n, dim))).astype(np.float32))


def example(seed: int) -> LocalFeatures:
    """Return 500 random features."""
    rng = np.random.default_rng(seed)
    places = rng.uniform(0, 600, (N_FEATURES, 2)).astype(np.float32)
    ones = np.ones(N_FEATURES, np.float32)
    return LocalFeatures(places, ones, ones, random_units(N_FEATURES, DIM, seed), (640, 480), (640, 480))


def steps(stage: LocalStage, features: LocalFeatures, cosines: dict[int, float]) -> dict[str, float]:
    """Return the milliseconds of every step for one example."""
    found: dict[str, float] = {}

    def timed(name: str, step: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = step()
        found[name] = 1e3 * (time.perf_counter() - start)
        return result

    words = timed("words of the example", lambda: stage.vocabulary.quantise(features, N_WORDS))
    query = LocalQuery(features, words)
    scores = timed("scores of all pictures", lambda: stage.scores(query))
    own = timed("best by words", lambda: stage.best(scores, N_OWN))
    known = {**dict.fromkeys(own, 0.1), **cosines}
    above = timed("above chance", lambda: stage.of(stage.above_chance(scores), known))
    images = [ImageRecord(i, "", i, 0, 0, 640, 480, "JPEG", None) for i in to_verify(known, above)]
    seen = timed("geometry", lambda: stage.evidence(query, images, above))
    timed("order", lambda: final_order(known, above, seen))
    return {**found, "all": sum(found.values())}


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--words", type=int, nargs="+", default=[16_384, 65_536])
    parser.add_argument("--out")
    arguments = parser.parse_args()
    figures = {}
    for n_words in arguments.words:
        centroids = random_units(n_words, DIM, 0)
        projection = np.linalg.qr(np.random.default_rng(0).standard_normal((DIM, DIM)))[0][:64].astype(np.float32)
        vocabulary = Vocabulary(EXTRACTOR, centroids, projection, centroids @ projection.T)
        stage = LocalStage(vocabulary, InvertedFile([synthetic_postings(arguments.images, n_words)]))
        shortlist = np.random.default_rng(1).choice(arguments.images, SHORTLIST, replace=False)
        cosines = {int(i): 0.5 - n / 1000 for n, i in enumerate(shortlist)}
        runs = [steps(stage, example(seed), cosines) for seed in range(N_QUERIES)][1:]
        figures[f"{n_words} words"] = {
            name: round(float(np.median([run[name] for run in runs])), 2) for name in runs[0]
        }
    report(f"rerank among {arguments.images}, median ms", figures, arguments.out)


if __name__ == "__main__":
    main()
