"""A folder replaced whole: prepared beside the one before, and put in its place by two renames.

Whenever a process is killed, the folder before or the one that replaces it is on the disk, whole: at its place, or
beside it under a name that `recover` knows. `X.tmp` is being prepared; while `X.old` is there it is complete.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mmsearch.system import sync_folder

NEW, OLD = ".tmp", ".old"
_OF_A_PROCESS = re.compile(r"(.+)\.\d+\.(tmp|old)")


def replace_folder(new: Path, target: Path, check: Callable[[], None] = lambda: None) -> None:
    """Put a folder in the place of another, or of none, and delete that one.

    Parameters
    ----------
    new : Path
        Named `.tmp`, beside `target`; its files are on the disk.
    target : Path
        What it replaces.
    check : callable
        Raises if nothing may be replaced any more; asked before anything is.

    Raises
    ------
    OSError
        If the disk refuses; `target` is as it was.
    """
    old = new.with_suffix(OLD)
    sync_folder(new)
    check()
    if os.path.lexists(target):
        _move(target, old)
    try:
        _move(new, target)
    except OSError:
        with suppress(FileNotFoundError):
            _move(old, target)
        raise
    sync_folder(target.parent)
    _delete(old)


def recover(new: Path, target: Path) -> None:
    """Finish what a killed `replace_folder` of the same arguments began, and delete what else it left.

    Nobody else may be replacing `target` under these names.
    """
    old = new.with_suffix(OLD)
    if os.path.lexists(old) and not os.path.lexists(target):
        _move(new if new.is_dir() else old, target)
        sync_folder(target.parent)
    _delete(new)
    _delete(old)


@contextmanager
def shared(parent: Path) -> Iterator[None]:
    """Let several processes replace folders in one, each under names with its number, such as `X.123.tmp`.

    What killed ones left there is recovered by a process that finds no other at it.
    """
    handle = os.open(parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # others are at it, or this file system has no locks
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for left in list(map(_OF_A_PROCESS.fullmatch, os.listdir(parent))):
                if left is not None:
                    recover((parent / left[0]).with_suffix(NEW), parent / left[1])
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_SH)
        yield
    finally:
        os.close(handle)


def sync_files(folder: Path) -> None:
    """Bring files to the disk, for this user alone: libraries of others write theirs by the umask."""
    for path in folder.iterdir():
        path.chmod(0o600)
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _move(source: Path, target: Path) -> None:
    os.rename(source, target)


def _delete(path: Path) -> None:
    """Delete a folder, or whatever else has its name: a link is not followed, a pipe not opened."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
