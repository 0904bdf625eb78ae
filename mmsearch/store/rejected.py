"""REJECTED: files that could not be used, listed apart by what was wanted of them: recordings, films."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Literal, TypeAlias

from mmsearch.records import FileLook
from mmsearch.store.catalog import BELOW, bounds_below
from mmsearch.store.changes import RejectedFile

Table: TypeAlias = Literal["bad_sound", "bad_film"]


def rejected_below(db: sqlite3.Connection, table: Table, root: bytes) -> list[RejectedFile]:
    """Return the rejected files at or below a path, by path."""
    sql = f"SELECT path, code, message, n_tries, size, mtime_ns, ctime_ns FROM {table} WHERE {BELOW} ORDER BY path"
    return [
        RejectedFile(path, FileLook(*look), code, message, n_tries)
        for path, code, message, n_tries, *look in db.execute(sql, bounds_below(root))
    ]


def note_rejected(
    db: sqlite3.Connection, table: Table, rejected: Iterable[RejectedFile], forgotten: Iterable[bytes] = ()
) -> None:
    """List rejected files, and forget the paths of others; inside a transaction of the writer."""
    db.executemany(
        f"INSERT OR REPLACE INTO {table} (path, size, mtime_ns, ctime_ns, code, message, n_tries) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        [(each.path, *each.look, each.code, each.message, each.n_tries) for each in rejected],
    )
    db.executemany(f"DELETE FROM {table} WHERE path = ?", [(path,) for path in forgotten])
