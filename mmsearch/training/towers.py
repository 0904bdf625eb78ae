"""TOWERS: captioned pictures in, the towers of a CLIP out, one of them or both taught themselves.

By CLIP's symmetric objective (Radford et al., Learning transferable visual models from natural language
supervision, 2021), from the weights of the base. A tower that stays locked is run once, for all epochs: with the
image tower locked this is locked-image tuning (Zhai et al., LiT: Zero-shot transfer with locked-image text tuning,
2022). What is written lies between base and learned, weight by weight (Wortsman et al., Robust fine-tuning of
zero-shot models, 2022).

Towers are taught as they are served: on pictures as they are prepared for a search, unchanged, without dropout, and
with the statistics of batch normalisation that they have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from mmsearch.arguments import Unfreeze
from mmsearch.encoders.clip_source import find_source, save_checkpoint
from mmsearch.encoders.learned import TOWERS, is_learned, read_learned
from mmsearch.encoders.prepare import is_built_in
from mmsearch.errors import TrainingError
from mmsearch.records import Matrix
from mmsearch.system import n_cores
from mmsearch.traces import Traces
from mmsearch.training.captions import (
    CaptionFeatures,
    TeachingOptions,
    caption_batches,
    texts_of_pictures,
    validation_score,
)
from mmsearch.training.folder import TrainingFolder
from mmsearch.training.losses import batch_loss, equal_pairs
from mmsearch.training.memory import StepMemory, memory_of, step_memory
from mmsearch.training.trainable import CaptionedSet, TrainableClip
from mmsearch.training.trainer import (
    Epoch,
    Lesson,
    RunState,
    Schedule,
    copied_weights,
    fit,
    set_weights,
)

if TYPE_CHECKING:
    import torch

_WEIGHT_DECAY = 0.2  # as in CLIP
_MANY_NUMBERS = 10_000_000  # of a small model each operation is shorter than the threads take to meet: 10x slower


@dataclass(frozen=True)
class TowerOptions(TeachingOptions):
    """How towers are taught: as `TeachingOptions` says, and as follows.

    Attributes
    ----------
    rate : float > 0
        Lower than for heads: what the towers know is changed a little, not replaced.
    unfreeze : str
        `image`, `text` or `both`.
    """

    rate: float = 1e-5
    unfreeze: Unfreeze = "both"

    def suited(self, n_pictures: int) -> Self:
        """Return the same with every setting chosen; an epoch shows every picture once, with one caption."""
        return replace(super().suited(n_pictures), epochs=self.epochs or 30)


def require_open_clip(model: str) -> str:
    """Return the name by which open_clip's model is built, if that is what a model is.

    Raises
    ------
    TrainingError
        If its towers cannot be taught.
    EncoderError
        If it is a folder of a training and cannot be read.
    """
    learned = read_learned(Path(model)) if not is_built_in(model) and is_learned(Path(model)) else None
    if is_built_in(model) or (learned and learned.kind != TOWERS):
        raise TrainingError(
            f"the towers of {model} cannot be taught; expected a CLIP of open_clip as --base (NAME/TAG, "
            "hf-hub:..., a checkpoint, or a folder that --unfreeze made); without --unfreeze heads are taught on "
            "top of any base that knows words"
        )
    return str(learned.weights) if learned else model


@dataclass(frozen=True)
class Towers:
    """What was learned.

    Attributes
    ----------
    clip : TrainableClip
        The model; its weights are changed whenever vectors or arrays are asked for.
    base, learned : dict of str to tensor
        The weights that were taught, before and after.
    history : list of Epoch
        Of the training.
    """

    clip: TrainableClip
    base: dict[str, torch.Tensor]
    learned: dict[str, torch.Tensor]
    history: list[Epoch] = field(default_factory=list)

    def vectors(self, features: CaptionFeatures, *, keep: float = 0.0) -> tuple[Matrix, Matrix]:
        """Return unit vectors float32 of pictures and of texts, (n, dim) each."""
        self._keep(keep)
        return CaptionedSet(self.clip, features).vectors()

    def write(self, folder: TrainingFolder, config: Mapping[str, Any], pictures: Traces, *, keep: float) -> None:
        """Write the encoder that keeps this share of its base, with traces of the pictures that taught it."""
        self._keep(keep)
        source = find_source(self.clip.model, self.clip.notify)
        scale = float(self.clip.logit_scale().detach())
        folder.write_checkpoint(
            {**config, "kind": TOWERS, "keep": keep, "logit_scale": scale},
            lambda path: save_checkpoint(source, self.clip.arrays(), path, self.clip.notify),
            pictures,
        )

    def _keep(self, keep: float) -> None:
        mixed = {name: keep * self.base[name] + (1 - keep) * weight for name, weight in self.learned.items()}
        set_weights(self.clip.module, mixed)


def teach_towers(
    train: CaptionFeatures,
    validation: CaptionFeatures,
    options: TowerOptions,
    *,
    model: str,
    state: RunState | None = None,
    on_epoch: Callable[[int, int], None] = lambda done, total: None,
    on_step: Callable[[int, int], None] = lambda done, total: None,
    notify: Callable[[str], None] = lambda sentence: None,
) -> Towers:
    """Teach the towers of a CLIP, on a GPU where torch sees one.

    Parameters
    ----------
    train, validation : CaptionFeatures
        Without a picture in common; with the paths of their pictures, unless the image tower stays locked.
    options : TowerOptions
        How.
    model : str
        The base, as `require_open_clip` returns it.
    state, on_epoch
        As in `fit`.
    on_step : callable
        Given (steps done, steps at most), the same twice once an early stop ended it.
    notify : callable
        Given sentences worth showing.

    Raises
    ------
    TrainingError
        If a step does not fit into memory, the loss is not finite, the state is of another run, or a picture cannot
        be read any more.
    """
    options = options.suited(len(train))
    clip = TrainableClip(model, options.unfreeze, notify)
    teaching = _Teaching(clip, train, validation, options, on_step)
    teaching.require_memory()
    base = copied_weights(clip.module)
    schedule = Schedule(
        options.epochs or 1, options.rate, _WEIGHT_DECAY, options.patience, options.seed,
        decays_all=False, n_threads=_n_threads(base),
    )  # fmt: skip
    lesson = Lesson(clip.module, teaching.batches, teaching.loss, teaching.validate)

    def tell(done: int, total: int) -> None:
        teaching.tell_epoch(done, total)
        on_epoch(done, total)

    history = fit(lesson, schedule, state=state, on_epoch=tell)
    return Towers(clip, base, copied_weights(clip.module), history)


def _n_threads(weights: Mapping[str, torch.Tensor]) -> int:
    """Return on how many threads so many weights are taught: all that there are, where it pays."""
    n_numbers = sum(weight.numel() for weight in weights.values())
    return n_cores() if n_numbers > _MANY_NUMBERS else 1


class _Teaching:
    """The towers while they are taught."""

    def __init__(
        self,
        clip: TrainableClip,
        train: CaptionFeatures,
        validation: CaptionFeatures,
        options: TowerOptions,
        on_step: Callable[[int, int], None],
    ) -> None:
        self.clip, self.options, self.on_step = clip, options, on_step
        self.shown, self.held = CaptionedSet(clip, train), CaptionedSet(clip, validation)
        self.texts_of = texts_of_pictures(train.picture_of_text, len(train))
        self.n_steps = len(train) // min(options.batch or 1, len(train))  # of an epoch
        self.n_done, self.n_total = 0, self.n_steps * (options.epochs or 1)

    def needed_memory(self) -> StepMemory:
        """Return what a step needs, at most: of the longest captions."""
        longest = sorted(range(len(self.shown.tokens)), key=lambda text: -len(self.shown.tokens[text]))
        pictures = self.shown.features.picture_of_text

        def loss(n: int) -> torch.Tensor:
            return self._loss(pictures[longest[:n]].tolist(), longest[:n])

        n_pictures = len(self.shown.features) + len(self.held.features)
        kept = self.clip.decoded.kept_bytes(n_pictures) if self.clip.teaches("image") else 0
        return step_memory(self.clip.module, loss, kept=kept)

    def require_memory(self) -> None:
        """Refuse what would not fit into memory, before anything is taught."""
        one_tower = "or teach one tower, --unfreeze text or --unfreeze image"
        self.needed_memory().require(
            min(self.options.batch or 1, len(self.shown.features)), memory_of(self.clip.device),
            advice=one_tower if self.options.unfreeze == "both" else "or take a smaller model",
        )  # fmt: skip

    def batches(self, order: torch.Generator) -> list[Any]:
        """Return (pictures, texts) of an epoch: every picture once, with one of its captions."""
        return caption_batches(self.texts_of, self.options.batch or 1, order, most_rounds=1)

    def tell_epoch(self, done: int, total: int) -> None:
        """Count the steps from what is said of epochs, and tell an early end."""
        is_early = total * self.n_steps < self.n_total
        self.n_done, self.n_total = done * self.n_steps, total * self.n_steps
        if is_early:
            self.on_step(self.n_done, self.n_total)

    def loss(self, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """Return the loss of a batch."""
        value = self._loss(batch[0].tolist(), batch[1].tolist())
        self.n_done += 1
        self.on_step(self.n_done, self.n_total)
        return value

    def _loss(self, pictures: Sequence[int], texts: Sequence[int]) -> torch.Tensor:
        images, words = self.shown.images(pictures), self.shown.texts(texts)
        is_same = equal_pairs(self.shown.picture_ids[list(pictures)]) | equal_pairs(
            self.shown.text_ids[list(texts)]
        )
        return batch_loss(
            self.options.loss, images @ words.T, is_same,
            logit_scale=self.clip.logit_scale(), margin=self.options.margin or 0.0,
        )  # fmt: skip

    def validate(self) -> tuple[float, dict[str, float]]:
        """Return the sum of the recalls in both directions, and each of them."""
        return validation_score(*self.held.vectors(), self.held.features.picture_of_text)
