"""Kept thumbnails: one SQLite file beside the catalog that never grows beyond a bound; the oldest make room.

Best effort by design: a missing, damaged, locked or read-only file only means that thumbnails are made again. They
are kept under the hash of the file they show, so they never show another, and only as long as pictures are read in
the way in which they were made.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from mmsearch.records import READING
from mmsearch.system import make_private

LIMIT_BYTES = 500_000_000
_PAGE = 4096
_BATCH = 100  # thumbnails that make room at a time


class KeptThumbnails:
    """Small JPEGs by content hash and side; may be shared between threads and processes."""

    def __init__(self, path: Path, *, limit_bytes: int = LIMIT_BYTES) -> None:
        self._path, self._limit = path, limit_bytes

    def _connect(self) -> sqlite3.Connection:
        with suppress(OSError):
            make_private(self._path)
        db = sqlite3.connect(self._path, timeout=1.0, isolation_level=None)
        db.execute("PRAGMA synchronous=OFF")
        db.execute(f"PRAGMA max_page_count={max(16, self._limit // _PAGE)}")  # the bound, whatever happens
        if db.execute("PRAGMA user_version").fetchone()[0] != READING:
            db.execute("DROP TABLE IF EXISTS thumbnail")
            db.execute(f"PRAGMA user_version={READING}")
        db.execute(
            "CREATE TABLE IF NOT EXISTS thumbnail (number INTEGER PRIMARY KEY, hash BLOB NOT NULL, "
            "side INTEGER NOT NULL, jpeg BLOB NOT NULL, UNIQUE (hash, side))"
        )
        return db

    def get(self, content_hash: bytes, side: int) -> bytes | None:
        """Return a kept thumbnail, or None."""
        sql = "SELECT jpeg FROM thumbnail WHERE hash = ? AND side = ?"
        try:
            with closing(self._connect()) as db:
                row = db.execute(sql, (content_hash, side)).fetchone()
        except sqlite3.Error:
            return None
        return row[0] if row and isinstance(row[0], bytes) and row[0].startswith(b"\xff\xd8") else None

    def put(self, content_hash: bytes, side: int, jpeg: bytes) -> None:
        """Keep a thumbnail if it can be kept."""
        sql = "INSERT OR REPLACE INTO thumbnail (hash, side, jpeg) VALUES (?, ?, ?)"
        try:
            with closing(self._connect()) as db:
                for _ in range(20):
                    try:
                        db.execute(sql, (content_hash, side, jpeg))
                        return
                    except sqlite3.OperationalError as error:
                        if "full" not in str(error):
                            return
                        db.execute(
                            "DELETE FROM thumbnail WHERE number IN "
                            f"(SELECT number FROM thumbnail ORDER BY number LIMIT {_BATCH})"
                        )
        except sqlite3.DatabaseError as error:
            if "malformed" in str(error) or "not a database" in str(error):
                with suppress(OSError):
                    self._path.unlink(missing_ok=True)
