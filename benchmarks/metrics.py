"""How fast ranking metrics are computed: ours against ranx and pytrec_eval, on the same scores in one run.

    pip install ranx pytrec-eval-terrier
    python benchmarks/metrics.py [--queries 5000] [--images 31000] [--out FILE]

Every query has 5 relevant images. Each side starts from the score matrix (what a retrieval system has) and ends
with the mean AP over the whole ranking. The others want dictionaries or lists of (id, score), which is counted
for them apart: their time is given with and without it. They are run on a part of the queries, as all do the same
work for every query, and their values must equal ours.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from machine import report

from mmsearch.evaluation.metrics.average_precision import average_precision
from mmsearch.evaluation.metrics.ranks import Qrels, rank_relevant

N_RELEVANT = 5
N_OTHERS = 200


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    """Return what a function returns, and its seconds."""
    start = time.perf_counter()
    result = function()
    return result, time.perf_counter() - start


def pytrec(scores: np.ndarray, relevant: np.ndarray) -> tuple[list[float], float, float]:
    """Return AP of every query by trec_eval's code, seconds to evaluate, seconds to make its input."""
    import pytrec_eval

    def prepare() -> tuple[Any, dict[str, dict[str, float]]]:
        names = [f"d{i}" for i in range(scores.shape[1])]
        qrels = {f"q{q}": {f"d{i}": 1 for i in documents} for q, documents in enumerate(relevant)}
        run = {f"q{q}": dict(zip(names, row.tolist(), strict=True)) for q, row in enumerate(scores)}
        return pytrec_eval.RelevanceEvaluator(qrels, {"map"}), run

    (evaluator, run), prepared = timed(prepare)
    measured, seconds = timed(lambda: evaluator.evaluate(run))
    return [measured[f"q{q}"]["map"] for q in range(len(scores))], seconds, prepared


def ranx(scores: np.ndarray, relevant: np.ndarray) -> tuple[list[float], float, float]:
    """Return AP of every query by ranx, seconds to evaluate, seconds to make its input."""
    from ranx import Qrels as RanxQrels
    from ranx import Run, evaluate

    def prepare() -> tuple[Any, Any]:
        names = [f"d{i}" for i in range(scores.shape[1])]
        qrels = RanxQrels({f"q{q}": {f"d{i}": 1 for i in documents} for q, documents in enumerate(relevant)})
        run = Run({f"q{q}": dict(zip(names, row.tolist(), strict=True)) for q, row in enumerate(scores)})
        return qrels, run

    evaluate(RanxQrels({"q": {"d": 1}}), Run({"q": {"d": 1.0}}), "map")  # it compiles at the first call
    (qrels, run), prepared = timed(prepare)
    _, seconds = timed(lambda: evaluate(qrels, run, "map"))
    return [run.scores["map"][f"q{q}"] for q in range(len(scores))], seconds, prepared


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=5000)
    parser.add_argument("--images", type=int, default=31_000)
    parser.add_argument("--out")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    scores = rng.random((arguments.queries, arguments.images), dtype=np.float32)
    relevant = np.array([rng.choice(arguments.images, N_RELEVANT, replace=False) for _ in scores])
    qrels = Qrels.from_lists(relevant)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ours, seconds = timed(lambda: average_precision(rank_relevant(scores, qrels)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    per_query = seconds / len(scores)
    figures: dict[str, Any] = {
        "mAP": float(ours.mean()),
        "mmsearch": {"seconds": round(seconds, 2), "ms per query": round(1e3 * per_query, 3)},
        "scores (MB)": round(scores.nbytes / 1e6),
        "peak of the process (MB)": {"before": round(before / 1e3), "after": round(peak / 1e3)},
    }
    for name, other in (("pytrec_eval", pytrec), ("ranx", ranx)):
        part = slice(0, N_OTHERS)
        values, evaluating, preparing = other(scores[part], relevant[part])
        np.testing.assert_allclose(values, ours[part], atol=2e-4)  # random float32 scores tie now and then
        figures[name] = {
            "ms per query, evaluation alone": round(1e3 * evaluating / N_OTHERS, 3),
            "ms per query, with its input": round(1e3 * (evaluating + preparing) / N_OTHERS, 3),
            "times ours, evaluation alone": round(evaluating / N_OTHERS / per_query, 1),
            "times ours, with its input": round((evaluating + preparing) / N_OTHERS / per_query, 1),
        }
    report("metrics", figures, arguments.out)


if __name__ == "__main__":
    main()
