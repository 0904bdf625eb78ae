"""Rankings made elsewhere: TREC runs held against TREC qrels, with the same measures as our own."""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path

from mmsearch.arguments import as_path, several
from mmsearch.datasets.trec import Judged, RunRanks, rank_run, read_qrels, read_run
from mmsearch.errors import GroundTruthError
from mmsearch.evaluation.measures import (
    RANKING,
    compared,
    curve,
    definitions_of,
    per_query,
    recall_levels,
    scales_of,
    summarised,
)
from mmsearch.evaluation.records import MeasuredReport
from mmsearch.evaluation.ties import BY_NAME, ties_of
from mmsearch.records import PathLike


def score_runs(qrels: PathLike, runs: PathLike | Iterable[PathLike], *, seed: int = 0) -> MeasuredReport:
    """Measure TREC runs, and compare them pairwise.

    Parameters
    ----------
    qrels : path
        Ground truth.
    runs : path, or several
        Called by their file names.
    seed : int
        Of the intervals and tests.

    Returns
    -------
    MeasuredReport
        The report as JSON. A query that a run does not answer scores 0, one that the qrels do not judge is not
        scored, nor is one to which nothing is relevant; all are counted.

    Raises
    ------
    GroundTruthError
        If a file is not in the format, run and qrels share no query, or two runs have the same name.
    """
    qrels = _as_file(qrels, "qrels")
    runs = several(runs, "runs", _as_file)
    for run, other in combinations(runs, 2):
        if run.name == other.name:
            raise GroundTruthError(f"{run} and {other} have the same name; rename one, to tell them apart")
    judged = read_qrels(qrels)
    scored = {run.name: _ranked(run, judged, qrels) for run in runs}
    values = {name: per_query(ranks.ranked) for name, ranks in scored.items()}
    return {
        "benchmark": "run",
        "set": {"name": qrels.name, "bad": []},
        "seed": seed,
        "ties": BY_NAME,
        "definitions": definitions_of(RANKING),
        "scales": scales_of(RANKING),
        "recall_levels": recall_levels(),
        "results": {
            name: {
                qrels.name: {
                    "n_queries": len(ranks.queries),
                    "n_unanswered": len(ranks.missing),
                    "n_unjudged": len(ranks.extra),
                    "n_without_relevant": len(ranks.without_relevant),
                    "measures": summarised(values[name], seed=seed),
                    **ties_of(ranks.ranked, RANKING).to_json(RANKING),
                    "precision_at_recall": curve(ranks.ranked),
                }
            }
            for name, ranks in scored.items()
        },
        "comparisons": {qrels.name: compared(values, seed=seed)} if len(runs) > 1 else {},
    }


def _as_file(value: object, name: str) -> Path:
    return Path(os.fsdecode(as_path(value, name)))


def _ranked(run: Path, judged: Judged, qrels: Path) -> RunRanks:
    answers = read_run(run)
    try:
        return rank_run(answers, judged)
    except GroundTruthError as error:
        raise GroundTruthError(f"{run} against {qrels}: {error}") from error
