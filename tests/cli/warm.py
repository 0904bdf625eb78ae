"""Commands in processes that begin with what commands load already loaded, which is most of a short one."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import CompletedProcess, TimeoutExpired

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.cli.loaded"])


def run_warm(
    arguments: Sequence[str], folder: Path, *, env: Mapping[str, str], timeout: float, cwd=None, input=b""
) -> CompletedProcess:
    """Run `mmsearch ARGUMENTS` as `subprocess.run` would, with its streams in files of a folder."""
    given, *printed = streams = [folder / name for name in ("stdin", "stdout", "stderr")]
    given.write_bytes(input)
    process = PROCESSES.Process(target=_begin, args=(arguments, dict(env), cwd, streams))
    process.start()
    process.join(timeout)
    if process.exitcode is None:
        process.kill()
        raise TimeoutExpired(arguments, timeout)
    return CompletedProcess(arguments, process.exitcode, *(path.read_bytes() for path in printed))


def _begin(arguments: Sequence[str], env: Mapping[str, str], cwd, streams: Sequence[Path]) -> None:
    """Become the program, in a process that was forked for it."""
    for number, path in enumerate(streams):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC if number else os.O_RDONLY, 0o600)
        os.dup2(handle, number)
        os.close(handle)
    sys.stdin = os.fdopen(0, closefd=False)
    os.environ.clear()
    os.environ.update(env)
    if cwd is not None:
        os.chdir(cwd)
    sys.argv = ["mmsearch", *arguments]
    from mmsearch.__main__ import main

    main()
