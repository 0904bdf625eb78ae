"""Remembered query vectors: a small cache beside the catalog, so that a repeated text needs no encoder.

Best effort by design: a missing, damaged, locked or read-only file only means the text is encoded again.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import numpy as np

from mmsearch.records import Matrix
from mmsearch.system import make_private

LIMIT = 10_000  # texts


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
