"""A pool of embedding workers, one process a core, that outlives whatever happens to a worker.

One queue of batches; every worker has one batch in hand and one waiting in its pipe, so it never idles. A worker
that dies or stops answering is replaced, and the rest of its batches go back to the queue. The file it was at is
tried again alone and then given up: as `quarantined` if it crashed the worker, as `timeout`, `out_of_memory` or
`killed` (from outside) if the fault may lie elsewhere.
"""

from __future__ import annotations

import os
import selectors
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from mmsearch.errors import EncoderError
from mmsearch.ingest.worker import Answer, BatchRequest, FileFacts, Job
from mmsearch.local.packing import Packed
from mmsearch.processes.process import Batch, Ending, WorkerProcess, command_of, not_started
from mmsearch.records import MAX_MEGAPIXELS, Matrix, Pixels
from mmsearch.system import n_cores

BATCH = 8  # pictures a batch; more brings nothing on a CPU
_BATCH_OF_PARTS = 2  # the same of pictures whose windows are looked at, too
_LONGER = 4  # times as long as without parts may a run of the tower take then
_LONGER_WITH_FACES = 6  # times as long as without may a picture take: 200 faces are described in 26 s
_BATCH_BYTES = 1 << 25  # of pictures whose bytes go along: a batch that has so many is full
MAX_TRIES = 2
MAX_KILLS = 3
_MAX_KILLED_STARTS = 10
_LOOK_S = 0.5  # between two looks at the time that workers take
_PAUSE_S = 0.2  # after a worker was killed while it started: what did it may pass

_Worker: TypeAlias = WorkerProcess[BatchRequest, Answer]


class Loose(NamedTuple):
    """A picture that is no file of its own: what it is called, and the bytes that a file of it would have.

    `content_hash` is what tells its contents where that is not the sha256 of these bytes. One that `is_look` gets
    its vector alone, whatever else is wanted of others.
    """

    path: bytes
    contents: bytes
    content_hash: bytes | None = None
    is_look: bool = False


@dataclass(frozen=True)
class Embedded:
    """What a worker says of one file: `facts` of `embed_files`, and what was made of it.

    `vector` (dim,) and `local` are None where they were not asked for or could not be had. `pixels`, of the shape
    that the tower takes, are there where another process than the worker makes the vector of them.
    """

    path: bytes
    facts: FileFacts
    vector: Matrix | None
    local: Packed | None = None
    pixels: Pixels | None = None


