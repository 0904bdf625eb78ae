"""Where a training gets its encoders, and whom it tells how far it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mmsearch.evaluation.encode import SetEncoder
from mmsearch.store.base import OnProgress


@dataclass(frozen=True)
class Setting:
    """Where a training gets its encoders, and whom it tells how far it is."""

    cache: Path
    on_progress: OnProgress = lambda stage, done, total: None
    notify: Callable[[str], None] = lambda sentence: None

    def encoder(self, model: str) -> SetEncoder:
        """Return an encoder for sets; its vectors are kept in the cache."""
        return SetEncoder(model, cache=self.cache, on_progress=self.on_progress, notify=self.notify)

    def on_epoch(self, done: int, total: int) -> None:
        """Tell how many epochs are done, of at most how many."""
        self.on_progress("train", done, total)

    def on_step(self, done: int, total: int) -> None:
        """Tell how many steps are done, of at most how many."""
        self.on_progress("steps", done, total)
