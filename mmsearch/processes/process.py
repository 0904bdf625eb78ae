"""One worker process as its parent sees it: started apart from where the user stands, never waited for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Generic, TypeVar

from mmsearch.errors import EncoderError, advice, reason
from mmsearch.processes.child import EXIT_OUT_OF_MEMORY
from mmsearch.system import cpu_seconds, widen_pipe

PROGRAM = Path(__file__).with_name("start_worker.py")
_PATIENCE_S = 5.0  # for a killed process to end: one that hangs in the file system may never do so
_CRASHES = {getattr(signal, f"SIG{name}") for name in ("SEGV", "ABRT", "BUS", "ILL", "FPE", "TRAP", "SYS")}

# glibc gives large blocks back to the system at once and gets them again, page by page, for the next picture: that
# was two fifths of the time of local features. 32 MB is the most that it takes for the first.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(1 << 25), "MALLOC_TRIM_THRESHOLD_": str(1 << 27),
}  # fmt: skip

_MAX_LINE, _MAX_PAYLOAD = 1 << 20, 1 << 28  # bytes of a message; those of eight pictures take a hundredth of it

Request = TypeVar("Request", bound=Mapping[str, object])
Answer = TypeVar("Answer", bound=Mapping[str, object])


@dataclass
class Batch:
    """Files that a worker is given at once, and how often they ended one.

    `contents` are the bytes of those that are no files of their own, by path, and `hashes` what tells these, in
    hex, where it is not the sha256 of the bytes.
    """

    paths: list[bytes]
    tries: int = 0
    kills: int = 0  # from outside, for which a file is less to blame
    is_plain: bool = False  # without local features, as they may be what ended the worker
    is_look: bool = False  # for the vectors alone
    contents: dict[bytes, bytes] = field(default_factory=dict)
    hashes: dict[bytes, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Ending:
    """Why a worker is no more: a reason code for the file it was at, and what to say of it."""

    code: str
    reason: str


class WorkerProcess(Generic[Request, Answer]):
    """A worker, the batches it has in hand, and how far it is with the first of them.

    It takes requests and gives answers that are JSON objects of a type each, with bytes after them.

    Parameters
    ----------
    command : sequence of str
        Program that speaks the protocol of `mmsearch.ingest.worker` or `mmsearch.processes.decode_worker`; the id
        of this process, and the descriptor that it writes its answers to, are added as last arguments.
    cwd : Path
        Folder it works in.
    talk : binary file or int
        Takes whatever it prints; as for `subprocess`.

    Raises
    ------
    OSError
        If the system starts no process.
    """

    def __init__(self, command: Sequence[str], *, cwd: Path, talk: IO[bytes] | int) -> None:
        reading, writing = os.pipe()
        widen_pipe(reading)
        self.answers = os.fdopen(reading, "rb")
        try:
            self._process = subprocess.Popen(
                [*command, str(os.getpid()), str(writing)],
                stdin=subprocess.PIPE,
                stdout=talk,
                stderr=talk,
                cwd=cwd,
                env=isolated_environment(),
                pass_fds=[writing],
                process_group=0,  # Ctrl-C is for the parent, which ends its workers
            )
        except BaseException:
            self.answers.close()
            raise
        finally:
            os.close(writing)
        assert self._process.stdin is not None
        self.requests = self._process.stdin
        widen_pipe(self.requests.fileno())
        for pipe in (self.requests, self.answers):
            os.set_blocking(pipe.fileno(), False)
        self.in_flight: deque[Batch] = deque()
        self.is_ready = False
        self.at: int | None = None
        self.heard = time.monotonic()
        self._computed: float | None = None  # seconds, before the file it is at
        self._incoming, self._outgoing = bytearray(), deque[memoryview]()
        self._is_garbled = False  # it answered what nobody understands

    # -- talking to it -------------------------------------------------------------------------------

    @property
    def is_owed(self) -> bool:
        """Whether requests wait until its pipe takes them."""
        return bool(self._outgoing)

    def ask(self, request: Request, *payload: bytes) -> None:
        """Put a request in line, and the bytes that go with it; `write` sends them."""
        line = json.dumps(request).encode() + b"\n"
        self._outgoing += [memoryview(data) for data in (line, *payload) if data]

    def write(self) -> None:
        """Send as much of the requests as its pipe takes now."""
        try:
            while self._outgoing:
                sent = os.write(self.requests.fileno(), self._outgoing[0])
                self._outgoing[0] = self._outgoing[0][sent:]
                if not self._outgoing[0]:
                    self._outgoing.popleft()
                self.heard = time.monotonic()  # it could not begin before
        except BlockingIOError:
            return
        except BrokenPipeError:  # it died; its answers end and the batch goes to another
            self._outgoing.clear()

    def read(self) -> list[tuple[Answer, bytes]] | None:
        """Return the whole messages that are there now; None if it has ended."""
        try:
            data = os.read(self.answers.fileno(), 1 << 20)
        except BlockingIOError:
            return []
        if not data:
            return None
        self.heard = time.monotonic()
        self._incoming += data
        messages: list[tuple[Answer, bytes]] = []
        try:
            while (message := _take_message(self._incoming)) is not None:
                messages.append(message)
        except ValueError:
            self._is_garbled = True
            self.kill()
            return None
        return messages

    def arrives_at(self, position: int | None) -> None:
        """Take note of the file that it begins with now."""
        self.at = position
        self._computed = None if position is None else cpu_seconds(self._process.pid)

    # -- judging it ----------------------------------------------------------------------------------

    def silent_s(self) -> float:
        """Return for how long it has said nothing."""
        return time.monotonic() - self.heard

    def computed_s(self) -> float:
        """Return how long it has computed on the file it is at; 0 where the system does not say."""
        now = cpu_seconds(self._process.pid)
        return 0.0 if now is None or self._computed is None else now - self._computed

    def has_ended(self) -> bool:
        """Return whether it is no more."""
        return self._process.poll() is not None

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def end(self) -> Ending:
        """Wait for it to end, kill it if it does not, close its pipes and say how it ended."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=_PATIENCE_S)
        if self._process.returncode is None:
            self._process.kill()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=_PATIENCE_S)
        self.requests.close()
        self.answers.close()
        if self._is_garbled:
            return Ending("quarantined", "made the worker answer what cannot be understood")
        return _ending(self._process.returncode)


