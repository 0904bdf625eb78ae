"""What lies in a folder that is not opened yet: whether there is a library, which one, whether it held pictures."""

from __future__ import annotations

import stat
from contextlib import AbstractContextManager, closing
from pathlib import Path

from mmsearch.errors import StorageError, advice, reason
from mmsearch.store.catalog import CATALOG, Catalog
from mmsearch.store.sqlite_errors import sqlite_errors


def is_library(folder: Path) -> bool:
    """Return whether a library lies in a folder.

    Raises
    ------
    StorageError
        If that cannot be seen.
    """
    try:
        return stat.S_ISREG((folder / CATALOG).stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise StorageError(f"{folder}: no library can be seen here ({reason(error)}); {advice(error)}") from error
    except ValueError as error:  # no name of a file holds a NUL
        raise StorageError(f"{str(folder)!r}: no library can be here ({error}); choose another name") from error


def holds_pictures(folder: Path) -> bool:
    """Return whether a library lies in a folder that holds pictures, or ever did."""
    if not is_library(folder):
        return False
    with closing(Catalog.open(folder / CATALOG)) as catalog:
        return catalog.last_id() > 0


def holds_sounds(folder: Path) -> bool:
    """Return whether a library lies in a folder that holds recordings, or files that were rejected as such."""
    if not is_library(folder):
        return False
    with closing(Catalog.open(folder / CATALOG)) as catalog:
        return catalog.count("sound") + catalog.count("bad_sound") > 0


def library_errors(folder: Path) -> AbstractContextManager[None]:
    """Let what SQLite says of the library in a folder be an error of a library, with what to do."""
    return sqlite_errors(folder / CATALOG)


def identity_of(folder: Path) -> tuple[int, int]:
    """Return what tells a library from another that is made in its place later; zeros where none can be seen."""
    try:
        status = (folder / CATALOG).stat()
    except OSError:
        return 0, 0
    return status.st_dev, status.st_ino
