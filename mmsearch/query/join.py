"""JOIN: cosines of pixels and what the texts beside pictures say in, the pictures that are best by both out.

The joined score of a picture is

    cosine(pixels) + words * share + captions * max(0, cosine(its nearest caption) - unrelated)

with the share in [0, 1] that the texts beside it have of the words of the query, and 0 for what a picture does not
have. The weights are numbers of the encoder (`mmsearch.encoders.calibration.JoinModel`), so that a picture without
texts keeps its score, and a text that stands nowhere changes no order. Scores by query, such as z-scores and
reciprocal ranks, do neither, and found less.

`unrelated` falls with the share of pictures that have captions. Where few have one, they compete with pixels alone,
and one that is only somewhat near would go before the right picture, which has none; where all have one, those that
are somewhat near are told apart by it, too. No one number held for both (`benchmarks/words_beside.py`).

Not every picture is scored: one outside the shortlist by pixels is at most as near as the last of it, so only those
whose bonus makes up for what separates that one from the k-th best are looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmsearch.encoders.calibration import JoinModel
from mmsearch.records import Cosines

if TYPE_CHECKING:
    from mmsearch.encoders.base import DualEncoder

WORDS_ALONE = JoinModel(words=1.0, captions=0.0, unrelated_of_few=1.0, unrelated_of_all=1.0)
"""Where there is no encoder, and nothing that words are weighed against."""
_WORDS, _CAPTIONS = 10.0, 42.0  # in logits: of all words of a query, and of a caption that is the query
_FEW, _ALL = 99.6, 96.5  # percentiles of the cosines of background captions to one another
Ids: TypeAlias = NDArray[np.int64]
CosinesOf: TypeAlias = Callable[[Ids], "tuple[Ids, Cosines]"]
"""Gives of some pictures those that may be an answer, and their cosines by pixels."""
IsLeft: TypeAlias = Callable[[Ids, Cosines], NDArray[np.bool_]]
_AT_ONCE = 256  # pictures outside the shortlist that are looked at together, twice as many each time


def weights_of(encoder: DualEncoder) -> JoinModel:
    """Return the weights that were measured for an encoder, or what its temperature suggests.

    Where nobody has measured them, words and captions are worth as many logits as with `offline`, at the encoder's
    own temperature, as that says which difference of cosines is decisive; captions count as unrelated up to the
    percentiles of the cosines of background captions that lie nearest to what was measured there.
    """
    calibration = encoder.calibration
    if calibration is not None and calibration.join is not None:
        return calibration.join
    background = encoder.background()
    pairs = (background @ background.T)[np.triu_indices(len(background), 1)]
    few, of_all = np.percentile(pairs, (_FEW, _ALL)).tolist()
    scale = max(encoder.logit_scale, 1.0)
    return JoinModel(_WORDS / scale, _CAPTIONS / scale / max(1 - of_all, 0.1), few, of_all)


@dataclass(frozen=True)
class Bonuses:
    """What texts beside pictures add to their scores: float64 (n,) by words and by captions.

    `image_ids` int64 (n,) ascend, each once. Pictures that are none of them are added nothing.
    """

    image_ids: Ids
    words: Cosines
    captions: Cosines

    @classmethod
    def of(
        cls,
        model: JoinModel,
        unrelated: float,
        shares: tuple[Ids, NDArray[np.float32]],
        captions: tuple[Ids, Cosines],
    ) -> Bonuses:
        """Return what the words and captions of pictures add to their scores.

        Parameters
        ----------
        model : JoinModel
            The weights.
        unrelated : float
            Captions whose cosines are not above it say nothing.
        shares : int64 and float32 arrays, shape (n,)
            Pictures, each once, with the shares in [0, 1] that their texts have of the words of the query.
        captions : int64 and float64 arrays, shape (m,)
            A picture and the cosine of a caption of it to the query; the best one of a picture counts.
        """
        is_near = captions[1] > unrelated
        ids = np.union1d(shares[0], captions[0][is_near])
        words, near = np.zeros(len(ids)), np.zeros(len(ids))
        words[np.searchsorted(ids, shares[0])] = model.words * shares[1].astype(np.float64)
        beyond = model.captions * (captions[1][is_near] - unrelated)
        np.maximum.at(near, np.searchsorted(ids, captions[0][is_near]), beyond)
        kept = words + near > 0
        return cls(ids[kept], words[kept], near[kept])

    @classmethod
    def none(cls) -> Bonuses:
        """Return those of a query of which no text says anything."""
        return cls(np.zeros(0, np.int64), np.zeros(0), np.zeros(0))

    def __len__(self) -> int:
        """Return how many pictures are added something."""
        return len(self.image_ids)

    @property
    def total(self) -> Cosines:
        """What is added to each of them, (n,)."""
        return self.words + self.captions

    def added(self, image_ids: Ids) -> tuple[Cosines, Cosines]:
        """Return what words and what captions add to the scores of pictures (m,), 0 for those without any."""
        if not len(self):
            return np.zeros(len(image_ids)), np.zeros(len(image_ids))
        place = np.minimum(np.searchsorted(self.image_ids, image_ids), len(self) - 1)
        has_any = self.image_ids[place] == image_ids
        return np.where(has_any, self.words[place], 0.0), np.where(has_any, self.captions[place], 0.0)


@dataclass(frozen=True)
class Joined:
    """Pictures (n,) best first, ties by id: their joined scores, and their cosines by pixels."""

    image_ids: Ids
    scores: Cosines
    cosines: Cosines


def joined(
    shortlist: tuple[Ids, Cosines],
    ceiling: float,
    bonuses: Bonuses,
    cosines_of: CosinesOf,
    k: int,
    *,
    is_left: IsLeft = lambda ids, scores: np.ones(len(ids), dtype=np.bool_),
) -> Joined:
    """Return the k pictures with the highest joined scores, all of them if there are fewer.

    It is what scoring every picture gives, if the shortlist is the exact one.

    Parameters
    ----------
    shortlist : int64 and float64 arrays, shape (n,)
        The pictures nearest by pixels and their cosines, equal ones by id: at least k that are left, or all.
    ceiling : float
        No picture that is not on the shortlist is nearer; -inf if there are no others.
    bonuses : Bonuses
        Of any pictures.
    cosines_of : callable
        Asked for pictures that have a bonus and are not on the shortlist.
    k : int > 0
    is_left : callable
        Tells of pictures, by their ids and joined scores, which are still to be answered.
    """
    best = _first([_left(*shortlist, bonuses, is_left)], k)
    is_outside = ~np.isin(bonuses.image_ids, shortlist[0])
    ids, total = bonuses.image_ids[is_outside], bonuses.total[is_outside]
    order = np.argsort(-total, kind="stable")
    n_at_once = _AT_ONCE
    while len(order) and ceiling > -np.inf:
        least = best.scores[-1] if len(best.scores) == k else -np.inf
        looked_at = order[:n_at_once][ceiling + total[order[:n_at_once]] >= least]
        if not len(looked_at):
            break
        best = _first([best, _left(*cosines_of(ids[looked_at]), bonuses, is_left)], k)
        order, n_at_once = order[len(looked_at) :], 2 * n_at_once
    return best


def _left(ids: Ids, cosines: Cosines, bonuses: Bonuses, is_left: IsLeft) -> Joined:
    """Return the joined scores of pictures that are still to be answered, in any order."""
    words, captions = bonuses.added(ids)
    scores = cosines + (words + captions)
    left = is_left(ids, scores)
    return Joined(ids[left], scores[left], cosines[left])


def _first(parts: Sequence[Joined], k: int) -> Joined:
    ids = np.concatenate([part.image_ids for part in parts])
    scores = np.concatenate([part.scores for part in parts])
    cosines = np.concatenate([part.cosines for part in parts])
    order = np.lexsort((ids, -scores))[:k]
    return Joined(ids[order], scores[order], cosines[order])
