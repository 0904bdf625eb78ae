"""What it costs to say how likely hits are what was asked for: CPU time of searches with and without, by new texts.

    python benchmarks/relevance.py WORK [--rounds 7] [--out FILE]

In one process, `offline`, on libraries of 1,000 and of 100,000 synthetic vectors: each text by itself, and 64 at a
time. The time of telling alone is that of one text whose vector is known.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from cold_shell import library_with
from machine import report

from mmsearch import Library
from mmsearch.query.relevance import Relevance

SIZES = (1_000, 100_000)
N_TEXTS = 64


def seconds(run: Callable[[], object]) -> float:
    """Return the CPU time that a call takes, of all threads."""
    start = time.process_time()
    run()
    return time.process_time() - start


def compared(folder: Path, n_rounds: int) -> dict[str, float]:
    """Return the ratios of searches with relevance to those without, and milliseconds."""
    with Library.open(folder) as told, Library.open(folder) as untold:
        untold.installed_encoder().calibration = None  # in place of what is read from the disk
        sides = {"with": told, "without": untold}
        alone: dict[str, list[float]] = {side: [] for side in sides}
        together: dict[str, list[float]] = {side: [] for side in sides}
        for turn in range(n_rounds + 1):
            for side, library in sides.items():
                new = [f"two dogs in the snow, {side} {time.time_ns()} {number}" for number in range(2 * N_TEXTS)]
                first, second = new[:N_TEXTS], new[N_TEXTS:]
                of_alone = seconds(lambda: [library.search(text) for text in first])  # noqa: B023
                of_together = seconds(lambda: library.search_many(second))  # noqa: B023
                if turn:  # the first round loads the encoder
                    alone[side].append(of_alone)
                    together[side].append(of_together)
        told.forget_queries()
    return {
        "one by one, with / without": round(median(alone["with"]) / median(alone["without"]), 3),
        "64 together, with / without": round(median(together["with"]) / median(together["without"]), 3),
        "one by one, ms a text": round(1e3 * median(alone["with"]) / N_TEXTS, 3),
        "64 together, ms a text": round(1e3 * median(together["with"]) / N_TEXTS, 3),
    }


def telling(folder: Path, n_rounds: int) -> float:
    """Return the milliseconds of telling the relevance of one answer of ten hits."""
    with Library.open(folder) as library:
        encoder = library.installed_encoder()
        relevance, vector = Relevance.of(encoder), encoder.encode_texts("two dogs in the snow")[0]
        if relevance is None:
            raise SystemExit("offline has no calibration: its weights or settings have changed")
        cosines = [0.4 - 0.01 * rank for rank in range(10)]
        return 1e3 * median(
            seconds(lambda: [relevance.judge(vector, cosines, 1000) for _ in range(100)]) / 100
            for _ in range(n_rounds)
        )


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    folders = {n: library_with(arguments.work, "offline", n) for n in SIZES}
    figures: dict[str, Any] = {f"{n} pictures": compared(folder, arguments.rounds) for n, folder in folders.items()}
    figures["telling alone, ms"] = round(telling(folders[SIZES[0]], arguments.rounds), 3)
    report("relevance", figures, arguments.out)


if __name__ == "__main__":
    main()
