"""Choose the index that answers queries of one kind, and its effort, on the library's own vectors.

Text queries lie off the manifold of the pictures: an effort that finds 97 % of the neighbours of a picture
may find 45 % of those of a text, so each modality has its plan, measured with queries of its kind. A mean is no
promise to any one query: what counts as well is how many lose their best hit, and how many all of the best ten.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mmsearch.indexes.base import Rows, SearchableIndex
from mmsearch.records import Matrix

EXACT: Final = "exact"
"""The name of the scan in plans and routes."""
K = 10
MOST_BEST_MISSED = 0.005
"""Share of the queries that may lose their best hit where an index answers; none may lose all of the best ten."""
_WORTH = 8.0
"""Times as fast as the scan for one query an index has to be: a scan for some tens of queries together takes hardly
longer than for one, so that what is but a little faster alone makes a server slower."""
_N_TIMED = 50  # queries timed one by one
_N_ASKED = 128  # at a time, until it is certain that an effort finds too little


@dataclass(frozen=True)
class Recall:
    """How much of the exact ten neighbours an index finds: means over queries, each in [0, 1].

    `mean` is the ANN recall@10 with its 95 % interval from `low` to `high`; `best_missed` the share of queries
    whose nearest neighbour is not found, `none_found` of those that lose all ten. None where an older version did
    not measure it.
    """

    mean: float
    low: float | None = None
    high: float | None = None
    best_missed: float | None = None
    none_found: float | None = None

    def reaches(self, target: float) -> bool:
        """Return whether the mean reaches a target, few enough lose their best hit, and none loses all."""
        is_tail_good = self.best_missed is not None and self.best_missed <= MOST_BEST_MISSED
        return self.mean >= target and is_tail_good and not self.none_found


@dataclass(frozen=True)
class Measurement:
    """How well and how fast an approximate index answers beside the exact scan.

    `recall` is that at `effort` over `n_queries` sample queries, `target` the mean that was asked for; the times
    are medians for a single query in milliseconds.
    """

    effort: int
    recall: Recall
    target: float
    index_ms: float
    exact_ms: float
    n_queries: int


@dataclass(frozen=True)
class Plan:
    """How queries of one modality are answered: by which index, with which effort, and what speaks for it.

    `index` is the name of the approximate index where that finds enough in less time than the exact scan, else
    `exact`; `effort` is None then.
    """

    index: str
    effort: int | None
    measured: Measurement


@dataclass(frozen=True)
class Ladder:
    """What an index reaches with its efforts, as far as they were tried.

    `efforts` are (effort, recall, milliseconds of a query), ascending; `exact_ms` is what the scan takes for a
    query, `n_queries` how many were asked.
    """

    efforts: tuple[tuple[int, Recall, float], ...]
    exact_ms: float
    n_queries: int

    def plan(self, name: str, target: float, *, worth: float = _WORTH) -> Plan:
        """Return the plan with the smallest effort that finds enough, much faster than the scan; else to scan.

        `worth` is as for `measured_efforts`.
        """
        chosen = next((rung for rung in self.efforts if rung[1].reaches(target)), self.efforts[-1])
        effort, recall, index_ms = chosen
        measured = Measurement(effort, recall, target, index_ms, self.exact_ms, self.n_queries)
        is_good = recall.reaches(target) and index_ms < self.exact_ms / worth
        return Plan(name, effort, measured) if is_good else exact_plan(measured)


def exact_plan(measured: Measurement) -> Plan:
    """Return the plan to scan, whatever was measured."""
    return Plan(EXACT, None, measured)


def cheapest(plans: Iterable[Plan]) -> Plan:
    """Return the plan of the index that answers fastest; to scan, where all plans say so, with the best recall."""
    return min(
        plans,
        key=lambda plan: (
            plan.index == EXACT,
            plan.measured.index_ms if plan.effort else -plan.measured.recall.mean,
        ),
    )


@dataclass(frozen=True)
class Probes:
    """Queries of one modality with their exact neighbours.

    Parameters
    ----------
    queries : float32 array, shape (n_queries, dim)
        Unit rows.
    expected : int64 array, shape (n_queries, 10)
        The exact ten of each.
    exact_ms : float
        Milliseconds that the scan takes for a query alone.
    """

    queries: Matrix
    expected: Rows
    exact_ms: float

    @classmethod
    def of(cls, exact: SearchableIndex, queries: Matrix) -> Probes:
        """Return queries with what the scan finds."""
        _, expected = exact.search(queries, K)
        return cls(queries, expected, round(float(np.median(single_query_ms(exact, queries[:5]))), 4))


def measured_efforts(index: SearchableIndex, probes: Probes, target: float, *, worth: float = _WORTH) -> Ladder:
    """Return what an index over the same rows reaches, up to the first effort that is enough or takes too long.

    Of an effort that is not enough as many probes are asked as it takes to be certain of that. `worth` is how many
    times as fast as the scan an index has to be, by default what serves many queries together.
    """
    rungs = list[tuple[int, Recall, float]]()
    for effort in index.efforts:
        recall = _recall_at(index, effort, probes, target)
        ms = round(float(np.median(single_query_ms(index, probes.queries[:_N_TIMED], effort))), 4)
        rungs.append((effort, recall, ms))
        if recall.reaches(target) or ms >= probes.exact_ms / worth:
            break
    return Ladder(tuple(rungs), probes.exact_ms, len(probes.queries))


def _recall_at(index: SearchableIndex, effort: int, probes: Probes, target: float) -> Recall:
    """Return the recall over all probes, or over a sample of them that makes it certain that a target is missed."""
    n = len(probes.queries)
    n_samples = -(-n // _N_ASKED)
    shares, is_missed = np.zeros(0), np.zeros(0, dtype=bool)
    for first in range(n_samples):
        sample = slice(first, None, n_samples)
        expected = probes.expected[sample]
        rows = index.search(probes.queries[sample], K, effort)[1]
        shares = np.concatenate([shares, ann_recall_at_k(rows, expected)])
        is_missed = np.concatenate([is_missed, _loses_best(rows, expected)])
        most = Recall(
            (shares.sum() + n - len(shares)) / n, best_missed=is_missed.sum() / n, none_found=min(shares) == 0
        )
        if not most.reaches(target):
            break
    return _recall(shares, is_missed)


def recall_of(rows: Rows, expected: Rows) -> Recall:
    """Return the recall of the rows (n_queries, k) that an index finds, of those that it should (n_queries, k).

    >>> recall_of(np.array([[1, 9], [4, 3]]), np.array([[1, 2], [3, 4]])).mean
    0.75
    """
    return _recall(ann_recall_at_k(rows, expected), _loses_best(rows, expected))


def _recall(shares: NDArray[np.float64], is_missed: NDArray[np.bool_]) -> Recall:
    """Return the recall of queries that find such shares of their ten, and lose their best hit or not."""
    mean = float(shares.mean())
    error = 1.96 * float(shares.std(ddof=1)) / len(shares) ** 0.5 if len(shares) > 1 else 1.0
    values = mean, max(0.0, mean - error), min(1.0, mean + error), is_missed.mean(), (shares == 0).mean()
    mean, low, high, missed, none = (round(float(value), 4) for value in values)
    return Recall(mean, low, high, missed, none)


def _loses_best(rows: Rows, expected: Rows) -> NDArray[np.bool_]:
    """Return for every query whether the nearest of its exact neighbours (n_queries, k) is not among rows."""
    return np.array([len(e) > 0 and e[0] not in r for r, e in zip(rows, expected, strict=True)], dtype=bool)


def ann_recall_at_k(rows: Rows, expected: Rows) -> NDArray[np.float64]:
    """Return for every query the share of its exact neighbours (n_queries, k) among the rows (n_queries, k').

    >>> ann_recall_at_k(np.array([[1, 9], [3, 4]]), np.array([[1, 2], [3, 4]]))
    array([0.5, 1. ])
    """
    if expected.shape[1] == 0:
        return np.ones(len(expected))
    shares = [len(np.intersect1d(r, e)) / len(e) for r, e in zip(rows, expected, strict=True)]
    return np.array(shares, dtype=np.float64)


def single_query_ms(index: SearchableIndex, queries: Matrix, effort: int | None = None) -> NDArray[np.float64]:
    """Return the milliseconds (n_queries,) that each query takes alone."""
    times = []
    for query in queries:
        start = time.perf_counter()
        index.search(query[None], K, effort)
        times.append(1e3 * (time.perf_counter() - start))
    return np.array(times, dtype=np.float64)
