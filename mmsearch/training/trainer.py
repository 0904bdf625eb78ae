"""TRAIN: batches and a loss in, the weights of the best epoch out; a killed run goes on as if it had not been.

The same for every kind of teaching: AdamW with a short warm-up and a cosine decay, an early stop on the
validation part, and the state of the run in one file after every epoch.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from mmsearch.errors import TrainingError, reason, write_errors
from mmsearch.store.publish import replacing

if TYPE_CHECKING:
    import torch

_WARM_UP = 0.05  # share of all steps
_FINGERPRINT = "fingerprint"


@dataclass(frozen=True)
class Schedule:
    """How long and how fast is trained.

    Attributes
    ----------
    epochs : int > 0
        At most.
    rate : float > 0
        Learning rate at its highest.
    weight_decay : float >= 0
        Of AdamW (Loshchilov and Hutter, Decoupled weight decay regularization, 2019).
    patience : int > 0
        Epochs without a better validation score before the end.
    seed : int
        Of initial weights, order and dropout.
    planned : int or None
        Epochs over which the rate falls, where they are more than are trained; None where they are not.
    decays_all : bool
        Whether the weight decay is on gains, biases and scales too; else on matrices alone.
    n_threads : int > 0
        Of torch on a CPU; with another number sums differ in their last digits.
    """

    epochs: int
    rate: float = 3e-4
    weight_decay: float = 0.05
    patience: int = 4
    seed: int = 0
    planned: int | None = None
    decays_all: bool = True
    n_threads: int = 1


@dataclass(frozen=True)
class Epoch:
    """One epoch: its mean training loss, and what was measured on the validation part after it.

    `score` is what the best epoch is chosen by, higher is better.
    """

    number: int
    loss: float
    score: float
    measures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Lesson:
    """What is taught, and by what it is judged.

    Attributes
    ----------
    module : torch module
        Its parameters that require a gradient are learned; all else in it stays as it is.
    batches : callable
        Given a torch generator, returns the batches of an epoch, the same for the same state of the generator.
    loss : callable
        Given a batch, returns a tensor of shape ().
    validate : callable
        Returns the score of the validation part, higher is better, and further measures for the report.
    """

    module: torch.nn.Module
    batches: Callable[[torch.Generator], list[Any]]
    loss: Callable[[Any], torch.Tensor]
    validate: Callable[[], tuple[float, dict[str, float]]]


@dataclass(frozen=True)
class RunState:
    """Where the state of a run is kept between epochs.

    Attributes
    ----------
    file : Path
    settings : mapping
        All that decides the run, as JSON; a run with others cannot be resumed.
    is_resuming : bool
        Go on with the run of the file, if there is one.
    """

    file: Path
    settings: Mapping[str, Any]
    is_resuming: bool

    @property
    def digest(self) -> str:
        """Hex sha256 of the settings."""
        return sha256(json.dumps(self.settings, sort_keys=True).encode()).hexdigest()


def arrays_digest(*arrays: np.ndarray[Any, Any]) -> str:
    """Return the hex sha256 of the numbers that a run learns from, for the settings of its state."""
    digest = sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def fit(
    lesson: Lesson,
    schedule: Schedule,
    *,
    state: RunState | None = None,
    on_epoch: Callable[[int, int], None] = lambda done, total: None,
) -> list[Epoch]:
    """Train a module, and leave it with the weights of its best epoch, ready for use.

    Parameters
    ----------
    lesson : Lesson
        Its module is changed in place.
    schedule : Schedule
        As long as it lasts.
    state : RunState or None
        Where the state is kept; None keeps none.
    on_epoch : callable
        Given (epochs done, epochs at most), also when a run goes on; the same twice once an early stop ended it.

    Returns
    -------
    list of Epoch
        All that were trained, in order.

    Raises
    ------
    TrainingError
        If the loss is not finite, or the state is of another run.
    StorageError
        If the state cannot be written.

    Notes
    -----
    The threads are counted, by default to one, so that the sums are the same whatever machine there is: the same
    seed gives the same weights, and so does a run that was killed and resumed. On a GPU they may differ in their
    last digits.
    """
    with _deterministic(schedule):
        run = _Run(lesson, schedule)
        if state is not None:
            run.restore(state)
            if run.history and run.is_going_on():
                on_epoch(len(run.history), schedule.epochs)
        while run.is_going_on():
            run.train_epoch()
            on_epoch(len(run.history), schedule.epochs)
            if state is not None:
                run.save(state)
        if len(run.history) < schedule.epochs:
            on_epoch(len(run.history), len(run.history))  # it is over early
        set_weights(lesson.module, run.best)
        lesson.module.eval()
        return run.history


@contextmanager
def _deterministic(schedule: Schedule) -> Iterator[None]:
    """Train on so many threads, from a seed, and leave torch's own generator and threads as they were."""
    import torch

    n_threads = torch.get_num_threads()
    with torch.random.fork_rng():
        torch.manual_seed(schedule.seed)
        torch.set_num_threads(schedule.n_threads)
        try:
            yield
        finally:
            torch.set_num_threads(n_threads)


