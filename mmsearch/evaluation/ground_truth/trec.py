"""TREC's exchange formats: qrels (`query 0 document gain`) and runs (`query Q0 document rank score tag`).

A run is read by its scores, as trec_eval does; the ranks it writes down are not used. Equal scores are ordered
by the smaller document id (trec_eval: by the larger).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmsearch.errors import GroundTruthError
from mmsearch.evaluation.ground_truth.captions import lines_of, read_text
from mmsearch.evaluation.metrics.ranks import Qrels, RankedRelevant, rank_relevant_of_lists

Judged = dict[str, dict[str, float]]


@dataclass(frozen=True)
class RunRanks:
    """A run held against qrels.

    Parameters
    ----------
    queries : tuple of str
        The queries with a relevant document, in the order of the qrels; one without an answer found nothing.
    ranked : RankedRelevant
        Their ranks.
    missing : tuple of str
        Queries of the qrels that the run does not answer.
    extra : tuple of str
        Queries of the run that the qrels do not judge: not scored.
    without_relevant : tuple of str
        Queries that are judged, but nothing is relevant to them: not scored.
    """

    queries: tuple[str, ...]
    ranked: RankedRelevant
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    without_relevant: tuple[str, ...]


def read_qrels(file: Path) -> Judged:
    """Return the gain of every judged document by query; 0 and below is judged irrelevant.

    Raises
    ------
    GroundTruthError
        If a line is not `query iteration document gain`, or judges a document a second time.
    """
    return _read(file, ("query", "iteration", "document", "gain"), document=2, value=3)


def read_run(file: Path) -> Judged:
    """Return the score of every document by query; higher is better.

    Raises
    ------
    GroundTruthError
        If a line is not `query Q0 document rank score tag`, or ranks a document a second time.
    """
    return _read(file, ("query", "Q0", "document", "rank", "score", "tag"), document=2, value=4)


def rank_run(run: Mapping[str, Mapping[str, float]], qrels: Mapping[str, Mapping[str, float]]) -> RunRanks:
    """Return the ranks that a run gives to the relevant documents of qrels.

    Raises
    ------
    GroundTruthError
        If run and qrels share no query: they are of different sets then.
    """
    if not run.keys() & qrels.keys():
        raise GroundTruthError(
            f"run and qrels share no query; the run answers {next(iter(run), 'nothing')!r}, "
            f"the qrels judge {next(iter(qrels), 'nothing')!r}: are they of the same set?"
        )
    gains = {query: {d: gain for d, gain in own.items() if gain > 0} for query, own in qrels.items()}
    queries = tuple(query for query, own in gains.items() if own)
    lists, ids_of, gains_of = [], [], []
    for query in queries:
        answer = run.get(query, {})
        found = sorted(answer, key=lambda document: (-answer[document], document))
        number = {document: i for i, document in enumerate([*found, *(gains[query].keys() - answer.keys())])}
        lists.append(np.arange(len(found)))
        ids_of.append([number[document] for document in gains[query]])
        gains_of.append(gains[query].values())
    return RunRanks(
        queries,
        rank_relevant_of_lists(lists, Qrels.from_lists(ids_of, gains=gains_of)),
        missing=tuple(query for query in queries if query not in run),
        extra=tuple(query for query in run if query not in qrels),
        without_relevant=tuple(query for query, own in gains.items() if not own),
    )


def qrels_lines(query: str, gains: Mapping[str, float]) -> str:
    """Return the lines of qrels for one query; gain by document."""
    return "".join(f"{query} 0 {document} {gain:g}\n" for document, gain in gains.items())


def run_lines(query: str, ranked: Sequence[tuple[str, float]], tag: str) -> str:
    """Return the lines of a run for one query; (document, score), best first."""
    return "".join(
        f"{query} Q0 {document} {rank} {score:.9g} {tag}\n"
        for rank, (document, score) in enumerate(ranked, start=1)
    )


def _read(file: Path, columns: tuple[str, ...], *, document: int, value: int) -> Judged:
    found: Judged = {}
    for number, line in enumerate(lines_of(read_text(file)), start=1):
        parts = line.split()
        if not parts:
            continue
        where = f"{file}, line {number}"
        if len(parts) != len(columns):
            raise GroundTruthError(
                f"{where}: has {len(parts)} columns, expected {len(columns)}: {' '.join(columns)}"
            )
        own = found.setdefault(parts[0], {})
        if parts[document] in own:
            raise GroundTruthError(
                f"{where}: document {parts[document]!r} comes a second time for query {parts[0]!r}"
            )
        try:
            number_found = float(parts[value])
        except ValueError:
            number_found = math.nan
        if not math.isfinite(number_found):
            raise GroundTruthError(f"{where}: {columns[value]} is {parts[value]!r}, expected a number")
        own[sys.intern(parts[document])] = number_found
    if not found:
        raise GroundTruthError(f"{file}: is empty; expected lines of {' '.join(columns)}")
    return found
