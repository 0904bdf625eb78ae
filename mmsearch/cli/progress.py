"""The progress bar of `index` and `bench`: pictures done, rate, time left."""

from __future__ import annotations

from types import TracebackType
from typing import Any

_WORDS = {
    "scan": "Scanning",
    "embed": "Indexing",
    "vocabulary": "Learning visual words",
    "words": "Looking for visual words",
    "texts": "Embedding texts",
    "graph": "Building the graph",
    "calibrate": "Calibrating",
    "measure": "Measuring",
    "search": "Searching",
}


class IndexProgress:
    """Shows the stages of a run on standard error while it is a terminal; use as a context manager."""

    def __init__(self) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            ProgressColumn,
            Task,
            TextColumn,
            TimeRemainingColumn,
        )
        from rich.text import Text

        from mmsearch.cli.render import console

        class Rate(ProgressColumn):
            def render(self, task: Task) -> Text:
                return Text(f"{task.speed:.0f}/s" if task.speed else "")

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            Rate(),
            TimeRemainingColumn(),
            console=console(is_talk=True),
            transient=True,
        )
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> IndexProgress:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show a stage at `done` of `total`; a total of 0 is not known yet."""
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(_WORDS[stage], total=None)
        self._progress.update(self._tasks[stage], completed=done, total=total or None)
