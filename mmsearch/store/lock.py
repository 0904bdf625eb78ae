"""One writer a library: a lock that goes with the process that holds it, however that ends.

A path may come to name something else while a writer works: the library removed and made anew, moved away, its lock
deleted. So the writer writes through the descriptor of the folder that it locked, and asks before every commit and
publication whether that folder still is the library.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmsearch.errors import LibraryLockedError, LibraryLostError, StorageError, reason
from mmsearch.store.publish import storage_errors
from mmsearch.system import path_through

LOCK = "lock"
_TRIES = 10


class HeldFolder:
    """A library folder whose lock this process holds.

    Parameters
    ----------
    folder : Path
        Where it was when it was locked; for people and other processes.
    folder_handle, lock_handle : int
        Descriptors of the folder and of the lock, open as long as the lock is held.
    """

    def __init__(self, folder: Path, folder_handle: int, lock_handle: int) -> None:
        self.folder = folder
        self.files = path_through(folder_handle, folder)
        """The same folder for this process, whatever lies under its path by now."""
        self._lock_handle = lock_handle
        self._identities = {LOCK: _identity(os.fstat(lock_handle))}

    def watch(self, name: str) -> None:
        """Let `check` see to it, too, that this file of the folder is not replaced."""
        self._identities[name] = _identity(os.stat(self.files / name))

    def check(self) -> None:
        """Raise LibraryLostError unless the path of the library still leads to what was locked and watched."""
        for name, identity in self._identities.items():
            try:
                is_same = _identity(os.stat(self.folder / name)) == identity
            except OSError:
                is_same = False
            if not is_same:
                raise LibraryLostError(
                    f"{self.folder / name} was removed, moved or replaced while this run was writing to the "
                    "library; it stops so as not to harm another one. What it stored before lies where the library "
                    "went; run the command again for what lies there now"
                )


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def lock_soon(handle: int) -> None:
    """Take a lock that others may hold for microseconds, to look who has it.

    Raises
    ------
    BlockingIOError
        If another process keeps it.
    """
    for is_last in (*[False] * (_TRIES - 1), True):
        try:
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if is_last:
                raise
            time.sleep(0.01)


@contextmanager
def locked(folder: Path, what: str = "library") -> Iterator[HeldFolder]:
    """Hold the writer lock of a library folder, or of another one, by `what` it is called.

    Raises
    ------
    LibraryLockedError
        If another process holds it; does not wait for its end.
    """
    path = folder / LOCK
    with storage_errors(folder, f"to the {what}"):
        folder_handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    lock_handle = -1
    try:
        with storage_errors(folder, f"to the {what}"):
            lock_handle = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=folder_handle)
        try:
            lock_soon(lock_handle)
        except BlockingIOError as error:
            holder = os.pread(lock_handle, 20, 0).decode(errors="replace").strip() or "unknown"
            raise LibraryLockedError(
                f"{folder}: another mmsearch (process {holder}) is writing to this {what}; "
                f"wait until it is done{', searching works meanwhile' if what == 'library' else ''}"
            ) from error
        except OSError as error:
            raise StorageError(
                f"{path}: this file system cannot lock files ({reason(error)}); choose a place on another one"
            ) from error
        with storage_errors(folder, f"to the {what}"):
            os.ftruncate(lock_handle, 0)
            os.pwrite(lock_handle, b"%d\n" % os.getpid(), 0)
        held = HeldFolder(folder, folder_handle, lock_handle)
        held.check()  # it may have been replaced between opening and locking it
        yield held
    finally:
        if lock_handle >= 0:
            os.close(lock_handle)
        os.close(folder_handle)


def is_being_written(folder: Path) -> bool:
    """Return whether a process holds the writer lock of a library at this moment."""
    try:
        handle = os.open(folder / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(handle)
    return False
