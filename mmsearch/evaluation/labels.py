"""Labels of the pictures of a class set, asked with the right label among the labels and without it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from mmsearch.datasets.sets import ClassSet
from mmsearch.encoders.zeroshot import LabelMode, ZeroShotClassifier, class_embeddings
from mmsearch.errors import GroundTruthError
from mmsearch.evaluation.encode import SetEncoder
from mmsearch.evaluation.judged import Flags, Judged
from mmsearch.evaluation.metrics.ranks import Ids, Values
from mmsearch.records import Matrix
from mmsearch.vectors import inner_products

CLOSED, REMOVED, OPEN = "labels", "label removed", "labels and none of them"
NOTES = {
    CLOSED: "the most probable label of every picture; true if it is the right one",
    REMOVED: "every picture is asked with its label among the labels, which is true, and without it, which is not; "
    "the score is how sure it is that the picture shows one of the labels; a probability that expects fewer than "
    "half to be without their label is too high here",
    OPEN: "the same, with the answer that is given, a label or none of them; true if it is right",
}


@dataclass(frozen=True)
class _Labelled:
    """What n pictures were called: labels int64 (n,), the most probable ones; their scores float64 (n,).

    `none` has the probabilities (n,) that a picture shows none of the labels; None where that is not known.
    """

    labels: Ids
    scores: Values
    none: Values | None = None

    @property
    def known(self) -> Values:
        """How sure it is that a picture shows one of the labels, (n,)."""
        return self.scores if self.none is None else 1 - self.none

    @property
    def is_none(self) -> Flags:
        """Where the answer is none of the labels, (n,): it is more probable than the best of them."""
        return np.zeros(len(self.scores), dtype=bool) if self.none is None else self.none > self.scores

    @property
    def confidences(self) -> Values:
        """The scores of the answers, (n,)."""
        return self.scores if self.none is None else np.maximum(self.scores, self.none)


@dataclass(frozen=True)
class _LabelScore:
    """A score of labels; `of` is given unit vectors of pictures, labels, and unit vectors of these."""

    name: str
    of: Callable[[Matrix, Sequence[str], Matrix], _Labelled]
    is_probability: bool


def judged_labels(benchmark: ClassSet, encoder: SetEncoder) -> tuple[dict[str, dict[str, Judged]], dict[int, str]]:
    """Return by score and part what an encoder says of labels, and what is bad."""
    readable, pictures, bad = encoder.readable_pictures(benchmark.name, benchmark.pictures)
    names = list(dict.fromkeys(benchmark.class_names))
    if len(names) < 2:
        raise GroundTruthError(f"{benchmark.name}: all classes are called {names[0]!r}; expected two names or more")
    label_of = {name: label for label, name in enumerate(names)}
    truth = np.array([label_of[benchmark.class_names[benchmark.truth[p]]] for p in readable], dtype=np.int64)
    vectors = class_embeddings(encoder.texts, names)
    judged = {}
    for score in _label_scores(encoder):
        there = score.of(pictures, names, vectors)
        gone = _without_their_labels(score, pictures, truth, names, vectors)
        judged[score.name] = _parts(there, gone, truth, is_probability=score.is_probability)
    return judged, bad


def _label_scores(encoder: SetEncoder) -> list[_LabelScore]:
    """Return the scores of an encoder: its probabilities, and the cosine, which they are to be compared with."""
    name, calibration = encoder.encoder.name, encoder.encoder.calibration
    modes: list[LabelMode] = ["closed"] if calibration is None or calibration.labels is None else ["open", "closed"]
    scores = [_LabelScore(f"{name}: {mode}", partial(_by_mode, encoder, mode), True) for mode in modes]
    return [*scores, _LabelScore(f"{name}: cosine", _by_cosine, False)]


def _by_mode(
    encoder: SetEncoder, mode: LabelMode, pictures: Matrix, labels: Sequence[str], vectors: Matrix
) -> _Labelled:
    shares = ZeroShotClassifier.of(encoder.encoder, labels, vectors, mode).probabilities(pictures)
    return _Labelled(shares.labels.argmax(axis=1), shares.labels.max(axis=1), shares.none)


def _by_cosine(pictures: Matrix, labels: Sequence[str], vectors: Matrix) -> _Labelled:
    cosines = inner_products(pictures, vectors).astype(np.float64)
    return _Labelled(cosines.argmax(axis=1), cosines.max(axis=1))


def _without_their_labels(
    score: _LabelScore, pictures: Matrix, truth: Ids, names: Sequence[str], vectors: Matrix
) -> _Labelled:
    """Return what pictures are called, each among the labels without its own."""
    labels, scores, none = np.empty(len(truth), dtype=np.int64), np.empty(len(truth)), np.full(len(truth), np.nan)
    for label in np.unique(truth):
        of = truth == label
        others = [name for other, name in enumerate(names) if other != label]
        labelled = score.of(pictures[of], others, np.delete(vectors, label, axis=0))
        labels[of], scores[of] = labelled.labels, labelled.scores
        if labelled.none is not None:
            none[of] = labelled.none
    return _Labelled(labels, scores, None if np.isnan(none).any() else none)


def _parts(there: _Labelled, gone: _Labelled, truth: Ids, *, is_probability: bool) -> dict[str, Judged]:
    """Return what is judged of pictures that were called so with their label among the labels, and without it."""
    pictures, is_there = np.arange(len(truth)), np.repeat([True, False], len(truth))
    both = np.concatenate([pictures, pictures])
    is_best, is_none = there.labels == truth, np.concatenate([there.is_none, gone.is_none])
    is_right = np.concatenate([is_best & ~there.is_none, gone.is_none])
    knows_none = there.none is not None
    return {
        CLOSED: Judged(there.scores, is_best, pictures, is_probability=is_probability, is_right=is_best),
        REMOVED: Judged(
            np.concatenate([there.known, gone.known]),
            is_there,
            both,
            is_probability=is_probability and knows_none,
            is_rejected=is_none if knows_none else None,
        ),
        OPEN: Judged(
            np.concatenate([there.confidences, gone.confidences]),
            is_right,
            both,
            is_probability=is_probability,
            is_right=is_right,
        ),
    }
