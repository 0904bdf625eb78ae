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
FilesOf: TypeAlias = Callable[[Ids], Ids]
IsLeft: TypeAlias = Callable[[Ids, Cosines], NDArray[np.bool_]]
_AT_ONCE = 64  # pictures outside the shortlist that are looked at together, twice as many each time


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
            Pictures, ascending, with the shares in [0, 1] that their texts have of the words of the query.
        captions : int64 and float64 arrays, shape (m,)
            A picture and the cosine of a caption of it to the query; the best one of a picture counts.
        """
        is_near = captions[1] > unrelated
        near_ids, cosines = captions[0][is_near], captions[1][is_near]
        # Those with words are many, and in order: nothing is sorted but the few others.
        others = np.unique(near_ids[~_looked_up(shares[0], near_ids)[1]])
        at = np.searchsorted(shares[0], others)
        ids = np.insert(shares[0], at, others)
        words = np.insert(model.words * shares[1].astype(np.float64), at, 0.0)
        near = np.zeros(len(ids))
        np.maximum.at(near, np.searchsorted(ids, near_ids), model.captions * (cosines - unrelated))
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
        place, has_any = _looked_up(self.image_ids, image_ids)
        words, captions = np.zeros(len(image_ids)), np.zeros(len(image_ids))
        words[has_any], captions[has_any] = self.words[place[has_any]], self.captions[place[has_any]]
        return words, captions


def _looked_up(ids: Ids, wanted: Ids) -> tuple[Ids, NDArray[np.bool_]]:
    """Return where in ascending ids (n,) each of some others (m,) would stand, and whether it stands there."""
    place = np.searchsorted(ids, wanted)
    is_there = np.zeros(len(wanted), dtype=np.bool_)
    is_inside = place < len(ids)
    is_there[is_inside] = ids[place[is_inside]] == wanted[is_inside]
    return place, is_there


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
    files_of: FilesOf = lambda ids: ids,
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
    files_of : callable
        Tells pictures of one file by equal numbers: the best of them is enough.
    """
    best = _first([_left(*shortlist, bonuses, is_left)], k, files_of)
    if ceiling == -np.inf:
        return best
    place, has_any = _looked_up(bonuses.image_ids, shortlist[0])
    total = bonuses.total
    total[place[has_any]] = -np.inf  # those are looked at
    n_at_once = _AT_ONCE
    while True:
        least = best.scores[-1] if len(best.scores) == k else -np.inf
        (left,) = np.nonzero(np.isfinite(total) & (ceiling + total >= least))
        if not len(left):
            break
        looked_at = left[np.argsort(-total[left], kind="stable")[:n_at_once]]
        best = _first([best, _left(*cosines_of(bonuses.image_ids[looked_at]), bonuses, is_left)], k, files_of)
        total[looked_at] = -np.inf
        n_at_once *= 2
    return best


def _left(ids: Ids, cosines: Cosines, bonuses: Bonuses, is_left: IsLeft) -> Joined:
    """Return the joined scores of pictures that are still to be answered, in any order."""
    words, captions = bonuses.added(ids)
    scores = cosines + (words + captions)
    left = is_left(ids, scores)
    return Joined(ids[left], scores[left], cosines[left])


def _first(parts: Sequence[Joined], k: int, files_of: FilesOf) -> Joined:
    """Return the k best of some pictures, of each file one."""
    ids = np.concatenate([part.image_ids for part in parts])
    scores = np.concatenate([part.scores for part in parts])
    cosines = np.concatenate([part.cosines for part in parts])
    order, n = np.lexsort((ids, -scores)), k
    while True:  # most are never looked up
        _, firsts = np.unique(files_of(ids[order[:n]]), return_index=True)
        if len(firsts) >= k or n >= len(order):
            break
        n *= 4
    order = order[np.sort(firsts)[:k]]
    return Joined(ids[order], scores[order], cosines[order])
