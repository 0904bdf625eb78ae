"""ASKED: a process apart that answers one question at a time, and what becomes of one that it ends over."""

from __future__ import annotations

import os
import selectors
import subprocess
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from mmsearch.errors import EncoderError
from mmsearch.processes.process import Ending, WorkerProcess, command_of, not_started

Request = TypeVar("Request", bound=Mapping[str, object])
Answer = TypeVar("Answer", bound=Mapping[str, object])
_LOOK_S = 0.05  # between two looks at whether the answer is still wanted, and at the time it takes
_MAX_KILLS = 2  # from outside, for which a question is less to blame


class AskedProcess(ABC, Generic[Request, Answer]):
    """A process that is started when first needed, and asked by one thread.

    Parameters
    ----------
    check : callable
        Called again and again while an answer is waited for; what it raises ends that.
    """

    program: ClassVar[str]
    """The module of the package that answers."""
    task: ClassVar[str]
    """What it does, as the end of a sentence."""

    def __init__(self, check: Callable[[], None] = lambda: None) -> None:
        self._check = check
        self._process: WorkerProcess[Request, Any] | None = None
        self._finalizer: weakref.finalize[Any, Any] | None = None
        self._on_the_way: Mapping[str, object] = {}  # what it said last of how far it is

    def start(self) -> None:
        """Start the process, unless it runs; whoever has something else to do meanwhile does it then."""
        self._running()

    def close(self) -> None:
        """End the process; the next question starts another."""
        if self._finalizer is not None:
            self._finalizer()
        self._process = self._finalizer = None

    @abstractmethod
    def _require_in_time(self, computed_s: float, silent_s: float) -> None:
        """Raise if an answer takes too long: so long it computes on it, and so long it has said nothing."""

    def _ask(self, request: Request, data: bytes = b"") -> tuple[Answer, bytes] | Ending:
        """Return the answer, or how the process ended; one that was killed from outside gets it again."""
        n_kills = 0
        while True:
            try:
                answer = self._exchange(request, data)
            except BaseException:
                self.close()
                raise
            n_kills += 1
            if not isinstance(answer, Ending) or answer.code != "killed" or n_kills == _MAX_KILLS:
                return answer

    def _exchange(self, request: Request, data: bytes) -> tuple[Answer, bytes] | Ending:
        """Return the answer to one request, or how the process ended over it."""
        worker, self._on_the_way = self._running(), {}
        worker.ask(request, data)
        worker.arrives_at(0)
        with selectors.DefaultSelector() as selector:
            selector.register(worker.answers, selectors.EVENT_READ)
            selector.register(worker.requests, selectors.EVENT_WRITE)
            while True:
                for key, _ in selector.select(timeout=_LOOK_S):
                    if key.fileobj is worker.requests:
                        worker.write()
                        continue
                    messages = worker.read()
                    if messages is None:
                        return self._ended(worker)
                    for facts, values in messages:
                        if "at" in facts or "looking" in facts:  # it is further, and has its time anew
                            self._on_the_way = facts
                            worker.arrives_at(facts.get("at", 0))
                        elif "ready" not in facts:
                            return facts, values
                        worker.is_ready = True
                if not worker.is_owed and worker.requests in selector.get_map():
                    selector.unregister(worker.requests)
                self._check()
                self._require_in_time(worker.computed_s(), worker.silent_s())

    def _running(self) -> WorkerProcess[Request, Any]:
        """Return the process, started anew if there is none: the thread that started it may have ended."""
        if self._process is None or self._process.has_ended():
            self.close()
            try:
                self._process = WorkerProcess(command_of(self.program), cwd=Path(os.sep), talk=subprocess.DEVNULL)
            except OSError as error:
                raise not_started(error) from error
            self._finalizer = weakref.finalize(self, _kill, self._process)
        return self._process

    def _ended(self, worker: WorkerProcess[Request, Any]) -> Ending:
        ending = worker.end()
        self.close()
        if not worker.is_ready and ending.code != "killed":
            raise EncoderError(f"no worker could be started to {self.task}: it {ending.reason}")
        return ending


def _kill(worker: WorkerProcess[Any, Any]) -> None:
    worker.kill()
    worker.end()
