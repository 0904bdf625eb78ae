"""How good visual words are: instance search on phone photographs and on crops, from tf to verified matches.

    python benchmarks/visual_words.py DATA [--words N] [--several 5] [--out FILE]

DATA holds smvs-dvd (protocol in its README), imagenet-sample and flickr8k-train, on whose pictures, which are in
no gallery, the vocabulary is learned. Crops are those of crops.py. Hamming embedding (he) with one word a feature,
and with several for those of the query; verification of the best 20; tf-idf by scipy.sparse on the same words.
Settings were chosen on covers 001-050 of smvs-dvd; covers 051-100 are reported apart.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from crops import CROPS, crops_of, photographs
from inverted_file import scipy_search
from machine import report
from PIL import Image

from mmsearch.bow.inverted_file import InvertedFile
from mmsearch.bow.postings import build_postings
from mmsearch.bow.vocabulary import MAX_EXACT, ImageWords, Vocabulary
from mmsearch.evaluation.metrics.average_precision import average_precision
from mmsearch.evaluation.metrics.ranks import Qrels, RankedRelevant, rank_relevant
from mmsearch.evaluation.metrics.recall import hit_at_k
from mmsearch.local.extractors import DEFAULT
from mmsearch.local.geometry import verify
from mmsearch.records import LocalFeatures
from mmsearch.store.vocabulary import graph_of, on_graph

SHORTLIST = 20


def opened(files: list[Path]) -> list[Image.Image]:
    """Load pictures as RGB."""
    return [Image.open(file).convert("RGB") for file in files]


def features_of(images: list[Image.Image]) -> list[LocalFeatures]:
    """Extract the features of pictures."""
    return [DEFAULT.extract(np.asarray(image)) for image in images]


def learn(features: list[LocalFeatures], n_words: int | None) -> tuple[Vocabulary, dict[str, Any]]:
    """Return the words, on a graph if there are many, and how long they took."""
    descriptors = np.concatenate([picture.descriptors for picture in features])
    start = time.perf_counter()
    vocabulary = Vocabulary.train(descriptors, n_words, extractor=DEFAULT.name)
    seconds = time.perf_counter() - start
    facts = {"descriptors": len(descriptors), "words": vocabulary.n_words, "seconds to learn": round(seconds, 1)}
    if vocabulary.n_words <= MAX_EXACT:
        return vocabulary, facts
    start = time.perf_counter()
    faster = on_graph(vocabulary, graph_of(vocabulary))
    facts["seconds to build the graph"] = round(time.perf_counter() - start, 1)
    sample = descriptors[:: max(1, len(descriptors) // 20_000)]
    agreement = faster.assign(sample) == vocabulary.assign(sample)
    facts["words of the graph equal to exact ones"] = round(float(agreement.mean()), 4)
    return faster, facts


class Searcher:
    """A gallery, searched in every way; keeps the times and what verification said of right and wrong pairs."""

    def __init__(self, vocabulary: Vocabulary, gallery: list[LocalFeatures], several: int) -> None:
        self.vocabulary, self.several = vocabulary, several
        self.sizes = [picture.size for picture in gallery]
        words = [(i, vocabulary.quantise(picture)) for i, picture in enumerate(gallery)]
        self.index = InvertedFile([build_postings(words, vocabulary.n_words)])
        self.by_scipy, _ = scipy_search(self.index.segments[0])
        self.seconds: dict[str, list[float]] = {}
        self.accepted: dict[str, list[int]] = {}

    def rank(self, queries: list[LocalFeatures], relevant: list[int]) -> dict[str, RankedRelevant]:
        """Return where the relevant picture of each query stands, by each way of scoring."""
        scores: dict[str, list[np.ndarray]] = {}
        for query, right in zip(queries, relevant, strict=True):
            plain = self._timed("words", self.vocabulary.quantise, query)
            more = self._timed(f"{self.several} words", self.vocabulary.quantise, query, self.several)
            ways = (
                ("tf", "tf", plain),
                ("tfidf", "tfidf", plain),
                ("he", "he", plain),
                (f"he, {self.several} words", "he", more),
            )
            scores.setdefault("tfidf, scipy.sparse", []).append(
                self._timed("tfidf, scipy.sparse", self.by_scipy, plain)
            )
            for name, weighting, words in ways:
                scored = self._timed(name, self.index.scores, words, weighting)
                scores.setdefault(name, []).append(scored)
                if weighting == "he":
                    name += " + verification"
                    checked = self._timed(name, self._verified, name, query, words, scored, right)
                    scores.setdefault(name, []).append(checked)
        qrels = Qrels.from_lists([[right] for right in relevant])
        return {name: rank_relevant(np.stack(rows), qrels) for name, rows in scores.items()}

    def _timed(self, name: str, function: Any, *arguments: Any, **named: Any) -> Any:
        start = time.perf_counter()
        result = function(*arguments, **named)
        self.seconds.setdefault(name, []).append(time.perf_counter() - start)
        return result

    def _verified(
        self, name: str, query: LocalFeatures, words: ImageWords, scores: np.ndarray, right: int
    ) -> np.ndarray:
        """Return scores in which the verified of the best 20 come first, by their inliers."""
        scores = scores.copy()
        best = np.argsort(-scores, kind="stable")[:SHORTLIST]
        for matches in self.index.matches(words, best.tolist()):
            result = verify(query, matches, self.sizes[matches.image_id])
            kind = f"{name}, {'right' if matches.image_id == right else 'wrong'} pairs"
            self.accepted.setdefault(kind, []).append(len(result.inliers) * result.is_accepted)
            if result.is_accepted:
                scores[matches.image_id] += 1e3 * len(result.inliers)
        return scores

    def facts(self) -> dict[str, Any]:
        """Median milliseconds of each step; of the pairs verified how many were accepted, with what inliers."""
        return {
            "ms a query": {name: round(1e3 * float(np.median(times)), 2) for name, times in self.seconds.items()},
            "verification": {
                kind: {
                    "pairs": len(inliers),
                    "share accepted": round(float(np.mean(np.array(inliers) > 0)), 4),
                    "most inliers": max(inliers),
                }
                for kind, inliers in self.accepted.items()
            },
        }


def summary(ranked: dict[str, RankedRelevant], chosen: np.ndarray | None = None) -> dict[str, dict[str, float]]:
    """R@1 and mAP of each way of scoring, of some queries or all."""
    part = slice(None) if chosen is None else chosen
    return {
        name: {
            "R@1": round(float(hit_at_k(ranks, 1)[part].mean()), 4),
            "mAP": round(float(average_precision(ranks)[part].mean()), 4),
        }
        for name, ranks in ranked.items()
    }


def smvs(folder: Path, vocabulary: Vocabulary, several: int) -> dict[str, Any]:
    """Phone photographs of covers: with and without distractors, by part and by camera."""
    database, queries = (
        [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
        for name in ("database", "queries")
    )
    database.sort(key=lambda row: row["kind"] != "reference")
    places = {row["id"]: i for i, row in enumerate(database)}
    relevant = [places[row["relevant"][0]] for row in queries]
    gallery = features_of(opened([folder / row["image"] for row in database]))
    photographs = opened([folder / row["query"] for row in queries])
    start = time.process_time()
    asked = features_of(photographs)
    milliseconds = 1e3 * (time.process_time() - start) / len(asked)
    searcher = Searcher(vocabulary, gallery, several)
    ranked = searcher.rank(asked, relevant)
    n_references = sum(row["kind"] == "reference" for row in database)
    without = Searcher(vocabulary, gallery[:n_references], several)
    cover = np.array([int(row["relevant"][0]) for row in queries])
    camera = np.array([row["camera"] for row in queries])
    return {
        "extraction, CPU ms a picture of 640 px": round(milliseconds, 1),
        "all": summary(ranked),
        "covers 001-050 (tuned on)": summary(ranked, cover <= 50),
        "covers 051-100": summary(ranked, cover > 50),
        **{name: summary(ranked, camera == name) for name in sorted(set(camera))},
        "without distractors": summary(without.rank(asked, relevant)),
        "facts": searcher.facts(),
    }


def crops(data: Path, vocabulary: Vocabulary, several: int) -> dict[str, Any]:
    """Windows of photographs, searched among the photographs."""
    files, chosen = photographs(data)
    searcher = Searcher(vocabulary, features_of(opened(files)), several)
    figures: dict[str, Any] = {"gallery": len(files), "queries of each kind": len(chosen)}
    for kind in CROPS:
        asked = features_of(crops_of(files, chosen, kind))
        figures[kind] = {
            "features, median": int(np.median(list(map(len, asked)))), **summary(searcher.rank(asked, chosen))
        }  # fmt: skip
    return {**figures, "facts": searcher.facts()}


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--words", type=int, help="default: a sixteenth of the descriptors")
    parser.add_argument("--several", type=int, default=5, help="words for a feature of a query")
    parser.add_argument("--out")
    arguments = parser.parse_args()
    others = features_of(opened(sorted((arguments.data / "flickr8k-train" / "images").glob("*.jpg"))))
    vocabulary, facts = learn(others, arguments.words)
    figures = {
        "vocabulary": facts,
        "smvs-dvd": smvs(arguments.data / "smvs-dvd", vocabulary, arguments.several),
        "crops": crops(arguments.data, vocabulary, arguments.several),
    }
    report("visual words", figures, arguments.out)


if __name__ == "__main__":
    main()
