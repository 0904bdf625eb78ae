"""How far the writer is, for other processes: one line in a file that the writer keeps locked while it works.

Best effort by design: what cannot be written is not shown. A line that a killed writer left is known by its lock,
which went with the process.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mmsearch.records import Progress
from mmsearch.store.lock import lock_soon

PROGRESS = "progress"
_EVERY_SECONDS = 0.2
_WIDTH = 200  # bytes of the line, so that a shorter one leaves nothing of a longer one


@contextmanager
def shown_progress(folder: Path, on_progress: Callable[[str, int, int], None]) -> Iterator[Callable[..., None]]:
    """Return `on_progress`, so that `read_progress` sees what it is told; the caller is the writer."""
    handle = -1
    with suppress(OSError):
        handle = os.open(folder / PROGRESS, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        lock_soon(handle)
    started, last = time.time(), ("", 0.0)

    def told(stage: str, done: int, total: int) -> None:
        nonlocal last
        on_progress(stage, done, total)
        now = time.monotonic()
        if stage != last[0] or done == total or now - last[1] >= _EVERY_SECONDS:
            last = stage, now
            line = json.dumps({"stage": stage, "done": done, "total": total, "started": started})
            with suppress(OSError):
                os.pwrite(handle, line.ljust(_WIDTH).encode(), 0)

    try:
        yield told
    finally:
        if handle >= 0:
            with suppress(OSError):
                os.ftruncate(handle, 0)
            os.close(handle)


def read_progress(folder: Path) -> Progress | None:
    """Return how far the process that writes to a library is, or None if none does or nothing can be said."""
    try:
        handle = os.open(folder / PROGRESS, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        line = os.pread(handle, _WIDTH, 0)
        if not line or _is_free(handle):
            return None
        fields = json.loads(line)
        return Progress(str(fields["stage"]), int(fields["done"]), int(fields["total"]), float(fields["started"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None
    finally:
        os.close(handle)


def _is_free(handle: int) -> bool:
    """Return whether no process holds the lock."""
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
