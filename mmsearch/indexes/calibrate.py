"""Choose the beam `ef` of a graph on the library's own vectors, against exact search.

Text queries lie off the manifold of the pictures: a beam that finds 97 % of the neighbours of a picture
may find 45 % of those of a text, so each modality is calibrated with queries of its kind.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.indexes.base import Rows
from mmsearch.indexes.exact import ExactIndex
from mmsearch.indexes.hnsw import HnswIndex
from mmsearch.records import Matrix
from mmsearch.vectors import l2_normalize

BEAMS = (10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
K = 10


@dataclass(frozen=True)
class Calibration:
    """How one modality is searched, and what was measured.

    `recall` is the ANN recall@10 in [0, 1] at `ef` over `n_queries` sample queries; the times are medians
    for a single query in milliseconds. `route` is `graph` where the graph reaches the target in less time
    than the exact scan, else `exact`.
    """

    route: str
    ef: int
    recall: float
    target: float
    graph_ms: float
    exact_ms: float
    n_queries: int

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a dict for a sidecar."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Calibration:
        """Return what `to_json` gave."""
        return cls(**fields)


def ann_recall_at_k(found: Rows, expected: Rows) -> NDArray[np.float64]:
    """Return for every query the share of its exact neighbours (n_queries, k) that were found (n_queries, k').

    >>> ann_recall_at_k(np.array([[1, 9], [3, 4]]), np.array([[1, 2], [3, 4]]))
    array([0.5, 1. ])
    """
    if expected.shape[1] == 0:
        return np.ones(len(expected))
    shares = [len(np.intersect1d(f, e)) / len(e) for f, e in zip(found, expected, strict=True)]
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


def calibrate(graph: HnswIndex, exact: ExactIndex, queries: Matrix, *, target: float) -> Calibration:
    """Return the smallest beam that reaches the recall target, or the exact route.

    Parameters
    ----------
    graph, exact : HnswIndex, ExactIndex
        Over the same rows.
    queries : float32 array, shape (n_queries, dim)
        Unit rows of one modality.
    target : float
        ANN recall@10 asked for, in (0, 1].
    """
    _, expected = exact.search(queries, K)
    exact_ms = float(np.median(single_query_ms(exact, queries[:5])))
    recall, ef, graph_ms = 0.0, BEAMS[0], 0.0
    for ef in BEAMS:
        with graph.beam(ef):
            _, found = graph.search(queries, K)
            recall = float(ann_recall_at_k(found, expected).mean())
            if recall < target and ef != BEAMS[-1]:
                continue
            graph_ms = float(np.median(single_query_ms(graph, queries[:50])))
            break
    route = "graph" if recall >= target and graph_ms < exact_ms else "exact"
    return Calibration(route, ef, round(recall, 4), target, round(graph_ms, 4), round(exact_ms, 4), len(queries))


def single_query_ms(index: HnswIndex | ExactIndex, queries: Matrix) -> NDArray[np.float64]:
    """Return the milliseconds (n_queries,) that each query takes alone."""
    times = []
    for query in queries:
        start = time.perf_counter()
        index.search(query[None], K)
        times.append(1e3 * (time.perf_counter() - start))
    return np.array(times, dtype=np.float64)
