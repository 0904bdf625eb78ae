"""ROUTES: query vectors in, the nearest rows out, by the way that the library and the query choose.

The route follows from the state of the library (its rows, its indexes and what they were measured to find) and
from the query (its kind, its filter): never from what this process has loaded or answered before. Whatever the
route, scores are cosines to the stored rows at unit length, bit for bit the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import repeat
from typing import TypeAlias, TypeVar

import numpy as np

from mmsearch.errors import LibraryDamagedError
from mmsearch.indexes.base import FilteringIndex, Passing, Rows, VectorIndex, leave_out
from mmsearch.indexes.exact import ExactIndex, merge
from mmsearch.indexes.kinds import KINDS
from mmsearch.indexes.plans import EXACT, Plan
from mmsearch.records import Cosines, Matrix, Modality, Unusable
from mmsearch.store.file_rows import FileRows, file_rows, rows_of_best
from mmsearch.store.folder import Store
from mmsearch.store.indexes import IndexSidecar, PublishedIndex, plans_in_use
from mmsearch.store.where import SqlCondition

_FEW = 1000  # pictures that pass a filter are scanned exactly, whatever their share
_NARROW = 0.05  # a filter that passes less than this share is scanned exactly
_NARROW_IN_PARTS = 0.02  # where an index can be told which rows pass
_ROWS_PER_FILE = 8  # looked at by an index first, where pictures of one file are one hit
_KEPT = 2  # filters whose rows are kept until the library changes, for the next page and the next text

Rowed = TypeVar("Rowed", "_Part", FileRows)
Way: TypeAlias = "tuple[VectorIndex, Plan]"
"""An approximate index, and the plan that names it and its effort."""


@dataclass(frozen=True)
class Nearest:
    """The answer to one query: rows (n,) with their cosines (n,), the route, and from how many pictures it is.

    Where files are asked for, `n_files` is their number, and `above` are the ids of films that have nearer rows
    than are wanted, one of those of equal contents.
    """

    scores: Cosines
    rows: Rows
    route: str
    n_candidates: int
    n_files: int = 0
    above: tuple[int, ...] = ()


@dataclass(frozen=True)
class _Part:
    """The rows (n,) of the pictures that pass a filter, how many these are, and how an index is told of the rows.

    That is None where they are few enough to be scanned.
    """

    rows: Rows
    n_pictures: int
    passing: Passing | None


class NearestRows:
    """Finds nearest rows of one open library; one thread at a time.

    Parameters
    ----------
    store : Store
        Opened for reading.
    use_index : bool
        False answers everything by exact scans, whatever the library has.
    is_asked_once : bool
        Only indexes that open in no time are worth it.
    """

    def __init__(self, store: Store, *, use_index: bool = True, is_asked_once: bool = False) -> None:
        self.store = store
        kinds = KINDS.values() if use_index else ()
        self._kinds = [kind for kind in kinds if kind.is_read_lazily or not is_asked_once]
        self._exact = self._no_rows()
        self._n_pictures = 0  # whose rows are there
        self._epoch = -1  # of the vectors
        self._plans: dict[str, Plan] = {}
        self._plans_of_parts: dict[str, Plan] = {}  # where a filter leaves a part of the rows
        self._facts: dict[str, IndexSidecar] = {}
        self._published: dict[str, PublishedIndex] = {}  # each loaded for the first query that goes by it
        self._unusable = set[str]()
        self._parts: dict[tuple[object, ...], _Part] = {}  # by their filters
        self._files: dict[tuple[object, ...], FileRows] = {}  # by their filters
        self._state: tuple[int, bytes, tuple[int, ...]] = (-1, b"", ())

    def refresh(self) -> None:
        """Bring vectors, plans and indexes up to the library's present state; inside `reading()`."""
        revision, look = self.store.revision, self.store.vectors_look()
        state = revision, self.store.indexes.state(), look
        if state == self._state:
            return
        matrix, dead = self.store.matrix(), self.store.dead_rows()
        epoch, facts = self.store.epoch, self.store.indexes.facts()
        # What is known of rows that somebody else than a writer has touched may be of others than lie there now.
        is_touched = revision == self._state[0] and look != self._state[2]
        if epoch != self._epoch or is_touched or len(matrix) < self._exact.n_rows:
            self._exact = self._no_rows()
            self._published.clear()
        self._exact.build(matrix)
        lost = self.lost_rows
        n_lost = self.store.catalog.count_where("row >= ?", (lost.start,)) if lost else 0
        self._n_pictures = self.store.n_pictures - n_lost
        leave_out(self._exact, dead)
        target = self.store.indexes.settings.recall_target
        self._plans = plans_in_use(facts, target, self._kinds)
        self._plans_of_parts = plans_in_use(facts, target, [kind for kind in self._kinds if kind.can_filter])
        for name in [name for name in self._published if facts.get(name) != self._facts.get(name)]:
            del self._published[name]
        for published in self._published.values():
            published.bury(dead, revision)
        self._facts = facts
        self._unusable.clear()
        self._parts.clear()
        self._files.clear()
        self._epoch, self._state = epoch, state

    @property
    def lost_rows(self) -> range:
        """The rows that are listed and were not there when this was brought up to date."""
        return range(self._exact.n_rows, self.store.n_rows)

    def of(self, queries: Matrix, k: int, condition: SqlCondition, modality: Modality) -> list[Nearest]:
        """Return at least the k nearest rows of every query, all of them if there are fewer.

        Parameters
        ----------
        queries : float32 array, shape (n_queries, dim)
            Unit rows.
        k : int > 0
            Rows wanted.
        condition : SqlCondition
            Rows that no picture passes are left out; on the graph some may stay.
        modality : "text" or "image"
            What the queries are.
        """
        n_live = len(self._exact)
        if n_live == 0:
            nothing = Nearest(np.zeros(0), np.zeros(0, np.int64), "empty", 0)
            return [nothing] * len(queries)
        if not condition.sql:
            return self._among_all(queries, k, self._way(self._plans.get(modality)))
        way = self._way(self._plans_of_parts.get(modality))
        if way is not None and isinstance(way[0], FilteringIndex):
            part = self._part(condition, way[0])
            return [self._in_part(query[None], k, part, way) for query in queries]
        way = self._way(self._plans.get(modality))
        part, is_broad = self._first_passing(condition, _NARROW)
        if is_broad:
            part = self._kept(self._parts, condition, lambda: self._all_passing(condition))
        answers: list[Nearest | None] = [None] * len(queries)
        if is_broad and way is not None:
            answers = [self._filtered_afterwards(query[None], k, part, way) for query in queries]
        return [answer or self._among(query[None], k, part) for query, answer in zip(queries, answers, strict=True)]

    def below(self, query: Matrix, k: int, condition: SqlCondition, ceiling: float) -> Nearest:
        """Return the k nearest rows of a query (dim,) whose cosines are not above a ceiling, by a scan.

        There are fewer only where there are no more. Rows that no picture passes are left out.
        """
        if not len(self._exact):
            return Nearest(np.zeros(0), np.zeros(0, np.int64), "empty", 0)
        if not condition.sql:
            scores, near = self._exact.search_tail(query[None], k, first_row=0, ceiling=ceiling)
            return Nearest(scores[0], near[0], EXACT, self._n_pictures)
        part = self._parts.get((condition.sql, condition.parameters)) or self._all_passing(condition)
        scores, near = self._exact.search_among(query[None], k, part.rows, ceiling=ceiling)
        return Nearest(scores[0], near[0], "filtered", part.n_pictures)

    def rough_scores(self, queries: Matrix, condition: SqlCondition, modality: Modality) -> Iterator[Matrix | None]:
        """Yield what `of_files` needs of a scan for each of some queries (n, dim), None where an index answers."""
        if not condition.sql and self._way(self._plans.get(modality)) is not None:
            return repeat(None, len(queries))
        return self._exact.rough_scores_each(queries, self._among_files(condition))

    def _among_files(self, condition: SqlCondition) -> Rows | None:
        """Return the rows that pass a condition, None without one."""
        if not condition.sql:
            return None
        return np.unique(self._kept(self._files, condition, lambda: self._file_rows(condition)).rows)

    def of_files(
        self,
        query: Matrix,
        k: int,
        condition: SqlCondition,
        modality: Modality,
        *,
        ceiling: float = math.inf,
        rough: Matrix | None = None,
    ) -> Nearest:
        """Return the nearest rows of at least the k files that have the nearest of all, by a scan mostly.

        Parameters
        ----------
        query : float32 array, shape (dim,)
            Of unit length.
        k : int > 0
            Files wanted. Of each some more than the nearest row are there.
        condition : SqlCondition
            Rows that no picture passes are left out.
        modality : "text" or "image"
            What the query is.
        ceiling : float
            Files that have a row above it are left out.
        rough : float32 array, shape (n_rows,), or None
            As from `rough_scores`, if that was asked for several queries.
        """
        files = self._kept(self._files, condition, lambda: self._file_rows(condition))
        is_plain = not condition.sql and ceiling == math.inf
        way = self._way(self._plans.get(modality)) if is_plain else None
        if way is not None:
            (nearest,) = self._among_all(query[None], _ROWS_PER_FILE * k, way)
            is_near = np.isin(files.rows, nearest.rows)
            if np.count_nonzero(np.logical_or.reduceat(is_near, files.starts)) >= k:
                return replace(nearest, n_files=len(files.files))
        if rough is None:
            rough = self._exact.rough_scores(query, self._among_files(condition))
        rows, above = rows_of_best(files, rough, k, ceiling=ceiling)
        scores = self._exact.scores(query, rows)
        return Nearest(
            scores, rows, "filtered" if condition.sql else EXACT, files.n_pictures, len(files.files), above
        )

    def _file_rows(self, condition: SqlCondition) -> FileRows:
        return file_rows(self.store.catalog, condition, self._exact.n_rows, self._n_pictures)

    def _first_passing(self, condition: SqlCondition, narrow: float) -> tuple[_Part, bool]:
        """Return what passes a filter, some of it where that is more than a share of all, and whether it is."""
        limit = max(_FEW, int(narrow * len(self._exact)))
        part = self._all_passing(condition, limit=limit)
        return part, part.n_pictures == limit

    def _all_passing(self, condition: SqlCondition, *, limit: int | None = None) -> _Part:
        rows = self.store.rows_passing(condition, limit=limit)
        return _Part(np.unique(np.asarray(rows, dtype=np.int64)), len(rows), None)

    def _among(self, query: Matrix, k: int, part: _Part) -> Nearest:
        """Return the k nearest of the rows that pass to a query (1, dim), by scanning them."""
        scores, near = self._exact.search_among(query, k, part.rows)
        return Nearest(scores[0], near[0], "filtered", part.n_pictures)

    def _in_part(self, query: Matrix, k: int, part: _Part, way: Way) -> Nearest:
        """Return the k nearest of the rows that pass a filter, by an index where they are many."""
        index, plan = way
        assert isinstance(index, FilteringIndex)
        if part.passing is None:
            return self._among(query, k, part)
        try:
            _, near = index.search_among(query, k, part.passing, plan.effort)
        except LibraryDamagedError:
            self._unusable.add(plan.index)
            return self._among(query, k, part)
        if near.shape[1] < min(k, part.passing.n):
            return self._among(query, k, part)
        scores = self._exact.scores(query[0], near[0])
        tail = self._exact.search_among(query, k, part.rows[part.rows >= index.n_rows])
        (scores,), (near,) = merge((scores[None], near), tail, k)
        return Nearest(scores, near, plan.index, part.n_pictures)

    def _part(self, condition: SqlCondition, index: FilteringIndex) -> _Part:
        """Return the rows that pass a filter, as an index is told them."""

        def look() -> _Part:
            part, is_broad = self._first_passing(condition, _NARROW_IN_PARTS)
            if not is_broad:
                return part
            part = self._all_passing(condition)
            return replace(part, passing=index.passing(part.rows))

        return self._kept(self._parts, condition, look)

    def _kept(
        self, kept: dict[tuple[object, ...], Rowed], condition: SqlCondition, look: Callable[[], Rowed]
    ) -> Rowed:
        """Return the rows that pass a filter, kept for the next question until the library changes."""
        key = condition.sql, condition.parameters
        rows = kept.get(key)
        if rows is None:
            rows = kept[key] = look()
            while len(kept) > _KEPT:
                del kept[next(iter(kept))]
        return rows

    def _among_all(self, queries: Matrix, k: int, way: Way | None) -> list[Nearest]:
        """Return the k nearest of all rows; queries that the index cannot answer in full are scanned for."""
        nearest = None if way is None else self._approximately(queries, k, way)
        if nearest is None and way is not None and len(queries) > 1:
            # It is one of them: the others are answered as if they were asked alone.
            return [answer for query in queries for answer in self._among_all(query[None], k, way)]
        route = EXACT if nearest is None or way is None else way[1].index
        scores, rows = nearest or self._exact.search(queries, k)
        return [Nearest(*best, route, self._n_pictures) for best in zip(scores, rows, strict=True)]

    def _approximately(self, queries: Matrix, k: int, way: Way) -> tuple[Cosines, Rows] | None:
        """Return the k nearest rows by an index and by a scan of what it does not know; None if it has too few."""
        index, plan = way
        try:
            _, rows = index.search(queries, k, plan.effort)
        except LibraryDamagedError:  # the index is, or the vectors are, which the scan will say
            self._unusable.add(plan.index)
            return None
        if rows.shape[1] < min(k, len(index)):
            return None
        scores = np.stack([self._exact.scores(query, near) for query, near in zip(queries, rows, strict=True)])
        return merge((scores, rows), self._exact.search_tail(queries, k, first_row=index.n_rows), k)

    def _filtered_afterwards(self, query: Matrix, k: int, part: _Part, way: Way) -> Nearest | None:
        """Look among the neighbours of one query (1, dim) for k of the rows that pass; None if too few do."""
        passing = part.rows
        nearest = self._approximately(query, int(2 * k / _NARROW), way)
        if nearest is None:
            return None
        (scores,), (rows,) = nearest
        keep = passing[np.searchsorted(passing[:-1], rows)] == rows
        return Nearest(scores[keep], rows[keep], way[1].index, part.n_pictures) if keep.sum() >= k else None

    def _way(self, plan: Plan | None) -> Way | None:
        """Return the index that a plan names, with the plan; None if queries are scanned for."""
        if plan is None or plan.index == EXACT or plan.index in self._unusable:
            return None
        published = self._published.get(plan.index)
        if published is None:
            loaded = self.store.indexes.shared(KINDS[plan.index])
            if isinstance(loaded, Unusable):
                self._unusable.add(plan.index)
                return None
            published = self._published[plan.index] = loaded
        if published.index.n_rows > self._exact.n_rows:  # the vectors were cut since
            return None
        return published.index, plan

    def _no_rows(self) -> ExactIndex:
        return ExactIndex(np.zeros((0, self.store.dim), dtype=np.float16))
