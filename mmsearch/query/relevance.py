"""RELEVANCE: cosines of an answer in, probabilities out: that hits are what was asked for, and that anything is.

A cosine means little by itself: its level differs from text to text, and the best of many pictures is always near.
Two logistic models of few statistics say what it means for one encoder (`mmsearch.encoders.calibration`):

- the library holds a match: the cosine of the best hit, how familiar the text is, and how many pictures were looked
  at (the more, the nearer comes one that is none). Familiarity is the mean cosine of a text to those 16
  of 1,024 background captions that are nearest to it. It is low for random letters, for languages that the encoder
  does not know, and for things far from all that photographs usually show.
- a hit is a match: the cosine of the best hit, how far the hit is behind it, and how many pictures were looked at;
  never more than that there is one at all.

They depend on the answer and on nothing else of the library, so that they are the same by every route, in every
store, alone and in a batch. They know nothing of example pictures, of sums of terms and of judgements.

Where texts beside pictures join the score, it stands in place of the cosine, so that no picture is called weak for
being found by what is written about it; but hits are behind the best cosine by pixels, not behind the best joined
score: that one picture has the right caption makes others, which have none, no worse.

Chosen on Flickr8k training pictures: AUROC of answers to captions, among 1,500 pictures, against those to names
of classes that no caption mentions (every other one of ImageNet's), to words of random letters, and to captions in
14 languages that `offline` does not know:

===========================================  ============  =========  ===============
what tells that there is a match             absent names  gibberish  other languages
===========================================  ============  =========  ===============
cosine of the best hit                       .741          .942       .899
with the size, and the 5 nearest captions    .854          .989       .985
with the size, and 16 (chosen)               .899          .985       .987
with the size, and 64                        .926          .965       .982
===========================================  ============  =========  ===============

The cosine to the nearest class name tells absent names still better (.95), at the price of a thousand texts more to
encode. Margins between the hits, the spread of cosines, mean cosines to sample pictures and the length of the text
brought nothing besides.

What no statistic tells is whether the one picture that a caption describes is among 1,000: in nine of ten answers
of `offline` another one comes first, with or without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmsearch.encoders.calibration import RelevanceModel
from mmsearch.records import Cosines, Matrix

if TYPE_CHECKING:
    from mmsearch.encoders.base import DualEncoder

_NEAR = 16  # background captions


@dataclass(frozen=True)
class Relevance:
    """What tells the relevance of answers to single texts, by one encoder; threads may share it.

    `probes` float32 (n, dim) are the unit vectors of the background captions.
    """

    model: RelevanceModel
    probes: Matrix

    @classmethod
    def of(cls, encoder: DualEncoder) -> Relevance | None:
        """Return that of an encoder; None if it has no calibration.

        Raises
        ------
        EncoderError
            If its calibration, or its text tower, cannot be used.
        """
        calibration = encoder.calibration
        if calibration is None or calibration.search is None:
            return None
        return cls(calibration.search, encoder.background())

    def judge(
        self, text: Matrix, cosines: Sequence[float] | Cosines, n_pictures: int, *, best: float | None = None
    ) -> tuple[float, Cosines]:
        """Return the probabilities that there is a match, and that the hits are.

        Parameters
        ----------
        text : float32 array, shape (dim,)
            Unit vector of the text.
        cosines : float64 array, shape (n_hits,)
            Of the hits, in any order; the best is among them. Or their joined scores (`mmsearch.query.join`).
        n_pictures : int
            Among how many they are the best.
        best : float or None
            The highest cosine by pixels, where scores are joined.

        Returns
        -------
        answer : float
            In [0, 1]; 0 where there are no hits.
        hits : float64 array, shape (n_hits,)
            In [0, answer]; higher for a higher cosine, or equal.
        """
        if not len(cosines):
            return 0.0, np.zeros(0)
        known = np.array([familiarity(text, self.probes)])
        of_pixels = None if best is None else np.array([best])
        (answer,), (hits,) = relevance_of(
            self.model, np.array([cosines], dtype=np.float64), known, n_pictures, best=of_pixels
        )
        return float(answer), hits


def relevance_of(
    model: RelevanceModel,
    cosines: Cosines,
    familiar: Cosines,
    n_pictures: int,
    *,
    best: Cosines | None = None,
) -> tuple[Cosines, Cosines]:
    """Return the probabilities that there is a match for each of n texts, and that their hits are.

    Parameters
    ----------
    model : RelevanceModel
    cosines : float64 array, shape (n, n_hits)
        Of the hits of every text, in any order; -inf where there are no more pictures.
    familiar : float64 array, shape (n,)
        The familiarity of every text.
    n_pictures : int
        Among how many the hits are the best.
    best : float64 array, shape (n,), or None
        The cosine that hits are measured by; the highest of each where there is none. A hit above it counts as the
        best itself.

    Returns
    -------
    answers : float64 array, shape (n,)
        In [0, 1].
    hits : float64 array, shape (n, n_hits)
        In [0, answer]; 0 where there are no more pictures.
    """
    size, highest = np.log(n_pictures), cosines.max(axis=1)
    best = (highest if best is None else best)[:, None]
    answers = _probability(
        model.answer_constant
        + model.answer_best * highest
        + model.answer_familiarity * familiar
        - model.answer_size * size
    )
    is_hit = np.isfinite(cosines)
    behind = np.where(is_hit, np.maximum(0, best - cosines), 0)
    hits = _probability(
        model.hit_constant
        + model.hit_best * np.maximum(best, cosines)
        - model.hit_behind * behind
        - model.hit_size * size
    )
    return answers, np.where(is_hit, np.minimum(hits, answers[:, None]), 0)


def familiarity(text: Matrix, probes: Matrix) -> float:
    """Return the mean cosine of a text (dim,) to the 16 captions (n, dim) that are nearest to it.

    Examples
    --------
    >>> captions = np.float32(8 * [[1, 0]] + 56 * [[0, 1]])
    >>> familiarity(np.float32([0.8, 0.6]), captions)  # (0.8 + 0.6) / 2
    0.7
    """
    cosines = (probes @ text).astype(np.float64)  # text by text, so that a batch has the bits of one
    nearest = np.partition(cosines, -_NEAR)[-_NEAR:] if len(cosines) > _NEAR else cosines
    return round(float(nearest.mean()), 6)


def _probability(logit: NDArray[np.float64]) -> NDArray[np.float64]:
    odds: NDArray[np.float64] = 1 / (1 + np.exp(-np.clip(logit, -700, 700)))
    return odds
