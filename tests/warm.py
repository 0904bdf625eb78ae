"""Python programs that begin with what they import already loaded, which is most of the work of a short one.

A process that has loaded it, the zygote, forks whenever such a program is to be started. What it forked becomes a
child of whoever asked, who waits for it and kills it like any other; and the worker processes of a program that was
started so are started so, too. Other commands, and all where the system is not Linux, are started as ever.
"""

from __future__ import annotations

import ctypes
import fcntl
import gc
import json
import os
import resource
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from subprocess import PIPE, CompletedProcess, TimeoutExpired
from threading import Lock

from mmsearch.processes import child, process

ROOT = Path(__file__).parents[1]
PYTHON = os.path.abspath(sys.executable)
_ADOPTS = 36  # PR_SET_CHILD_SUBREAPER
_PARTS = ("cli", "ingest", "processes", "query", "store")
_FOREIGN = (
    "PIL.Image", "av.audio.resampler", "av.stream", "av.video.reformatter", "cv2", "numpy.ma", "platformdirs",
    "rich.console", "scipy.fft", "scipy.ndimage", "tokenizers",
)  # fmt: skip
_LIMITS = [getattr(resource, f"RLIMIT_{name}") for name in ("FSIZE", "NOFILE", "DATA", "AS", "CORE")]
_encoders: list[Path] = []  # whose tokenizers the zygote loads


class Zygote:
    """What forks programs for this process, at the other end of a socket."""

    def __init__(self, connection: socket.socket, loader: subprocess.Popen | None = None) -> None:
        self._connection, self._loader = connection, loader
        self._asking = Lock()

    def start(self, request: dict, descriptors: Sequence[int]) -> int:
        """Start a program as a child of this process, and return its id."""
        with self._asking:
            _adopt(True)
            try:
                socket.send_fds(self._connection, [json.dumps(request).encode()], descriptors)
                answer = self._connection.recv(32)
            finally:
                _adopt(False)
        assert answer, "the zygote has ended"
        return int(answer)

    def end(self) -> None:
        self._connection.close()
        if self._loader is not None:
            self._loader.wait()


@cache
def zygote() -> Zygote:
    """Return that of this process, which is started when it is first needed."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with its:
        program = f"import sys; from tests.warm import load, serve; load(*sys.argv[1:]); serve({its.fileno()})"
        loader = subprocess.Popen(
            [PYTHON, "-c", program, *map(str, _encoders)],
            pass_fds=[its.fileno()],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=process.isolated_environment(),
        )
    return Zygote(ours, loader)


def know(encoder: Path) -> None:
    """Let the zygote load the tokenizer of an exported encoder; one that was started before does not know it."""
    _encoders[:] = [encoder]
    end()


def end() -> None:
    """End the zygote, if one was started."""
    if zygote.cache_info().currsize:
        zygote().end()
        zygote.cache_clear()


class Popen(subprocess.Popen):
    """`subprocess.Popen`, but what runs a Python program is forked by the zygote."""

    def _execute_child(
        self, args, executable, preexec_fn, close_fds, pass_fds, cwd, env, startupinfo, creationflags, shell,
        p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite, *options,
    ):  # fmt: skip
        *_, umask, is_session, group = options
        is_plain = umask < 0 and preexec_fn is None and executable is None and not shell and not is_session
        arguments, folder = [os.fsdecode(argument) for argument in args], os.path.abspath(cwd or os.getcwd())
        is_python = os.path.abspath(arguments[0]) == PYTHON and os.path.isdir(folder)
        if not (is_python and is_plain and sys.platform == "linux"):
            given = preexec_fn, close_fds, pass_fds, cwd, env, startupinfo, creationflags, shell
            pipes = p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite
            super()._execute_child(args, executable, *given, *pipes, *options)
            return
        passed = sorted(pass_fds)
        request = {
            "arguments": arguments[1:],
            "folder": folder,
            "environment": dict(os.environ if env is None else env),
            "group": group,
            "limits": [resource.getrlimit(limit) for limit in _LIMITS],
            "passed": passed,
        }
        streams = [own if fd == -1 else fd for own, fd in enumerate((p2cread, c2pwrite, errwrite))]
        self.pid = zygote().start(request, [*streams, *passed])
        self._child_created = True
        self._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)


class Subprocess:
    """What workers take of the module `subprocess`."""

    Popen, PIPE, TimeoutExpired = Popen, PIPE, TimeoutExpired


def run(command: Sequence, *, input=None, timeout=None, check=False, text=None, **options) -> CompletedProcess:
    """Run a Python program as `subprocess.run` would, its output captured."""
    with Popen(command, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=text, **options) as started:
        try:
            printed = started.communicate(input, timeout)
        except BaseException:
            started.kill()
            raise
    done = CompletedProcess(command, started.returncode, *printed)
    if check:
        done.check_returncode()
    return done


# -- in the zygote, and in what it forked ----------------------------------------------------------------


def load(*encoders: str) -> None:
    """Load what most programs do, and let the workers that they start be forked."""
    sys.path[0] = str(ROOT)
    from mmsearch.encoders.onnx import TOKENIZER, OnnxEncoder
    from mmsearch.encoders.runtime import onnx_runtime
    from mmsearch.encoders.tokens import load_tokenizer

    for part in _PARTS:
        for module in iter_modules([str(process.PROGRAM.parents[1] / part)]):
            import_module(f"mmsearch.{part}.{module.name}")
    for name in _FOREIGN:
        import_module(name)
    for folder in encoders:
        encoder = OnnxEncoder.open(Path(folder))
        load_tokenizer(replace(encoder.require_words(), json=(encoder.folder / TOKENIZER).read_text()))
    sys.modules["PIL.Image"].preinit()
    onnx_runtime()
    process.subprocess = Subprocess
    gc.freeze()  # pages that no look for garbage touches stay shared


def serve(descriptor: int) -> None:
    """Fork a program whenever asked, until nobody can ask any more; in what was forked, be that program."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(fileno=descriptor) as connection:
        forked = _forked(connection)
    if forked is None:
        os._exit(0)  # what was loaded need not be taken down
    _become(*forked)


