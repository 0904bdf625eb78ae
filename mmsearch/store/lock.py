"""One writer a library: a lock that goes with the process that holds it, however that ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmsearch.errors import LibraryLockedError, StorageError, reason
from mmsearch.store.publish import storage_errors


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the writer lock of a library folder.

    Raises
    ------
    LibraryLockedError
        If another process holds it; never waits.
    """
    path = folder / "lock"
    with storage_errors(path, "the lock"):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(handle, 20, 0).decode(errors="replace").strip() or "unknown"
            raise LibraryLockedError(
                f"{folder}: another mmsearch (process {holder}) is writing to this library; "
                "wait until it is done, searching works meanwhile"
            ) from error
        except OSError as error:
            raise StorageError(
                f"{path}: this file system cannot lock files ({reason(error)}); choose a place on another one"
            ) from error
        os.ftruncate(handle, 0)
        os.pwrite(handle, b"%d\n" % os.getpid(), 0)
        yield
    finally:
        os.close(handle)