class WorkerPool:
    """Embeds files in worker processes; use as a context manager, within one thread: workers end with it.

    Parameters
    ----------
    command : sequence of str
        Program that speaks the protocol of `mmsearch.ingest.worker`; the id of this process is its last argument.
    cwd : Path
        Folder that workers stand in: not where the user is, among pictures.
    n_workers : int or None
        Default: one for each core this process may use.
    cpu_timeout_s : float
        A file on which a worker computes longer is given up.
    file_timeout_s : float
        The same by the clock, for a worker that is stopped, or waits for a disk for ever.
    tower_timeout_s : float
        By the clock, for loading the encoder and for one run of the image tower.

    Raises
    ------
    EncoderError
        If the system is short of open files or space.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        cwd: Path,
        n_workers: int | None = None,
        cpu_timeout_s: float = 10.0,
        file_timeout_s: float = 60.0,
        tower_timeout_s: float = 120.0,
    ) -> None:
        self._command, self._cwd = list(command), cwd.absolute()
        self._n_workers = n_workers or n_cores()
        self._cpu_timeout_s, self._file_timeout_s = cpu_timeout_s, file_timeout_s
        self._tower_timeout_s = tower_timeout_s
        self._queue: deque[Batch] = deque()
        self._source: Iterator[bytes | Loose] = iter(())
        self._held: bytes | Loose | None = None  # the first of the next batch
        self._job: Callable[[], Job] = Job
        self._most_parts, self._has_faces = 0, False  # what the last batch was asked for
        self._workers: list[_Worker] = []
        self._looked = time.monotonic()
        self._n_failed_starts = self._n_killed_starts = 0
        try:
            self._selector = selectors.DefaultSelector()
            # Elsewhere the current folder is the last resort of `tempfile`.
            self._talk = tempfile.TemporaryFile(dir=self._cwd)  # noqa: SIM115 - closed in __exit__
        except OSError as error:
            raise not_started(error) from error

    @classmethod
    def for_encoder(
        cls, folder: Path | None, *, cwd: Path, max_megapixels: float = MAX_MEGAPIXELS, **options: Any
    ) -> WorkerPool:
        """Return a pool whose workers run the exported encoder in `folder`; None for jobs that do not embed."""
        encoder = str(folder.absolute()) if folder else ""
        return cls(command_of("ingest.worker", encoder, str(max_megapixels)), cwd=cwd, **options)

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.kill()
        for worker in list(self._workers):
            self._release(worker)
        self._selector.close()
        self._talk.close()

    def run(self, paths: Iterable[bytes | Loose], *, job: Callable[[], Job] = Job) -> Iterator[list[Embedded]]:
        """Yield the outcomes of all files, batch by batch as workers finish; every file comes once.

        Parameters
        ----------
        paths : iterable of bytes or Loose
            Files, and pictures whose bytes go to the workers with their names. It is asked for more when a worker
            has nothing to do, so that few of them are in memory at a time.
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
            for outcomes in self._listen():
                with self._away():
                    yield outcomes

    @contextmanager
    def _away(self) -> Iterator[None]:
        """Do not hold it against the workers that nobody listens meanwhile."""
        left = time.monotonic()
        yield
        for worker in self._workers:
            worker.heard += time.monotonic() - left

    def _listen(self) -> Iterator[list[Embedded]]:
        """Wait a moment for what workers have to say, and replace those that ended or take too long."""
        for key, _ in self._selector.select(timeout=_LOOK_S):
            worker: _Worker = key.data
            if worker not in self._workers:
                continue  # buried a moment ago
            if key.fileobj is worker.requests:
                self._send(worker)
            else:
                yield from self._hear(worker)
        if time.monotonic() - self._looked >= _LOOK_S:
            for worker in list(self._workers):
                yield from self._look_at(worker)
            self._looked = time.monotonic()

    # -- giving work ---------------------------------------------------------------------------------

    def _next_batch(self) -> Batch | None:
        if self._queue:
            return self._queue.popleft()
        batch, n_bytes = Batch([]), 0
        with self._away():
            while not self._is_full(batch, n_bytes):
                item, self._held = self._held or next(self._source, None), None
                if item is None:
                    break
                is_look = isinstance(item, Loose) and item.is_look
                if batch.paths and is_look != batch.is_look:
                    self._held = item
                    break
                batch.is_look = is_look
                if isinstance(item, Loose):
                    batch.contents[item.path] = item.contents
                    if item.content_hash is not None:
                        batch.hashes[item.path] = item.content_hash.hex()
                    n_bytes += len(item.contents)
                batch.paths.append(item.path if isinstance(item, Loose) else item)
        return batch if batch.paths else None

    def _is_full(self, batch: Batch, n_bytes: int) -> bool:
        most = _BATCH_OF_PARTS if self._most_parts and not batch.is_look else BATCH
        return len(batch.paths) >= most or n_bytes >= _BATCH_BYTES

    def _feed(self) -> None:
        for depth in (1, 2):
            for worker in self._workers:
                while len(worker.in_flight) < depth and (batch := self._next_batch()) is not None:
                    self._give(worker, batch)
        while len(self._workers) < self._n_workers and (batch := self._next_batch()) is not None:
            try:
                worker = WorkerProcess(self._command, cwd=self._cwd, talk=self._talk)
            except OSError as error:
                self._queue.appendleft(batch)
                self._do_with_fewer(str(not_started(error)))
                continue
            self._selector.register(worker.answers, selectors.EVENT_READ, worker)
            self._workers.append(worker)
            self._give(worker, batch)

    def _give(self, worker: _Worker, batch: Batch) -> None:
        if not worker.in_flight:
            worker.heard = time.monotonic()
        worker.in_flight.append(batch)
        job = self._job()
        self._most_parts, self._has_faces = job.parts, job.faces
        if batch.is_look:
            job = Job()
        sent = [batch.contents.get(path) for path in batch.paths]
        worker.ask(
            {
                "paths": [os.fsdecode(path) for path in batch.paths],
                "lengths": [-1 if contents is None else len(contents) for contents in sent],
                "hashes": [batch.hashes.get(path) for path in batch.paths],
                "embeds": job.embeds,
                "local": "off" if batch.is_plain and job.embeds else job.local,
                "extractor": job.extractor.name,
                "annotates": job.annotates,
                "luminance_side": job.luminance_side,
                "parts": job.parts,
                "faces": job.faces and not (batch.is_plain and job.embeds),
            },
            *filter(None, sent),
        )
        self._send(worker)

    def _send(self, worker: _Worker) -> None:
        """Write what its pipe takes; the rest when it takes more, as it may be waiting to be heard itself."""
        worker.write()
        is_watched = worker.requests in self._selector.get_map()
        if worker.is_owed and not is_watched:
            self._selector.register(worker.requests, selectors.EVENT_WRITE, worker)
        elif is_watched and not worker.is_owed:
            self._selector.unregister(worker.requests)

    # -- hearing answers -----------------------------------------------------------------------------

    def _hear(self, worker: _Worker) -> Iterator[list[Embedded]]:
        messages = worker.read()
        if messages is None:
            yield from self._bury(worker)
            return
        for facts, payload in messages:
            if "results" in facts:
                yield self._finish(worker, facts["results"], payload)
            elif "at" in facts:
                worker.arrives_at(facts["at"])
            else:
                worker.is_ready = True
                self._n_failed_starts = self._n_killed_starts = 0

    def _finish(self, worker: _Worker, results: list[FileFacts], payload: bytes) -> list[Embedded]:
        batch = worker.in_flight.popleft()
        worker.arrives_at(None)
        n_local = sum(_n_bytes(facts) for facts in results)
        n_good = sum("code" not in facts for facts in results)
        values = payload[: len(payload) - n_local]
        made = iter(self._made(values, n_good, is_look=batch.is_look) if values else ())
        outcomes, at = [], len(payload) - n_local
        for path, facts in zip(batch.paths, results, strict=True):
            end = at + _n_bytes(facts)
            local = Packed.of(facts["local"], payload[at:end]) if "local" in facts else None
            outcome = Embedded(path, facts, None, local)
            outcomes.append(outcome if "code" in facts else replace(outcome, **next(made, {})))
            at = end
        return outcomes

    def _made(self, data: bytes, n: int, *, is_look: bool) -> Iterator[dict[str, Any]]:
        """Yield what workers made of n pictures, as fields of `Embedded`."""
        for vector in np.frombuffer(data, dtype=np.float32).reshape(n, -1):
            yield {"vector": vector}

    def _look_at(self, worker: _Worker) -> Iterator[list[Embedded]]:
        """Replace a worker that takes too long, unless it has something to say that was not heard yet."""
        if self._lateness(worker) is None:
            return
        yield from self._hear(worker)
        lateness = self._lateness(worker) if worker in self._workers else None
        if lateness is not None:
            worker.kill()
            yield from self._bury(worker, Ending("timeout", f"took longer than the time limit ({lateness})"))

    def _lateness(self, worker: _Worker) -> str | None:
        """Return the limit that a worker has passed, or None."""
        if not worker.in_flight:
            return None
        if worker.at is None:
            limit_s = self._tower_timeout_s * (_LONGER if self._most_parts else 1)
            return f"{limit_s:g} s" if worker.silent_s() > limit_s else None
        longer = _LONGER_WITH_FACES if self._has_faces else 1
        cpu_limit_s, limit_s = self._cpu_timeout_s * longer, self._file_timeout_s * longer
        if worker.computed_s() > cpu_limit_s:
            return f"{cpu_limit_s:g} s of computing"
        return f"{limit_s:g} s" if worker.silent_s() > limit_s else None

    # -- replacing a worker --------------------------------------------------------------------------

    def _bury(self, worker: _Worker, known: Ending | None = None) -> Iterator[list[Embedded]]:
        """Put the files of a worker that ended back, except one that has now been tried often enough."""
        ending = self._release(worker)
        ending = known or ending
        if not worker.is_ready:
            self._queue.extendleft(reversed(worker.in_flight))
            self._count_failed_start(ending)
            return
        running, *waiting = worker.in_flight or [None]
        self._queue.extendleft(batch for batch in reversed(waiting) if batch is not None)
        if running is None:
            return
        suspects = running.paths if worker.at is None else [running.paths[worker.at]]
        innocent = [path for path in running.paths if path not in suspects]
        if innocent:
            self._queue.appendleft(replace(running, paths=innocent))
        for path in suspects:
            yield from self._try_again(path, running, ending)

    def _try_again(self, path: bytes, batch: Batch, ending: Ending) -> Iterator[list[Embedded]]:
        """Put a file at the end of the queue, alone, or say why it is given up."""
        is_killed = ending.code == "killed"
        alone = Batch(
            [path], batch.tries + (not is_killed), batch.kills + is_killed, batch.is_plain or not is_killed,
            batch.is_look, {path: batch.contents[path]} if path in batch.contents else {}, batch.hashes,
        )  # fmt: skip
        if alone.tries < MAX_TRIES and alone.kills < MAX_KILLS:
            self._queue.append(alone)
            return
        n = alone.kills if is_killed else alone.tries
        message = f"reading this picture {ending.reason}, {n} times"
        yield [Embedded(path, {"code": ending.code, "message": message}, None)]

    def _count_failed_start(self, ending: Ending) -> None:
        if ending.code == "killed":
            self._n_killed_starts += 1
            # One stroke may hit all that are starting.
            if self._n_killed_starts >= max(_MAX_KILLED_STARTS, 2 * self._n_workers):
                said = f"{ending.reason}, {self._n_killed_starts} times; is memory short?"
                self._do_with_fewer(f"no worker could be started: loading the encoder {said}")
            time.sleep(_PAUSE_S)
            return
        self._n_failed_starts += 1
        if self._n_failed_starts >= MAX_TRIES:
            words = self._last_words()
            said = f"{ending.reason}: {words}" if words else ending.reason
            self._do_with_fewer(f"no worker could be started: loading the encoder {said}")

    def _do_with_fewer(self, sentence: str) -> None:
        """Go on with the workers there are, or raise EncoderError if there is none."""
        if not self._workers:
            raise EncoderError(sentence)
        self._n_workers = len(self._workers)

    def _release(self, worker: _Worker) -> Ending:
        self._workers.remove(worker)
        for pipe in (worker.requests, worker.answers):
            if pipe in self._selector.get_map():
                self._selector.unregister(pipe)
        return worker.end()

    def _last_words(self) -> str:
        self._talk.seek(0)
        lines = self._talk.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""


def _n_bytes(facts: FileFacts) -> int:
    """Return how many bytes of a payload are the local features of one file."""
    return int(facts["local"]["n_bytes"]) if "local" in facts else 0