def _forked(connection: socket.socket) -> tuple[dict, list[int]] | None:
    """Fork for every request; return it, and the descriptors that came along, in what was forked for it."""
    while True:
        message, descriptors, *_ = socket.recv_fds(connection, 1 << 20, 64)
        if not message:
            return None
        waiting, going = os.pipe()
        reading, writing = os.pipe()
        between = os.fork()
        if not between:
            # An orphan at once: whoever asked adopts it, and only then does it go on.
            if forked := os.fork():
                os.write(writing, str(forked).encode())
                os._exit(0)
            for end in (going, reading, writing):
                os.close(end)
            os.read(waiting, 1)
            os.close(waiting)
            return json.loads(message), descriptors
        os.waitpid(between, 0)
        connection.send(os.read(reading, 32))
        for end in (waiting, going, reading, writing, *descriptors):
            os.close(end)


def _become(request: dict, descriptors: list[int]) -> None:
    """Be a program, in a process that was forked for it."""
    numbers = [0, 1, 2, *request["passed"]]
    moved = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, max(numbers) + 1) for descriptor in descriptors]
    for descriptor in descriptors:
        os.close(descriptor)
    for descriptor, number in zip(moved, numbers, strict=True):
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin = os.fdopen(0, closefd=False)
    if request["group"] >= 0:
        os.setpgid(0, request["group"])
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    tempfile.tempdir = None  # what the environment says now
    os.chdir(request["folder"])
    is_worker = request["arguments"][:2] == ["-P", str(process.PROGRAM.absolute())]
    if not is_worker:
        _fork_zygote()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for limit, values in zip(_LIMITS, request["limits"], strict=True):
        resource.setrlimit(limit, values)
    if is_worker:
        name, *arguments = request["arguments"][2:]
        child.run(import_module(f"mmsearch.{name}").serve, arguments)
    else:
        _run(request["arguments"])


def _run(arguments: list[str]) -> None:
    if arguments[0] == "-P":  # of what is a path already
        arguments = arguments[1:]
    if arguments[:2] == ["-m", "mmsearch"]:
        from mmsearch.__main__ import main

        sys.argv = arguments[1:]
        main()
        return
    if arguments[0] not in ("-m", "-c"):
        sys.argv = arguments
        runpy.run_path(arguments[0], run_name="__main__")
        return
    sys.argv = arguments[1:]
    if arguments[0] == "-m":
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        exec(arguments[1], {"__name__": "__main__"})


def _fork_zygote() -> None:
    """Let this process have a zygote that was forked while it had no threads."""
    global zygote
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if not os.fork():
        ours.close()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for number in range(3):
            os.dup2(nowhere, number)
        serve(its.detach())
        sys.exit()
    its.close()
    forked = Zygote(ours)
    zygote = lambda: forked  # noqa: E731


def _adopt(adopts: bool) -> None:
    """Say whether orphans below this process become its children."""
    assert ctypes.CDLL(None).prctl(_ADOPTS, ctypes.c_ulong(adopts), 0, 0, 0) == 0
