"""Query expansion by verified pictures: covers asked by each of their five pictures, the other four wanted.

    python benchmarks/expansion.py DATA --vocabulary FILE [--model offline]... [--cache DIR] [--out FILE]

DATA holds smvs-dvd: the reference and four photographs of 100 covers, and 241 other covers, are one gallery; every
picture of the 100 is asked. FILE is a vocabulary learned on other pictures. Prints mAP and recall@4 of every model,
reranked by local features, without expansion and with both kinds.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from machine import report
from platformdirs import user_cache_path

from mmsearch import Library, Query, SearchOptions
from mmsearch.evaluation.metrics.average_precision import average_precision
from mmsearch.evaluation.metrics.ranks import Qrels, rank_relevant
from mmsearch.evaluation.metrics.recall import recall_at_k

EXPANSIONS = ("none", "average", "alpha")


def covers(folder: Path) -> tuple[list[Path], list[int]]:
    """Return all pictures, and the cover that each shows; -1 for those that nobody asks for."""
    database, queries = (
        [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
        for name in ("database", "queries")
    )
    asked = {row["relevant"][0]: number for number, row in enumerate(queries)}
    files = [folder / row["image"] for row in database] + [folder / row["query"] for row in queries]
    return files, [asked.get(row["id"], -1) for row in database] + [asked[row["relevant"][0]] for row in queries]


def measured(library: Library, files: list[Path], shown: np.ndarray, expand: Any) -> dict[str, float]:
    """Ask for every cover by each of its pictures, which is taken out of its own answer."""
    asked = np.flatnonzero(shown >= 0)
    place = {str(file.absolute()): i for i, file in enumerate(files)}
    scores = np.zeros((len(asked), len(files)), np.float32)
    for row, query in enumerate(asked):
        options = SearchOptions(k=len(files), rerank="local", expand=expand, collapse="none")
        (answer,) = library.search_many(Query(images=[files[query]]), options)
        scores[row, [place[hit.path] for hit in answer.hits]] = np.arange(len(answer.hits), 0, -1)
    relevant = [np.flatnonzero((shown == shown[query]) & (np.arange(len(files)) != query)) for query in asked]
    ranked = rank_relevant(scores, Qrels.from_lists(relevant, junk=asked[:, None]))
    return {"mAP": float(average_precision(ranked).mean()), "recall@4": float(recall_at_k(ranked, 4).mean())}


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--vocabulary", type=Path, metavar="FILE", required=True)
    parser.add_argument("--model", action="append", metavar="NAME", help="default: offline")
    parser.add_argument("--cache", type=Path, default=user_cache_path("mmsearch"))
    parser.add_argument("--out")
    arguments = parser.parse_args()
    files, shown = covers(arguments.data / "smvs-dvd")
    figures = {}
    for model in arguments.model or ["offline"]:
        with (
            tempfile.TemporaryDirectory() as folder,
            Library.open(Path(folder) / "library", cache=arguments.cache, use_graph=False) as library,
        ):
            library.index(files, model=model, vocabulary=arguments.vocabulary)
            figures[model] = {name: measured(library, files, np.array(shown), name) for name in EXPANSIONS}
    report("expansion", figures, arguments.out)


if __name__ == "__main__":
    main()
