"""Choose the index that answers queries of one kind, and its effort, on the library's own vectors.

Text queries lie off the manifold of the pictures: an effort that finds 97 % of the neighbours of a picture
may find 45 % of those of a text, so each modality has its plan, measured with queries of its kind.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mmsearch.indexes.base import Rows, SearchableIndex, VectorIndex
from mmsearch.records import Matrix
from mmsearch.vectors import l2_normalize

EXACT: Final = "exact"
"""The name of the scan in plans and routes."""
K = 10


@dataclass(frozen=True)
class Measurement:
    """How well and how fast an approximate index answers beside the exact scan.

    `recall` is the ANN recall@10 in [0, 1] at `effort` over `n_queries` sample queries, `target` what was asked
    for; the times are medians for a single query in milliseconds.
    """

    effort: int
    recall: float
    target: float
    index_ms: float
    exact_ms: float
    n_queries: int


@dataclass(frozen=True)
class Plan:
    """How queries of one modality are answered: by which index, with which effort, and what speaks for it.

    `index` is the name of the approximate index where that reaches the target in less time than the exact scan,
    else `exact`; `effort` is None then.
    """

    index: str
    effort: int | None
    measured: Measurement


def exact_plan(measured: Measurement) -> Plan:
    """Return the plan to scan, whatever was measured."""
    return Plan(EXACT, None, measured)


def choose_plan(name: str, index: VectorIndex, exact: VectorIndex, queries: Matrix, *, target: float) -> Plan:
    """Return the plan with the smallest effort that reaches the recall target, or the exact scan.

    Parameters
    ----------
    name : str
        What the plan calls the index.
    index, exact : VectorIndex
        Over the same rows: one with efforts to choose from, and the oracle.
    queries : float32 array, shape (n_queries, dim)
        Unit rows of one modality.
    target : float
        ANN recall@10 asked for, in (0, 1].
    """
    _, expected = exact.search(queries, K)
    exact_ms = float(np.median(single_query_ms(exact, queries[:5])))
    recall, effort = 0.0, index.efforts[0]
    for effort in index.efforts:
        _, rows = index.search(queries, K, effort)
        recall = float(ann_recall_at_k(rows, expected).mean())
        if recall >= target:
            break
    index_ms = float(np.median(single_query_ms(index, queries[:50], effort)))
    measured = Measurement(effort, round(recall, 4), target, round(index_ms, 4), round(exact_ms, 4), len(queries))
    return Plan(name, effort, measured) if recall >= target and index_ms < exact_ms else exact_plan(measured)


def ann_recall_at_k(rows: Rows, expected: Rows) -> NDArray[np.float64]:
    """Return for every query the share of its exact neighbours (n_queries, k) among the rows (n_queries, k').

    >>> ann_recall_at_k(np.array([[1, 9], [3, 4]]), np.array([[1, 2], [3, 4]]))
    array([0.5, 1. ])
    """
    if expected.shape[1] == 0:
        return np.ones(len(expected))
    shares = [len(np.intersect1d(r, e)) / len(e) for r, e in zip(rows, expected, strict=True)]
    return np.array(shares, dtype=np.float64)


def picture_queries(matrix: Any, n_queries: int, *, seed: int = 0) -> Matrix:
    """Return unit vectors float32 (n, dim) that lie where a new picture would.

    A stored vector moved by a random step of a third of its length, so that it is not simply its own
    nearest neighbour at distance 0.
    """
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.choice(len(matrix), size=min(n_queries, len(matrix)), replace=False))
    vectors = np.asarray(matrix[rows], dtype=np.float32)
    noise = l2_normalize(rng.standard_normal(vectors.shape).astype(np.float32))
    return l2_normalize(vectors + noise / np.float32(3))


def single_query_ms(index: SearchableIndex, queries: Matrix, effort: int | None = None) -> NDArray[np.float64]:
    """Return the milliseconds (n_queries,) that each query takes alone."""
    times = []
    for query in queries:
        start = time.perf_counter()
        index.search(query[None], K, effort)
        times.append(1e3 * (time.perf_counter() - start))
    return np.array(times, dtype=np.float64)
