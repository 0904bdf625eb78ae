"""A pool of embedding workers, one process a core, that outlives whatever a picture does to a worker.

One queue of batches; every worker has one batch in hand and one waiting in its pipe, so it never idles.
A worker that dies or stops answering is replaced: the file it was at is tried once more alone and then
given up as `quarantined`, the rest of its batches go back to the queue.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from mmsearch.errors import EncoderError
from mmsearch.payload import BYTES_A_FEATURE, Packed
from mmsearch.records import Matrix
from mmsearch.system import n_cores
from mmsearch.worker import Job

BATCH = 8  # pictures a batch; more brings nothing on a CPU
MAX_TRIES = 2


# glibc gives large blocks back to the system at once and gets them again, page by page, for the next picture: that
# was two fifths of the time of local features. 32 MB is the most that it takes for the first.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(1 << 25), "MALLOC_TRIM_THRESHOLD_": str(1 << 27),
}  # fmt: skip


@dataclass(frozen=True)
class Embedded:
    """What a worker says of one file: `facts` of `embed_files`, and what was made of it.

    `vector` (dim,) and `local` are None where they were not asked for or could not be had.
    """

    path: bytes
    facts: dict[str, Any]
    vector: Matrix | None
    local: Packed | None = None


@dataclass
class _Batch:
    paths: list[bytes]
    tries: int = 0
    is_plain: bool = False  # without local features, as they may be what ended the worker


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    in_flight: deque[_Batch] = field(default_factory=deque)
    at: int | None = None
    is_ready: bool = False
    heard: float = field(default_factory=time.monotonic)
    buffer: bytearray = field(default_factory=bytearray)


class WorkerPool:
    """Embeds files in worker processes; use as a context manager.

    Parameters
    ----------
    command : sequence of str
        Program that speaks the protocol of `mmsearch.worker`.
    n_workers : int or None
        Default: one for each core this process may use.
    file_timeout_s : float
        A file that keeps a worker longer is given up.
    tower_timeout_s : float
        The same for loading the encoder and for one run of the image tower.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        n_workers: int | None = None,
        file_timeout_s: float = 10.0,
        tower_timeout_s: float = 120.0,
    ) -> None:
        self._command = list(command)
        self._n_workers = n_workers or n_cores()
        self._file_timeout_s = file_timeout_s
        self._tower_timeout_s = tower_timeout_s
        self._queue: deque[_Batch] = deque()
        self._source: Iterator[bytes] = iter(())
        self._job: Callable[[], Job] = Job
        self._workers: list[_Worker] = []
        self._selector = selectors.DefaultSelector()
        self._talk = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        self._n_failed_starts = 0

    @classmethod
    def for_encoder(cls, folder: Path | None, *, max_megapixels: float = 64.0, **options: Any) -> WorkerPool:
        """Return a pool whose workers run the exported encoder in `folder`; None for jobs that do not embed."""
        command = [sys.executable, "-m", "mmsearch.worker", str(folder or ""), str(max_megapixels)]
        return cls(command, **options)

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.process.kill()
            self._release(worker)
        self._workers.clear()
        self._selector.close()
        self._talk.close()

    def run(self, paths: Iterable[bytes], *, job: Callable[[], Job] = Job) -> Iterator[list[Embedded]]:
        """Yield the outcomes of all files, batch by batch as workers finish; every file comes once.

        Parameters
        ----------
        paths : iterable of bytes
            Files.
        job : callable
            Asked before each batch what is wanted of it. A file that ended its worker is tried again without
            local features, if its vector is wanted.

        Raises
        ------
        EncoderError
            If the workers cannot be started, or cannot load the encoder.
        """
        self._source, self._job = iter(paths), job
        while True:
            self._feed()
            if not any(worker.in_flight for worker in self._workers):
                return
            for key, _ in self._selector.select(timeout=0.5):
                for outcomes in self._hear(key.data):
                    given = time.monotonic()
                    yield outcomes
                    self._forgive(time.monotonic() - given)
            for worker in list(self._workers):
                if worker.in_flight and time.monotonic() - worker.heard > self._patience(worker):
                    worker.process.kill()
                    yield from self._bury(worker, "took longer than the time limit")

    def _forgive(self, seconds: float) -> None:
        """Do not hold against the workers that nobody listened to them."""
        for worker in self._workers:
            worker.heard += seconds

    # -- giving work ---------------------------------------------------------------------------------

    def _next_batch(self) -> _Batch | None:
        if self._queue:
            return self._queue.popleft()
        paths = list(islice(self._source, BATCH))
        return _Batch(paths) if paths else None

    def _feed(self) -> None:
        for depth in (1, 2):
            for worker in self._workers:
                while len(worker.in_flight) < depth and (batch := self._next_batch()) is not None:
                    self._give(worker, batch)
        while len(self._workers) < self._n_workers and (batch := self._next_batch()) is not None:
            worker = self._start()
            self._give(worker, batch)

    def _start(self) -> _Worker:
        environment = os.environ | _ENVIRONMENT
        process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._talk,
            env=environment,
            process_group=0,  # Ctrl-C is for the parent, which ends its workers by closing their input
        )
        worker = _Worker(process)
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        self._selector.register(process.stdout, selectors.EVENT_READ, worker)
        self._workers.append(worker)
        return worker

    def _give(self, worker: _Worker, batch: _Batch) -> None:
        if not worker.in_flight:
            worker.heard = time.monotonic()
        worker.in_flight.append(batch)
        job = self._job()
        request = {
            "paths": [os.fsdecode(path) for path in batch.paths],
            "embeds": job.embeds,
            "local": "off" if batch.is_plain and job.embeds else job.local,
        }
        assert worker.process.stdin is not None
        with suppress(BrokenPipeError):  # it died; its output ends and the batch goes to another
            worker.process.stdin.write(json.dumps(request).encode() + b"\n")
            worker.process.stdin.flush()

    # -- hearing answers -----------------------------------------------------------------------------

    def _hear(self, worker: _Worker) -> Iterator[list[Embedded]]:
        assert worker.process.stdout is not None
        data = os.read(worker.process.stdout.fileno(), 1 << 20)
        if not data:
            worker.process.wait()
            yield from self._bury(worker, f"ended the worker ({_how_it_ended(worker.process.returncode)})")
            return
        worker.heard = time.monotonic()
        worker.buffer += data
        while (message := _take_message(worker.buffer)) is not None:
            facts, payload = message
            if "results" in facts:
                yield self._finish(worker, facts["results"], payload)
            elif "at" in facts:
                worker.at = facts["at"]
            else:
                worker.is_ready = True
                self._n_failed_starts = 0

    def _finish(self, worker: _Worker, results: list[dict[str, Any]], payload: bytes) -> list[Embedded]:
        batch = worker.in_flight.popleft()
        worker.at = None
        n_local = sum(_n_bytes(facts) for facts in results)
        vectors = iter(_rows(payload[: len(payload) - n_local], sum("code" not in facts for facts in results)))
        outcomes, at = [], len(payload) - n_local
        for path, facts in zip(batch.paths, results, strict=True):
            end = at + _n_bytes(facts)
            local = Packed(**facts["local"], data=payload[at:end]) if "local" in facts else None
            outcomes.append(Embedded(path, facts, None if "code" in facts else next(vectors, None), local))
            at = end
        return outcomes

    def _patience(self, worker: _Worker) -> float:
        at_file = worker.is_ready and worker.at is not None
        return self._file_timeout_s if at_file else self._tower_timeout_s

    # -- replacing a worker --------------------------------------------------------------------------

    def _bury(self, worker: _Worker, reason: str) -> Iterator[list[Embedded]]:
        """Put a dead worker's files back, except one that has now been tried often enough."""
        self._workers.remove(worker)
        self._release(worker)
        if not worker.is_ready:
            self._n_failed_starts += 1
            if self._n_failed_starts >= MAX_TRIES:
                raise EncoderError(f"no worker could be started: {self._last_words()}")
            self._queue.extendleft(reversed(worker.in_flight))
            return
        running, *waiting = worker.in_flight or [None]
        self._queue.extendleft(batch for batch in reversed(waiting) if batch is not None)
        if running is None:
            return
        suspects = running.paths if worker.at is None else [running.paths[worker.at]]
        innocent = [path for path in running.paths if path not in suspects]
        if innocent:
            self._queue.appendleft(_Batch(innocent, running.tries, running.is_plain))
        for path in suspects:
            tries = running.tries + 1 if len(running.paths) == 1 else 1
            if tries >= MAX_TRIES:
                message = f"reading this picture {reason}, {tries} times; it is left out until it changes"
                yield [Embedded(path, {"code": "quarantined", "message": message}, None)]
            else:
                self._queue.append(_Batch([path], tries, is_plain=True))

    def _release(self, worker: _Worker) -> None:
        assert worker.process.stdout is not None
        assert worker.process.stdin is not None
        self._selector.unregister(worker.process.stdout)
        worker.process.stdout.close()
        with suppress(BrokenPipeError):
            worker.process.stdin.close()
        worker.process.wait()

    def _last_words(self) -> str:
        self._talk.seek(0)
        lines = self._talk.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "the worker ended without a word"


def _take_message(buffer: bytearray) -> tuple[dict[str, Any], bytes] | None:
    """Take the first whole message off the buffer, or return None if more bytes must come."""
    end = buffer.find(b"\n")
    if end < 0:
        return None
    facts: dict[str, Any] = json.loads(bytes(buffer[:end]))
    last = end + 1 + facts.get("bytes", 0)
    if len(buffer) < last:
        return None
    payload = bytes(buffer[end + 1 : last])
    del buffer[:last]
    return facts, payload


def _n_bytes(facts: dict[str, Any]) -> int:
    """Return how many bytes of a payload are the local features of one file."""
    local = facts.get("local")
    return BYTES_A_FEATURE[local["kind"]] * int(local["n"]) if local else 0


def _rows(data: bytes, n: int) -> Matrix | tuple[()]:
    """Return vectors (n, dim), or nothing if none were asked for."""
    return np.frombuffer(data, dtype=np.float32).reshape(n, -1) if data else ()


def _how_it_ended(code: int | None) -> str:
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
