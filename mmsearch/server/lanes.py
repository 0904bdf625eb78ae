"""LANES: threads with a library each. The event loop never computes, and no search waits for another kind of work.

Queries by words that come while others are answered are answered together by the next scan: with 100,000 pictures
one scan for 32 texts takes little longer than for one.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, local
from typing import Any, TypeVar

from starlette.exceptions import HTTPException

from mmsearch.arguments import CPU, Device
from mmsearch.errors import MmsearchError
from mmsearch.library import Library
from mmsearch.query.encode import TEXTS_TOGETHER, n_texts_of
from mmsearch.records import Query, SearchOptions, SearchResult
from mmsearch.server.metrics import Metrics
from mmsearch.store.base import Place

T = TypeVar("T")
MAX_WAITING = 512


class Libraries:
    """Gives every thread a library object of its own over one place; the encoder is loaded once.

    A library that was deleted and made anew is opened again, with its own encoder.
    """

    def __init__(self, place: Place, *, cache: Path | None = None, device: Device = CPU) -> None:
        self.place, self._cache, self._device = place, cache, device
        self._lock, self._mine = Lock(), local()
        self._first: Library | None = None
        self._first_made: object = None
        self._opened: list[Library] = []

    def mine(self) -> Library:
        """Return the library object of this thread."""
        made = self.place.identity()
        if getattr(self._mine, "made", None) != made:
            with self._lock:
                self._release(getattr(self._mine, "library", None))
                self._mine.library = self._mine.made = None  # should there be none to open now
                self._mine.library = self._sibling(made)
            self._mine.made = made
        library: Library = self._mine.library
        return library

    def close(self) -> None:
        """Release all files; no thread may be at work."""
        for library in self._opened:
            library.close()

    def _sibling(self, made: object) -> Library:
        if self._first is None or self._first_made != made:
            self._release(self._first)
            self._first = Library(self.place, cache=self._cache, device=self._device)
            self._first_made = made
            self._opened.append(self._first)
        sibling = self._first.sibling()
        self._opened.append(sibling)
        return sibling

    def _release(self, library: Library | None) -> None:
        if library is not None:
            library.close()
            self._opened.remove(library)


class Unwanted(HTTPException):
    """Nobody waits for this work any more: the client left, or the server stops."""

    def __init__(self) -> None:
        super().__init__(503, "the server is being stopped")


@dataclass(eq=False)
class _Task:
    """Work in the line of a lane; None, so that it keeps nothing, when nobody waits for it any more."""

    work: Callable[[Library], Any] | None
    seconds: float


def _done(task: _Task, libraries: Libraries) -> Any:
    """Return what a task gives, done in this thread."""
    end = time.monotonic() + task.seconds

    def check() -> None:
        if task.work is None:
            raise Unwanted
        if time.monotonic() > end:
            raise HTTPException(503, f"this took longer than {task.seconds:g} s; ask for fewer pictures at once")

    library, work = libraries.mine(), task.work
    if work is None:
        raise Unwanted
    with library.interruptible(check), libraries.place.errors():
        return work(library)


class Lane:
    """A few threads for one kind of work, each of which may take some `seconds`.

    What is not waited for any more is given up at its next step.
    """

    def __init__(
        self, name: str, libraries: Libraries, metrics: Metrics, *, n_threads: int = 1, seconds: float = math.inf
    ) -> None:
        self._libraries, self._seconds = libraries, seconds
        self._pool = ThreadPoolExecutor(n_threads, thread_name_prefix=name)
        self._waiting = metrics.waiting.labels(name)
        self._n_waiting = 0
        self._tasks: set[_Task] = set()

    async def run(self, work: Callable[[Library], T]) -> T:
        """Return what work with a library gives, done in a thread of this lane.

        Raises
        ------
        HTTPException
            503 if too much is waiting already.
        """
        if self._n_waiting >= MAX_WAITING:
            raise busy()
        task = _Task(work, self._seconds)
        del work  # the traceback of a client that left would keep it, and the upload that it is about
        self._tasks.add(task)
        self._count(1)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, _done, task, self._libraries)
        finally:
            task.work = None
            self._tasks.discard(task)
            self._count(-1)

    def give_up(self) -> None:
        """Let what is being done end at its next step; who waits for it gets `Unwanted`."""
        for task in list(self._tasks):
            task.work = None

    def close(self) -> None:
        """Give up what is being done, and drop what waits."""
        self.give_up()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _count(self, change: int) -> None:
        self._n_waiting += change
        self._waiting.set(self._n_waiting)


@dataclass(frozen=True)
class _Asked:
    query: Query
    options: SearchOptions
    answer: asyncio.Future[SearchResult]


class TextLane:
    """Answers queries without example pictures, all that wait by one scan; used by the event loop alone."""

    def __init__(self, lane: Lane, metrics: Metrics) -> None:
        self._lane, self._metrics = lane, metrics
        self._asked: deque[_Asked] = deque()
        self._running: asyncio.Task[None] | None = None

    async def search(self, query: Query, options: SearchOptions) -> SearchResult:
        """Return the answer to one query; errors are those of `Library.search`."""
        if len(self._asked) >= MAX_WAITING:
            raise busy()
        answer: asyncio.Future[SearchResult] = asyncio.get_running_loop().create_future()
        self._asked.append(_Asked(query, options, answer))
        if self._running is None:
            self._running = asyncio.create_task(self._answer_all())
        return await answer

    async def _answer_all(self) -> None:
        try:
            while self._asked:
                await self._answer(self._batch())
        finally:
            self._running = None

    def _batch(self) -> list[_Asked]:
        """Take from the line what is answered next; whoever left needs no answer."""
        batch: list[_Asked] = []
        n_texts = 0
        while self._asked and n_texts < TEXTS_TOGETHER:
            asked = self._asked.popleft()
            if not asked.answer.done():
                batch.append(asked)
                n_texts += n_texts_of(asked.query)
        return batch

    async def _answer(self, batch: list[_Asked]) -> None:
        self._metrics.batches.observe(len(batch))
        try:
            answers: Sequence[SearchResult | Exception] = await self._lane.run(
                lambda library: _searched(library, batch)
            )
        except Exception as error:  # noqa: BLE001 - each of those who wait is told
            answers = [error] * len(batch)
        for asked, result in zip(batch, answers, strict=True):
            if asked.answer.done():
                continue
            if isinstance(result, SearchResult):
                asked.answer.set_result(result)
            else:
                asked.answer.set_exception(result)


def _searched(library: Library, batch: Sequence[_Asked]) -> list[SearchResult | MmsearchError]:
    """Return the answer to each query, or its error."""
    groups = defaultdict(list)
    for place, asked in enumerate(batch):
        groups[asked.options].append(place)
    answers: dict[int, SearchResult | MmsearchError] = {}
    for options, places in groups.items():
        answered = library.search_each([batch[place].query for place in places], options)
        answers |= dict(zip(places, answered, strict=True))
    return [answers[place] for place in range(len(batch))]


def busy() -> HTTPException:
    """Return the error of a server that has too much to do."""
    return HTTPException(503, "too many requests are waiting; try again in a moment", {"Retry-After": "1"})
