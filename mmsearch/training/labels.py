"""LABELS: pictures with what they show in, the numbers that make probabilities of labels out.

Every label is asked of every picture. How much more likely a cosine is where the label is shown than where it is
not, is learned as a logistic model of the pairs, in which labels that are shown have a share of `SHOWN` in all: the
odds of the model are the likelihood ratio times those of the share, so that the share is taken off again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray

from mmsearch.datasets.sets import CaptionSet, ClassSet
from mmsearch.encoders.calibration import LabelModel
from mmsearch.encoders.zeroshot import SHOWN, LabelProbabilities, class_embeddings
from mmsearch.errors import GroundTruthError
from mmsearch.evaluation.encode import SetEncoder
from mmsearch.evaluation.metrics.calibration import calibration_error
from mmsearch.evaluation.metrics.ranks import Ids
from mmsearch.logistic import fit_logistic
from mmsearch.records import Matrix
from mmsearch.vectors import inner_products

_MOST = 2_000  # pictures of a set, and labels: more pairs take memory, and change nothing


@dataclass(frozen=True)
class LabelledPictures:
    """Pictures and labels as one encoder sees them.

    Attributes
    ----------
    pictures : float32 array, shape (n, dim)
        Unit vectors.
    labels : float32 array, shape (n_labels, dim)
        Unit vectors of `class_embeddings`.
    is_shown : bool array, shape (n, n_labels)
        Whether the picture is known to show the label.
    """

    pictures: Matrix
    labels: Matrix
    is_shown: NDArray[np.bool_]

    @classmethod
    def by_captions(
        cls, benchmark: CaptionSet, positions: Sequence[int] | Ids, pictures: Matrix, encoder: SetEncoder
    ) -> LabelledPictures:
        """Return some pictures of a captioned set, by their positions, with the first caption of each as labels."""
        kept = _evenly(len(positions))
        positions, texts_of_picture = np.asarray(positions)[kept], benchmark.texts_of_picture
        texts = list(dict.fromkeys(texts_of_picture[position][0] for position in positions))
        is_shown = np.array([np.isin(texts, texts_of_picture[position]) for position in positions])
        labels = class_embeddings(encoder.texts, [benchmark.texts[text] for text in texts])
        return cls(pictures[kept], labels, is_shown)

    @classmethod
    def by_classes(
        cls, benchmark: ClassSet, positions: Sequence[int] | Ids, pictures: Matrix, encoder: SetEncoder
    ) -> LabelledPictures:
        """Return some pictures of a class set, by their positions, with the names of their classes as labels."""
        kept = _evenly(len(positions))
        shown = [benchmark.class_names[benchmark.truth[position]] for position in np.asarray(positions)[kept]]
        names = list(dict.fromkeys(shown))
        is_shown = np.array([[name == of_picture for name in names] for of_picture in shown])
        return cls(pictures[kept], class_embeddings(encoder.texts, names), is_shown)


def fit_labels(sets: Sequence[LabelledPictures]) -> LabelModel:
    """Return the numbers of labels that fit several sets, each of which weighs the same.

    Raises
    ------
    GroundTruthError
        If a set has no picture that shows one of its labels, or none that does not.
    """
    cosines, truths, weights = [], [], []
    for labelled in sets:
        is_shown = labelled.is_shown.ravel()
        n_shown = int(is_shown.sum())
        if not 0 < n_shown < len(is_shown):
            raise GroundTruthError("all pictures show all labels, or none; expected two different labels or more")
        cosines.append(inner_products(labelled.pictures, labelled.labels).ravel().astype(np.float64))
        truths.append(is_shown.astype(np.float64))
        weights.append(np.where(is_shown, SHOWN / n_shown, (1 - SHOWN) / (len(is_shown) - n_shown)))
    constant, scale = fit_logistic(
        np.concatenate(cosines)[:, None], np.concatenate(truths), np.concatenate(weights)
    )
    return LabelModel(logit_scale=scale, constant=constant - log(SHOWN / (1 - SHOWN)))


def label_error(said: LabelProbabilities, is_shown: NDArray[np.bool_]) -> float:
    """Return the calibration error of the most probable label of each picture, right if the picture shows it."""
    best = said.labels.argmax(axis=1)
    is_right = np.take_along_axis(is_shown, best[:, None], axis=1)[:, 0]
    return calibration_error(said.labels.max(axis=1), is_right.astype(np.float64))


def _evenly(n: int) -> Ids:
    """Return the rows of so many pictures as are looked at, spread over all."""
    return np.unique(np.linspace(0, n - 1, min(n, _MOST)).astype(np.int64))
