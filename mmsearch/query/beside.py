"""BESIDE: a query of one text in, the pictures out that are best by pixels and by the texts that stand beside them.

The texts of a library are asked twice: which of them hold words of the query, and which captions say what it says.
How that joins the cosines of pixels: `mmsearch.query.join`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mmsearch.encoders.calibration import JoinModel
from mmsearch.query.join import Bonuses, FilesOf, Ids, Joined, joined
from mmsearch.query.parts import NeighboursByParts
from mmsearch.records import Cosines, ImageRecord, MatchedText, Matrix, ScoreParts
from mmsearch.store.base import AskedVector, Condition, Passed, Shortlist
from mmsearch.store.captions import NearCaptions
from mmsearch.store.folder import Store
from mmsearch.vectors import leading

_DEEP = 48  # pictures of the shortlist by pixels: the deeper, the fewer others have to be looked at
_NEAR = 128  # captions have a say at most: what is further tells little; 64 were as good on 1,500 photographs
_NEAR_OF_PART = 2048  # the same where a filter leaves a part of the library: fewer of these are in it
_FEW = 5_000  # pictures that pass a filter, whose captions are scanned


@dataclass(frozen=True)
class JoinedPage:
    """Pictures with their joined scores, what these are made of by id, and the highest cosine by pixels."""

    shortlist: Shortlist
    parts: dict[int, ScoreParts]
    best_cosine: float


class TextsBeside:
    """What stands beside the pictures of a library folder; one thread at a time, inside `consistently`.

    Parameters
    ----------
    store : Store
        Opened for reading.
    neighbours : NeighboursByParts
        What finds its nearest pictures.
    """

    def __init__(self, store: Store, neighbours: NeighboursByParts) -> None:
        self.store = store
        self._neighbours = neighbours

    @property
    def is_empty(self) -> bool:
        """Whether no text stands beside any picture."""
        return self.store.annotations.is_empty

    @property
    def has_vectors(self) -> bool:
        """Whether any caption has a vector."""
        return self.store.annotations.near_captions().n_pictures > 0

    def bonuses(
        self, texts: Sequence[str], vectors: Matrix, model: Callable[[], JoinModel], condition: Condition
    ) -> list[Bonuses]:
        """Return what the texts beside pictures add to their scores for each of n queries.

        Parameters
        ----------
        texts : sequence of str
        vectors : float32 array, shape (n, dim)
            Unit vectors of the texts; no columns where captions have none.
        model : callable
            Returns the weights of the encoder; only called where there is something to be weighed.
        condition : Condition
            What the pictures must pass that are asked for.
        """
        shares = [self.store.annotations.matches(text) for text in texts]
        captions = self.store.annotations.near_captions() if vectors.shape[1] else None
        if not ((captions and captions.n_pictures) or any(len(match.image_ids) for match in shares)):
            return [Bonuses.none()] * len(texts)
        weights = model()
        near = [(np.zeros(0, np.int64), np.zeros(0), math.inf)] * len(texts)
        if captions and captions.n_pictures:
            unrelated = weights.unrelated(captions.n_pictures / self.store.n_pictures)
            near = _above(
                captions, leading(vectors, int(weights.n_leading)), unrelated, self._asked_captions(condition)
            )
        return [
            Bonuses.of(weights, floor, (match.image_ids, match.shares), (ids, cosines))
            for match, (ids, cosines, floor) in zip(shares, near, strict=True)
        ]

    def joined(
        self,
        asked: AskedVector,
        bonuses: Bonuses,
        k: int,
        condition: Condition,
        passed: Passed | None,
        files_of: FilesOf,
    ) -> JoinedPage:
        """Return the k pictures that pass a condition and are best by pixels and texts together.

        After the first page `passed` says what was given; the others come from a scan of all vectors then. Pictures
        of which `files_of` gives equal numbers are copies, of which one is enough.
        """
        n_wanted = max(k + 1, _DEEP)
        while True:
            if passed is None:
                (near,) = self._neighbours.shortlists([asked], n_wanted, condition, "text")
            else:
                near = self._neighbours.following(asked, n_wanted, condition, passed)
            image_of = {image.image_id: image for _, image in near.pictures}
            ids = np.fromiter(image_of, np.int64, len(image_of))
            cosines = np.array([cosine for cosine, _ in near.pictures], dtype=np.float64)
            is_left = _leaves(passed)
            n_left = int(is_left(ids, cosines + sum(bonuses.added(ids))).sum())
            # What texts have brought forward to earlier pages is on the shortlist again.
            if near.next_score is None or n_left > k:
                break
            n_wanted *= 4
        if asked.is_one_enough:  # of its copies another may be the best by its texts
            copies = self._copies_with_texts([image for _, image in near.pictures], bonuses, condition)
            more = self._by_pixels(asked.vector, copies, condition)
            ids, cosines = np.append(ids, more[0]), np.append(cosines, more[1])
        ceiling = -math.inf if near.next_score is None else near.next_score
        best = joined(
            (ids, cosines), ceiling, bonuses, lambda asked_ids: self._by_pixels(asked.vector, asked_ids, condition),
            k + 1, is_left=is_left, files_of=files_of,
        )  # fmt: skip
        shortlist = self._shortlist(best, k, image_of, near.route, near.n_candidates)
        words, captions = bonuses.added(best.image_ids)
        parts = _parts(best.image_ids, best.cosines, words, captions)
        return JoinedPage(shortlist, parts, float(cosines.max(initial=-1.0)))

    def _copies_with_texts(self, images: Sequence[ImageRecord], bonuses: Bonuses, condition: Condition) -> Ids:
        """Return the ids of other pictures that share the vectors of some and are added something."""
        pairs = self.store.ids_of_rows(list({image.row for image in images}), condition)
        ids, _ = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
        is_other = np.isin(ids, bonuses.image_ids) & ~np.isin(ids, [image.image_id for image in images])
        return ids[is_other]

    def alone(self, bonuses: Bonuses, k: int, condition: Condition, passed: Passed | None) -> JoinedPage:
        """Return the k pictures that pass a condition and are best by the texts beside them alone."""
        passing, _ = self._passing(bonuses.image_ids, condition)
        words, captions = bonuses.added(passing)
        left = _leaves(passed)(passing, words + captions)
        order = np.lexsort((passing[left], -(words + captions)[left]))[: k + 1]
        ids, words, captions = passing[left][order], words[left][order], captions[left][order]
        nothing = np.zeros(len(ids))
        shortlist = self._shortlist(Joined(ids, words + captions, nothing), k, {}, "words", len(passing))
        return JoinedPage(shortlist, _parts(ids, nothing, words, captions), -1.0)

    def matched(self, image_ids: Sequence[int], text: str) -> dict[int, tuple[MatchedText, ...]]:
        """Return the texts beside each of some pictures in which words of a query stand."""
        return {
            image_id: tuple(MatchedText(said.kind, said.source, said.text, spans) for said, spans in highlights)
            for image_id, highlights in self.store.annotations.highlights(image_ids, text).items()
        }

    def _shortlist(
        self, best: Joined, k: int, known: dict[int, ImageRecord], route: str, n_candidates: int
    ) -> Shortlist:
        ids: list[int] = best.image_ids.tolist()
        others = self.store.images_of_ids([image_id for image_id in ids if image_id not in known])
        image_of = known | {image.image_id: image for image in others}
        ranked = [(score, image_of[image_id]) for score, image_id in zip(best.scores.tolist(), ids, strict=True)]
        return Shortlist.of(ranked, k, route, n_candidates)

    def _by_pixels(self, vector: Matrix, image_ids: Ids, condition: Condition) -> tuple[Ids, Cosines]:
        """Return the pictures with these ids that pass a condition and have vectors, and their scores by pixels."""
        scores = self._neighbours.scores(vector, image_ids, condition, "text")
        return np.fromiter(scores, np.int64, len(scores)), np.fromiter(scores.values(), np.float64, len(scores))

    def _passing(self, image_ids: Ids, condition: Condition) -> tuple[Ids, Ids]:
        """Return the ids of those pictures that pass a condition, and their rows."""
        pairs = self.store.rows_of_ids(image_ids.tolist(), condition)
        ids, rows = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
        return ids, rows

    def _asked_captions(self, condition: Condition) -> tuple[int, Ids | None]:
        """Return how many captions have a say at most, and the pictures that pass a filter if they are few."""
        if condition.predicate is None:
            return _NEAR, None
        ids = self.store.ids_passing(self.store.compiled(condition), limit=_FEW + 1)
        return _NEAR_OF_PART, None if len(ids) > _FEW else np.array(ids, dtype=np.int64)


def _above(
    captions: NearCaptions, queries: Matrix, floor: float, asked: tuple[int, Ids | None]
) -> list[tuple[Ids, Cosines, float]]:
    """Return for each query (n, dim) whose captions have cosines above a floor, these, and the floor.

    It is higher where more are above it than have a say.
    """
    most, among = asked
    scores, ids = captions.search(queries, most + 1, among=among)
    floors = np.maximum(floor, scores[:, most] if scores.shape[1] > most else floor)
    of_queries = zip(scores, ids, np.broadcast_to(floors, len(queries)).tolist(), strict=True)
    return [(near[of > least], of[of > least], least) for of, near, least in of_queries]


def _leaves(passed: Passed | None) -> Callable[[Ids, Cosines], np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    """Return what tells which pictures are still to come, by their ids and scores."""

    def is_left(ids: Ids, scores: Cosines) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        if passed is None:
            return np.ones(len(ids), dtype=np.bool_)
        of_all = zip(ids.tolist(), scores.tolist(), strict=True)
        return np.array([passed.leaves((True, -score, image_id)) for image_id, score in of_all], dtype=np.bool_)

    return is_left


def _parts(ids: Ids, cosines: Cosines, words: Cosines, captions: Cosines) -> dict[int, ScoreParts]:
    numbers = zip(cosines.tolist(), words.tolist(), captions.tolist(), strict=True)
    return {image_id: ScoreParts(*parts) for image_id, parts in zip(ids.tolist(), numbers, strict=True)}
