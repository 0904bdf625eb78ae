"""NEAREST PICTURES: query vectors in, shortlists out, by the engine's index or by exact scans.

One search of the engine answers all queries of a call, with what is told of each picture. Scores are cosines to the
vectors as they were stored: those of the engine, and where two are so close that its 32 bits cannot tell them
apart, they are computed here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.errors import QueryError
from mmsearch.indexes.exact import ExactIndex
from mmsearch.milvus.collection import FACTS, record_of, stored_vectors
from mmsearch.milvus.conditions import Resolved
from mmsearch.milvus.engine import Row
from mmsearch.milvus.measurable import MOST_FETCHED, all_vectors
from mmsearch.milvus.scan import MOST_ROWS, scan
from mmsearch.milvus.searches import Searches
from mmsearch.records import ImageRecord, Matrix, Modality
from mmsearch.store.base import AskedVector, Condition, Passed, RankKey, Shortlist
from mmsearch.vectors import check_width, stored_cosines

if TYPE_CHECKING:
    from mmsearch.milvus.store import MilvusStore

MOST = 16_000
"""Pictures of one shortlist; the engine gives a few more."""
_SPARE, _MANY_SPARE = 8, 300  # asked for beyond k, so that equal scores at the end are seen
_CLOSE = 2e-6  # cosines nearer than this are computed again
_FEW = 1_000  # pictures that pass a filter are all compared
EFFORT: dict[Modality, int] = {"image": 512, "text": 2048}
"""How widely the index is searched where all pictures pass: texts lie off the manifold of the pictures."""

Scored = tuple[float, ImageRecord]


@dataclass(frozen=True)
class _Vectors:
    """All vectors of a library in one state, by id."""

    state: tuple[int, int]
    ids: np.ndarray[Any, np.dtype[np.int64]]
    index: ExactIndex


class EngineNeighbours:
    """Finds the nearest pictures of one open library; one thread at a time.

    Parameters
    ----------
    store : MilvusStore
        Opened for reading.
    use_index : bool
        False answers everything by exact scans, for which all vectors are fetched and kept.
    """

    most: int | None = MOST

    def __init__(self, store: MilvusStore, *, use_index: bool = True) -> None:
        self.store = store
        self._use_index = use_index
        self._vectors: _Vectors | None = None
        self._searches = Searches(store)

    def problems(self) -> tuple[str, ...]:
        """Return sentences: what was missing when it was last asked."""
        return ()

    def shortlists(
        self, queries: Sequence[AskedVector], k: int, condition: Condition, modality: Modality
    ) -> list[Shortlist]:
        """Return the k nearest pictures that pass a condition for every vector, all of them if there are fewer.

        Raises
        ------
        QueryError
            If k is beyond what the engine gives.
        DimensionError
            If a vector has another width.
        """
        if k > MOST:
            raise QueryError(
                f"k is {k}; a library in Milvus gives {MOST} pictures at most: ask for fewer, or filter by folder, "
                "year or size and ask several times"
            )
        shortlists: dict[int, Shortlist] = {}
        for left_out in {query.left_out for query in queries}:
            places = [place for place, query in enumerate(queries) if query.left_out == left_out]
            asked = [queries[place] for place in places]
            answers = self._alike(asked, k, condition.without(left_out), modality)
            shortlists |= dict(zip(places, answers, strict=True))
        return [shortlists[place] for place in range(len(queries))]

    def following(
        self, query: AskedVector, k: int, condition: Condition, passed: Passed, modality: Modality = "text"
    ) -> Shortlist:
        """Return the k nearest pictures that pass a condition and were not given yet, by a scan of all vectors.

        They are fetched some at a time, and only the k best are kept.

        Raises
        ------
        DimensionError
            If the vector has another width.
        """
        check_width(query.vector[None], self.store.dim)
        condition = condition.without(query.left_out)
        resolved = self.store.resolved(condition)
        ranked = nsmallest(k + 1, self._left_of(query, resolved, passed), key=lambda answer: answer[0])
        pictures = [(-negative, record_of(row)) for (_, negative, _), row in ranked]
        n = self._n_answers(condition, resolved)
        return Shortlist.of(pictures, k, _scan_route(condition), n)

    def _left_of(self, query: AskedVector, resolved: Resolved, passed: Passed) -> Iterator[tuple[RankKey, Row]]:
        """Yield all pictures that were not given yet, with what they are sorted by."""
        fields = (*FACTS, "vector")
        for rows in scan(self.store.engine, self.store.collection, resolved.expression, fields):
            scores = stored_cosines(query.vector, stored_vectors([row["vector"] for row in rows], self.store.dim))
            for row, score in zip(rows, scores.tolist(), strict=True):
                key = query.key(score, row["id"])
                if passed.leaves(key) and (resolved.ids is None or row["id"] in resolved.ids):
                    yield key, row

    def _alike(
        self, queries: Sequence[AskedVector], k: int, condition: Condition, modality: Modality
    ) -> list[Shortlist]:
        """Return the shortlists of queries that leave out the same pictures."""
        vectors = np.stack([query.vector for query in queries]).astype(np.float32)
        check_width(vectors, self.store.dim)
        if self.store.n_pictures == 0:
            return [Shortlist([], "empty", 0) for _ in queries]
        resolved = self.store.resolved(condition)
        n = self._n_answers(condition, resolved)
        if condition.predicate is not None and 0 < n <= _FEW:
            return self._among_few(queries, vectors, k, resolved, n)
        if self._use_index:
            answers = self._searched(vectors, k, resolved, self._effort(modality, k, n), n)
            is_full = all(len(answer) >= min(k + 1, n) for answer in answers)
            if is_full or self.store.n_pictures > MOST_FETCHED:
                return self._finished(queries, answers, k, resolved, ("graph", n))
        scanned = self._scanned(vectors, k + 1, condition, resolved)
        return self._finished(queries, scanned, k, resolved, (_scan_route(condition), n))

    def _n_answers(self, condition: Condition, resolved: Resolved) -> int:
        if condition.predicate is None:
            return self.store.n_pictures - len(condition.left_out)
        return self.store.count(resolved.expression) if resolved.ids is None else len(resolved.ids)

    def _effort(self, modality: Modality, k: int, n_passing: int) -> int:
        """Return the width of a search: wider where a filter lets fewer through."""
        share = max(1e-3, min(1.0, n_passing / max(1, self.store.n_pictures)))
        return max(int(EFFORT[modality] / share), k + _SPARE)

    # -- by the engine -------------------------------------------------------------------------------

    def _searched(
        self, vectors: Matrix, k: int, resolved: Resolved, effort: int, n_passing: int
    ) -> list[list[Scored]]:
        """Return what the engine's index finds for each of some vectors, at least k if it can, and equal ones."""
        share = 1.0
        if not resolved.is_exact:  # more than pass are let through
            share = n_passing / max(1, self.store.count(resolved.expression)) / 1.5
        for spare in (_SPARE, _MANY_SPARE):
            limit = min(MOST_ROWS, int((k + spare) / share))
            hits = self._searches.nearest(vectors, limit, effort, expression=resolved.expression, fields=FACTS)
            answers = [_scored(of_query, resolved) for of_query in hits]
            if not any(len(of_query) == limit and _is_open(of_query, k) for of_query in answers):
                break
        return answers

    # -- here ----------------------------------------------------------------------------------------

    def _among_few(
        self, queries: Sequence[AskedVector], vectors: Matrix, k: int, resolved: Resolved, n: int
    ) -> list[Shortlist]:
        """Return the nearest of the few pictures that pass a filter, all of them compared.

        The engine is asked for all of them; only if it leaves one out are their vectors fetched.
        """
        if self._use_index:
            hits = self._searches.nearest(vectors, n, n, expression=resolved.expression, fields=FACTS)
            answers = [_scored(of_query, resolved) for of_query in hits]
            if all(len(of_query) == n for of_query in answers):
                return self._finished(queries, answers, k, resolved, ("filtered", n))
        rows = self.store.rows(resolved.expression, (*FACTS, "vector"))
        half = stored_vectors([row["vector"] for row in rows], self.store.dim)
        images = [record_of(row) for row in rows]
        shortlists = []
        for query, vector in zip(queries, vectors, strict=True):
            scored = list(zip(stored_cosines(vector, half).tolist(), images, strict=True))
            shortlists.append(Shortlist.of(_ranked(scored, query), k, "filtered", len(rows)))
        return shortlists

    def _scanned(self, vectors: Matrix, k: int, condition: Condition, resolved: Resolved) -> list[list[Scored]]:
        """Return the nearest of all pictures that pass, from a scan of all vectors."""
        known = self._all_vectors()
        passing: np.ndarray[Any, np.dtype[np.int64]] | None = None
        if not condition.is_empty:
            ids = resolved.ids if resolved.ids is not None else self._ids_passing(resolved)
            passing = np.flatnonzero(np.isin(known.ids, np.fromiter(ids, np.int64, len(ids))))
        scores, rows = (
            known.index.search(vectors, k) if passing is None else known.index.search_among(vectors, k, passing)
        )
        wanted = np.unique(known.ids[rows])
        images = {image.image_id: image for image in self.store.images_of_ids(wanted.tolist())}
        return [
            [
                (score, images[image_id])
                for score, image_id in zip(best.tolist(), known.ids[near].tolist(), strict=True)
                if image_id in images
            ]
            for best, near in zip(scores, rows, strict=True)
        ]

    def _ids_passing(self, resolved: Resolved) -> list[int]:
        parts = scan(self.store.engine, self.store.collection, resolved.expression, ("id",))
        return [row["id"] for rows in parts for row in rows]

    def _all_vectors(self) -> _Vectors:
        """Return all vectors, fetched once for each state of the library."""
        state = self.store.number, self.store.revision
        if self._vectors is None or self._vectors.state != state:
            self.store.engine.count(self.store.collection, level="Strong")  # what is kept holds all written before
            ids, half = all_vectors(self.store)
            self._vectors = _Vectors(state, ids, ExactIndex(half))
        return self._vectors

    # -- the order -----------------------------------------------------------------------------------

    def _finished(
        self, queries: Sequence[AskedVector], answers: Sequence[list[Scored]], k: int, resolved: Resolved,
        found_by: tuple[str, int],
    ) -> list[Shortlist]:  # fmt: skip
        """Return shortlists of what was found: with what the vectors are, in order, close scores told apart."""
        missing: set[int] = set()
        for query, answer in zip(queries, answers, strict=True):
            missing |= set(query.itself).difference(image.image_id for _, image in answer)
        rows = self._rows_of_missing(sorted(missing), resolved)
        recomputed = {row["id"] for row in rows}
        for answer in answers:
            recomputed |= _close(answer, k)
        vectors = self._vectors_of(recomputed, rows)
        route, n = found_by
        shortlists = []
        for query, answer in zip(queries, answers, strict=True):
            images = {image.image_id: (score, image) for score, image in answer}
            for row in rows:
                if row["id"] in query.itself and row["id"] not in images:
                    images[row["id"]] = (0.0, record_of(row))
            known = [image_id for image_id in images if image_id in vectors]
            if known:
                half = np.stack([vectors[image_id] for image_id in known])
                for image_id, score in zip(known, stored_cosines(query.vector, half).tolist(), strict=True):
                    images[image_id] = (score, images[image_id][1])
            shortlists.append(Shortlist.of(_ranked(images.values(), query), k, route, n))
        return shortlists

    def _rows_of_missing(self, image_ids: Sequence[int], resolved: Resolved) -> list[Row]:
        rows = self.store.rows_among("id", image_ids, (*FACTS, "vector"), resolved.expression)
        return [row for row in rows if resolved.ids is None or row["id"] in resolved.ids]

    def _vectors_of(self, image_ids: set[int], rows: Sequence[Row]) -> dict[int, Any]:
        known = {row["id"]: row["vector"] for row in rows}
        more = sorted(image_ids.difference(known))
        fetched = self.store.rows_among("id", more, ("id", "vector"))
        known |= {row["id"]: row["vector"] for row in fetched}
        half = stored_vectors(list(known.values()), self.store.dim)
        return dict(zip(known, half, strict=True))


