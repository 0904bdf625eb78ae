"""MEMORY: what a step of a training needs, measured on a few pictures, against what there is; before it begins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmsearch.errors import TrainingError
from mmsearch.system import available_memory

if TYPE_CHECKING:
    import torch

_COPIES = 6  # of what is learned: gradient, both moments of AdamW, the best epoch, the base, and one in passing
_PASSING = 1.5  # beside what a forward pass kept, for a moment of the backward pass; within 5 % for ViT-B-32
_FEW = (2, 4)  # pictures of a step that is measured
_MIN_BATCH = 2


@dataclass(frozen=True)
class StepMemory:
    """The bytes that a step of a training needs: `fixed` ones, and as many `per_picture` of its batch."""

    fixed: int
    per_picture: int

    def of(self, batch: int) -> int:
        """Return the bytes of a step with so many pictures."""
        return self.fixed + batch * self.per_picture

    def require(self, batch: int, available: int | None, *, advice: str) -> None:
        """Refuse a training whose steps would not fit, and say what would.

        Parameters
        ----------
        batch : int
            Pictures of a step.
        available : int or None
            Bytes; None where nobody says, and nothing is refused.
        advice : str
            What else helps, after a smaller batch.

        Raises
        ------
        TrainingError
            If a step needs more than is available.
        """
        if available is None or self.of(batch) <= available:
            return
        most = (available - self.fixed) // max(1, self.per_picture)
        fits = f"--batch {most} fits" if most >= _MIN_BATCH else f"not even --batch {_MIN_BATCH} fits"
        raise TrainingError(
            f"a step with {batch} pictures needs about {_gigabytes(self.of(batch))} of memory, "
            f"{_gigabytes(available)} are available: {fits}; {advice}"
        )


def step_memory(module: torch.nn.Module, loss: Callable[[int], torch.Tensor], *, kept: int = 0) -> StepMemory:
    """Return what a step of AdamW needs beside the weights, which are in memory.

    Parameters
    ----------
    module : torch module
        Its parameters that require a gradient are learned.
    loss : callable
        Given a number of pictures, returns the loss of a batch of them.
    kept : int
        Bytes that a training keeps besides, such as decoded pictures.

    Notes
    -----
    What a forward pass keeps for the backward one is counted, of two pictures and of four; it grows with the batch.
    """
    learned = sum(weight.nbytes for weight in module.parameters() if weight.requires_grad)
    weights = {weight.untyped_storage().data_ptr() for weight in module.parameters()}
    few, more = (_kept_for_backward(lambda n=n: loss(n), weights) for n in _FEW)  # type: ignore[misc]
    per_picture = max(0, more - few) / (_FEW[1] - _FEW[0])
    constant = max(0.0, few - _FEW[0] * per_picture)
    return StepMemory(_COPIES * learned + kept + round(constant), round(_PASSING * per_picture))


def memory_of(device: torch.device) -> int | None:
    """Return the bytes that are available on a device, or None where the system does not say."""
    import torch

    return int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else available_memory()


def _kept_for_backward(loss: Callable[[], torch.Tensor], weights: set[int]) -> int:
    from torch.autograd.graph import saved_tensors_hooks

    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        value = loss()  # while it is there, nothing of what was kept is freed
        total = sum(kept.values())
        del value
    return total


def _gigabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB"
