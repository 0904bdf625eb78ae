"""The truth of a library: an SQLite file that says which pictures, rows and settings there are.

WAL mode with synchronous=FULL: a committed transaction survives a power cut, and readers go on during a
write. Triggers keep `dead` equal to the rows that no picture refers to, whatever statement caused it. Pictures
without a vector, in a library without an encoder, have row -1. Every commit has a number and a random token: what
is made from a catalog carries both, so that it is not taken for something made from another state (`Moment`).
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from mmsearch.errors import (
    LibraryDamagedError,
    LibraryLostError,
    LibraryVersionError,
)
from mmsearch.frames import file_of
from mmsearch.records import BadPicture, FileLook, FilmMoment, ImageRecord, Order
from mmsearch.store.changes import KnownBad, KnownFile, StoredFile
from mmsearch.store.connect import CatalogLook, connect, connect_to_read
from mmsearch.store.migrations import SCHEMA, migrate, read_as_now
from mmsearch.store.note import Moment, write_note
from mmsearch.store.publish import storage_errors
from mmsearch.store.sqlite_errors import sqlite_errors
from mmsearch.store.where import SqlCondition, register_functions
from mmsearch.system import make_private, sync_folder

CATALOG = "catalog.sqlite"
_COLUMNS = 'id, path, row, size, mtime_ns, width, height, format, taken, film, at, start, "end"'
_KNOWN = "id, hash, reading, annotated, beside, path, size, mtime_ns, ctime_ns"
_BROAD = 10_000  # pictures that pass a filter: passing over others takes less than sorting so many
_CHUNK = 500  # bound parameters of one statement
_MOST = (1 << 63) - 1
_HOLDS_VECTOR = "substr(digest, 1, 8) <> CAST('dropped-' AS BLOB)"
BELOW = "((path >= ? AND path < ?) OR (path >= ? AND path < ?))"
"""Condition: a path is a place or lies below it; `bounds_below` gives the parameters."""


class PageEnd(NamedTuple):
    """The picture at which a page ended, in whichever order; its date is empty where that is not known."""

    image_id: int
    path: bytes
    taken: str


_Part = tuple[str, tuple[Any, ...], str]
"""Where pictures stand that come one after another, as SQL with its parameters, and their order."""


def _parts(order: Order, end: PageEnd | None) -> list[_Part]:
    """Return what comes after the end of a page, each part in the order of an index."""
    if order == "added":
        # Passing over what a narrow filter stops takes less than sorting all that a broad one lets through.
        return [("image NOT INDEXED WHERE id > ?", (-1 if end is None else end.image_id,), "id")]
    if order == "path":
        return [("image WHERE path > ?", (b"" if end is None else end.path,), "path")]
    dated = "image WHERE taken <= ? AND (taken < ? OR id < ?)"
    undated = "image WHERE taken IS NULL AND id < ?"
    if end is None:
        return [("image WHERE taken >= ?", ("",), "taken DESC, id DESC"), (undated, (_MOST,), "id DESC")]
    if not end.taken:
        return [(undated, (end.image_id,), "id DESC")]
    return [
        (dated, (end.taken, end.taken, end.image_id), "taken DESC, id DESC"),
        (undated, (_MOST,), "id DESC"),
    ]


def _nothing() -> None:
    """Check nothing, note nothing."""


def record_of(values: Sequence[Any]) -> ImageRecord:
    """Return the record of one row of `_COLUMNS`."""
    image_id, path, row, size, mtime_ns, width, height, format, taken, film, *times = values
    moment = None if film is None else FilmMoment(film, *times)
    file = os.fsdecode(path if film is None else file_of(path))
    return ImageRecord(image_id, file, row, size, mtime_ns, width, height, format, taken, moment)


def _known_file(values: Sequence[Any]) -> KnownFile:
    """Return what one row of `_KNOWN` says."""
    image_id, content_hash, reading, annotated, beside, path, *look = values
    return KnownFile(path, FileLook(*look), image_id, content_hash, reading, annotated, beside)


def bounds_below(root: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """Return the parameters of `BELOW` for a place; the frames of a film lie at its path."""
    prefix = root.rstrip(b"/") + b"/"
    return root, root + b"\1", prefix, prefix[:-1] + b"0"


class Catalog:
    """One connection to a library's catalog; not shared between threads.

    Readers see one consistent state inside `reading()`; the writer changes it inside `writing()`.

    Parameters
    ----------
    path : Path
        The file.
    connection : sqlite3.Connection
        Opened on it.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self.db = connection
        self.guard: Callable[[], None] = _nothing
        """Called when a transaction of the writer begins; raises if the library is not its own."""
        self.on_commit: Callable[[], None] = _nothing
        """Called when one is on disk."""
        self._seen: CatalogLook | None = None  # what a connection is of that does not see what changes there
        self._schema = SCHEMA
        self._revision: int | None = None  # of the last commit that this writer knows of

    @classmethod
    def create(cls, path: Path, meta: dict[str, Any]) -> None:
        """Create the file with its tables and settings; the caller holds the writer lock.

        Under another name first, then renamed: a kill leaves no catalog or a whole one.
        """
        temporary = path.with_name(path.name + ".new")
        with storage_errors(path, "the catalog"):
            for leftover in path.parent.glob(temporary.name + "*"):
                leftover.unlink()
            for name in ("-wal", "-shm"):  # of one that is replaced
                path.with_name(path.name + name).unlink(missing_ok=True)
            make_private(temporary)
            with sqlite_errors(path), closing(sqlite3.connect(temporary, isolation_level=None)) as db:
                db.execute("PRAGMA synchronous=FULL")
                db.execute("BEGIN")
                migrate(db, path.parent)
                catalog = cls(temporary, db)
                catalog.set_meta(meta)
                db.execute("COMMIT")
                catalog.note(path.parent)
                # Not before: what is in a log that the disk has no room to merge would stay under the old name.
                db.execute("PRAGMA journal_mode=WAL")
            os.replace(temporary, path)
            sync_folder(path.parent)

    @classmethod
    def open(cls, path: Path, *, write: bool = False, guard: Callable[[], None] = _nothing) -> Catalog:
        """Open the file; an older schema is migrated by the writer, and read as it is by others.

        `guard` is called whenever a transaction of the writer begins; it raises if the library is not its own.

        Raises
        ------
        LibraryVersionError
            If a newer mmsearch wrote it.
        LibraryDamagedError
            If it is not a catalog.
        """
        with sqlite_errors(path):
            db, seen = (connect(path, mode="rw"), None) if write else connect_to_read(path)
            catalog = cls(path, db)
            catalog._seen, catalog.guard = seen, guard
            try:
                if write:
                    db.execute("PRAGMA synchronous=FULL")
                catalog._bring_up_to_date(is_writer=write)
            except BaseException:
                db.close()
                raise
        return catalog

    def _follow(self) -> None:
        """Open the catalog again where this connection does not see what has changed there, or a migration."""
        now = None if self._seen is None else CatalogLook.at(self.path)
        is_older = now is not None and now.catalog is not None and now != self._seen
        is_migrated = self._revision is None and self._schema < SCHEMA and self.meta("schema") != self._schema
        if is_older or is_migrated:
            before = self.db
            self.db, self._seen = connect_to_read(self.path)
            before.close()
            self._bring_up_to_date(is_writer=False)

    def _bring_up_to_date(self, *, is_writer: bool) -> None:
        register_functions(self.db)
        schema = self.meta("schema")
        if not isinstance(schema, int) or not 1 <= schema <= SCHEMA:
            raise LibraryVersionError(
                f"{self.path}: library format {schema}, this mmsearch knows formats 1 to {SCHEMA}; "
                "use the mmsearch version that wrote it, or index again into another folder"
            )
        if schema < SCHEMA and is_writer:
            with self._transaction():
                migrate(self.db, self.path.parent, schema=schema)
                self.note(
                    self.path.parent
                )  # a kill before the commit leaves a note that older schemas do not ask for
        elif schema < SCHEMA:
            read_as_now(self.db, schema=schema)
        self._schema = schema
        self._revision = self.meta("revision") if is_writer else None

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
            self._follow()
            self.db.execute("BEGIN")
            try:
                yield
            finally:
                if self.db.in_transaction:  # an error of the disk has ended it
                    self.db.execute("COMMIT")

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Commit the statements inside as one transaction, or none of them.

        Raises
        ------
        LibraryLostError
            If the library is no longer that of this writer, or another one has written to it.
        """
        with self._transaction():
            if self.meta("revision") != self._revision:
                raise LibraryLostError(
                    f"{self.path.parent}: another process has written to this library meanwhile, although this one "
                    "holds its lock; this run stops, what it stored before counts: run the command again"
                )
            yield
            self.db.execute("UPDATE meta SET value = value + 1 WHERE key = 'revision'")
            self._revision = int(self.meta("revision"))
            self.db.execute("INSERT INTO history VALUES (?, randomblob(8))", (self._revision,))
        self.on_commit()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        revision = self._revision
        with sqlite_errors(self.path):
            self.db.execute("BEGIN IMMEDIATE")
            try:
                self.guard()
                yield
                self.db.execute("COMMIT")
            except BaseException:
                is_over = not self.db.in_transaction
                if not is_over:
                    self.db.execute("ROLLBACK")
                if not (is_over and self._is_committed()):  # an interrupt may come just after the commit
                    self._revision = revision
                raise

    def _is_committed(self) -> bool:
        """Return whether the last commit that this writer knows of is on the disk."""
        with suppress(sqlite3.Error, LibraryDamagedError):
            return bool(self.meta("revision") == self._revision)
        return False

    # -- history -------------------------------------------------------------------------------------

    def moment(self) -> Moment | None:
        """Return the last commit; None in a library of before histories were kept."""
        last = self.db.execute(
            "SELECT number, token FROM history WHERE number = "
            "(SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'revision')"
        ).fetchone()
        return None if last is None else Moment(str(self.meta("library")), last[0], bytes(last[1]).hex())

    def note(self, folder: Path) -> None:
        """Note the last commit beside the catalog; the caller is the writer."""
        moment = self.moment()
        assert moment is not None, "the writer's catalog has the present schema"
        write_note(folder, moment, int(self.meta("n_rows")))

    def is_in_history(self, moment: Moment) -> bool:
        """Return whether a commit is one of this catalog: its own last one, or one before it."""
        token = self.db.execute("SELECT token FROM history WHERE number = ?", (moment.number,)).fetchone()
        return self.meta("library") == moment.library and token is not None and token[0].hex() == moment.token

    # -- settings ------------------------------------------------------------------------------------

    def meta(self, key: str) -> Any:
        """Return one setting, or None."""
        row = self.db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        try:
            return json.loads(row[0])
        except (TypeError, ValueError) as error:
            raise LibraryDamagedError(
                f"{self.path}: the setting {key!r} is not JSON; restore the file, or index again"
            ) from error

    def set_meta(self, values: dict[str, Any]) -> None:
        """Store settings; inside `writing()`."""
        rows = [(key, json.dumps(value)) for key, value in values.items()]
        self.db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", rows)

    # -- reading -------------------------------------------------------------------------------------

    def images_of_rows(
        self,
        rows: Sequence[int],
        condition: str = "",
        parameters: Sequence[Any] = (),
        *,
        is_one_enough: bool = False,
    ) -> list[ImageRecord]:
        """Return the pictures that refer to the rows and pass the SQL condition, in no special order.

        If one is enough, it is the first of those that share their contents and a row.
        """
        return self._images_in("row", rows, condition, parameters, is_one_enough=is_one_enough)

    def images_of_ids(self, ids: Sequence[int], condition: str = "", parameters: Sequence[Any] = ()
                      ) -> list[ImageRecord]:  # fmt: skip
        """Return the pictures with these ids that pass the SQL condition, in no special order."""
        return self._images_in("id", ids, condition, parameters)

    def _images_in(
        self, column: str, keys: Sequence[int], condition: str, parameters: Sequence[Any], *,
        is_one_enough: bool = False,
    ) -> list[ImageRecord]:  # fmt: skip
        images = []
        # SQLite takes the other columns from the row of the least id.
        columns = _COLUMNS.replace("id", "min(id)", 1) if is_one_enough else _COLUMNS
        for start in range(0, len(keys), _CHUNK):
            chunk = [int(key) for key in keys[start : start + _CHUNK] if abs(int(key)) < 1 << 63]  # as SQLite holds
            marks = ",".join("?" * len(chunk))
            sql = f"SELECT {columns} FROM image WHERE {column} IN ({marks})"
            # By the sign no index is taken for the condition: it is asked of these pictures alone.
            sql += f" AND +({condition})" if condition else ""
            sql += " GROUP BY row, hash" if is_one_enough else ""
            images += [record_of(values) for values in self.db.execute(sql, [*chunk, *parameters])]
        asked = {int(key) for key in keys}
        if not all((image.row if column == "row" else image.image_id) in asked for image in images):
            raise LibraryDamagedError(
                f"{self.path}: the catalog is damaged (an index does not fit its table); run `mmsearch verify`"
            )
        return images

    def rows_of_ids(
        self, image_ids: Sequence[int], condition: str = "", parameters: Sequence[Any] = ()
    ) -> list[tuple[int, int]]:
        """Return (id, row) of the pictures with these ids that pass the SQL condition, in no special order."""
        return self._pairs_in("id", image_ids, condition, parameters)

    def ids_of_rows(
        self, rows: Sequence[int], condition: str = "", parameters: Sequence[Any] = ()
    ) -> list[tuple[int, int]]:
        """Return (id, row) of the pictures that refer to these rows and pass the SQL condition."""
        return self._pairs_in("row", rows, condition, parameters)

    def _pairs_in(
        self, column: str, keys: Sequence[int], condition: str, parameters: Sequence[Any]
    ) -> list[tuple[int, int]]:
        pairs: list[tuple[int, int]] = []
        for start in range(0, len(keys), _CHUNK):
            chunk = keys[start : start + _CHUNK]
            sql = f"SELECT id, row FROM image WHERE {column} IN ({','.join('?' * len(chunk))})"
            sql += f" AND +({condition})" if condition else ""  # by the sign, as above
            pairs += self.db.execute(sql, [*chunk, *parameters])
        return pairs

    def rows_of_passing(self, condition: str, parameters: Sequence[Any]) -> list[tuple[int, int]]:
        """Return (id, row) of all pictures that pass the SQL condition, by id."""
        sql = f"SELECT id, row FROM image WHERE {condition or 'TRUE'} ORDER BY id"
        return self.db.execute(sql, parameters).fetchall()

    def rows_where(self, condition: str, parameters: Sequence[Any], limit: int) -> list[int]:
        """Return up to `limit` rows of pictures that pass the SQL condition, possibly repeated."""
        sql = f"SELECT row FROM image WHERE {condition} LIMIT ?"
        return [row for (row,) in self.db.execute(sql, [*parameters, limit])]

    def ids_where(self, condition: str, parameters: Sequence[Any], limit: int) -> list[int]:
        """Return the ids of up to `limit` pictures that pass the SQL condition."""
        sql = f"SELECT id FROM image WHERE {condition} LIMIT ?"
        return [image_id for (image_id,) in self.db.execute(sql, [*parameters, limit])]

    def images(self) -> Iterator[ImageRecord]:
        """Yield all pictures, by path."""
        return map(record_of, self.db.execute(f"SELECT {_COLUMNS} FROM image ORDER BY path"))

    def page(
        self, condition: SqlCondition, *, order: Order = "added", after: PageEnd | None = None, offset: int = 0,
        limit: int, n_passing: int = 0,
    ) -> list[ImageRecord]:  # fmt: skip
        """Return up to `limit` pictures that pass a condition, from the first on or after one.

        They are by id, which is the order in which they were added, by path, or the newest first: by the date when
        they were taken, and by id where that is the same or not known; what has no date is last. Pages that begin
        after the last picture of the one before neither repeat a picture nor leave one out, whatever comes or
        leaves between them; but for the order of paths also where it is renamed.
        `n_passing` pictures pass in all, if that is known.
        """
        pictures: list[ImageRecord] = []
        passing, parameters = condition.sql or "1", condition.parameters
        if order == "taken" and n_passing > _BROAD and "taken" not in passing:
            passing = f"+({passing})"  # by the sign no other index is taken, after which all would be sorted
        for source, values, key in _parts(order, after):
            sql = f"SELECT {_COLUMNS} FROM {source} AND ({passing}) ORDER BY {key} LIMIT ? OFFSET ?"
            part = self.db.execute(sql, (*values, *parameters, limit - len(pictures), offset)).fetchall()
            pictures += map(record_of, part)
            if len(pictures) == limit:
                break
            if offset and not part:
                (n,) = self.db.execute(
                    f"SELECT count(*) FROM {source} AND ({passing})", (*values, *parameters)
                ).fetchone()
                offset -= n
            else:
                offset = 0
        return pictures

    def count_where(self, condition: str, parameters: Sequence[Any]) -> int:
        """Return the number of pictures that pass the SQL condition."""
        n: int = self.db.execute(f"SELECT count(*) FROM image WHERE {condition}", tuple(parameters)).fetchone()[0]
        return n

    def holds(self, condition: str, parameters: Sequence[Any] = ()) -> bool:
        """Return whether a picture passes the SQL condition."""
        sql = f"SELECT 1 FROM image WHERE {condition} LIMIT 1"
        return self.db.execute(sql, tuple(parameters)).fetchone() is not None

    def image_at(self, path: bytes) -> ImageRecord | None:
        """Return the picture stored under this path, or None."""
        row = self.db.execute(f"SELECT {_COLUMNS} FROM image WHERE path = ?", (path,)).fetchone()
        return None if row is None else record_of(row)

    def hashes_of(self, image_ids: Sequence[int]) -> dict[int, bytes]:
        """Return what tells the contents of each of some pictures: the sha256 of its file, or `frame_hash`."""
        return self._of_ids("hash", image_ids)

    def file_hashes_of(self, image_ids: Sequence[int]) -> dict[int, bytes]:
        """Return the sha256 of the file that each of some pictures lies in: for the frames of a film one."""
        if not self.has_films():
            return self.hashes_of(image_ids)
        return self._of_ids("ifnull((SELECT film.hash FROM film WHERE film.id = image.film), hash)", image_ids)

    def _of_ids(self, value: str, image_ids: Sequence[int]) -> dict[int, bytes]:
        """Return the value of an SQL expression for each of some pictures."""
        value_of: dict[int, bytes] = {}
        for start in range(0, len(image_ids), _CHUNK):
            chunk = [int(key) for key in image_ids[start : start + _CHUNK] if abs(int(key)) < 1 << 63]
            sql = f"SELECT id, {value} FROM image WHERE id IN ({','.join('?' * len(chunk))})"
            value_of.update(self.db.execute(sql, chunk))
        return value_of

    def once(self, condition: SqlCondition) -> SqlCondition:
        """Return a condition that of a film the first frame alone passes of those that pass another one.

        It stands for all of the film.
        """
        if not self.has_films():
            return condition
        if not condition.sql:
            return SqlCondition("part = 0")
        first = f"SELECT min(id) FROM image WHERE film IS NOT NULL AND ({condition.sql}) GROUP BY film"
        sql = f"({condition.sql}) AND (film IS NULL OR id IN ({first}))"
        return SqlCondition(sql, (*condition.parameters, *condition.parameters), condition.predicate)

    def frames_with(self, image_ids: Sequence[int]) -> list[int]:
        """Return the ids of some pictures, and with a frame of a film those of all its frames."""
        if not self.has_films():
            return list(image_ids)
        sql = "SELECT id FROM image WHERE film = (SELECT film FROM image WHERE id = ?) ORDER BY part"
        together: dict[int, None] = {}
        for image_id in image_ids:
            frames = [frame for (frame,) in self.db.execute(sql, (image_id,))]
            together |= dict.fromkeys(frames or [image_id])
        return list(together)

    def count_files(self) -> int:
        """Return how many pictures are files of their own, and no frames of films."""
        return self.count_where("film IS NULL", ())

    def count_typed(self, condition: str = "1") -> int:
        """Return how many of the texts that users typed pass the SQL condition, those of a film once."""
        file = "CASE instr(path, x'00') WHEN 0 THEN path ELSE substr(path, 1, instr(path, x'00')) END"
        sql = f"SELECT count(*) FROM (SELECT DISTINCT {file}, kind, text FROM typed WHERE {condition})"
        return self.db.execute(sql).fetchone()[0]  # type: ignore[no-any-return]

    def has_films(self) -> bool:
        """Return whether there is a film."""
        return self.db.execute("SELECT 1 FROM film LIMIT 1").fetchone() is not None

    def count_copies(
        self, content_hashes: Sequence[bytes], condition: str = "", parameters: Sequence[Any] = ()
    ) -> dict[bytes, int]:
        """Return how many pictures that pass the SQL condition have each of some contents, if there are several."""
        counts: dict[bytes, int] = {}
        for start in range(0, len(content_hashes), _CHUNK):
            chunk = content_hashes[start : start + _CHUNK]
            sql = f"SELECT hash, count(*) FROM image WHERE hash IN ({','.join('?' * len(chunk))})"
            sql += f" AND +({condition})" if condition else ""  # by the sign, as above
            counts.update(self.db.execute(f"{sql} GROUP BY hash HAVING count(*) > 1", [*chunk, *parameters]))
        return counts

    def reading_of(self, image_id: int) -> int:
        """Return the number of the way in which a picture was read."""
        reading: int = self.db.execute("SELECT reading FROM image WHERE id = ?", (image_id,)).fetchone()[0]
        return reading

    def images_with_hash(
        self, content_hash: bytes, condition: str = "", parameters: Sequence[Any] = (), *, limit: int = -1
    ) -> list[ImageRecord]:
        """Return the pictures with these file contents that pass the SQL condition, by id; -1 is no limit."""
        passing = f" AND +({condition})" if condition else ""
        sql = f"SELECT {_COLUMNS} FROM image WHERE hash = ?{passing} ORDER BY id LIMIT ?"
        return [record_of(values) for values in self.db.execute(sql, (content_hash, *parameters, limit))]

    def paths_of_size(self, size: int) -> list[bytes]:
        """Return the paths of all pictures, without frames of films, whose files have so many bytes."""
        sql = "SELECT path FROM image WHERE size = ? AND film IS NULL"
        return [path for (path,) in self.db.execute(sql, (size,))]

    def image_ids(self) -> list[int]:
        """Return the ids of all pictures."""
        return [image_id for (image_id,) in self.db.execute("SELECT id FROM image")]

    def last_id(self) -> int:
        """Return the highest id ever given to a picture; ids are not used twice."""
        row = self.db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'image'").fetchone()
        return int(row[0]) if row else 0

    def most_pixels(self) -> int:
        """Return how many pixels the largest picture has; 0 without pictures."""
        return int(self.db.execute("SELECT ifnull(max(width * height), 0) FROM image").fetchone()[0])

    def known_files(self, root: bytes) -> Iterator[KnownFile]:
        """Yield what is known of every picture at or below `root`."""
        sql = f"SELECT {_KNOWN} FROM image WHERE {BELOW}"
        yield from map(_known_file, self.db.execute(sql, bounds_below(root)))

    def files_at(self, paths: Sequence[bytes]) -> list[KnownFile]:
        """Return what is known of the pictures that are stored under these paths, in no special order."""
        files = []
        for start in range(0, len(paths), _CHUNK):
            chunk = paths[start : start + _CHUNK]
            marks = ",".join("?" * len(chunk))
            sql = f"SELECT {_KNOWN} FROM image WHERE path IN ({marks})"
            files += [_known_file(values) for values in self.db.execute(sql, chunk)]
        return files

    def stored_files(self, after: int, limit: int) -> list[tuple[int, StoredFile]]:
        """Return up to `limit` pictures whose ids come after one, by id, each with it and under its row.

        Frames of films are none: they are no files.
        """
        sql = (
            "SELECT id, path, hash, width, height, format, taken, reading, row, size, mtime_ns, ctime_ns "
            "FROM image WHERE id > ? AND film IS NULL ORDER BY id LIMIT ?"
        )
        return [
            (
                image_id,
                StoredFile(path, FileLook(*look), content_hash, width, height, format, taken, reading, row=row),
            )
            for image_id, path, content_hash, width, height, format, taken, reading, row, *look in self.db.execute(
                sql, (after, limit)
            )
        ]

    def bad_files(self, root: bytes) -> Iterator[KnownBad]:
        """Yield what is known of every rejected file at or below `root`."""
        sql = f"SELECT code, n_tries, path, size, mtime_ns, ctime_ns FROM bad WHERE {BELOW}"
        for code, n_tries, path, *look in self.db.execute(sql, bounds_below(root)):
            yield KnownBad(path, FileLook(*look), code, n_tries)

    def count_below(self, root: bytes) -> int:
        """Return the number of pictures at or below `root`, a film being one."""
        condition = self.once(SqlCondition(BELOW, bounds_below(root)))
        return self.count_where(condition.sql, condition.parameters)

    def roots(self) -> list[bytes]:
        """Return the folders that were ever given to `index`."""
        return [path for (path,) in self.db.execute("SELECT path FROM root ORDER BY path")]

    def bad_pictures(self) -> list[BadPicture]:
        """Return every rejected file with its reason, by path."""
        sql = "SELECT path, code, message FROM bad ORDER BY path"
        return [BadPicture(os.fsdecode(path), code, text) for path, code, text in self.db.execute(sql)]

    def dead_rows(self) -> list[int]:
        """Return the rows no picture refers to."""
        return [row for (row,) in self.db.execute("SELECT row FROM dead ORDER BY row")]

    def count(self, table: str) -> int:
        """Return the number of entries of a table, such as `image`, `vector`, `bad` or `dead`."""
        n: int = self.db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        return n

    def checksums(self, rows: Sequence[int]) -> dict[int, int]:
        """Return {row: crc32} of the given rows that hold a vector; given-up ones do not."""
        checksums: dict[int, int] = {}
        for start in range(0, len(rows), _CHUNK):
            chunk = [int(row) for row in rows[start : start + _CHUNK]]
            marks = ",".join("?" * len(chunk))
            checksums.update(
                self.db.execute(f"SELECT row, crc32 FROM vector WHERE row IN ({marks}) AND {_HOLDS_VECTOR}", chunk)
            )
        return checksums
