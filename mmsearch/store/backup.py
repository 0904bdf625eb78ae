"""BACKUP: a library in, one file out with what cannot be made again, as it is at one moment.

An uncompressed ZIP: a copy of the catalog, the vectors that it lists, also those of parts, an encoder that can be
had nowhere else, and last `backup.json` with the length and the sha256 of each. Others may write to the library
meanwhile: the catalog is copied in one transaction, in which the files that go with it are opened, so that they
stay what they were although a writer may remove their names. Left out is what can be made again, such as indexes,
visual words and thumbnails, and what is nobody's business: the texts that were looked for, and the token of a
server.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, TypedDict
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import LibraryDamagedError, QueryError, advice, reason
from mmsearch.file_array import FileArray, HalfRows
from mmsearch.records import BackupReport
from mmsearch.store.base import OnProgress, is_given
from mmsearch.store.catalog import CATALOG, Catalog
from mmsearch.store.encoder import LastingFiles, lasting_files
from mmsearch.store.folder import Store
from mmsearch.store.matrix import row_checksum
from mmsearch.store.part_items import forget_parts
from mmsearch.store.sqlite_errors import sqlite_errors
from mmsearch.system import make_private, shown_path

FORMAT = 1
MANIFEST, VECTORS, PARTS, ENCODER = "backup.json", "vectors.f16", "parts.i8", "encoder/"
"""What is in a backup beside the catalog; the files of an encoder have its name in front."""
CHUNK = 1 << 20
"""Bytes read at a time."""
_ROWS = 8192  # vectors compared with their checksums at a time


class Member(TypedDict):
    """What one file in a backup must be."""

    size: int
    sha256: str


class Manifest(TypedDict):
    """What a backup says of itself."""

    format: int
    created: str
    schema: int
    n_pictures: int
    has_vectors: bool
    members: dict[str, Member]


@dataclass(frozen=True)
class _Moment:
    """A library at one moment: a copy of its catalog, and its other files, opened."""

    catalog: Path
    schema: int
    n_pictures: int
    n_vectors: int
    n_typed: int
    n_recordings: int
    vectors: HalfRows | None
    parts: FileArray[np.int8] | NDArray[np.int8] | None
    encoder: LastingFiles
    encoder_files: tuple[BinaryIO, ...]
    notices: tuple[str, ...]


def write_backup(store: Store, target: Path, *, with_vectors: bool, on_progress: OnProgress) -> BackupReport:
    """Write a backup of a library into a new file.

    Parameters
    ----------
    store : Store
        Opened; others may write to it.
    target : Path
        In a folder of its own, which the copy of the catalog is put into, too.
    with_vectors : bool
        False leaves out the vectors, and with them the pictures, which the next `index` embeds.
    on_progress : callable
        Given (`backup`, MiB written, MiB to be written).

    Raises
    ------
    QueryError
        If vectors are to be left out that cannot be made again.
    LibraryDamagedError
        If the catalog or a vector is damaged or lost.
    StorageError, OSError
        If the disk refuses.
    """
    if not with_vectors and is_given(store):
        raise QueryError(
            f"{store.folder} holds vectors that were added to it and made by no encoder of mmsearch: no `index` "
            "makes them again, so that a backup cannot be without them"
        )
    copy = target.with_name(CATALOG)
    with ExitStack() as opened:
        moment = store.consistently(lambda: _moment(store, copy, opened, with_vectors=with_vectors))
        _check_copy(copy, store.catalog.path)
        if not with_vectors and store.has_vectors:
            _forget_pictures(copy, has_films=store.films.are_any)
        return _written(store, moment, target, on_progress)


def _moment(store: Store, copy: Path, opened: ExitStack, *, with_vectors: bool) -> _Moment:
    """Copy the catalog and open what goes with it, for as long as is said; inside `consistently`."""
    copy.unlink(missing_ok=True)
    make_private(copy)
    with sqlite_errors(copy), closing(sqlite3.connect(copy, isolation_level=None)) as db:
        store.catalog.db.backup(db)
        db.execute("PRAGMA journal_mode=DELETE")  # one file, whoever reads it
    vectors = store.first_rows(store.n_rows) if with_vectors and store.has_vectors else None
    parts = store.parts.rows() if with_vectors and store.parts.most else None
    n_pictures, n_vectors = store.catalog.count_files(), store.n_rows - store.n_dead
    encoder, notices = lasting_files(store), []
    if encoder.problem:
        notices.append(f"the encoder is not whole, and is left out: {encoder.problem}")
    if vectors is None and store.has_vectors:
        n_films = store.films.n_films
        films = f" and {n_films} film{'s' * (n_films > 1)}" if n_films else ""
        left_out = f"{n_pictures} picture{'s' * (n_pictures != 1)}{films} are left out with their vectors"
        notices.append(f"{left_out}; `mmsearch index` of their folders embeds them again")
        n_pictures = n_vectors = 0
    return _Moment(
        copy, int(store.setting("schema")), n_pictures, n_vectors, store.catalog.count_typed(),
        store.catalog.count("sound"), vectors, parts, encoder, _opened(encoder.paths, opened), tuple(notices),
    )  # fmt: skip


def _opened(paths: Iterable[Path], opened: ExitStack) -> tuple[BinaryIO, ...]:
    """Open files of the library for reading; what is gone may have been replaced, and is damage if it was not."""
    files = []
    for path in paths:
        try:
            files.append(opened.enter_context(path.open("rb")))
        except OSError as error:
            why = f"cannot be read ({reason(error)}); {advice(error)}"
            raise LibraryDamagedError(f"{shown_path(path)} {why}") from error
    return tuple(files)


def _check_copy(copy: Path, catalog: Path) -> None:
    """Raise LibraryDamagedError if what was copied is no whole catalog: a restore would refuse it."""
    with sqlite_errors(catalog), closing(sqlite3.connect(copy)) as db:
        (said,) = db.execute("PRAGMA integrity_check(1)").fetchone()
    if said != "ok":
        raise LibraryDamagedError(f"{shown_path(catalog)} is damaged ({said}); run `mmsearch verify`")


def _forget_pictures(copy: Path, *, has_films: bool) -> None:
    """Leave in a copied catalog what does not go by the rows of vectors."""
    with sqlite_errors(copy), closing(sqlite3.connect(copy, isolation_level=None)) as db:
        db.execute("BEGIN")
        forget_parts(db)
        films = ("film",) if has_films else ()  # which `index` reads again
        for table in (*films, "image", "dead", "vector"):  # what leaves with a picture leaves by triggers
            db.execute(f"DELETE FROM {table}")
        db.execute("UPDATE meta SET value = '0' WHERE key = 'n_rows'")
        db.execute("UPDATE meta SET value = CAST(value + 1 AS TEXT) WHERE key = 'epoch'")
        db.execute("COMMIT")
        db.execute("VACUUM")


def _written(store: Store, moment: _Moment, target: Path, on_progress: OnProgress) -> BackupReport:
    now, members = datetime.now(UTC), _members(store, moment)
    created = now.isoformat(timespec="seconds")
    writing = _Writing(sum(size for size, _ in members.values()), now, on_progress)
    with target.open("xb") as file, ZipFile(file, "w", ZIP_STORED) as archive:
        facts = {name: writing.add(archive, name, chunks) for name, (_, chunks) in members.items()}
        manifest = Manifest(
            format=FORMAT, created=created, schema=moment.schema, n_pictures=moment.n_pictures,
            has_vectors=moment.vectors is not None, members=facts,
        )  # fmt: skip
        writing.add(archive, MANIFEST, [json.dumps(manifest, indent=1).encode()])
    return BackupReport(
        str(target), store.address, created, moment.n_pictures, moment.n_vectors, moment.n_typed,
        moment.vectors is not None, moment.encoder.is_whole, target.stat().st_size, moment.notices,
        moment.n_recordings,
    )  # fmt: skip


def _members(store: Store, moment: _Moment) -> dict[str, tuple[int, Iterable[bytes]]]:
    """Return what goes into a backup, by name: its size, and its bytes as they are read."""
    catalog = moment.catalog
    members: dict[str, tuple[int, Iterable[bytes]]] = {CATALOG: (catalog.stat().st_size, _bytes_at(catalog))}
    if moment.vectors is not None:
        n_rows, dim = moment.vectors.shape
        members[VECTORS] = (2 * n_rows * dim, _checked_rows(moment.vectors, catalog, store.address))
    if moment.parts is not None:
        parts = moment.parts
        blocks = (parts[start : start + _ROWS].tobytes() for start in range(0, len(parts), _ROWS))
        members[PARTS] = (len(parts) * parts.shape[1], blocks)
    for file in moment.encoder_files:
        size = file.seek(0, 2)
        file.seek(0)
        members[ENCODER + Path(file.name).name] = (size, _bytes_of(file))
    return members


def _bytes_at(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from _bytes_of(file)


def _bytes_of(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(CHUNK):
        yield chunk


def _checked_rows(vectors: HalfRows, copy: Path, address: str) -> Iterator[bytes]:
    """Yield the vectors that a catalog lists, each compared with its checksum."""
    with closing(Catalog.open(copy)) as catalog:
        for start in range(0, len(vectors), _ROWS):
            block = vectors[start : start + _ROWS]
            rows = range(start, start + len(block))
            expected = catalog.checksums(rows)
            for row, checksum in zip(rows, map(row_checksum, block), strict=True):
                if expected.get(row, checksum) != checksum:
                    raise LibraryDamagedError(
                        f"{address}: vector {row} differs from its checksum; run `mmsearch verify --repair` and "
                        "then `mmsearch index` on the folders again, or make a backup without the vectors"
                    )
            yield block.tobytes()


class _Writing:
    """Files that go into an archive one by one, while it is said how far that is."""

    def __init__(self, n_bytes: int, created: datetime, on_progress: OnProgress) -> None:
        self._n_bytes, self._created, self._on_progress = n_bytes, created, on_progress
        self._n_written = 0

    def add(self, archive: ZipFile, name: str, chunks: Iterable[bytes]) -> Member:
        """Write a file into an archive, and return what it is."""
        info = ZipInfo(name, self._created.timetuple()[:6])
        info.external_attr = 0o600 << 16
        digest, size = sha256(), 0
        with archive.open(info, "w", force_zip64=True) as member:
            for chunk in chunks:
                member.write(chunk)
                digest.update(chunk)
                size += len(chunk)
                self._on_progress("backup", (self._n_written + size) // CHUNK, self._n_bytes // CHUNK)
        self._n_written += size
        return Member(size=size, sha256=digest.hexdigest())
