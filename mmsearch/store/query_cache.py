"""Remembered query vectors: a small cache beside the catalog, so that a repeated text needs no encoder.

Best effort by design: a missing, damaged, locked or read-only file only means the text is encoded again. It tells
what was looked for, so a library can be told to keep none, and to forget those that it has.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.records import Matrix
from mmsearch.store.publish import storage_errors
from mmsearch.system import make_private

if TYPE_CHECKING:
    from mmsearch.store.folder import Store

LIMIT = 10_000  # texts
QUERIES = "queries.sqlite"
_IS_REMEMBERING = "remembers_queries"  # setting


def is_remembering(store: Store) -> bool:
    """Return whether a library remembers queries; it does unless it was told not to."""
    return store.setting(_IS_REMEMBERING) is not False


def keep_remembering(store: Store, wanted: bool | None) -> None:
    """Keep whether a library remembers queries, if that is said; forget all if not. The caller is the writer."""
    if wanted is not None and wanted != is_remembering(store):
        store.keep({_IS_REMEMBERING: wanted})
    if wanted is False:
        forget_queries(store.files)


def n_remembered(folder: Path) -> int:
    """Return how many queries are remembered in the folder of a library."""
    if not (folder / QUERIES).is_file():
        return 0
    try:
        with closing(sqlite3.connect(folder / QUERIES, timeout=1.0)) as db:
            return int(db.execute("SELECT count(*) FROM query").fetchone()[0])
    except sqlite3.Error:
        return 0


def forget_queries(folder: Path) -> int:
    """Forget all queries, and return how many there were.

    Raises
    ------
    StorageError
        If the file cannot be removed.
    """
    n = n_remembered(folder)
    with storage_errors(folder / QUERIES, "that queries are forgotten"):
        for suffix in ("", "-journal"):
            (folder / f"{QUERIES}{suffix}").unlink(missing_ok=True)
    return n


class RememberedQueries:
    """Vectors of texts already encoded, under the fingerprint of the encoder."""

    def __init__(self, path: Path, fingerprint: str, dim: int) -> None:
        self._path, self._fingerprint, self._dim = path, fingerprint, dim

    def _connect(self) -> sqlite3.Connection:
        with suppress(OSError):
            make_private(self._path)
        db = sqlite3.connect(self._path, timeout=0.1, isolation_level=None)
        db.execute("PRAGMA synchronous=OFF")
        db.execute(
            "CREATE TABLE IF NOT EXISTS query (fingerprint TEXT, text BLOB, vector BLOB NOT NULL, "
            "PRIMARY KEY (fingerprint, text))"
        )
        return db

    def get(self, text: str) -> Matrix | None:
        """Return the unit vector float32 (dim,) of a text, or None."""
        sql = "SELECT vector FROM query WHERE fingerprint = ? AND text = ?"
        try:
            with closing(self._connect()) as db:
                found = db.execute(sql, (self._fingerprint, _key(text))).fetchone()
        except sqlite3.Error:
            return None
        if found is None or not isinstance(found[0], bytes) or len(found[0]) != 4 * self._dim:
            return None
        vector = np.frombuffer(found[0], dtype=np.float32)
        # A changed byte must not change an answer.
        return vector if abs(float(vector @ vector) - 1) < 1e-3 else None

    def put(self, text: str, vector: Matrix) -> None:
        """Remember the vector of a text; the oldest entries make room."""
        try:
            with closing(self._connect()) as db:
                db.execute(
                    "INSERT OR REPLACE INTO query VALUES (?, ?, ?)",
                    (self._fingerprint, _key(text), vector.astype(np.float32).tobytes()),
                )
                db.execute("DELETE FROM query WHERE rowid <= (SELECT max(rowid) FROM query) - ?", (LIMIT,))
        except sqlite3.DatabaseError as error:
            if "malformed" in str(error) or "not a database" in str(error):
                with suppress(OSError):
                    self._path.unlink(missing_ok=True)


def _key(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
