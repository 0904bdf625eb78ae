"""RERANK: the local stage of a search. An example picture in; scores of visual words and verified places out.

A global embedding says what a picture shows, not which thing it shows: a small crop, or one of many similar covers,
is told by its local features. The inverted file scores all pictures at once; the best are verified by a homography.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from importlib.util import find_spec
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmsearch.bow.inverted_file import InvertedFile
from mmsearch.bow.vocabulary import ImageWords, Vocabulary
from mmsearch.errors import PictureError, QueryError
from mmsearch.images.copies import corner_of
from mmsearch.local.extractors import EXTRACTORS
from mmsearch.local.geometry import verify
from mmsearch.processes.decoder import PictureDecoder
from mmsearch.query.encode import ReadExample, limits_of, named
from mmsearch.records import (
    ImageRecord,
    LocalEvidence,
    LocalFeatures,
    LocalMatches,
    Matrix,
    Term,
    Unusable,
    Verification,
)
from mmsearch.store.base import Condition, LibraryStore
from mmsearch.vectors import top_k

SHORTLIST = 100
"""Pictures of the global ranking that are looked at again."""
N_OWN = 20
"""Best pictures by visual words alone that join them, wherever the global ranking has them."""
N_VERIFIED = 20
"""Pictures whose geometry is looked at."""
MIN_FEATURES = 15
"""Features that an example needs to say anything."""
WEIGHT = 8.0
"""Of the local score above chance beside the cosine, for pictures that are not verified; none where all that agrees
is a mark."""
CHANCE_PLACE = 4
"""What the picture at this place by visual words has in common with the example is taken for chance."""
CHANCES = 2.0
"""So much of it counts nothing in the order: where all pictures bear a mark, what is in common varies with it."""
N_WORDS = 5
"""Nearest words that a feature of the example asks for."""
# WEIGHT, CHANCE_PLACE and N_WORDS were chosen on covers 001-050 of SMVS, so that the class-level mAP of Imagenette
# stays; CHANCES on marked photographs of Flickr8k's training part.


Scores: TypeAlias = dict[int, float]
"""By image id; higher is better."""
Ranked: TypeAlias = tuple[float, ImageRecord, LocalEvidence | None]
Others: TypeAlias = Callable[[Sequence[ImageRecord], Sequence[ImageRecord]], list[ImageRecord]]
"""Leaves of some pictures those that are wanted beside others, such as one of those that are of equal bytes."""


@dataclass(frozen=True)
class LocalQuery:
    """An example picture: its features and their words, where it lies in what it is a part of, and its sha256."""

    features: LocalFeatures
    words: ImageWords
    corner: tuple[int, int] = (0, 0)
    content_hash: bytes = b""

    @property
    def middle(self) -> tuple[float, float]:
        """The middle of the example, in pixels of the upright original that it is a part of."""
        (left, top), (width, height) = self.corner, self.features.original_size
        return left + width / 2, top + height / 2


class LocalStage:
    """Scores and verifies the pictures of an inverted file. Immutable, so it may be shared between threads."""

    def __init__(self, vocabulary: Vocabulary, inverted: InvertedFile) -> None:
        self.vocabulary, self.inverted = vocabulary, inverted
        self.extractor = EXTRACTORS[vocabulary.extractor]

    def query(self, features: LocalFeatures) -> LocalQuery | Unusable:
        """Return the features of an example picture as words, or why they cannot say anything."""
        if len(features) < MIN_FEATURES:
            needed = f"at least {MIN_FEATURES} are needed"
            return Unusable(f"the example has {len(features)} local features, {needed}")
        return LocalQuery(features, self.vocabulary.quantise(features, N_WORDS))

    def scores(self, query: LocalQuery) -> Matrix:
        """Return the local score float32 (n_images,) of every picture, in the order of the inverted file.

        Hamming embedding, divided by the score of the example with itself: 0 for nothing in common, about 1 for
        the same picture.
        """
        own_score = self.inverted.own_score(query.words)
        scores: Matrix = self.inverted.scores(query.words) / np.float32(max(own_score, 1e-9))
        return scores

    def above_chance(self, scores: Matrix, times: float = 1.0) -> Matrix:
        """Return how far each score lies above so many times that of the picture at `CHANCE_PLACE`, or 0."""
        if len(scores) < CHANCE_PLACE:
            return scores
        chance = np.partition(scores, -CHANCE_PLACE)[-CHANCE_PLACE]
        above: Matrix = np.maximum(scores - np.float32(times) * chance, 0)
        return above

    def best(self, scores: Matrix, n: int) -> Scores:
        """Return the n highest scores above 0 by image id, highest first; ties by the smaller id."""
        values, ids = top_k(scores[None], self.inverted.image_ids, n)
        return {i: score for i, score in zip(ids[0].tolist(), values[0].tolist(), strict=True) if score > 0}

    def of(self, scores: Matrix, image_ids: Iterable[int]) -> Scores:
        """Return the scores of some pictures by image id, 0 for those without local features."""
        return {i: float(scores[self._places[i]]) if i in self._places else 0.0 for i in image_ids}

    @cached_property
    def _places(self) -> dict[int, int]:
        return {image_id: place for place, image_id in enumerate(self.inverted.image_ids.tolist())}

    def evidence(
        self, query: LocalQuery, images: Sequence[ImageRecord], scores: Scores
    ) -> dict[int, LocalEvidence]:
        """Return what local features say of some pictures, by image id; the geometry of each is looked at."""
        features = query.features
        evidence_of: dict[int, LocalEvidence] = {}
        matches = self.inverted.matches(query.words, [image.image_id for image in images])
        for image, matched in zip(images, matches, strict=True):
            size = (image.width, image.height)
            frame = self.extractor.frame(size)
            seen = verify(features, matched, frame)
            evidence_of[image.image_id] = LocalEvidence(
                score=scores.get(image.image_id, 0.0),
                inliers=_pairs_in_originals(seen, query, matched, frame, size),
                is_verified=seen.is_accepted,
                homography=_in_originals(seen, query, frame, size),
                reason=seen.reason,
                is_mark=seen.is_mark,
            )
        return evidence_of


class LocalReader:
    """The local stage over an open library: its visual words as they are at each query; one thread at a time.

    Parameters
    ----------
    store : LibraryStore
        Opened for reading.
    decoder : callable
        Returns what decodes example pictures.
    read : callable
        Returns the file of an example picture.
    """

    shortlist = SHORTLIST  # for who must not import this module before it is needed

    def __init__(
        self, store: LibraryStore, decoder: Callable[[], PictureDecoder], read: Callable[[Term], ReadExample]
    ) -> None:
        self.store = store
        self._decoder, self._read = decoder, read
        self._stage: LocalStage | Unusable = Unusable("")
        self._state: tuple[object, ...] = ()

    def query(self, example: Term, *, is_demanded: bool) -> tuple[LocalQuery | None, str]:
        """Return an example picture as words, or None and why, which is empty if nobody asked.

        Raises
        ------
        QueryError
            If it is demanded and the library has no visual words.
        PictureError
            If the example cannot be read.
        """
        stage: LocalStage | Unusable = Unusable("local features need OpenCV: `pip install 'mmsearch[local]'`")
        if find_spec("cv2") is not None:
            stage = self._current()
        if isinstance(stage, Unusable):
            if is_demanded:
                raise QueryError(stage.reason)
            return None, ""
        limits = limits_of(self.store, example)
        try:
            source, name, box, (across, down) = self._read(example)
            with named(name):
                features = self._decoder().local_features(source, stage.extractor, box=box, limits=limits)
        except PictureError as error:
            if isinstance(example.value, int) and not is_demanded:  # its vector can be asked without its file
                return None, f"{error}: the local stage abstains"
            raise
        width, height = features.original_size
        query = stage.query(replace(features, original_size=(round(width * across), round(height * down))))
        if isinstance(query, Unusable):
            return None, f"{query.reason}: the local stage abstains"
        if example.box is not None:
            return replace(query, corner=corner_of(example.box)), ""
        digest = sha256(source).digest() if isinstance(source, bytes) else source.content_hash
        return replace(query, content_hash=digest), ""

    def by_words(
        self, query: LocalQuery, k: int, condition: Condition, itself: Sequence[int], *, others: Others
    ) -> list[Ranked]:
        """Return at least the k best pictures by visual words alone that pass the filter, verified ones first.

        Those that the example is, by their ids in `itself`, are among them however many copies share their score.
        All are what `others` leaves.
        """
        stage = self._current()
        if isinstance(stage, Unusable):  # it was there when the example was read
            raise QueryError(stage.reason)
        scores = stage.scores(query)
        wanted = max(k, N_VERIFIED)
        asked = others(self.store.images_of_ids(itself, condition), ())
        n = wanted
        while True:  # a filter may leave few of the best
            n *= 10
            best = stage.best(scores, n)
            passing = others(self.store.images_of_ids(list(best), condition), asked)
            if len(passing) >= wanted or len(best) < n:
                break
        image_of = {image.image_id: image for image in (*passing, *asked)}
        local_scores = stage.of(scores, image_of)
        evidence = _looked_at(stage, query, dict.fromkeys(local_scores, 0.0), local_scores, local_scores, image_of)
        order = final_order(dict.fromkeys(local_scores, 0.0), local_scores, evidence)
        return [(local_scores[i], image_of[i], evidence[i]) for i in order]

    def reranked(
        self,
        shortlist: Sequence[tuple[float, ImageRecord]],
        scores_of: Callable[[Sequence[ImageRecord]], list[float]],
        condition: Condition,
        query: LocalQuery,
        *,
        others: Others,
    ) -> list[Ranked]:
        """Return a shortlist (score, picture) and the best by visual words in their final order, with scores.

        Of the best by visual words those join it that `others` leaves, given them and those of the shortlist;
        `scores_of` gives their scores by pixels.
        """
        stage = self._current()
        if isinstance(stage, Unusable):
            return [(score, image, None) for score, image in shortlist]
        scores = stage.scores(query)
        cosines = {image.image_id: score for score, image in shortlist}
        missing = [image_id for image_id in stage.best(scores, N_OWN) if image_id not in cosines]
        joined = others(self.store.images_of_ids(missing, condition), [image for _, image in shortlist])
        if joined:
            cosines |= dict(zip((image.image_id for image in joined), scores_of(joined), strict=True))
        image_of = {image.image_id: image for image in (*(image for _, image in shortlist), *joined)}
        above = stage.of(stage.above_chance(scores), cosines)
        evidence = _looked_at(stage, query, cosines, above, stage.of(scores, cosines), image_of)
        counted = stage.of(stage.above_chance(scores, CHANCES), cosines)
        counted |= {i: 0.0 for i, seen in evidence.items() if seen.is_mark}
        order = final_order(cosines, counted, evidence)
        return [(cosines[i], image_of[i], evidence[i]) for i in order]

    def _current(self) -> LocalStage | Unusable:
        """Return the stage over the words of the library's present state, or why there is none."""
        folder = self.store.as_folder
        if folder is None:
            return Unusable(f"{self.store.address} stands at an address, where there are no visual words yet")
        with folder.reading():
            state = folder.words.state()
            if state != self._state:
                words = folder.words.load()
                self._stage = words if isinstance(words, Unusable) else LocalStage(words.vocabulary, words.inverted)
                self._state = state
        return self._stage


