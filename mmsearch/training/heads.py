"""HEADS: features of captioned pictures in, a head on each tower out; the towers stay as they are.

A head sees what its tower makes of a picture or text and adds to the vector (`mmsearch.encoders.learned`). It
begins by adding nothing. What it adds is kept small by a penalty: without it the encoder forgets what it knew
(ImageNet top-1 of `offline` falls from 85 to 16).

Settings were chosen on held-out pictures of the Flickr8k training split. One hidden layer of 512 was better than a
linear head, InfoNCE and the contrastive loss over all other captions of a batch were equal, triplets worse.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.encoders.learned import HEADS, head_of, taught_vectors
from mmsearch.records import Matrix
from mmsearch.traces import Traces
from mmsearch.training.captions import (
    CaptionFeatures,
    CaptionOptions,
    caption_batches,
    texts_of_pictures,
    validation_score,
)
from mmsearch.training.folder import TrainingFolder
from mmsearch.training.losses import batch_loss, equal_pairs, logit_scale_of
from mmsearch.training.trainer import Epoch, Lesson, RunState, Schedule, fit

if TYPE_CHECKING:
    import torch

_SIDES = ("image", "text")
_MOST_ROUNDS = 20  # of an epoch, where a picture has hundreds of captions
_NARROWEST = 0.05  # deviation of a feature, as a share of the mean one: rare features are not blown up


@dataclass(frozen=True)
class Heads:
    """What was learned.

    Attributes
    ----------
    arrays : dict of str to float32 array
        As `mmsearch.encoders.learned.head_of` takes them.
    logit_scale : float
        Learned along with the heads.
    history : list of Epoch
        Of the training.
    """

    arrays: dict[str, Matrix]
    logit_scale: float
    history: list[Epoch] = field(default_factory=list)

    def write(self, folder: TrainingFolder, config: Mapping[str, Any], pictures: Traces, *, keep: float) -> None:
        """Write the encoder that keeps this share of its base, with traces of the pictures that taught it."""
        base_scale = float(config["logit_scale"])
        scale = base_scale**keep * self.logit_scale ** (1 - keep)
        folder.write({**config, "kind": HEADS, "keep": keep, "logit_scale": scale}, self.arrays, pictures)

    def vectors(self, features: CaptionFeatures, *, keep: float = 0.0) -> tuple[Matrix, Matrix]:
        """Return unit vectors float32 of pictures and of texts, (n, dim) each."""
        import torch

        with torch.inference_mode():
            return tuple(  # type: ignore[return-value]
                taught_vectors(sides, head_of(self.arrays, side)(sides), keep).numpy()
                for side, sides in zip(
                    _SIDES, map(torch.from_numpy, (features.images, features.texts)), strict=True
                )
            )


def teach_heads(
    train: CaptionFeatures,
    validation: CaptionFeatures,
    options: CaptionOptions,
    *,
    logit_scale: float,
    state: RunState | None = None,
    on_epoch: Callable[[int, int], None] = lambda done, total: None,
) -> Heads:
    """Teach heads on both towers.

    Parameters
    ----------
    train, validation : CaptionFeatures
        Without a picture in common.
    options : CaptionOptions
        How.
    logit_scale : float
        Where it begins.
    state, on_epoch
        As in `fit`.

    Raises
    ------
    TrainingError
        If the loss is not finite, or the state is of another run.
    """
    options = options.suited(len(train))
    teaching = _Teaching(train, validation, options, logit_scale)
    schedule = Schedule(options.epochs or 1, options.rate, patience=options.patience, seed=options.seed)
    lesson = Lesson(teaching.module, teaching.batches, teaching.loss, teaching.validate)
    history = fit(lesson, schedule, state=state, on_epoch=on_epoch)
    return Heads(teaching.arrays(), float(teaching.logit_scale().detach()), history)


class _Teaching:
    """The heads while they are taught, on features that are brought to mean 0 and deviation 1."""

    def __init__(
        self, train: CaptionFeatures, validation: CaptionFeatures, options: CaptionOptions, logit_scale: float
    ) -> None:
        import torch

        self.train, self.validation, self.options = train, validation, options
        self.scalings = {"image": _Scaling.of(train.images), "text": _Scaling.of(train.texts)}
        self.shown, self.held = self._tensors(train), self._tensors(validation)
        self.texts_of = texts_of_pictures(train.picture_of_text, len(train))
        with torch.random.fork_rng():
            torch.manual_seed(options.seed)
            self.module = torch.nn.ModuleDict(
                {
                    "image": _trainable_head(train.images.shape[1], train.dim, options),
                    "text": _trainable_head(train.texts.shape[1], train.dim, options),
                }
            )
        self.module.register_parameter("log_scale", torch.nn.Parameter(torch.tensor(float(np.log(logit_scale)))))

    def _tensors(self, features: CaptionFeatures) -> dict[str, torch.Tensor]:
        import torch

        scaled = {
            "image": self.scalings["image"].scaled(features.images),
            "text": self.scalings["text"].scaled(features.texts),
        }
        images, texts = features.base_vectors()
        arrays = {**scaled, "image base": images, "text base": texts,
                  "text ids": features.text_ids, "picture ids": features.picture_ids}  # fmt: skip
        return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}

    def logit_scale(self) -> torch.Tensor:
        """Return what cosines are multiplied by before the softmax."""
        return logit_scale_of(self.module.log_scale)  # type: ignore[arg-type]

    def vectors(self, tensors: dict[str, torch.Tensor], side: str, rows: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Return unit vectors of rows of one side, and what the head added to them."""
        added = self.module[side](tensors[side][rows])
        return taught_vectors(tensors[f"{side} base"][rows], added, 0.0), added

    def batches(self, order: torch.Generator) -> list[Any]:
        """Return (pictures, texts) of an epoch: each caption of a picture once."""
        size = self.options.batch or 1
        return caption_batches(self.texts_of, size, order, most_rounds=_MOST_ROUNDS)

    def loss(self, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """Return the loss of a batch, and the penalty on what is added."""
        pictures, texts = batch
        images, to_images = self.vectors(self.shown, "image", pictures)
        words, to_words = self.vectors(self.shown, "text", texts)
        is_same = equal_pairs(self.shown["picture ids"][pictures]) | equal_pairs(self.shown["text ids"][texts])
        value = batch_loss(
            self.options.loss, images @ words.T, is_same,
            logit_scale=self.logit_scale(), margin=self.options.margin or 0.0,
        )  # fmt: skip
        n_added = (to_images**2).sum(dim=1).mean() + (to_words**2).sum(dim=1).mean()
        return value + self.options.penalty * n_added

    def validate(self) -> tuple[float, dict[str, float]]:
        """Return the sum of the recalls in both directions, and each of them."""
        images, words = (self.vectors(self.held, side, slice(None))[0].numpy() for side in _SIDES)
        return validation_score(images, words, self.validation.picture_of_text)

    def _layers(self, side: str) -> tuple[torch.nn.Linear, torch.nn.Linear]:
        import torch

        inner, outer = (layer for layer in self.module[side].children() if isinstance(layer, torch.nn.Linear))
        return inner, outer

    def arrays(self) -> dict[str, Matrix]:
        """Return the heads as they are stored, for features as they come."""
        arrays: dict[str, Matrix] = {}
        for side in _SIDES:
            inner, outer = self._layers(side)
            weight, bias = self.scalings[side].folded(inner.weight.detach().numpy(), inner.bias.detach().numpy())
            arrays |= {
                f"{side}.inner.weight": weight,
                f"{side}.inner.bias": bias,
                f"{side}.outer.weight": outer.weight.detach().numpy(),
                f"{side}.outer.bias": outer.bias.detach().numpy(),
            }
        return arrays


def _trainable_head(n_features: int, dim: int, options: CaptionOptions) -> torch.nn.Module:
    """Return a head with dropout, whose last layer is zero."""
    import torch

    last = torch.nn.Linear(options.hidden, dim)
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.zeros_(last.bias)
    return torch.nn.Sequential(
        torch.nn.Dropout(options.dropout), torch.nn.Linear(n_features, options.hidden), torch.nn.GELU(),
        torch.nn.Dropout(options.dropout), last,
    )  # fmt: skip


@dataclass(frozen=True)
class _Scaling:
    """Mean and deviation of features, float32 (n_features,)."""

    mean: Matrix
    deviation: Matrix

    @classmethod
    def of(cls, features: Matrix) -> _Scaling:
        deviation = features.std(axis=0, dtype=np.float64)
        smallest = max(_NARROWEST * float(deviation.mean()), np.finfo(np.float32).tiny)
        return cls(features.mean(axis=0), deviation.clip(smallest).astype(np.float32))

    def scaled(self, features: Matrix) -> Matrix:
        return (features - self.mean) / self.deviation

    def folded(self, weight: Matrix, bias: Matrix) -> tuple[Matrix, Matrix]:
        """Return weight and bias of a layer that takes features as they come."""
        unscaled = weight / self.deviation
        return unscaled, (bias - unscaled @ self.mean).astype(np.float32)
