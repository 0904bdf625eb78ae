"""Vectors of new pictures: found among the rows that are stored, or appended to them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.errors import DimensionError
from mmsearch.store.catalog import Catalog
from mmsearch.store.changes import StoredFile
from mmsearch.store.matrix import Half, append_rows, row_checksum, row_digest
from mmsearch.vectors import check_directions

if TYPE_CHECKING:
    from mmsearch.store.folder import Store


def append_vectors(store: Store, files: Sequence[StoredFile]) -> list[int]:
    """Append and list the vectors that are not stored yet; inside a transaction of the writer.

    Returns
    -------
    list of int
        The row of each file, -1 for one without a vector.

    Raises
    ------
    VectorError, DimensionError
        If a vector cannot be used.
    StorageError
        If the disk refuses.
    LibraryLostError, LibraryDamagedError
        If the vector file is no longer what this writer wrote.
    """
    given = [file.vector for file in files if file.vector is not None]
    if not given:
        return [-1] * len(files)
    block = np.stack(given).astype("<f2")
    if block.shape[1] != store.dim:
        raise DimensionError(
            f"vectors have {block.shape[1]} dimensions, the library has {store.dim}; "
            "was it built with another model?"
        )
    check_directions(block.astype(np.float32), "vectors to store")
    n_rows = store.n_rows
    rows: dict[bytes, int] = {}
    digests = [row_digest(vector) for vector in block]
    fresh: list[int] = []  # positions in the block
    for position, digest in enumerate(digests):
        if digest not in rows:
            row = _row_of(store, digest, block[position])
            rows[digest] = n_rows + len(fresh) if row is None else row
            fresh += [position] if row is None else []
    if fresh:
        store.require_vectors()
        append_rows(store.vectors_path(store.epoch), block[fresh], at=n_rows)
        listed = ((rows[digests[i]], row_checksum(block[i]), digests[i]) for i in fresh)
        store.catalog.db.executemany("INSERT INTO vector VALUES (?, ?, ?)", listed)
        store.catalog.set_meta({"n_rows": n_rows + len(fresh)})
    remaining = iter(digests)
    return [-1 if file.vector is None else rows[next(remaining)] for file in files]


def _row_of(store: Store, digest: bytes, vector: Half) -> int | None:
    """Return the row that holds a vector already; a row that was damaged since holds none."""
    listed = store.catalog.db.execute("SELECT row FROM vector WHERE digest = ?", (digest,)).fetchone()
    if listed is None:
        return None
    row, matrix = int(listed[0]), store.matrix()
    if row < len(matrix) and matrix[row : row + 1].tobytes() == vector.tobytes():
        return row
    give_up_digest(store.catalog, row)
    return None


def give_up_digest(catalog: Catalog, row: int) -> None:
    """Keep a row listed under a digest that no vector has."""
    catalog.db.execute("UPDATE vector SET digest = ? WHERE row = ?", (b"dropped-%d" % row, row))


def renumber(db: sqlite3.Connection, live: Sequence[int]) -> None:
    """Give the live rows the numbers from 0 on, in order, and forget the others; inside a transaction."""
    db.execute("CREATE TEMP TABLE renumber (old INTEGER PRIMARY KEY, new INTEGER NOT NULL)")
    db.executemany("INSERT INTO renumber VALUES (?, ?)", ((old, new) for new, old in enumerate(live)))
    db.execute("DELETE FROM dead")
    db.execute("DELETE FROM vector WHERE row NOT IN (SELECT old FROM renumber)")
    for table in ("vector", "image"):
        # By way of negative numbers: a plain update would meet rows not yet renumbered.
        db.execute(f"UPDATE {table} SET row = -1 - (SELECT new FROM renumber WHERE old = {table}.row)")
        db.execute(f"UPDATE {table} SET row = -1 - row")
    db.execute("DELETE FROM dead")
    db.execute("DROP TABLE renumber")
