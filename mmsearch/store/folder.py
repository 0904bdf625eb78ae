"""The library folder as a whole: one writer, many readers, recovery, commits, compaction, proof.

What is acknowledged is on disk: vectors first, then one SQLite transaction that lists them. A kill
between the two leaves a tail in the vector file that no catalog row names; the next writer cuts it off.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mmsearch.errors import (
    DimensionError,
    LibraryDamagedError,
    LibraryNotFoundError,
)
from mmsearch.records import Matrix
from mmsearch.store.catalog import Catalog
from mmsearch.store.lock import locked
from mmsearch.store.matrix import Half, append_rows, map_rows, row_checksum, row_digest, stored_rows
from mmsearch.store.publish import remove_unnamed, storage_errors, sync_folder
from mmsearch.vectors import check_directions

T = TypeVar("T")
CATALOG = "catalog.sqlite"
TRANSIENT = ("permission", "vanished", "changed", "unreadable")  # says nothing about the stored vector
_BLOCK = 65_536  # rows copied or checked at a time


@dataclass(frozen=True)
class StoredFile:
    """One picture to be committed: what the file is, and its vector (dim,), an existing row, or neither."""

    path: bytes
    size: int
    mtime_ns: int
    content_hash: bytes
    width: int
    height: int
    format: str
    taken_at: str | None
    vector: Matrix | None = None
    row: int = -1


@dataclass(frozen=True)
class RejectedFile:
    """One file that could not be used; not tried again until size or mtime change."""

    path: bytes
    size: int
    mtime_ns: int
    code: str
    message: str


@dataclass
class Changes:
    """What one transaction does to the catalog."""

    stored: list[StoredFile] = field(default_factory=list)
    rejected: list[RejectedFile] = field(default_factory=list)
    moved: list[tuple[int, bytes, int]] = field(default_factory=list)  # (id, new path, mtime_ns)
    touched: list[tuple[int, int]] = field(default_factory=list)  # (id, mtime_ns)
    gone: list[int] = field(default_factory=list)  # ids
    forgotten: list[bytes] = field(default_factory=list)  # paths of rejected files that left

    def __len__(self) -> int:
        """Return how many entries would be changed."""
        return (
            len(self.stored) + len(self.rejected) + len(self.moved)
            + len(self.touched) + len(self.gone) + len(self.forgotten)
        )  # fmt: skip


class Store:
    """An open library folder; not shared between threads.

    Use `Store.open` for reading and `Store.writer` for writing.
    """

    def __init__(self, folder: Path, catalog: Catalog) -> None:
        self.folder = folder
        self.catalog = catalog
        self._matrix: Half | None = None
        self._matrix_epoch = -1

    # -- opening -------------------------------------------------------------------------------------

    @classmethod
    def open(cls, folder: Path) -> Store:
        """Open a library for reading; costs the same whatever its size.

        Raises
        ------
        LibraryNotFoundError
            If nothing was indexed there.
        LibraryVersionError, LibraryDamagedError
            If its catalog cannot be used.
        """
        if not (folder / CATALOG).is_file():
            raise LibraryNotFoundError(
                f"{folder}: no library found; `mmsearch index FOLDER` makes one, --library names another"
            )
        return cls(folder, Catalog.open(folder / CATALOG))

    @classmethod
    @contextmanager
    def writer(cls, folder: Path, *, create: dict[str, Any] | None = None) -> Iterator[Store]:
        """Hold the library's only writer: locked, recovered, closed at the end.

        Parameters
        ----------
        folder : Path
            The library.
        create : dict or None
            Settings of a new library (`dim`, 0 for no vectors, `fingerprint`, ...) if there is none yet.

        Raises
        ------
        LibraryLockedError
            If another process is writing.
        LibraryNotFoundError
            If there is no library and `create` is None.
        """
        if create is None and not (folder / CATALOG).is_file():
            cls.open(folder)
        with storage_errors(folder, "the library folder"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(folder):
            if not (folder / CATALOG).is_file() and create is not None:
                Catalog.create(folder / CATALOG, create)
            store = cls(folder, Catalog.open(folder / CATALOG, write=True))
            try:
                store._recover()
                yield store
            finally:
                store.close()

    def close(self) -> None:
        """Close the catalog and drop the mapped vectors."""
        self._matrix = None
        self.catalog.close()

    # -- reading -------------------------------------------------------------------------------------

    @property
    def dim(self) -> int:
        """Width of the vectors; 0 if the library has no encoder, and its pictures no vectors."""
        return int(self.catalog.meta("dim"))

    @property
    def has_vectors(self) -> bool:
        """Whether pictures have vectors: False in a library without an encoder."""
        return self.dim > 0

    @property
    def n_rows(self) -> int:
        """Rows of the matrix that count, dead ones included."""
        return int(self.catalog.meta("n_rows"))

    @property
    def epoch(self) -> int:
        """Generation of the vector file; rows are renumbered only when it changes."""
        return int(self.catalog.meta("epoch"))

    def vectors_path(self, epoch: int) -> Path:
        """Return the vector file of an epoch."""
        return self.folder / f"vectors-{epoch}.f16"

    def consistently(self, read: Callable[[], T]) -> T:
        """Return what `read` finds in one state of the library.

        A writer that compacts removes the vector file of the epoch before; a reader that was about to map
        it starts again on the new state.
        """
        while True:
            with self.catalog.reading():
                epoch = self.epoch
                try:
                    return read()
                except LibraryDamagedError as error:
                    problem = error
            if self.epoch == epoch:
                raise problem

    def matrix(self) -> Half:
        """Map the committed vectors float16 (n_rows, dim), read only; consistent inside `reading()`."""
        epoch, n_rows = self.epoch, self.n_rows
        if self._matrix is None or epoch != self._matrix_epoch or len(self._matrix) != n_rows:
            self._matrix = map_rows(self.vectors_path(epoch), n_rows, self.dim)
            self._matrix_epoch = epoch
        return self._matrix

    def checked_rows(self, rows: Sequence[int]) -> Half:
        """Return the vectors of a few rows (n, dim) after comparing them with their checksums.

        Raises
        ------
        LibraryDamagedError
            If a vector is not what was committed.
        """
        vectors = self.matrix()[np.asarray(rows, dtype=np.int64)]
        expected = self.catalog.checksums(rows)
        for row, vector in zip(rows, vectors, strict=True):
            if expected.get(int(row)) != row_checksum(vector):
                raise LibraryDamagedError(
                    f"{self.vectors_path(self.epoch)}: row {row} differs from its checksum; "
                    "run `mmsearch verify --repair` and then `mmsearch index` on the folders again"
                )
        return vectors

    def damaged_rows(self) -> list[int]:
        """Return every live row whose stored bytes differ from their checksum; missing rows count."""
        path, dim, n_rows = self.vectors_path(self.epoch), self.dim, self.n_rows
        present = min(stored_rows(path, dim), n_rows)
        matrix = map_rows(path, present, dim)
        dead = set(self.catalog.dead_rows())
        bad = []
        for start in range(0, n_rows, _BLOCK):
            rows = range(start, min(start + _BLOCK, n_rows))
            expected = self.catalog.checksums(rows)
            for row in rows:
                if row in dead:
                    continue
                if row >= present or expected.get(row) != row_checksum(matrix[row]):
                    bad.append(row)
        return bad

    # -- writing -------------------------------------------------------------------------------------

    def commit(self, changes: Changes) -> None:
        """Store the vectors, then change the catalog in one transaction; when it returns, all is on disk.

        Equal vectors share a row. Vectors must be finite and not zero.

        Raises
        ------
        VectorError, DimensionError
            If a vector cannot be used; nothing is stored.
        StorageError
            If the disk refuses; what was committed before stays.
        """
        if not len(changes):
            return
        rows = self._append([file.vector for file in changes.stored])
        with self.catalog.writing():
            db = self.catalog.db
            db.executemany("DELETE FROM image WHERE id = ?", [(image_id,) for image_id in changes.gone])
            db.executemany("DELETE FROM bad WHERE path = ?", [(path,) for path in changes.forgotten])
            for image_id, path, mtime_ns in changes.moved:
                db.execute("DELETE FROM bad WHERE path = ?", (path,))
                db.execute("UPDATE image SET path = ?, mtime_ns = ? WHERE id = ?", (path, mtime_ns, image_id))
            db.executemany(
                "UPDATE image SET mtime_ns = ? WHERE id = ?", [(mtime, i) for i, mtime in changes.touched]
            )
            self._list_vectors(changes.stored, rows)
            for file, row in zip(changes.stored, rows, strict=True):
                _store_image(db, file, row if file.vector is not None else file.row)
            for bad in changes.rejected:
                # A file that went bad keeps no vector of its former contents.
                if bad.code not in TRANSIENT:
                    db.execute("DELETE FROM image WHERE path = ?", (bad.path,))
                db.execute(
                    "INSERT OR REPLACE INTO bad VALUES (?, ?, ?, ?, ?)",
                    (bad.path, bad.size, bad.mtime_ns, bad.code, bad.message),
                )

    def _append(self, vectors: Sequence[Matrix | None]) -> list[int]:
        """Append the vectors that are not stored yet; return the row of each (-1 for None)."""
        given = [vector for vector in vectors if vector is not None]
        if not given:
            return [-1] * len(vectors)
        block = np.stack(given).astype("<f2")
        if block.shape[1] != self.dim:
            raise DimensionError(
                f"vectors have {block.shape[1]} dimensions, the library has {self.dim}; "
                "was it built with another model?"
            )
        check_directions(block.astype(np.float32), "vectors to store")
        n_rows = self.n_rows
        known: dict[bytes, int] = {}
        fresh: list[int] = []
        rows = []
        for position, vector in enumerate(block):
            digest = row_digest(vector)
            if digest not in known:
                found = self.catalog.db.execute("SELECT row FROM vector WHERE digest = ?", (digest,)).fetchone()
                known[digest] = found[0] if found else n_rows + len(fresh)
                if not found:
                    fresh.append(position)
            rows.append(known[digest])
        if fresh:
            append_rows(self.vectors_path(self.epoch), block[fresh], at=n_rows)
        answer = iter(rows)
        return [-1 if vector is None else next(answer) for vector in vectors]

    def _list_vectors(self, files: Sequence[StoredFile], rows: Sequence[int]) -> None:
        n_rows = self.n_rows
        last = n_rows
        for file, row in zip(files, rows, strict=True):
            if file.vector is not None and row == last:  # rows are handed out in order
                half = file.vector.astype("<f2")
                self.catalog.db.execute(
                    "INSERT INTO vector VALUES (?, ?, ?)", (row, row_checksum(half), row_digest(half))
                )
                last += 1
        if last != n_rows:
            self.catalog.set_meta({"n_rows": last})

    def remove_images(self, image_ids: Sequence[int]) -> None:
        """Forget pictures; their files are not touched."""
        self.commit(Changes(gone=list(image_ids)))

    def drop_rows(self, rows: Sequence[int]) -> int:
        """Forget damaged or missing rows with their pictures, so that the next run embeds them again."""
        with self.catalog.writing():
            db = self.catalog.db
            n = 0
            for row in rows:
                n += db.execute("DELETE FROM image WHERE row = ?", (int(row),)).rowcount
                # The row stays listed as dead, under a digest that no vector has.
                db.execute("UPDATE vector SET digest = ? WHERE row = ?", (b"dropped-%d" % row, int(row)))
        return n

    def compact(self) -> None:
        """Rewrite the vector file without dead rows, as a new epoch; rows are renumbered."""
        dead = self.catalog.dead_rows()
        if not dead:
            return
        old, epoch = self.matrix(), self.epoch + 1
        live = np.setdiff1d(np.arange(len(old)), dead)
        path = self.vectors_path(epoch)
        path.unlink(missing_ok=True)
        for start in range(0, len(live), _BLOCK):
            append_rows(path, old[live[start : start + _BLOCK]], at=start)
        sync_folder(self.folder)
        with self.catalog.writing():
            db = self.catalog.db
            db.execute("CREATE TEMP TABLE renumber (old INTEGER PRIMARY KEY, new INTEGER NOT NULL)")
            pairs = ((old_row, new_row) for new_row, old_row in enumerate(live.tolist()))
            db.executemany("INSERT INTO renumber VALUES (?, ?)", pairs)
            db.execute("DELETE FROM dead")
            db.execute("DELETE FROM vector WHERE row NOT IN (SELECT old FROM renumber)")
            for table in ("vector", "image"):
                # By way of negative numbers: a plain update would meet rows not yet renumbered.
                db.execute(f"UPDATE {table} SET row = -1 - (SELECT new FROM renumber WHERE old = {table}.row)")
                db.execute(f"UPDATE {table} SET row = -1 - row")
            db.execute("DELETE FROM dead")
            db.execute("DROP TABLE renumber")
            self.catalog.set_meta({"epoch": epoch, "n_rows": len(live)})
        self._remove_old_epochs()

    def _recover(self) -> None:
        """Undo what a killed writer left: files, the tail of the vector file, rows that are missing."""
        self._remove_old_epochs()
        remove_unnamed(self.folder)
        n_rows, dim = self.n_rows, self.dim
        path = self.vectors_path(self.epoch)
        found = stored_rows(path, dim)
        if found < n_rows:
            missing = set(range(found, n_rows)) - set(self.catalog.dead_rows())
            self.drop_rows(sorted(missing))
            # Zero rows stand in for the missing ones, so that row numbers stay what they are.
            append_rows(path, np.zeros((n_rows - found, dim), dtype=np.float16), at=found)
        elif path.exists() and path.stat().st_size != n_rows * dim * 2:
            with storage_errors(path, "the vectors"):
                os.truncate(path, n_rows * dim * 2)

    def _remove_old_epochs(self) -> None:
        keep = self.vectors_path(self.epoch)
        for path in self.folder.glob("vectors-*.f16"):
            if path != keep:
                path.unlink(missing_ok=True)


def _store_image(db: Any, file: StoredFile, row: int) -> None:
    db.execute("DELETE FROM bad WHERE path = ?", (file.path,))
    # Changed contents get a new id, and ids are never used twice: what is known of an id stays true.
    db.execute("DELETE FROM image WHERE path = ? AND hash <> ?", (file.path, file.content_hash))
    db.execute(
        "INSERT INTO image (path, size, mtime_ns, hash, row, width, height, format, taken) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (path) DO UPDATE SET "
        "size = excluded.size, mtime_ns = excluded.mtime_ns, hash = excluded.hash, row = excluded.row, "
        "width = excluded.width, height = excluded.height, format = excluded.format, taken = excluded.taken",
        (file.path, file.size, file.mtime_ns, file.content_hash, row,
         file.width, file.height, file.format, file.taken_at),
    )  # fmt: skip
