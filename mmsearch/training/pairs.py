"""PAIRS: descriptors of pictures of the same things in, a linear projection out, by the lecture's contrastive loss.

The projection begins at the learned whitening (Lw), which is closed form, and is then taught by pairs of pictures
with the hardest dissimilar ones, mined anew for every epoch (Radenovic, Tolias and Chum, 2018).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmsearch.arguments import Loss
from mmsearch.encoders.whitening import Whitening, fit_learned_whitening, whiten
from mmsearch.errors import TrainingError
from mmsearch.evaluation.metrics.average_precision import average_precision
from mmsearch.evaluation.metrics.ranks import Ids, Qrels, RankedRelevant, Values, rank_relevant
from mmsearch.evaluation.metrics.recall import hit_at_k
from mmsearch.records import Matrix
from mmsearch.traces import Traces
from mmsearch.training.losses import batch_loss, contrastive_loss, distances_of_cosines, triplet_loss
from mmsearch.training.pictures import copies_in, held_out_parts, joined, require_finite
from mmsearch.training.trainer import Epoch, Lesson, RunState, Schedule, fit
from mmsearch.vectors import inner_products

if TYPE_CHECKING:
    import torch

Marks = NDArray[np.bool_]
MIN_THINGS = 10
_LEAST_HELD_OUT = 6
MARGINS: dict[Loss, float] = {"infonce": 0.0, "contrastive": 1.3, "triplet": 0.1}
_N_HARD = 5  # dissimilar pictures of every pair
_LOGIT_SCALE = 10.0  # where it begins
_BLOCK = 1024  # rows whose nearest are looked for at a time


@dataclass(frozen=True)
class PairOptions:
    """How a projection is taught.

    Attributes
    ----------
    loss : str
        `contrastive`, `triplet` or `infonce`.
    margin : float or None
        Of the loss; None is the one that goes with it.
    n_components : int > 0
        Dimensions of the result, at most those of the base.
    shrinkage, power : float in [0, 1]
        Of the learned whitening that it begins with.
    epochs, batch : int > 0
    rate : float > 0
        Learning rate.
    patience : int > 0
        Epochs without a better validation score before the end.
    seed : int
        Of order and the validation part.
    validation : float in (0, 1)
        Share of the things that is held out.
    keep : float in [0, 1)
        Share of the base's own descriptor that is put beside the projected one.
    """

    loss: Loss = "contrastive"
    margin: float | None = None
    n_components: int = 512
    shrinkage: float = 0.2
    power: float = 1.0
    epochs: int = 40
    batch: int = 512
    rate: float = 1e-3
    patience: int = 6
    seed: int = 0
    validation: float = 0.15
    keep: float = 0.0


@dataclass(frozen=True)
class PairFeatures:
    """Descriptors of pictures, and which show the same thing.

    Attributes
    ----------
    descriptors : float32 array, shape (n, dim)
        Unit vectors of the base.
    things : int64 array, shape (n,)
        Pictures of the same number show the same thing.
    is_asked : bool array, shape (n,)
        Pictures that ask for others of their thing when the projection is judged: warped copies, or all.
    is_gallery : bool array, shape (n,)
        Pictures that are asked for: the originals, or all.
    sides : int64 array, shape (n,)
        Things that have a picture in common, or copies of one, have the same number: they are held out together.
    dissimilar : int64 array, shape (n_pairs, 2)
        Rows of pairs that were said to be dissimilar.
    """

    descriptors: Matrix
    things: Ids
    is_asked: Marks
    is_gallery: Marks
    sides: Ids
    dissimilar: Ids = field(default_factory=lambda: np.zeros((0, 2), dtype=np.int64))

    @classmethod
    def of_set(
        cls, descriptors: Matrix, things: Ids, is_asked: Marks | None = None, is_gallery: Marks | None = None,
        *, traces: Traces | None = None, dissimilar: Sequence[tuple[int, int]] = (),
    ) -> PairFeatures:  # fmt: skip
        """Return the features of a set, checked; without marks every picture asks for all others.

        Copies are told by traces, which the first pictures may have, and by equal features.

        A picture of whose thing there is no other one in the gallery asks for nothing.

        Raises
        ------
        TrainingError
            If descriptors are not finite, or too few things have two pictures.
        """
        require_finite(descriptors, "pictures")
        everything = np.ones(len(things), dtype=bool)
        is_gallery = everything if is_gallery is None else is_gallery
        n_answers = np.bincount(things, is_gallery)[things] - is_gallery  # none is an answer to itself
        is_asked = (everything if is_asked is None else is_asked) & (n_answers > 0)
        copies = [(int(things[a]), int(things[b])) for a, b in copies_in(descriptors, traces)]
        sides = joined(int(things.max(initial=-1)) + 1, copies)[things]
        given = np.array(dissimilar, dtype=np.int64).reshape(-1, 2)
        known = cls(descriptors, things, is_asked, is_gallery, sides, given)
        n_things = len(np.unique(sides[is_asked]))
        if n_things < MIN_THINGS:
            raise TrainingError(
                f"there are {n_things} things with two pictures or more; expected at least {MIN_THINGS} (those "
                "that have a picture in common count as one)"
            )
        return known

    def of_things(self, things: Ids) -> PairFeatures:
        """Return the same of the pictures of some things."""
        rows = np.isin(self.things, things)
        row_of = np.cumsum(rows) - 1
        dissimilar = row_of[self.dissimilar[rows[self.dissimilar].all(axis=1)]]
        return PairFeatures(
            self.descriptors[rows], self.things[rows], self.is_asked[rows], self.is_gallery[rows], self.sides[rows],
            dissimilar,
        )  # fmt: skip

    def pairs(self) -> Ids:
        """Return rows of all similar pairs, int64 (n_pairs, 2): a picture of the gallery and one that asks."""
        pairs = []
        for rows in _rows_of_things(self.things):
            gallery, asked = rows[self.is_gallery[rows]], rows[self.is_asked[rows]]
            first, second = np.meshgrid(gallery, asked, indexing="ij")
            comes_again = self.is_asked[first] & self.is_gallery[second] & (first > second)
            is_pair = (first != second) & ~comes_again
            pairs.append(np.stack([first[is_pair], second[is_pair]], axis=1))
        return np.concatenate(pairs)


def _rows_of_things(things: Ids) -> list[Ids]:
    order = np.argsort(things, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(things[order])) + 1)


@dataclass(frozen=True)
class Questions:
    """What is asked of a projection: rows that ask, rows of the gallery, what is relevant; none answers itself."""

    asked: Ids
    gallery: Ids
    qrels: Qrels

    @classmethod
    def of(cls, features: PairFeatures, things: Ids) -> Questions:
        """Return the questions of all pictures that ask for one of these things."""
        asked = np.flatnonzero(features.is_asked & np.isin(features.things, things))
        gallery = np.flatnonzero(features.is_gallery)
        of_gallery = features.things[gallery]
        relevant = [
            np.flatnonzero((of_gallery == features.things[row]) & (gallery != row)).tolist() for row in asked
        ]
        itself = [np.flatnonzero(gallery == row).tolist() for row in asked]
        return cls(asked, gallery, Qrels.from_lists(relevant, junk=itself))

    def ranked(self, vectors: Matrix) -> RankedRelevant:
        """Return the ranks of what is relevant by unit vectors (n, dim) of all pictures."""
        return rank_relevant(inner_products(vectors[self.asked], vectors[self.gallery]), self.qrels)

    def precision(self, vectors: Matrix) -> Values:
        """Return the average precision of every question, float64 (n_asked,)."""
        return average_precision(self.ranked(vectors))

    def hits(self, vectors: Matrix) -> Values:
        """Return whether each of them finds its thing first, 1 or 0, float64 (n_asked,)."""
        return hit_at_k(self.ranked(vectors), 1)


def held_out_things(features: PairFeatures, share: float, seed: int) -> tuple[Ids, Ids, Ids]:
    """Return the numbers of things to train on, to choose the best epoch by, and to judge by; see `held_out_parts`.

    Things that have a picture or copies of one in common are in the same part.
    """
    sides = np.unique(features.sides[features.is_asked])
    _, choosing, judging = held_out_parts(sides, share, seed, least=_LEAST_HELD_OUT)
    chosen, judged = (np.unique(features.things[np.isin(features.sides, part)]) for part in (choosing, judging))
    return np.setdiff1d(features.things, np.concatenate([chosen, judged])), chosen, judged


@dataclass(frozen=True)
class Projection:
    """What was learned.

    Attributes
    ----------
    start, judged : Whitening
        The closed form that training began with, and what it came to, without the things held out.
    whitening : Whitening
        The same by all things, those held out among them: what is written.
    history : list of Epoch
        Of the training.
    """

    start: Whitening
    judged: Whitening
    whitening: Whitening
    history: list[Epoch] = field(default_factory=list)


def teach_projection(
    train: PairFeatures,
    everything: PairFeatures,
    held_out: Ids,
    options: PairOptions,
    *,
    state: RunState | None = None,
    on_epoch: Callable[[int, int], None] = lambda done, total: None,
) -> Projection:
    """Teach a projection of descriptors.

    Parameters
    ----------
    train : PairFeatures
        Things to learn from.
    everything : PairFeatures
        All things: the gallery that those held out are looked for in.
    held_out : int64 array
        Numbers of the things to validate on; none of them is in `train`.
    options : PairOptions
        How.
    state, on_epoch
        As in `fit`.

    Returns
    -------
    Projection
        The closed form itself if no epoch was better on the things held out. What is written is learned once more
        by all things, in the way that was best: those held out are no less to be found later.
    """
    options = replace(
        options,
        margin=MARGINS[options.loss] if options.margin is None else options.margin,
        n_components=min(options.n_components, train.descriptors.shape[1]),
    )
    start = _closed_form(train, options)
    teaching = _Teaching(train, everything, held_out, start, options)
    schedule = Schedule(options.epochs, options.rate, 1e-4, options.patience, options.seed)
    lesson = Lesson(teaching.module, teaching.batches, teaching.loss, teaching.validate)
    history = fit(lesson, schedule, state=state, on_epoch=on_epoch)
    best = max(history, key=lambda epoch: epoch.score)
    if best.score <= teaching.questions.precision(whiten(everything.descriptors, start)).mean():
        return Projection(start, start, _closed_form(everything, options), history)
    return Projection(start, teaching.whitening(), _by_all(everything, options, best.number), history)


def _closed_form(features: PairFeatures, options: PairOptions) -> Whitening:
    pairs = features.pairs()
    first, second = (features.descriptors[pairs[:, side]] for side in (0, 1))
    return fit_learned_whitening(
        first, second, features.descriptors, options.n_components,
        shrinkage=options.shrinkage, power=options.power,
    )  # fmt: skip


def _by_all(everything: PairFeatures, options: PairOptions, n_epochs: int) -> Whitening:
    """Return the projection by all things, after as many epochs as were best without those held out."""
    teaching = _Teaching(
        everything, everything, np.array([], dtype=np.int64), _closed_form(everything, options), options
    )
    schedule = Schedule(n_epochs, options.rate, 1e-4, n_epochs, options.seed, planned=options.epochs)
    n_done = itertools.count()
    fit(Lesson(teaching.module, teaching.batches, teaching.loss, lambda: (float(next(n_done)), {})), schedule)
    return teaching.whitening()


class _Teaching:
    """The projection while it is taught."""

    def __init__(
        self,
        train: PairFeatures,
        everything: PairFeatures,
        held_out: Ids,
        start: Whitening,
        options: PairOptions,
    ) -> None:
        import torch

        self.everything, self.options = everything, options
        self.questions = Questions.of(everything, held_out)
        self.pairs, self.start = torch.from_numpy(train.pairs()), start
        self.centred = torch.from_numpy(train.descriptors - start.mean)
        self.things = torch.from_numpy(train.things)
        self.dissimilar = torch.from_numpy(train.dissimilar)
        self.projection = torch.nn.Parameter(torch.from_numpy(start.projection.copy()))
        self.log_scale = torch.nn.Parameter(torch.tensor(float(np.log(_LOGIT_SCALE))))
        self.module = torch.nn.Module()
        self.module.register_parameter("projection", self.projection)
        self.module.register_parameter("log_scale", self.log_scale)

    def vectors(self, rows: torch.Tensor) -> torch.Tensor:
        """Return unit vectors of rows of the training part."""
        import torch

        return torch.nn.functional.normalize(self.centred[rows] @ self.projection, dim=-1)

    def batches(self, order: torch.Generator) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Return all pairs in some order, and those that were said to be dissimilar.

        Rows int64 (n, 2 + 5) of similar pairs with their hardest dissimilar pictures; (m, 2) of dissimilar ones.
        """
        import torch

        with torch.no_grad():
            hardest = self._hardest()
        rows = torch.cat([self.pairs, hardest[self.pairs[:, 0]]], dim=1)
        chosen = rows[torch.randperm(len(rows), generator=order)]
        batches = list(torch.split(chosen, self.options.batch))
        batches = batches[:-1] if len(batches) > 1 and len(batches[-1]) < 2 else list(batches)
        if not len(self.dissimilar):
            return [(batch, self.dissimilar) for batch in batches]
        mixed = self.dissimilar[torch.randperm(len(self.dissimilar), generator=order)]
        return list(zip(batches, torch.tensor_split(mixed, len(batches)), strict=True))

    def _hardest(self) -> torch.Tensor:
        """Return for every picture the nearest of other things, int64 (n, 5)."""
        import torch

        vectors, nearest = self.vectors(torch.arange(len(self.things))), []
        n_hard = min(_N_HARD, len(vectors) - int(torch.bincount(self.things).max()))
        for start in range(0, len(vectors), _BLOCK):
            cosines = vectors[start : start + _BLOCK] @ vectors.T
            is_same = self.things[start : start + _BLOCK, None] == self.things[None]
            nearest.append(cosines.masked_fill(is_same, -2).topk(n_hard, dim=1).indices)
        return torch.cat(nearest)

    def loss(self, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """Return the loss of pairs with their dissimilar pictures.

        Pairs that were said to be dissimilar weigh in the contrastive loss as those that were mined do.
        """
        rows, dissimilar = batch
        margin = self.options.margin or 0.0
        first, second = self.vectors(rows[:, 0]), self.vectors(rows[:, 1])
        if self.options.loss == "infonce":
            things = self.things[rows[:, 0]]
            scale = self.log_scale.exp().clip(max=100.0)
            return batch_loss(
                "infonce", first @ second.T, things[:, None] == things[None], logit_scale=scale, margin=margin
            )
        hard = self.vectors(rows[:, 2:])  # (n, 5, dim)
        to_positive = distances_of_cosines((first * second).sum(dim=1))
        to_negative = distances_of_cosines((first[:, None] * hard).sum(dim=2))
        if self.options.loss == "triplet":
            return triplet_loss(to_positive[:, None], to_negative, margin).mean()
        near = contrastive_loss(to_positive, to_positive.new_ones(len(to_positive)).bool(), margin)
        far = contrastive_loss(to_negative, to_negative.new_zeros(to_negative.shape).bool(), margin)
        apart = distances_of_cosines((self.vectors(dissimilar[:, 0]) * self.vectors(dissimilar[:, 1])).sum(dim=1))
        given = contrastive_loss(apart, apart.new_zeros(len(apart)).bool(), margin)
        return near.mean() + far.sum(dim=1).mean() + given.sum() / len(rows)

    def validate(self) -> tuple[float, dict[str, float]]:
        """Return the mean average precision of the things held out, and the share that is found first."""
        vectors = whiten(self.everything.descriptors, self.whitening())
        precision = self.questions.precision(vectors)
        return float(precision.mean()), {"mAP": float(precision.mean())}

    def whitening(self) -> Whitening:
        """Return the projection as it is now."""
        return replace(self.start, projection=self.projection.detach().numpy().copy())
