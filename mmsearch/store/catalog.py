"""The truth of a library: an SQLite file that says which pictures, rows and settings there are.

WAL mode with synchronous=FULL: a committed transaction survives a power cut, and readers go on during a
write. Triggers keep `dead` equal to the rows that no picture refers to, whatever statement caused it. Pictures
without a vector, in a library without an encoder, have row -1.
"""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mmsearch.errors import (
    LibraryDamagedError,
    LibraryLockedError,
    LibraryVersionError,
    StorageError,
    advice,
    reason,
)
from mmsearch.records import BadPicture, ImageRecord
from mmsearch.store.publish import storage_errors, sync_folder
from mmsearch.store.where import register_functions

SCHEMA = 1
_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE vector (row INTEGER PRIMARY KEY, crc32 INTEGER NOT NULL, digest BLOB NOT NULL UNIQUE);
CREATE TABLE image (
    id INTEGER PRIMARY KEY AUTOINCREMENT, path BLOB NOT NULL UNIQUE, size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL, hash BLOB NOT NULL, row INTEGER NOT NULL REFERENCES vector(row),
    width INTEGER NOT NULL, height INTEGER NOT NULL, format TEXT NOT NULL, taken TEXT);
CREATE INDEX image_row ON image(row);
CREATE INDEX image_hash ON image(hash);
CREATE TABLE bad (
    path BLOB PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    code TEXT NOT NULL, message TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE dead (row INTEGER PRIMARY KEY);
CREATE TRIGGER image_added AFTER INSERT ON image BEGIN DELETE FROM dead WHERE row = NEW.row; END;
CREATE TRIGGER image_left AFTER DELETE ON image
WHEN OLD.row >= 0 AND NOT EXISTS (SELECT 1 FROM image WHERE row = OLD.row)
BEGIN INSERT OR IGNORE INTO dead VALUES (OLD.row); END;
CREATE TRIGGER image_changed AFTER UPDATE OF row ON image WHEN OLD.row <> NEW.row BEGIN
    DELETE FROM dead WHERE row = NEW.row;
    INSERT OR IGNORE INTO dead SELECT OLD.row WHERE NOT EXISTS (SELECT 1 FROM image WHERE row = OLD.row);
END;
"""
_COLUMNS = "id, path, row, size, mtime_ns, width, height, format, taken"
_CHUNK = 500  # bound parameters of one statement
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
                f"{path}: the system refused the access ({error}: {reason(cause)}); {advice(cause)}; "
                "nothing that was stored is lost"
            ) from error
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise LibraryLockedError(
                f"{path}: another program holds the catalog ({error}); wait until it is done"
            ) from error
        raise LibraryDamagedError(f"{path}: the catalog cannot be read ({error}); run `mmsearch verify`") from error
    except sqlite3.DatabaseError as error:
        raise LibraryDamagedError(
            f"{path}: the catalog is damaged ({error}); restore it, or delete the library and index again"
        ) from error


def refusal(path: Path, error: sqlite3.Error) -> OSError | None:
    """Return what the system refused SQLite, which keeps it to itself; None if something else is wrong."""
    code = _CAUSES.get(error.sqlite_errorcode & 0xFF)
    if code is None:
        return None
    found = _refused(path) if code != errno.ENOSPC else None
    return found or OSError(code, os.strerror(code) if code else "it does not say why")


def _refused(path: Path) -> OSError | None:
    """Return what the system refuses who wants to do with a catalog what SQLite does."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
        with tempfile.TemporaryFile(dir=path.parent) as beside:
            os.pwrite(beside.fileno(), bytes(_PROBE), path.stat().st_size)
    except OSError as error:
        return error
    return None


def record_of(values: Sequence[Any]) -> ImageRecord:
    """Return the record of one row of `_COLUMNS`."""
    image_id, path, *rest = values
    return ImageRecord(image_id, os.fsdecode(path), *rest)


class Catalog:
    """One connection to a library's catalog; not shared between threads.

    Readers see one consistent state inside `reading()`; the writer changes it inside `writing()`.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self.db = connection

    @classmethod
    def create(cls, path: Path, meta: dict[str, Any]) -> None:
        """Create the file with its tables and settings; the caller holds the writer lock.

        Under another name first, then renamed: a kill leaves no catalog or a whole one.
        """
        temporary = path.with_name(path.name + ".new")
        with storage_errors(path, "the catalog"):
            for leftover in path.parent.glob(temporary.name + "*"):
                leftover.unlink()
            with sqlite_errors(path), closing(sqlite3.connect(temporary, isolation_level=None)) as db:
                db.execute("PRAGMA journal_mode=WAL")
                db.execute("PRAGMA synchronous=FULL")
                db.executescript(f"BEGIN; {_TABLES} COMMIT;")
                catalog = cls(temporary, db)
                with catalog.writing():
                    catalog.set_meta({"schema": SCHEMA, "epoch": 0, "n_rows": 0, "revision": 0, **meta})
            os.replace(temporary, path)
            sync_folder(path.parent)

    @classmethod
    def open(cls, path: Path, *, write: bool = False) -> Catalog:
        """Open the file and check its schema version.

        Raises
        ------
        LibraryVersionError
            If a newer mmsearch wrote it.
        LibraryDamagedError
            If it is not a catalog.
        """
        with sqlite_errors(path):
            uri = f"file:{quote(os.fsencode(path))}?mode={'rw' if write else 'ro'}"
            db = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=30, check_same_thread=False)
            catalog = cls(path, db)
            try:
                register_functions(db)
                if write:
                    db.execute("PRAGMA synchronous=FULL")
                schema = catalog.meta("schema")
            except BaseException:
                db.close()
                raise
        if schema != SCHEMA:
            db.close()
            raise LibraryVersionError(
                f"{path}: library format {schema}, this mmsearch knows format {SCHEMA}; "
                "use the mmsearch version that wrote it, or index again into another folder"
            )
        return catalog

    def close(self) -> None:
        """Close the connection."""
        self.db.close()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Hold one consistent state of the catalog for the statements inside."""
        with sqlite_errors(self.path):
            if self.db.in_transaction:
                yield
                return
            self.db.execute("BEGIN")
            try:
                yield
            finally:
                self.db.execute("COMMIT")

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Commit the statements inside as one transaction, or none of them."""
        with sqlite_errors(self.path):
            self.db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.db.execute("UPDATE meta SET value = value + 1 WHERE key = 'revision'")
                self.db.execute("COMMIT")
            except BaseException:
                if self.db.in_transaction:
                    self.db.execute("ROLLBACK")
                raise

    # -- settings ------------------------------------------------------------------------------------

    def meta(self, key: str) -> Any:
        """Return one setting, or None."""
        found = self.db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        if found is None:
            return None
        try:
            return json.loads(found[0])
        except (TypeError, ValueError) as error:
            raise LibraryDamagedError(
                f"{self.path}: the setting {key!r} is not JSON; restore the file, or index again"
            ) from error

    def set_meta(self, values: dict[str, Any]) -> None:
        """Store settings; inside `writing()`."""
        rows = [(key, json.dumps(value)) for key, value in values.items()]
        self.db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", rows)

    # -- reading -------------------------------------------------------------------------------------

    def images_of_rows(self, rows: Sequence[int], condition: str = "", parameters: Sequence[Any] = ()
                       ) -> list[ImageRecord]:  # fmt: skip
        """Return the pictures that refer to the rows and pass the SQL condition, in no special order."""
        return self._images_in("row", rows, condition, parameters)

    def images_of_ids(self, ids: Sequence[int], condition: str = "", parameters: Sequence[Any] = ()
                      ) -> list[ImageRecord]:  # fmt: skip
        """Return the pictures with these ids that pass the SQL condition, in no special order."""
        return self._images_in("id", ids, condition, parameters)

    def _images_in(self, column: str, keys: Sequence[int], condition: str, parameters: Sequence[Any]
                   ) -> list[ImageRecord]:  # fmt: skip
        found = []
        for start in range(0, len(keys), _CHUNK):
            chunk = [int(key) for key in keys[start : start + _CHUNK]]
            marks = ",".join("?" * len(chunk))
            sql = f"SELECT {_COLUMNS} FROM image WHERE {column} IN ({marks})"
            sql += f" AND ({condition})" if condition else ""
            found += [record_of(values) for values in self.db.execute(sql, [*chunk, *parameters])]
        return found

    def rows_where(self, condition: str, parameters: Sequence[Any], limit: int) -> list[int]:
        """Return up to `limit` rows of pictures that pass the SQL condition, possibly repeated."""
        sql = f"SELECT row FROM image WHERE {condition} LIMIT ?"
        return [row for (row,) in self.db.execute(sql, [*parameters, limit])]

    def images(
        self, condition: str = "1", parameters: Sequence[Any] = (), *, limit: int = -1, offset: int = 0
    ) -> Iterator[ImageRecord]:
        """Yield the pictures that pass the SQL condition, by path: all, or so many from an offset on."""
        sql = f"SELECT {_COLUMNS} FROM image WHERE {condition} ORDER BY path LIMIT ? OFFSET ?"
        return map(record_of, self.db.execute(sql, (*parameters, limit, offset)))

    def count_where(self, condition: str, parameters: Sequence[Any]) -> int:
        """Return the number of pictures that pass the SQL condition."""
        n: int = self.db.execute(f"SELECT count(*) FROM image WHERE {condition}", tuple(parameters)).fetchone()[0]
        return n

    def image_at(self, path: bytes) -> ImageRecord | None:
        """Return the picture stored under this path, or None."""
        found = self.db.execute(f"SELECT {_COLUMNS} FROM image WHERE path = ?", (path,)).fetchone()
        return None if found is None else record_of(found)

    def hash_of(self, image_id: int) -> bytes | None:
        """Return the sha256 of the file that a picture was made of, or None if there is no such picture."""
        found = self.db.execute("SELECT hash FROM image WHERE id = ?", (image_id,)).fetchone()
        return None if found is None else bytes(found[0])

    def image_with_hash(self, content_hash: bytes) -> ImageRecord | None:
        """Return one picture with these file contents, or None."""
        sql = f"SELECT {_COLUMNS} FROM image WHERE hash = ? ORDER BY id LIMIT 1"
        found = self.db.execute(sql, (content_hash,)).fetchone()
        return None if found is None else record_of(found)

    def image_ids(self) -> list[int]:
        """Return the ids of all pictures."""
        return [image_id for (image_id,) in self.db.execute("SELECT id FROM image")]

    def last_id(self) -> int:
        """Return the highest id ever given to a picture; ids are not used twice."""
        found = self.db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'image'").fetchone()
        return int(found[0]) if found else 0

    def known_files(self, root: bytes) -> Iterator[tuple[bytes, int, int, int, bytes]]:
        """Yield (path, size, mtime_ns, id, hash) of every picture at or below `root`."""
        prefix = root.rstrip(b"/") + b"/"
        sql = "SELECT path, size, mtime_ns, id, hash FROM image WHERE path = ? OR (path >= ? AND path < ?)"
        return self.db.execute(sql, (root, prefix, prefix[:-1] + b"0"))

    def bad_files(self, root: bytes) -> Iterator[tuple[bytes, int, int]]:
        """Yield (path, size, mtime_ns) of every rejected file at or below `root`."""
        prefix = root.rstrip(b"/") + b"/"
        sql = "SELECT path, size, mtime_ns FROM bad WHERE path = ? OR (path >= ? AND path < ?)"
        return self.db.execute(sql, (root, prefix, prefix[:-1] + b"0"))

    def bad_pictures(self) -> list[BadPicture]:
        """Return every rejected file with its reason, by path."""
        sql = "SELECT path, code, message FROM bad ORDER BY path"
        return [BadPicture(os.fsdecode(path), code, text) for path, code, text in self.db.execute(sql)]

    def dead_rows(self) -> list[int]:
        """Return the rows no picture refers to."""
        return [row for (row,) in self.db.execute("SELECT row FROM dead ORDER BY row")]

    def count(self, table: str) -> int:
        """Return the number of entries of `image`, `vector`, `bad` or `dead`."""
        n: int = self.db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        return n

    def checksums(self, rows: Sequence[int]) -> dict[int, int]:
        """Return {row: crc32} of the given rows that the catalog knows."""
        found: dict[int, int] = {}
        for start in range(0, len(rows), _CHUNK):
            chunk = [int(row) for row in rows[start : start + _CHUNK]]
            marks = ",".join("?" * len(chunk))
            found.update(self.db.execute(f"SELECT row, crc32 FROM vector WHERE row IN ({marks})", chunk))
        return found