def _scored(hits: Iterable[Any], resolved: Resolved) -> list[Scored]:
    """Return the pictures of hits with the engine's scores, of those that pass."""
    return [
        (float(hit["distance"]), record_of({**hit["entity"], "id": hit["id"]}))
        for hit in hits
        if resolved.ids is None or hit["id"] in resolved.ids
    ]


def _is_open(answer: Sequence[Scored], k: int) -> bool:
    """Return whether all from the k-th on are equal, so that there may be more of them than were asked for."""
    return len(answer) > k and answer[k - 1][0] - answer[-1][0] < _CLOSE


def _ranked(scored: Iterable[Scored], query: AskedVector) -> list[Scored]:
    return sorted(scored, key=lambda pair: query.key(pair[0], pair[1].image_id))


def _scan_route(condition: Condition) -> str:
    return "exact" if condition.predicate is None else "filtered"


def _close(answer: Sequence[Scored], k: int) -> set[int]:
    """Return the pictures, of the k best and those next to them, whose scores the engine cannot tell apart."""
    ids: set[int] = set()
    is_close = False
    for place, ((score, image), (below, following)) in enumerate(pairwise(answer)):
        if place >= k and not is_close:
            break
        is_close = score - below < _CLOSE
        ids |= {image.image_id, following.image_id} if is_close else set()
    return ids