def command_of(module: str, *arguments: str) -> list[str]:
    """Return how a worker, a module of the package, is started that nothing where the user stands leads astray."""
    return [os.path.abspath(sys.executable), "-P", str(PROGRAM.absolute()), module, *arguments]


def not_started(error: OSError) -> EncoderError:
    """Return what to say where the system starts no process or opens no file."""
    return EncoderError(f"no worker could be started ({reason(error)}); {advice(error)}, and run again")


def isolated_environment() -> dict[str, str]:
    """Return the environment of a worker; an empty or relative entry of PYTHONPATH would mean another folder."""
    environment = os.environ | _ENVIRONMENT
    entries = [entry for entry in environment.pop("PYTHONPATH", "").split(os.pathsep) if os.path.isabs(entry)]
    return environment | ({"PYTHONPATH": os.pathsep.join(entries)} if entries else {})


def _take_message(buffer: bytearray) -> tuple[Any, bytes] | None:
    """Take the first whole message off the buffer, or return None if more bytes must come.

    Raises
    ------
    ValueError
        If that is no message.
    """
    end = buffer.find(b"\n", 0, _MAX_LINE)
    if end < 0 and len(buffer) < _MAX_LINE:
        return None
    facts = json.loads(bytes(buffer[: max(end, 0)]))
    n_bytes = facts.get("bytes", 0) if isinstance(facts, dict) else -1
    if not isinstance(n_bytes, int) or not 0 <= n_bytes <= _MAX_PAYLOAD:
        raise ValueError(f"a message of {n_bytes} bytes")
    last = end + 1 + n_bytes
    if len(buffer) < last:
        return None
    with memoryview(buffer) as message:
        payload = bytes(message[end + 1 : last])
    del buffer[:last]
    return facts, payload


def _ending(code: int | None) -> Ending:
    """Return what an exit status means: an own fault, too little memory, or a signal from outside.

    None is that of a process that hangs in the system, where a file system does not answer.
    """
    if code is None:
        return Ending("timeout", "did not end, not even when it was killed: the disk or the way to it hangs")
    if code == EXIT_OUT_OF_MEMORY:
        return Ending("out_of_memory", "needed more memory than a worker may take")
    if code >= 0:
        return Ending("quarantined", f"ended the worker (exit code {code})")
    if -code in _CRASHES:
        return Ending("quarantined", f"ended the worker (signal {-code})")
    return Ending("killed", f"had its worker ended from outside (signal {-code})")
