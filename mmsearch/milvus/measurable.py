"""MEASURABLE: the index of the engine beside the scan of the same vectors, for who compares them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import QueryError
from mmsearch.indexes.base import Rows
from mmsearch.indexes.exact import ExactIndex
from mmsearch.milvus.collection import stored_vectors
from mmsearch.milvus.expression import EVERYTHING
from mmsearch.milvus.scan import scan
from mmsearch.milvus.searches import Searches
from mmsearch.records import Cosines, Matrix
from mmsearch.store.base import MeasurableIndexes, OnProgress
from mmsearch.store.matrix import Half
from mmsearch.vectors import check_width, stored_cosines

if TYPE_CHECKING:
    from mmsearch.milvus.store import MilvusStore

MOST_FETCHED = 2_000_000
"""Vectors that are fetched to be compared here."""
_TOGETHER = 100  # queries of one call
_DEFAULT = 128


class EngineIndex:
    """The index of the engine as one of rows: those of all vectors, by id.

    Parameters
    ----------
    store : MilvusStore
        Opened for reading.
    ids : int64 array, shape (n,)
        Of all pictures, ascending.
    half : float16 array, shape (n, dim)
        Their vectors.
    """

    efforts = (32, 64, 128, 256, 512, 1024)

    def __init__(self, store: MilvusStore, ids: NDArray[np.int64], half: Half) -> None:
        self._searches = Searches(store)
        self._ids, self._half = ids, half

    def __len__(self) -> int:
        """Return the number of rows that can be found."""
        return len(self._ids)

    def search(self, queries: Matrix, k: int, effort: int | None = None) -> tuple[Cosines, Rows]:
        """Return the min(k, len) best rows of every query (n_queries, dim) with their cosines, best first."""
        check_width(queries, self._half.shape[1])
        k = min(k, len(self))
        answers: list[list[int]] = []
        for start in range(0, len(queries), _TOGETHER):
            part = queries[start : start + _TOGETHER]
            hits = self._searches.nearest(part, k, _DEFAULT if effort is None else effort)
            answers += [[hit["id"] for hit in of_query] for of_query in hits]
        width = min((len(answer) for answer in answers), default=0)
        places = np.searchsorted(self._ids, np.asarray([answer[:width] for answer in answers], dtype=np.int64))
        rows: Rows = np.minimum(places, len(self) - 1).reshape(len(queries), width)
        scores = np.empty(rows.shape, dtype=np.float64)
        for query, (vector, near) in enumerate(zip(queries, rows, strict=True)):
            scores[query] = stored_cosines(vector, self._half[near])
        return scores, rows


def measurable_indexes(store: MilvusStore, *, on_progress: OnProgress) -> MeasurableIndexes:
    """Return the index of the engine with all vectors, which are fetched."""
    ids, half = all_vectors(store, on_progress=on_progress)
    facts = store.engine.call("describe_index", store.collection, "vector") or {}
    said: dict[str, Any] = {
        "kind": str(facts.get("index_type", "HNSW")),
        "model": store.setting("model"),
        "n_vectors": len(ids),
        "n_in_index": min(len(ids), int(facts.get("indexed_rows", 0))),
        "n_dead_in_index": 0,
        "dim": store.dim,
        **{key: int(facts[key]) for key in ("M", "efConstruction", "nlist") if str(facts.get(key, "")).isdigit()},
        "vector_bytes": 2 * store.dim,
        "index_bytes_per_vector": 0.0,
        "build_seconds": None,
        "is_built_for_this_measurement": False,
        "recall_target": 0.95,
        "graph_from": 0,
    }
    index = EngineIndex(store, ids, half)
    return MeasurableIndexes({said["kind"]: index}, ExactIndex(half), half, (), {}, [said])


def all_vectors(
    store: MilvusStore, *, on_progress: OnProgress = lambda stage, done, total: None
) -> tuple[NDArray[np.int64], Half]:
    """Return the ids (n,) of all pictures, ascending, and their vectors float16 (n, dim).

    Raises
    ------
    QueryError
        If there are more than can be fetched.
    """
    ids, parts, n, shown = [np.zeros(0, np.int64)], [np.zeros((0, store.dim), np.float16)], 0, 0.0
    total = store.count()
    if total > MOST_FETCHED:
        raise QueryError(
            f"{store.address} holds {total} vectors, and an exact scan fetches them all, {MOST_FETCHED} at most; "
            "let the engine's index answer"
        )
    for rows in scan(store.engine, store.collection, EVERYTHING, ("id", "vector")):
        of_part = np.asarray([row["id"] for row in rows], dtype=np.int64)
        order = np.argsort(of_part)
        ids.append(of_part[order])
        parts.append(stored_vectors([rows[place]["vector"] for place in order.tolist()], store.dim))
        n += len(rows)
        if time.monotonic() - shown > 0.5:
            shown = time.monotonic()
            on_progress("graph", n, total)
    return np.concatenate(ids), np.concatenate(parts)