class _Run:
    """A run of training: weights, optimizer, generators and what was measured so far."""

    def __init__(self, lesson: Lesson, schedule: Schedule) -> None:
        import torch

        self.lesson, self.schedule = lesson, schedule
        self.optimizer = torch.optim.AdamW(
            _groups(lesson.module, schedule), lr=schedule.rate, weight_decay=schedule.weight_decay
        )
        self.order = torch.Generator().manual_seed(schedule.seed)
        self.history: list[Epoch] = []
        self.best: dict[str, torch.Tensor] = copied_weights(lesson.module)
        self.n_steps = 0

    def is_going_on(self) -> bool:
        """Return whether there is another epoch."""
        n_since_best = len(self.history) - 1 - self._best_epoch()
        return len(self.history) < self.schedule.epochs and n_since_best < self.schedule.patience

    def train_epoch(self) -> None:
        """Go through the training part once, and measure the validation part."""
        import torch

        batches = self.lesson.batches(self.order)
        total = (self.schedule.planned or self.schedule.epochs) * len(batches)
        self.lesson.module.train()
        losses = []
        for batch in batches:
            for group in self.optimizer.param_groups:
                group["lr"] = self.schedule.rate * _share_of_rate(self.n_steps, total)
            loss = self.lesson.loss(batch)
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            losses.append(float(loss.detach()))
            self.n_steps += 1
            if not math.isfinite(losses[-1]):
                raise TrainingError(
                    f"the loss is {losses[-1]} in epoch {len(self.history) + 1}; try a lower --rate"
                )
        self.lesson.module.eval()
        with torch.inference_mode():
            score, measures = self.lesson.validate()
        self.history.append(Epoch(len(self.history) + 1, sum(losses) / len(losses), score, measures))
        if self._best_epoch() == len(self.history) - 1:
            for name, weight in learned_weights(self.lesson.module).items():
                self.best[name].copy_(weight.detach())  # without a second copy, as models are large

    def save(self, state: RunState) -> None:
        """Write all that the next epoch depends on."""
        import torch

        whole = {
            _FINGERPRINT: state.digest,
            "module": {name: weight.detach() for name, weight in learned_weights(self.lesson.module).items()},
            "best": self.best,
            "optimizer": self.optimizer.state_dict(),
            "order": self.order.get_state(),
            "dropout": torch.get_rng_state(),
            "history": [vars(epoch) for epoch in self.history],
            "n_steps": self.n_steps,
        }
        with write_errors(state.file), replacing(state.file) as handle:
            try:
                with os.fdopen(handle, "wb", closefd=False) as file:
                    torch.save(whole, file)
            except RuntimeError as error:  # torch's own, about the file that was left unfinished
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from None
                raise

    def restore(self, state: RunState) -> None:
        """Go on where a killed run was, if one is to be resumed and has a state."""
        import torch

        if not state.is_resuming:
            return
        try:
            file = state.file.open("rb")
        except FileNotFoundError:
            return
        except OSError as error:
            raise TrainingError(f"{state.file} cannot be read ({reason(error)}); leave --resume out") from error
        with file:
            whole = _read_state(state.file, file)
        if whole[_FINGERPRINT] != state.digest:
            raise TrainingError(
                f"{state.file} is of a run with another base, other pictures or settings; leave --resume out to "
                "begin anew, or give the options of that run"
            )
        set_weights(self.lesson.module, whole["module"])
        self.best = whole["best"]
        self.optimizer.load_state_dict(whole["optimizer"])
        self.order.set_state(whole["order"])
        torch.set_rng_state(whole["dropout"])
        self.history = [Epoch(**epoch) for epoch in whole["history"]]
        self.n_steps = whole["n_steps"]

    def _best_epoch(self) -> int:
        """Return the position of the best epoch, the first of equal ones; -1 before there is one."""
        scores = [epoch.score for epoch in self.history]
        return scores.index(max(scores)) if scores else -1


def _read_state(path: Path, file: BinaryIO) -> dict[str, Any]:
    import torch

    try:
        whole: dict[str, Any] = torch.load(file, weights_only=True, map_location="cpu")
        return {_FINGERPRINT: whole[_FINGERPRINT], **whole}
    except Exception as error:  # whatever the unpickler finds in a damaged file
        raise TrainingError(f"{path} is damaged ({type(error).__name__}); leave --resume out") from error


def _share_of_rate(step: int, n_steps: int) -> float:
    """Return the share of the highest rate at a step: a linear warm-up, times half a cosine.

    >>> [round(_share_of_rate(step, 100), 3) for step in (0, 4, 50, 99)]
    [0.2, 0.996, 0.5, 0.0]
    """
    warm_up = min(1.0, (step + 1) / max(1.0, _WARM_UP * n_steps))
    return warm_up * 0.5 * (1 + math.cos(math.pi * step / n_steps))


def learned_weights(module: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """Return the parameters that are learned, by name."""
    return {name: weight for name, weight in module.named_parameters() if weight.requires_grad}


def copied_weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return copies of the parameters that are learned, in the memory of the CPU."""
    import torch

    return {
        name: torch.empty_like(weight, device="cpu", requires_grad=False).copy_(weight.detach())
        for name, weight in learned_weights(module).items()
    }


def set_weights(module: torch.nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Give the parameters that are learned these values, by name."""
    import torch

    with torch.no_grad():
        for name, weight in learned_weights(module).items():
            weight.copy_(weights[name])


def _groups(module: torch.nn.Module, schedule: Schedule) -> list[dict[str, Any]]:
    """Return what is learned for the optimizer, apart by whether it decays."""
    learned = list(learned_weights(module).values())
    if schedule.decays_all:
        return [{"params": learned}]
    return [
        {"params": [weight for weight in learned if weight.ndim > 1]},
        {"params": [weight for weight in learned if weight.ndim < 2], "weight_decay": 0.0},
    ]
