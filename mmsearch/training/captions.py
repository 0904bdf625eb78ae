"""CAPTIONS: captioned pictures as features, a part of them held out, and how well texts find pictures and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from mmsearch.arguments import Loss
from mmsearch.errors import TrainingError
from mmsearch.evaluation.metrics.ranks import Ids, Qrels, Values, rank_relevant
from mmsearch.evaluation.metrics.recall import hit_at_k
from mmsearch.evaluation.retrieval import IMAGE_TO_TEXT
from mmsearch.records import Matrix
from mmsearch.traces import Traces
from mmsearch.training.losses import MARGINS
from mmsearch.training.pictures import copies_in, held_out_parts, joined, require_finite
from mmsearch.vectors import inner_products, l2_normalize

if TYPE_CHECKING:
    import torch

RANKS = (1, 5, 10)
MIN_PICTURES = 20
_LEAST_HELD_OUT = 12


@dataclass(frozen=True)
class TeachingOptions:
    """How captions teach, whatever it is that they teach.

    Attributes
    ----------
    loss : str
        `infonce`, `contrastive` or `triplet`.
    margin : float or None
        Of the loss; None is the one that goes with it.
    epochs, batch : int > 0 or None
        None suits them to the number of pictures.
    rate : float > 0
        Learning rate.
    patience : int > 0
        Epochs without a better validation score before the end.
    seed : int
        Of weights, order, dropout and the validation part.
    validation : float in (0, 1)
        Share of the pictures that is held out.
    keep : float in [0, 1]
        Share of the base that is kept in the encoder; what is taught is taught at full strength.
    """

    loss: Loss = "infonce"
    margin: float | None = None
    epochs: int | None = None
    batch: int | None = None
    rate: float = 3e-4
    patience: int = 4
    seed: int = 0
    validation: float = 0.15
    keep: float = 0.5

    def suited(self, n_pictures: int) -> Self:
        """Return the same with every setting chosen, for a training part of this many pictures."""
        epochs = round(min(60, max(4, 600 / n_pictures**0.5))) if self.epochs is None else self.epochs
        batch = (128 if n_pictures <= 1000 else 256) if self.batch is None else self.batch
        margin = MARGINS[self.loss] if self.margin is None else self.margin
        return replace(self, epochs=epochs, batch=batch, margin=margin)


@dataclass(frozen=True)
class CaptionOptions(TeachingOptions):
    """How heads are taught: as `TeachingOptions` says, and as follows.

    Attributes
    ----------
    hidden : int > 0
        Width of the hidden layer.
    dropout : float in [0, 1)
        Of features and of the hidden layer.
    penalty : float >= 0
        On the squared length of what is added.
    """

    hidden: int = 512
    dropout: float = 0.5
    penalty: float = 0.05


@dataclass(frozen=True)
class CaptionFeatures:
    """What the towers of a base make of captioned pictures.

    Attributes
    ----------
    images : float32 array, shape (n_pictures, n_features)
        The last `dim` numbers have the direction of the base's vector.
    texts : float32 array, shape (n_texts, n_text_features)
        As for pictures.
    picture_of_text : int64 array, shape (n_texts,)
        Row of the picture that a text describes.
    captions : tuple of str
        The texts themselves.
    dim : int
        Width of the base's vectors.
    picture_ids : int64 array, shape (n_pictures,)
        Copies of a picture have the number that it has.
    pictures : tuple of Path
        Their files, where somebody has to look at them; else empty.
    """

    images: Matrix
    texts: Matrix
    picture_of_text: Ids
    captions: tuple[str, ...]
    dim: int
    picture_ids: Ids
    pictures: tuple[Path, ...] = ()

    @classmethod
    def of_set(
        cls,
        images: Matrix,
        texts: Matrix,
        picture_of_text: Ids,
        captions: Sequence[str],
        *,
        dim: int,
        pictures: Sequence[Path] = (),
        traces: Traces | None = None,
    ) -> CaptionFeatures:
        """Return the features of a set, checked; copies are told by traces, without them by equal features alone.

        Raises
        ------
        TrainingError
            If features are not finite, there are too few pictures, or nothing tells captions apart.
        """
        require_finite(images, "pictures")
        require_finite(texts, "captions")
        picture_ids = joined(len(images), copies_in(images, traces))
        n_different = len(np.unique(picture_ids))
        if n_different < MIN_PICTURES:
            raise TrainingError(
                f"there are {n_different} different pictures with captions; expected at least {MIN_PICTURES}, "
                "better some hundreds"
            )
        if len(set(captions)) < 2:
            raise TrainingError("all captions are the same; expected captions that tell pictures apart")
        return cls(images, texts, picture_of_text, tuple(captions), dim, picture_ids, tuple(pictures))

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.images)

    @property
    def text_ids(self) -> Ids:
        """A number for every text, the same for equal ones, int64 (n_texts,)."""
        number_of = {caption: number for number, caption in enumerate(dict.fromkeys(self.captions))}
        return np.array([number_of[caption] for caption in self.captions])

    def of(self, pictures: Ids) -> CaptionFeatures:
        """Return the same of some pictures, by their rows, with their texts."""
        row_of = np.full(len(self), -1)
        row_of[pictures] = np.arange(len(pictures))
        rows = row_of[self.picture_of_text]
        texts = np.flatnonzero(rows >= 0)
        return CaptionFeatures(
            self.images[pictures], self.texts[texts], rows[texts], tuple(self.captions[text] for text in texts),
            self.dim, self.picture_ids[pictures],
            tuple(self.pictures[row] for row in pictures) if self.pictures else (),
        )  # fmt: skip

    def base_vectors(self) -> tuple[Matrix, Matrix]:
        """Return the unit vectors of the base, of pictures and of texts."""
        return _units(self.images[:, -self.dim :]), _units(self.texts[:, -self.dim :])


def held_out(features: CaptionFeatures, share: float, seed: int) -> tuple[Ids, Ids, Ids]:
    """Return the rows of pictures to train on, to choose the best epoch by, and to judge by; see `held_out_parts`.

    Copies of a picture are in the same part.
    """
    parts = held_out_parts(np.unique(features.picture_ids), share, seed, least=_LEAST_HELD_OUT)
    return tuple(np.flatnonzero(np.isin(features.picture_ids, part)) for part in parts)  # type: ignore[return-value]


def _units(vectors: Matrix) -> Matrix:
    return l2_normalize(np.ascontiguousarray(vectors))


def texts_of_pictures(picture_of_text: Ids, n_pictures: int) -> list[list[int]]:
    """Return for every picture the rows of its texts."""
    texts: list[list[int]] = [[] for _ in range(n_pictures)]
    for text, picture in enumerate(picture_of_text.tolist()):
        texts[picture].append(text)
    return texts


def caption_batches(
    texts_of: Sequence[Sequence[int]], size: int, order: torch.Generator, *, most_rounds: int
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return (pictures, texts) of an epoch, int64 (size,) each: in a batch no picture is there twice.

    Parameters
    ----------
    texts_of : sequence of sequences of int
        For every picture the rows of its texts.
    size : int > 0
        Pictures of a batch, at most all.
    order : torch generator
        Draws the order of pictures and of their texts.
    most_rounds : int > 0
        How often a picture is shown at most: as often as one has texts, each of them once. Pictures with fewer
        texts are shown with them again; what does not fill a batch of a round is left out.
    """
    import torch

    n = len(texts_of)
    size = min(size, n)
    orders = [torch.randperm(len(texts), generator=order).tolist() for texts in texts_of]
    batches = []
    for number in range(min(most_rounds, max(map(len, texts_of)))):
        pictures = torch.randperm(n, generator=order)
        for start in range(0, n - size + 1, size):  # what is left over comes in another round
            rows = pictures[start : start + size]
            texts = [texts_of[row][orders[row][number % len(orders[row])]] for row in rows.tolist()]
            batches.append((rows, torch.tensor(texts)))
    return batches


