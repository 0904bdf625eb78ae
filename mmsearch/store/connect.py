"""How the catalog is opened by who only reads it, also where nothing may be written beside it.

SQLite's readers of a write-ahead log want to make files beside the database. Who may not, as in another user's
library, in a snapshot, on a read-only or a full disk, is given one of two things:

- the file as it lies (`immutable`), if its file system is read-only for everybody on this machine, and no log has
  to be read with it. Anywhere else its owner may write to it at any moment, and SQLite would then mix two states.
- a private copy of file and log as they are at one moment, without a name, which goes with the connection. Readers
  look before every transaction whether the originals changed, and open them again then.

While the owner's process has the library open, the files beside the database are there, and all read it as it is.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from mmsearch.errors import LibraryLockedError, StorageError, advice, is_shortage, reason
from mmsearch.records import FileLook
from mmsearch.store.sqlite_errors import refusal
from mmsearch.system import is_on_read_only_disk

_TRIES = 20
_MEMORY = Path("/dev/shm")  # where a copy goes if no folder for temporary files takes it


class CatalogLook(NamedTuple):
    """What the file system says of a catalog and its log; None where there is none."""

    catalog: FileLook | None
    log: FileLook | None

    @classmethod
    def at(cls, path: Path) -> CatalogLook:
        """Look at a catalog."""
        return cls(_look(path), _look(_beside(path, "-wal")))


def connect(path: Path, *, mode: str) -> sqlite3.Connection:
    """Return a connection to a catalog, with the mode of SQLite's addresses: `rw`, `ro`, `ro&immutable=1`."""
    uri = f"file:{quote(os.fsencode(path))}?mode={mode}"
    db = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=30, check_same_thread=False)
    try:
        db.execute("PRAGMA schema_version").fetchone()  # only this opens the log
    except BaseException:
        db.close()
        raise
    return db


def connect_to_read(path: Path) -> tuple[sqlite3.Connection, CatalogLook | None]:
    """Return a connection that only reads, and what its catalog looked like if it does not see what changes there.

    Raises
    ------
    sqlite3.Error
        If this is no catalog.
    StorageError
        If it cannot be read.
    LibraryLockedError
        If it is written to all the time.
    """
    for _ in range(_TRIES):
        if _is_open_to_us(path):
            try:
                return connect(path, mode="ro"), None
            except sqlite3.OperationalError as error:
                cause = refusal(path, error)
                if cause is None or is_shortage(cause):
                    raise
        look = CatalogLook.at(path)
        has_log = look.log is not None and look.log.size > 0
        if not has_log and is_on_read_only_disk(path):
            return connect(path, mode="ro&immutable=1"), look
        db = _copied(path, look)
        if db is not None:
            return db, look
    raise LibraryLockedError(f"{path.parent}: another program writes to this library all the time; try again later")


def _is_open_to_us(path: Path) -> bool:
    """Return whether files beside a catalog are there, or may be made by this process.

    Who may not write the catalog itself must not: its owner could not write to them.
    """
    is_effective = os.access in os.supports_effective_ids
    may_write = all(os.access(place, os.W_OK, effective_ids=is_effective) for place in (path, path.parent))
    return may_write or all(_beside(path, suffix).exists() for suffix in ("-wal", "-shm"))


def _copied(path: Path, look: CatalogLook) -> sqlite3.Connection | None:
    """Return a connection to a copy of a catalog with its log; None if they did not stay as they looked."""
    try:
        path.open("rb").close()
    except OSError as error:
        raise StorageError(f"{path} cannot be read ({reason(error)}); {advice(error)}") from error
    for parent in (None, _MEMORY):
        try:
            with tempfile.TemporaryDirectory(prefix="mmsearch-", dir=parent) as folder:
                return _copied_into(Path(folder), path, look)
        except OSError as error:
            refused = error
    raise StorageError(
        f"{path.parent} cannot be written, so its catalog is read from a copy, for which there is no place "
        f"({reason(refused)}); let TMPDIR name a folder that can be written"
    ) from refused


def _copied_into(folder: Path, path: Path, look: CatalogLook) -> sqlite3.Connection | None:
    copy = folder / path.name
    try:
        shutil.copyfile(path, copy)
        if look.log is not None:
            shutil.copyfile(_beside(path, "-wal"), _beside(copy, "-wal"))
    except FileNotFoundError:
        return None  # it went since
    if CatalogLook.at(path) != look:
        return None
    try:
        with closing(connect(copy, mode="rw")) as db:
            db.execute("PRAGMA journal_mode=DELETE")  # what is in the log comes into the file
        return connect(copy, mode="ro&immutable=1")  # and stays open when its name goes
    except sqlite3.OperationalError as error:
        cause = refusal(copy, error)
        if cause is None:
            raise
        raise cause from error


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _look(path: Path) -> FileLook | None:
    try:
        return FileLook.of(path.stat())
    except OSError:
        return None
