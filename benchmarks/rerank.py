"""What local features add to a query by example, besides the extraction of its own: milliseconds of each step.

    python benchmarks/rerank.py DATA [--images 100000] [--words 16384 65536] [--out FILE]

The vocabulary is learned on DATA/flickr8k-train, the examples are covers of DATA/smvs-dvd; the posting lists are
synthetic as in inverted_file.py, and a shortlist of 100 pictures has random cosines. The words of the example are
found on the graph by all cores, the rest is done by one; comparing it with all words is shown beside.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from inverted_file import synthetic_postings
from machine import report

from mmsearch.bow.inverted_file import InvertedFile
from mmsearch.bow.vocabulary import Vocabulary
from mmsearch.images import decode_grey
from mmsearch.ingest.train_vocabulary import train_vocabulary
from mmsearch.local.extractors import DEFAULT
from mmsearch.query.rerank import N_OWN, N_WORDS, SHORTLIST, LocalQuery, LocalStage, final_order, to_verify
from mmsearch.records import ImageRecord, LocalFeatures
from mmsearch.store.vocabulary import graph_of, on_graph

N_QUERIES = 15


def steps(
    stage: LocalStage, compared: Vocabulary, features: LocalFeatures, cosines: dict[int, float]
) -> dict[str, float]:
    """Return the milliseconds of every step for one example."""
    milliseconds: dict[str, float] = {}

    def timed(name: str, step: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = step()
        milliseconds[name] = 1e3 * (time.perf_counter() - start)
        return result

    words = timed("words of the example", lambda: stage.vocabulary.quantise(features, N_WORDS))
    query = LocalQuery(features, words)
    scores = timed("scores of all pictures", lambda: stage.scores(query))
    best = timed("best by words", lambda: stage.best(scores, N_OWN))
    known = {**dict.fromkeys(best, 0.1), **cosines}
    above = timed("above chance", lambda: stage.of(stage.above_chance(scores), known))
    images = [ImageRecord(i, "", i, 0, 0, 640, 480, "JPEG", None) for i in to_verify(known, above)]
    seen = timed("geometry", lambda: stage.evidence(query, images, above))
    timed("order", lambda: final_order(known, above, seen))
    total = sum(milliseconds.values())
    timed("words of the example, compared with all", lambda: compared.quantise(features, N_WORDS))
    return {**milliseconds, "all on the graph": total}


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--words", type=int, nargs="+", default=[16_384, 65_536])
    parser.add_argument("--out")
    arguments = parser.parse_args()
    covers = sorted((arguments.data / "smvs-dvd").rglob("*.jpg"))[:N_QUERIES]
    side = DEFAULT.longer_side
    examples = [DEFAULT.extract(decode_grey(file.read_bytes(), longer_side=side).pixels) for file in covers]
    figures = {}
    for n_words in arguments.words:
        compared, _ = train_vocabulary([arguments.data / "flickr8k-train"], n_words=n_words)
        inverted = InvertedFile([synthetic_postings(arguments.images, n_words)])
        stage = LocalStage(on_graph(compared, graph_of(compared)), inverted)
        shortlist = np.random.default_rng(1).choice(arguments.images, SHORTLIST, replace=False)
        cosines = {int(i): 0.5 - n / 1000 for n, i in enumerate(shortlist)}
        runs = [steps(stage, compared, example, cosines) for example in examples][1:]
        figures[f"{n_words} words"] = {
            name: round(float(np.median([run[name] for run in runs])), 2) for name in runs[0]
        }
    report(f"rerank among {arguments.images}, median ms", figures, arguments.out)


if __name__ == "__main__":
    main()