def _looked_at(
    stage: LocalStage,
    query: LocalQuery,
    cosines: Scores,
    above_chance: Scores,
    scores: Scores,
    image_of: dict[int, ImageRecord],
) -> dict[int, LocalEvidence]:
    """Return the evidence of every picture by its id; the geometry is looked at of those that are worth it."""
    seen = stage.evidence(query, [image_of[i] for i in to_verify(cosines, above_chance)], scores)
    return {i: seen.get(i, LocalEvidence(scores.get(i, 0.0))) for i in cosines}


def to_verify(cosines: Scores, scores: Scores) -> list[int]:
    """Return the ids of the pictures whose geometry is worth a look, at most `N_VERIFIED`.

    Half of them are the best by cosine and words together, the others the best by words alone.

    Examples
    --------
    >>> to_verify({1: 0.9, 2: 0.1}, {2: 0.01})
    [1, 2]
    """
    together = {i: cosine + WEIGHT * scores.get(i, 0.0) for i, cosine in cosines.items()}
    by_both = sorted(together, key=lambda i: (-together[i], i))[: N_VERIFIED // 2]
    by_words = sorted((i for i in cosines if scores.get(i, 0.0) > 0), key=lambda i: (-scores[i], i))
    return list(dict.fromkeys([*by_both, *by_words]))[:N_VERIFIED]


def final_order(cosines: Scores, scores: Scores, evidence: dict[int, LocalEvidence]) -> list[int]:
    """Return image ids, best first: verified ones by their inliers, then by cosine and words together.

    Examples
    --------
    >>> seen = {3: LocalEvidence(0.2, ((0.0, 0.0, 1.0, 1.0),), is_verified=True), 1: LocalEvidence(0.0)}
    >>> final_order({1: 0.9, 2: 0.5, 3: 0.1}, {3: 0.2}, seen)
    [3, 1, 2]
    """

    def key(image_id: int) -> tuple[int, float, int]:
        seen = evidence.get(image_id)
        n_inliers = seen.n_inliers if seen is not None and seen.is_verified else 0
        return -n_inliers, -(cosines[image_id] + WEIGHT * scores.get(image_id, 0.0)), image_id

    return sorted(cosines, key=key)


def _pairs_in_originals(
    seen: Verification, query: LocalQuery, matches: LocalMatches, frame: tuple[int, int], size: tuple[int, int]
) -> tuple[tuple[float, float, float, float], ...]:
    """Return where the inliers are in the upright originals of the example and of the picture."""
    if not len(seen.inliers):
        return ()
    features = query.features
    here = features.to_original(features.positions[seen.inliers[:, 0]]) + np.asarray(query.corner, np.float32)
    place = {feature: row for row, feature in enumerate(matches.features.tolist())}
    there = matches.positions[[place[feature] for feature in seen.inliers[:, 1].tolist()]]
    zoom = np.divide(size, frame)
    moved = (there + 0.5) * zoom - 0.5
    return tuple((float(a), float(b), float(c), float(d)) for (a, b), (c, d) in zip(here, moved, strict=True))


def _in_originals(
    seen: Verification, query: LocalQuery, frame: tuple[int, int], size: tuple[int, int]
) -> tuple[tuple[float, ...], ...] | None:
    """Return the homography between the frames as one between the upright originals."""
    if seen.homography is None:
        return None
    here = _from_original(query.features.size, query.features.original_size)
    here[:, 2] -= here[:, :2] @ np.asarray(query.corner)  # an affine matrix: its last row stays
    there = _from_original(frame, size)
    moved = np.linalg.inv(there) @ seen.homography @ here
    return tuple(tuple(float(value) for value in row) for row in moved / moved[2, 2])


def _from_original(frame: tuple[int, int], original: tuple[int, int]) -> NDArray[np.float64]:
    """Return the matrix that takes pixels of an original to those of its frame; pixels are counted at centres."""
    x, y = frame[0] / original[0], frame[1] / original[1]
    return np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]])
