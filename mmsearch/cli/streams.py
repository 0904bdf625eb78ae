"""Standard streams that may be closed, full or gone: results that are lost are an error, talk that is lost is not.

A closed stream would leave its number to the next file that is opened, say that of the vectors, and whatever a
library writes to "standard error" would go into it.
"""

from __future__ import annotations

import io
import os
import select
import sys
from contextlib import suppress
from typing import Any

from mmsearch.errors import OutputError, advice, reason

GONE = 141
"""Exit code where the reader of our output left: what a shell makes of SIGPIPE."""


class _Stream(io.FileIO):
    """A standard stream by its number; takes and drops everything once a write was refused."""

    def __init__(self, handle: int) -> None:
        super().__init__(handle, "w", closefd=False)
        self._is_lost = False

    def write(self, data: Any, /) -> int:
        """Write some of the data; returns how many bytes."""
        n = None if not self._is_lost else memoryview(data).nbytes
        try:
            while n is None and (n := super().write(data)) is None:
                select.select([], [self], [])  # somebody else made it non-blocking
        except OSError as error:
            self._is_lost = True
            self._refused(error)
            n = memoryview(data).nbytes
        return n

    def _refused(self, error: OSError) -> None:
        """Say that output is lost, once."""


class _Output(_Stream):
    """Standard output."""

    def _refused(self, error: OSError) -> None:
        if isinstance(error, BrokenPipeError):
            raise SystemExit(GONE) from error
        raise OutputError(f"standard output cannot be written ({reason(error)}); {advice(error)}") from error


def own_streams() -> None:
    """Replace standard output and error by streams that fail well, and closed ones by nothing."""
    for handle, flags in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):  # output that is lost must fail
        _fill(handle, flags)
    if sys.stdout is sys.__stdout__:
        sys.stdout = _text(_Output(1), sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _text(_Stream(2), sys.stderr)


def _fill(handle: int, flags: int) -> None:
    """Open nothing under the number of a standard stream that is closed; those below it are open."""
    try:
        os.fstat(handle)
    except OSError:
        with suppress(OSError):
            os.set_inheritable(os.open(os.devnull, flags), True)


def _text(raw: io.FileIO, like: io.TextIOWrapper | None) -> io.TextIOWrapper:
    encoding, errors = ("utf-8", "backslashreplace") if like is None else (like.encoding, like.errors)
    is_talk = raw.fileno() == 2
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors, line_buffering=is_talk or raw.isatty())
