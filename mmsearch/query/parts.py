"""PARTS: vectors in, the pictures out that are nearest by their whole and by their parts together.

The score of a picture by pixels is

    cosine(whole) + weight * max(0, cosine(its nearest part) - cosine(whole))

so that a picture without parts keeps its cosine, and none loses by them. With a weight of 1 it is the highest of
all cosines, which suits examples: a crop shows what a part shows. Texts tell of the whole, too, and go by less. The
weights are numbers of the encoder (`mmsearch.encoders.calibration.PartsModel`).

Not every picture is scored: the nearest by their wholes and those of the nearest parts are, and more of both until
no other can be among the best, by the bounds of R. Fagin, A. Lotem and M. Naor, Optimal aggregation algorithms for
middleware, 2001. Where an index found them, they are deepened once: what it missed is not won back by that. Where
scans did, one more that scores every picture is the end of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmsearch.encoders.calibration import PartsModel
from mmsearch.indexes.exact import MARGIN, ExactIndex
from mmsearch.records import Cosines, ImageRecord, MatchedPart, Matrix, Modality
from mmsearch.store.base import ALL, AskedVector, Condition, Neighbours, Passed, Shortlist
from mmsearch.store.folder import Store
from mmsearch.store.near_parts import NearParts
from mmsearch.vectors import stored_cosines

_DEEP, _DEEP_PARTS = 48, 192  # pictures by their wholes, and parts, that are looked at for ten hits
_FEW = 2_000  # pictures that pass a filter, all of which are scored
_MOST_PARTS = 8_192  # that are looked for where a filter leaves few of them
_DEEPER = 4  # times as many, where more may be among the best
_K = 10
_SCANS = ("exact", "filtered")  # routes that score every picture that passes
_NOTHING_PASSED = Passed(frozenset())
Ids = NDArray[np.int64]


class _Deep(NamedTuple):
    """How many pictures by their wholes and how many parts are looked at."""

    n_wholes: int
    n_parts: int


@dataclass(frozen=True)
class _Asked:
    """What is asked for vectors of one kind, and what is known for it."""

    k: int
    condition: Condition
    modality: Modality
    parts: NearParts
    weight: float


class NeighboursByParts:
    """Finds the nearest pictures of a library folder by their wholes and parts; one thread at a time.

    It answers what `Neighbours` are asked, in a library without parts as the others do.

    Parameters
    ----------
    store : Store
        Opened for reading.
    wholes : Neighbours
        What finds the nearest by their wholes.
    weights : callable
        Returns the weights of the library's encoder; only called where pictures have parts.
    """

    def __init__(self, store: Store, wholes: Neighbours, weights: Callable[[], PartsModel]) -> None:
        self.store, self.wholes, self._weights = store, wholes, weights

    @property
    def most(self) -> int | None:
        """The highest k of `shortlists`, None if there is none."""
        return self.wholes.most

    def shortlists(
        self, queries: Sequence[AskedVector], k: int, condition: Condition, modality: Modality
    ) -> list[Shortlist]:
        """Return the k best pictures that pass a condition for every vector, all of them if there are fewer."""
        parts = self.store.parts.near()
        if parts is None or not queries:
            return self.wholes.shortlists(queries, k, condition, modality)
        deep = _Deep(max(_DEEP, 2 * k), _DEEP_PARTS * max(k, _K) // _K)
        by_whole = self.wholes.shortlists(queries, deep.n_wholes, condition, modality)
        n_passing = max(near.n_candidates for near in by_whole)
        if condition.predicate is not None and n_passing <= _FEW:  # all of them are scored
            deep = _Deep(max(1, n_passing), 0)
            by_whole = self.wholes.shortlists(queries, deep.n_wholes, condition, modality)
        elif condition.predicate is not None:  # few of the nearest parts are of pictures that pass
            n_parts = deep.n_parts * self.store.n_pictures // n_passing
            deep = deep._replace(n_parts=min(max(_MOST_PARTS, deep.n_parts), n_parts))
        by_part = parts.search(np.stack([query.vector for query in queries]), deep.n_parts)
        asked = _Asked(k, condition, modality, parts, self._weight(modality))
        return [
            self._shortlist(query, asked, near, near_parts, deep)
            for query, near, near_parts in zip(queries, by_whole, by_part, strict=True)
        ]

    def following(
        self, query: AskedVector, k: int, condition: Condition, passed: Passed, modality: Modality = "text"
    ) -> Shortlist:
        """Return the k best pictures that pass a condition and were not given yet, by scans of all vectors."""
        parts = self.store.parts.near()
        if parts is None:
            return self.wholes.following(query, k, condition, passed)
        weight, condition = self._weight(modality), condition.without(query.left_out)
        ids, rough = self._rough(query.vector, condition, parts, weight)
        is_itself = np.isin(ids, np.array(query.itself, dtype=np.int64))
        is_left = ~np.isin(ids, np.fromiter(passed.image_ids, np.int64, len(passed.image_ids)))
        is_left &= is_itself | (rough <= passed.ceiling + MARGIN)
        left, of_left = ids[is_left], np.where(is_itself, np.inf, rough)[is_left]
        n = k + 1
        while True:
            n = min(n, len(left))
            floor = np.partition(of_left, len(left) - n)[len(left) - n] if n < len(left) else -np.inf
            scores = self._scores(query.vector, left[of_left >= floor], condition, parts, weight)
            to_come = {i: score for i, score in scores.items() if passed.leaves(query.key(score, i))}
            ranked = self._pictures(query, to_come, k + 1)
            # What was left out is at most as good as the floor, nearly.
            if n == len(left) or (len(ranked) > k and ranked[k][0] > floor + MARGIN):
                return Shortlist.of(ranked, k, "exact", len(ids))
            n *= _DEEPER

    def problems(self) -> tuple[str, ...]:
        """Return sentences: what was missing when it was last asked."""
        return self.wholes.problems()

    def scores(
        self, vector: Matrix, image_ids: Sequence[int] | Ids, condition: Condition, modality: Modality
    ) -> dict[int, float]:
        """Return the scores by pixels of those of some pictures that pass a condition and have vectors."""
        parts = self.store.parts.near()
        weight = 0.0 if parts is None else self._weight(modality)
        return self._scores(vector, image_ids, condition, parts, weight)

    def evidence(self, vector: Matrix, image_ids: Sequence[int]) -> dict[int, MatchedPart]:
        """Return the nearest part of each of some pictures where that is nearer to a vector than the whole."""
        parts = self.store.parts.near()
        if parts is None or not image_ids:
            return {}
        best = self.store.parts.nearest(vector, image_ids)
        of_wholes = self._scores(vector, list(best), ALL, None, 0.0)
        return {
            image_id: MatchedPart(part.box, part.cosine, of_wholes[image_id])
            for image_id, part in best.items()
            if image_id in of_wholes and part.cosine > of_wholes[image_id]
        }

    def _weight(self, modality: Modality) -> float:
        weights = self._weights()
        return weights.texts if modality == "text" else weights.examples

    def _shortlist(
        self, query: AskedVector, asked: _Asked, near: Shortlist, near_parts: tuple[Cosines, Ids], deep: _Deep
    ) -> Shortlist:
        """Return the best pictures for a vector, given the nearest by their wholes and the nearest parts."""
        best, ceiling = self._best(query, asked, near, near_parts)
        if not _is_proven(best, asked.k, ceiling):
            if near.route in _SCANS and asked.parts.is_scanned:
                whole = self.following(query, asked.k, asked.condition, _NOTHING_PASSED, asked.modality)
                return replace(whole, route=near.route)
            n_wholes, n_parts = deep.n_wholes * _DEEPER, deep.n_parts * _DEEPER
            (near,) = self.wholes.shortlists([query], n_wholes, asked.condition, asked.modality)
            (near_parts,) = asked.parts.search(query.vector[None], n_parts)
            best, _ = self._best(query, asked, near, near_parts)
        return Shortlist.of(best, asked.k, near.route, near.n_candidates)

    def _best(
        self, query: AskedVector, asked: _Asked, near: Shortlist, near_parts: tuple[Cosines, Ids]
    ) -> tuple[list[tuple[float, ImageRecord]], float]:
        """Return one more than the best of the pictures that are near, and what no other is better than."""
        cosines, ids = near_parts
        of_wholes = {image.image_id: cosine for cosine, image in near.pictures}
        of_near = np.fromiter(of_wholes, np.int64, len(of_wholes))
        others, condition = np.setdiff1d(ids, of_near), asked.condition.without(query.left_out)
        if query.is_one_enough:
            passing = [image_id for image_id, _ in self.store.rows_of_ids(others.tolist(), condition)]
            others = asked.parts.without_copies(np.array(passing, dtype=np.int64), of_near)
        scores = self._scores(query.vector, others, condition, asked.parts, asked.weight)
        scores |= _joined(of_wholes, query.vector, asked.parts, asked.weight)
        best = self._pictures(query, scores, asked.k + 1, [image for _, image in near.pictures])
        if near.next_score is None:
            return best, -math.inf
        part = float(cosines[-1]) if 0 < len(cosines) < asked.parts.n_parts else -math.inf
        return best, near.next_score + asked.weight * max(0.0, part - near.next_score)

    def _pictures(
        self, query: AskedVector, scores: Mapping[int, float], k: int, known: Sequence[ImageRecord] = ()
    ) -> list[tuple[float, ImageRecord]]:
        """Return the k best of some pictures, given what is known of some already."""
        ranked = sorted(scores.items(), key=lambda item: query.key(item[1], item[0]))[:k]
        image_of = {image.image_id: image for image in known}
        missing = [image_id for image_id, _ in ranked if image_id not in image_of]
        image_of |= {image.image_id: image for image in self.store.images_of_ids(missing)} if missing else {}
        return [(score, image_of[image_id]) for image_id, score in ranked]

    def _scores(
        self,
        vector: Matrix,
        image_ids: Sequence[int] | Ids,
        condition: Condition,
        parts: NearParts | None,
        weight: float,
    ) -> dict[int, float]:
        """Return the scores of those of some pictures that pass a condition and have vectors."""
        pairs = self.store.rows_of_ids([int(image_id) for image_id in image_ids], condition)
        matrix = self.store.matrix()
        ids, rows = np.array([pair for pair in pairs if pair[1] < len(matrix)], dtype=np.int64).reshape(-1, 2).T
        of_wholes = dict(zip(ids.tolist(), stored_cosines(vector, matrix[rows]).tolist(), strict=True))
        return of_wholes if parts is None else _joined(of_wholes, vector, parts, weight)

    def _rough(self, vector: Matrix, condition: Condition, parts: NearParts, weight: float) -> tuple[Ids, Cosines]:
        """Return the pictures (n,) that pass a condition and their scores, off by `MARGIN` at most."""
        matrix = self.store.matrix()
        pairs = np.array(self.store.rows_of_passing(condition), dtype=np.int64).reshape(-1, 2)
        ids, rows = pairs[pairs[:, 1] < len(matrix)].T
        cosines = ExactIndex(matrix).rough_scores(vector)[rows].astype(np.float64)
        with_parts, best = parts.rough_best(vector)
        place = np.minimum(np.searchsorted(with_parts, ids), max(0, len(with_parts) - 1))
        has_parts = with_parts[place] == ids if len(with_parts) else np.zeros(len(ids), np.bool_)
        gain = np.where(has_parts, best[place] if len(with_parts) else 0, -np.inf) - cosines
        return ids, cosines + weight * np.maximum(0, gain)


def _is_proven(best: Sequence[tuple[float, ImageRecord]], k: int, ceiling: float) -> bool:
    """Return whether no picture whose score is at most a ceiling is among the k best, or before the one after."""
    if ceiling == -math.inf:
        return True
    return len(best) > k and best[k - 1][0] > ceiling and best[k][0] >= ceiling


def _joined(of_wholes: Mapping[int, float], vector: Matrix, parts: NearParts, weight: float) -> dict[int, float]:
    """Return the scores of pictures by the cosines of their wholes, and of the nearest parts that some have."""
    ids = np.fromiter(of_wholes, np.int64, len(of_wholes))
    cosines = np.fromiter(of_wholes.values(), np.float64, len(of_wholes))
    scores = cosines + weight * np.maximum(0.0, parts.best(vector, ids) - cosines)
    return dict(zip(of_wholes, scores.tolist(), strict=True))
