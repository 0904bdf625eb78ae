"""How far a run that may take minutes is: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event, Thread
from types import TracebackType
from typing import TYPE_CHECKING, Any

from mmsearch.cli.render import console, say

if TYPE_CHECKING:
    from rich.console import Console

_STAGES = {  # what a stage is called, and what it counts
    "": ("Working", ""),  # between two others, such as while a model is exported
    "scan": ("Scanning", "files"),
    "embed": ("Indexing", "pictures"),
    "films": ("Watching films", "seconds"),
    "annotate": ("Reading captions and tags", "pictures"),
    "sign": ("Reading pictures for copies", "pictures"),
    "parts": ("Looking at parts", "pictures"),
    "faces": ("Looking for faces", "pictures"),
    "people": ("Grouping faces", "groups"),
    "captions": ("Embedding captions", "pictures"),
    "sounds": ("Listening", "files"),
    "vocabulary": ("Learning visual words", "rounds"),
    "words": ("Looking for visual words", "pictures"),
    "texts": ("Embedding texts", "texts"),
    "load": ("Loading", "pictures"),
    "export": ("Exporting", "pictures"),
    "backup": ("Writing the backup", "MiB"),
    "restore": ("Reading the backup", "MiB"),
    "shards": ("Embedding", "pictures"),
    "labels": ("Labelling", "pictures"),
    "graph": ("Building the index", "vectors"),
    "calibrate": ("Calibrating", ""),
    "measure": ("Measuring", "settings"),
    "search": ("Searching", "queries"),
    "train": ("Training", "epochs"),
    "steps": ("Training", "steps"),
    "copies": ("Looking for copies", "pictures"),
    "compare": ("Comparing pictures", "comparisons"),
    "align": ("Laying pictures on each other", "pairs"),
    "warps": ("Warping", "pictures"),
    "verify": ("Verifying", "pictures"),
    "folds": ("Training", "parts"),
}
_FIRST_SECONDS = 5.0  # of a stage that nothing is said about: most runs are over by then
_EVERY_SECONDS = 10.0
_EVERY_AT_MOST = 60.0  # in long runs a line a tenth of the time so far, up to this


def run_progress() -> ProgressBar | ProgressLines:
    """Return what shows progress on standard error: a context manager to be called with (stage, done, total)."""
    out = console(is_talk=True)
    return ProgressBar(out) if out.is_interactive else ProgressLines()


class ProgressBar:
    """A bar for each stage: done, rate, time left."""

    def __init__(self, out: Console) -> None:
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

        class Rate(ProgressColumn):
            def render(self, task: Task) -> Text:
                return Text(f"{task.speed:.0f}/s" if task.speed else "")

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            Rate(),
            TimeRemainingColumn(),
            console=out,
            transient=True,
        )
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> ProgressBar:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show a stage at `done` of `total`; a total of 0 is not known yet."""
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(_STAGES[stage][0], total=None)
        self._progress.update(self._tasks[stage], completed=done, total=total or None)


class ProgressLines:
    """A line some seconds after a stage began, and then now and then, also while nothing is done.

    Parameters
    ----------
    said : callable
        Given each line.
    clock : callable
        Gives seconds.
    """

    def __init__(self, said: Callable[[str], None] = say, clock: Callable[[], float] = time.monotonic) -> None:
        self._said, self._clock = said, clock
        self._started = clock()
        self._due = self._started + _FIRST_SECONDS
        self._state = ("", self._started, 0, 0)  # a stage, since when, done and total: for the thread in one piece
        self._ended = Event()
        self._thread = Thread(target=self._watch, daemon=True)

    def __enter__(self) -> ProgressLines:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Take note that a stage is at `done` of `total`; a total of 0 is not known yet."""
        if total and done >= total:
            stage, done, total = "", 0, 0
        stage_before, since, done_before, _ = self._state
        if stage != stage_before or done < done_before:
            since = self._clock()
            self._due = min(self._due, since + _FIRST_SECONDS)
        self._state = stage, since, done, total

    def look(self) -> None:
        """Say how far the run is, if it is time to."""
        stage, since, done, total = self._state  # before the time: what begins meanwhile is told in the next line
        now = self._clock()
        if now < self._due:
            return
        self._said(progress_line(stage, done, total, now - since))
        pause = min(max(_EVERY_SECONDS, (now - self._started) / 10), _EVERY_AT_MOST)
        self._due = now + pause

    def _watch(self) -> None:
        while not self._ended.wait(1.0):
            self.look()


def progress_line(stage: str, done: int, total: int, seconds: float) -> str:
    """Return how far a stage is after some seconds.

    >>> progress_line("embed", 1200, 10_000, 30.0)
    'Indexing: 1,200 of 10,000 pictures, 40 a second, about 4 min left'
    >>> progress_line("scan", 3000, 0, 6.0)
    'Scanning: 3,000 files, 500 a second'
    >>> progress_line("calibrate", 0, 1, 75.0)
    'Calibrating: 1 min so far'
    """
    name, unit = _STAGES[stage]
    if not (done and unit):
        return f"{name}: {_duration(seconds)} so far"
    rate = done / seconds
    of = f" of {total:,}" if total else ""
    left = f", about {_duration((total - done) / rate)} left" if total else ""
    return f"{name}: {done:,}{of} {unit}, {rate:.{0 if rate >= 10 else 1}f} a second{left}"


def _duration(seconds: float) -> str:
    """Return a time for people, in its largest unit or two.

    >>> _duration(42.4), _duration(130), _duration(7500)
    ('42 s', '2 min', '2 h 5 min')
    """
    minutes = round(seconds / 60)
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
