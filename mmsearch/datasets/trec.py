"""TREC's exchange formats: qrels (`query 0 document gain`) and runs (`query Q0 document rank score tag`).

Read as trec_eval reads them: a line that starts with `#` is a comment, blank lines are nothing, a run may have
words after its tag and is ranked by its scores: the ranks it writes down are not used. Equal scores are ordered by
the smaller document id (trec_eval: by the larger).
"""

from __future__ import annotations

import math
import sys
from codecs import BOM_UTF8
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmsearch.errors import GroundTruthError, advice, reason
from mmsearch.evaluation.metrics.ranks import Qrels, RankedRelevant, rank_relevant_of_lists

Judged = dict[str, dict[str, float]]
_DOCUMENT = 2  # its place on a line, in both formats


class _Format(NamedTuple):
    """The words of a line, which of them is the number, and whether more may follow."""

    columns: tuple[str, ...]
    value: int
    may_go_on: bool


_QRELS = _Format(("query", "iteration", "document", "gain"), 3, may_go_on=False)
_RUN = _Format(("query", "Q0", "document", "rank", "score", "tag"), 4, may_go_on=True)


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
    return _read(file, _QRELS)


def read_run(file: Path) -> Judged:
    """Return the score of every document by query; higher is better.

    Raises
    ------
    GroundTruthError
        If a line is not `query Q0 document rank score tag`, or ranks a document a second time.
    """
    return _read(file, _RUN)


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
    gains = {query: {d: gain for d, gain in judged.items() if gain > 0} for query, judged in qrels.items()}
    queries = tuple(query for query, judged in gains.items() if judged)
    lists, scores, ids_of, gains_of = [], [], [], []
    for query in queries:
        answer = run.get(query, {})
        ranking = sorted(answer, key=lambda document: (-answer[document], document))
        number = {document: i for i, document in enumerate([*ranking, *(gains[query].keys() - answer.keys())])}
        lists.append(np.arange(len(ranking)))
        scores.append(np.array([answer[document] for document in ranking], dtype=np.float64))
        ids_of.append([number[document] for document in gains[query]])
        gains_of.append(gains[query].values())
    return RunRanks(
        queries,
        rank_relevant_of_lists(lists, Qrels.from_lists(ids_of, gains=gains_of), scores=scores),
        missing=tuple(query for query in queries if query not in run),
        extra=tuple(query for query in run if query not in qrels),
        without_relevant=tuple(query for query, judged in gains.items() if not judged),
    )


def qrels_lines(query: str, gains: Mapping[str, float], iteration: str) -> str:
    """Return the lines of qrels for one query; gain by document. No measure looks at the iteration."""
    return "".join(f"{query} {iteration} {document} {gain:g}\n" for document, gain in gains.items())


def run_lines(query: str, ranked: Sequence[tuple[str, float]], tag: str) -> str:
    """Return the lines of a run for one query; (document, score), best first."""
    return "".join(
        f"{query} Q0 {document} {rank} {score:.9g} {tag}\n"
        for rank, (document, score) in enumerate(ranked, start=1)
    )


def _read(file: Path, form: _Format) -> Judged:
    judged: Judged = {}
    number = 0
    try:
        with file.open("rb") as lines:
            if lines.read(len(BOM_UTF8)) != BOM_UTF8:
                lines.seek(0)
            for line in lines:
                number += 1
                # Bytes are parted at ASCII blanks alone; names may hold any other.
                parts = line.split()
                if parts and not parts[0].startswith(b"#"):
                    _refuse_lost_ends(line)
                    _add(judged, parts, form)
    except UnicodeDecodeError as error:
        raise GroundTruthError(f"{file}, line {number}: is not UTF-8 text; is it the right file?") from error
    except GroundTruthError as error:
        raise GroundTruthError(f"{file}, line {number}: {error}") from error
    except OSError as error:
        raise GroundTruthError(f"{file}: cannot be read ({reason(error)}); {advice(error)}") from error
    if not judged:
        what = "has comments and blank lines alone" if number else "is empty"
        raise GroundTruthError(f"{file}: {what}; expected lines of {' '.join(form.columns)}")
    return judged


def _refuse_lost_ends(line: bytes) -> None:
    """Raise GroundTruthError for lines that run into one: what follows the first would be words after its tag."""
    if b"\r" in line.rstrip(b"\r\n"):
        raise GroundTruthError("holds a carriage return inside; expected every line to end in a line feed")


def _add(judged: Judged, parts: list[bytes], form: _Format) -> None:
    """Add the words of one line, or raise GroundTruthError that says what is wrong with it."""
    columns, value = form.columns, form.value
    if len(parts) < len(columns) or (len(parts) > len(columns) and not form.may_go_on):
        least = "at least " if form.may_go_on else ""
        raise GroundTruthError(f"has {len(parts)} columns, expected {least}{len(columns)}: {' '.join(columns)}")
    query, name = parts[0].decode(), parts[_DOCUMENT].decode()
    of_query = judged.setdefault(query, {})
    if name in of_query:
        raise GroundTruthError(f"document {name!r} comes a second time for query {query!r}")
    try:
        number = float(parts[value])
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise GroundTruthError(f"{columns[value]} is {parts[value].decode()!r}, expected a number")
    of_query[sys.intern(name)] = number
