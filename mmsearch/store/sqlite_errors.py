"""SQLite's errors as sentences: what the system refused it, or what is wrong with the file."""

from __future__ import annotations

import errno
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mmsearch.errors import LibraryDamagedError, LibraryLockedError, StorageError, advice, reason
from mmsearch.system import shown_path

_N_FILES = 4  # that SQLite opens beside a catalog, and one more
_PROBE = 1 << 16  # bytes: more than SQLite wants at a time
_CAUSES = {
    sqlite3.SQLITE_FULL: errno.ENOSPC, sqlite3.SQLITE_NOMEM: errno.ENOMEM, sqlite3.SQLITE_IOERR: errno.EIO,
    **dict.fromkeys((sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM), 0),
}  # fmt: skip


@contextmanager
def sqlite_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into sentences that name the file and what to do."""
    try:
        yield
    except sqlite3.OperationalError as error:
        cause = refusal(path, error)
        if cause is not None:
            raise StorageError(
                f"{shown_path(path)}: the system refused the access ({error}: {reason(cause)}); {advice(cause)}; "
                "nothing that was stored is lost"
            ) from error
        if _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise LibraryLockedError(
                f"{shown_path(path)}: another program holds the catalog ({error}); wait until it is done"
            ) from error
        raise LibraryDamagedError(
            f"{shown_path(path)}: the catalog cannot be read ({error}); run `mmsearch verify`"
        ) from error
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # the latter of a message with damaged text in it
        raise LibraryDamagedError(
            f"{shown_path(path)}: the catalog is damaged ({error}); if it was restored from a copy, move away "
            f"{path.name}-wal and {path.name}-shm beside it, which are of another state; else restore it together "
            "with them, or delete the library and index again"
        ) from error


def _code(error: sqlite3.Error) -> int:
    """Return SQLite's code; -1 for an error of Python's module, such as of a text that is not UTF-8."""
    code = getattr(error, "sqlite_errorcode", None)
    return -1 if code is None else int(code) & 0xFF


def refusal(path: Path, error: sqlite3.Error) -> OSError | None:
    """Return what the system refused SQLite, which keeps it to itself; None if something else is wrong."""
    code = _CAUSES.get(_code(error))
    if code is None:
        return None
    refused = _refused(path) if code != errno.ENOSPC else None
    if code and refused is not None and refused.errno == errno.ENOENT:
        refused = None  # one that is being made
    return refused or OSError(code, os.strerror(code) if code else "it does not say why")


def _refused(path: Path) -> OSError | None:
    """Return what the system refuses who wants to do with a catalog what SQLite does; None if nothing."""
    try:
        with ExitStack() as opened:
            beside = [opened.enter_context(tempfile.TemporaryFile(dir=path.parent)) for _ in range(_N_FILES)]
            size = path.stat().st_size if path.exists() else 0
            os.pwrite(beside[0].fileno(), bytes(_PROBE), size)  # as much of it as there is room for
            os.pwrite(beside[0].fileno(), bytes(1), size + _PROBE)
            os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return error
    return None
