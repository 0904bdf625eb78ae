"""Remembered query vectors: a small cache beside the catalog, so that a repeated text needs no encoder.

Best effort by design: a missing, damaged, locked or read-only file only means the text is encoded again. It tells
what was looked for, so a library can be told to keep none, and to forget those that it has.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
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


class RememberedQueries:
    """Vectors of texts already encoded for one open library, under the fingerprint of its encoder.

    Parameters
    ----------
    store : Store
        Opened for reading; by its writer for `keep`.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._path = store.files / QUERIES

    @property
    def is_wanted(self) -> bool:
        """Whether the library remembers queries; it does unless it was told not to."""
        return self._store.setting(_IS_REMEMBERING) is not False

    def keep(self, wanted: bool | None) -> None:
        """Keep whether queries are remembered, if that is said; forget all if not. The caller is the writer."""
        if wanted is not None and wanted != self.is_wanted:
            self._store.keep({_IS_REMEMBERING: wanted})
        if wanted is False:
            self.forget()

    def __len__(self) -> int:
        """Return how many queries are remembered."""
        if not self._path.is_file():
            return 0
        try:
            with closing(sqlite3.connect(self._path, timeout=1.0)) as db:
                return int(db.execute("SELECT count(*) FROM query").fetchone()[0])
        except sqlite3.Error:
            return 0

    def forget(self) -> int:
        """Forget all queries, and return how many there were.

        Raises
        ------
        StorageError
            If the file cannot be removed.
        """
        n = len(self)
        with storage_errors(self._path, "that queries are forgotten"):
            for path in (self._path, self._path.with_name(f"{QUERIES}-journal")):
                path.unlink(missing_ok=True)
        return n

    @property
    def _fingerprint(self) -> str:
        return str(self._store.setting("fingerprint"))

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
                row = db.execute(sql, (self._fingerprint, _key(text))).fetchone()
        except sqlite3.Error:
            return None
        if row is None or not isinstance(row[0], bytes) or len(row[0]) != 4 * self._store.dim:
            return None
        vector = np.frombuffer(row[0], dtype=np.float32)
        # A changed byte must not change an answer.
        return vector if abs(float(vector @ vector) - 1) < 1e-3 else None

    def vectors(self, n: int) -> Matrix:
        """Return the unit vectors float32 (at most n, dim) of the texts that were looked for last."""
        sql = "SELECT vector FROM query WHERE fingerprint = ? AND length(vector) = ? ORDER BY rowid DESC LIMIT ?"
        rows: list[tuple[bytes]] = []
        if self._path.is_file():
            with suppress(sqlite3.Error), closing(self._connect()) as db:
                rows = db.execute(sql, (self._fingerprint, 4 * self._store.dim, n)).fetchall()
        vectors = np.frombuffer(b"".join(vector for (vector,) in rows), dtype=np.float32)
        vectors = vectors.reshape(len(rows), self._store.dim)
        is_unit = np.abs(np.einsum("nd,nd->n", vectors, vectors) - 1) < 1e-3
        return np.asarray(vectors[is_unit], dtype=np.float32)

    def put(self, text: str, vector: Matrix, fingerprint: str) -> None:
        """Remember the vector that the encoder of a fingerprint gives a text; the oldest entries make room."""
        try:
            with closing(self._connect()) as db:
                db.execute(
                    "INSERT OR REPLACE INTO query VALUES (?, ?, ?)",
                    (fingerprint, _key(text), vector.astype(np.float32).tobytes()),
                )
                db.execute("DELETE FROM query WHERE rowid <= (SELECT max(rowid) FROM query) - ?", (LIMIT,))
        except sqlite3.DatabaseError as error:
            if "malformed" in str(error) or "not a database" in str(error):
                with suppress(OSError):
                    self._path.unlink(missing_ok=True)


def _key(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