def validation_score(images: Matrix, texts: Matrix, picture_of_text: Ids) -> tuple[float, dict[str, float]]:
    """Return the sum of the recalls in both directions, by which epochs are chosen, and each of them."""
    hits = retrieval_hits(images, texts, picture_of_text)
    measures = {name: float(values.mean()) for name, values in hits.items()}
    return sum(measures.values()), measures


def retrieval_hits(images: Matrix, texts: Matrix, picture_of_text: Ids) -> dict[str, Values]:
    """Return for every text and for every picture whether it is answered within the first 1, 5 and 10.

    Parameters
    ----------
    images, texts : float32 arrays, shapes (n_pictures, dim) and (n_texts, dim)
        Unit vectors.
    picture_of_text : int64 array, shape (n_texts,)
        Row of the picture that a text describes; every picture has a text.

    Returns
    -------
    dict of str to float64 array
        `text to image R@1` and so on (n_texts,), `image to text R@1` and so on (n_pictures,): 1 or 0.
    """
    texts_of = texts_of_pictures(picture_of_text, len(images))
    scores = inner_products(texts, images)
    ranked = {
        "text to image": rank_relevant(
            scores, Qrels.from_lists([[picture] for picture in picture_of_text.tolist()])
        ),
        IMAGE_TO_TEXT: rank_relevant(np.ascontiguousarray(scores.T), Qrels.from_lists(texts_of)),
    }
    return {f"{direction} R@{k}": hit_at_k(ranks, k) for direction, ranks in ranked.items() for k in RANKS}
