"""RESTORE: a backup in, a library out, whole or not at all.

What is in the file is believed of nobody: it is copied into a folder beside the library's files, compared with its
checksums, and the catalog with the schema that mmsearch gives one, before any of it takes its name. The catalog
takes it last. A kill before that leaves no library, and the same command begins anew.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import sqlite3
import stat
import struct
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, cast
from zipfile import ZIP_STORED, BadZipFile, ZipFile

from mmsearch.errors import (
    BackupError,
    LibraryVersionError,
    MmsearchError,
    QueryError,
    StorageError,
    advice,
    reason,
)
from mmsearch.records import RestoreReport
from mmsearch.store.backup import CHUNK, ENCODER, FORMAT, MANIFEST, PARTS, VECTORS, Manifest
from mmsearch.store.base import OnProgress, Place, folder_of
from mmsearch.store.catalog import CATALOG, Catalog
from mmsearch.store.connect import connect
from mmsearch.store.folder import RESTORING, Store
from mmsearch.store.lock import HeldFolder, locked
from mmsearch.store.migrations import SCHEMA, foreign_object
from mmsearch.store.moves import Moves, move_paths
from mmsearch.store.note import HISTORY
from mmsearch.store.place import holds_sounds
from mmsearch.store.private import close_to_others
from mmsearch.store.publish import MANIFEST as CACHES
from mmsearch.store.publish import remove_unnamed, storage_errors, sync
from mmsearch.store.sqlite_errors import sqlite_errors
from mmsearch.system import sync_folder

_MEMBER = re.compile(
    "|".join([*map(re.escape, (CATALOG, VECTORS, PARTS)), f"{ENCODER}[A-Za-z0-9_-][A-Za-z0-9._-]*"])
)
_FACTS: dict[str, type] = {
    "format": int, "created": str, "schema": int, "n_pictures": int, "has_vectors": bool, "members": dict,
}  # fmt: skip
_OF_MEMBER: dict[str, type] = {"size": int, "sha256": str}
_WHAT = "restoring a backup"
_SETTINGS: dict[str, type] = {
    "schema": int, "dim": int, "n_rows": int, "epoch": int, "revision": int, "model": str, "fingerprint": str,
}  # fmt: skip
_SOUNDS = 6  # the first schema with recordings
_NO_PEAKS = (
    "SELECT 1 FROM sound WHERE typeof(peaks) <> 'blob' OR length(peaks) % 4 OR typeof(n_frames) <> 'integer' "
    "OR n_frames <= 0 LIMIT 1"
)
_ENCRYPTED = 1  # flag of a file in a ZIP
_MOST_FACTS = CHUNK  # bytes of a manifest
_MOST_READ = 4 * CHUNK  # bytes that are read at once: more only for the list of members, which is short


class _Bounded(io.FileIO):
    """A file of which little is read at once, whatever is said in it."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Return so many bytes, or all that follow."""
        wanted = os.fstat(self.fileno()).st_size - self.tell() if size is None or size < 0 else size
        if wanted > _MOST_READ:
            raise BadZipFile("its list of files is too long")
        return super().read(max(0, wanted))


class Backup:
    """An open backup whose manifest fits what is in it; use `Backup.opened`.

    Parameters
    ----------
    path : Path
        Where it is.
    archive : ZipFile
        Opened on it.
    """

    def __init__(self, path: Path, archive: ZipFile) -> None:
        self.path, self._archive = path, archive
        with _reading_errors(path):
            self.manifest = _manifest(path, archive)

    @classmethod
    @contextmanager
    def opened(cls, path: Path) -> Iterator[Backup]:
        """Open a backup.

        Raises
        ------
        BackupError
            If the file is none, or not whole.
        LibraryVersionError
            If a newer mmsearch wrote it.
        StorageError
            If it cannot be read.
        """
        with ExitStack() as opened:
            with _reading_errors(path):
                handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # no pipe is waited for
                opened.callback(os.close, handle)
                if not stat.S_ISREG(os.fstat(handle).st_mode):
                    raise _Unfit("it is no regular file")
                archive = opened.enter_context(ZipFile(_Bounded(handle, closefd=False)))
            yield cls(path, archive)

    def extract(self, folder: Path, on_progress: OnProgress) -> None:
        """Write all files of the backup into an empty folder, and compare them with their checksums.

        Raises
        ------
        BackupError
            If one differs.
        StorageError
            If the disk refuses.
        """
        members = self.manifest["members"]
        n_bytes, n_read = sum(member["size"] for member in members.values()), 0
        for name, expected in members.items():
            digest = sha256()
            with storage_errors(folder / name, "what the backup holds"), _new_file(folder / name) as file:
                for chunk in self._chunks(name):
                    file.write(chunk)
                    digest.update(chunk)
                    n_read += len(chunk)
                    on_progress("restore", n_read // CHUNK, n_bytes // CHUNK)
                file.flush()
                sync(file.fileno())
            with _reading_errors(self.path):
                if digest.hexdigest() != expected["sha256"]:
                    raise _Unfit(f"{name} in it differs from its checksum")

    def _chunks(self, name: str) -> Iterator[bytes]:
        with _reading_errors(self.path), self._archive.open(name) as member:
            while chunk := member.read(CHUNK):
                yield chunk


class _Unfit(Exception):
    """Something that no backup has."""


# What `zipfile` and `json` raise for bytes that nobody wrote as such a file.
_MISREAD = (_Unfit, BadZipFile, EOFError, ValueError, RuntimeError, OverflowError, LookupError, struct.error)


@contextmanager
def _reading_errors(path: Path) -> Iterator[None]:
    """Turn what is wrong with a file into a sentence that names it."""
    try:
        yield
    except MmsearchError:
        raise
    except OSError as error:
        raise StorageError(f"{path} cannot be read ({reason(error)}); {advice(error)}") from error
    except _MISREAD as error:
        raise BackupError(
            f"{path} is no whole backup of a library ({error}); expected a file as `mmsearch backup` wrote it, of "
            "which there may be another copy"
        ) from error


def _manifest(path: Path, archive: ZipFile) -> Manifest:
    """Return the manifest of a backup once all of it fits what is there."""
    listed = {info.filename: info for info in archive.infolist()}
    if MANIFEST not in listed or listed[MANIFEST].file_size > _MOST_FACTS:
        raise _Unfit(f"there is no {MANIFEST} in it")
    said = json.loads(archive.read(MANIFEST))
    if not isinstance(said, dict) or type(said.get("format")) is not int:
        raise _Unfit(f"{MANIFEST} in it does not say its format")
    schema = said.get("schema")
    if said["format"] > FORMAT or (type(schema) is int and schema > SCHEMA):
        raise LibraryVersionError(
            f"{path}: a backup of format {said['format']} with a library of format {schema}, this mmsearch knows "
            f"formats up to {FORMAT} and {SCHEMA}; use the mmsearch version that wrote it, or a newer one"
        )
    if not _says(said, _FACTS) or not all(_says(member, _OF_MEMBER) for member in said["members"].values()):
        raise _Unfit(f"{MANIFEST} in it does not say what it should")
    manifest = cast(Manifest, said)
    _check_members(path, archive, manifest)
    return manifest


def _says(value: object, facts: Mapping[str, type]) -> bool:
    """Return whether a value of JSON is an object with all these facts, of these types."""
    return isinstance(value, dict) and all(type(value.get(name)) is kind for name, kind in facts.items())


def _check_members(path: Path, archive: ZipFile, manifest: Manifest) -> None:
    """Raise unless an archive holds what its manifest says: nothing besides, packed, twice or for elsewhere."""
    members, listed = manifest["members"], archive.infolist()
    if sorted(info.filename for info in listed) != sorted((*members, MANIFEST)):
        raise _Unfit(f"it holds other files than {MANIFEST} in it says")
    if CATALOG not in members or (VECTORS in members) != manifest["has_vectors"]:
        raise _Unfit("a file is missing in it")
    for info in listed:
        if not (info.filename == MANIFEST or _MEMBER.fullmatch(info.filename)):
            raise _Unfit(f"it holds {info.filename!r}, which is no file of a library")
        size = info.file_size if info.filename == MANIFEST else members[info.filename]["size"]
        is_packed = info.compress_type != ZIP_STORED or info.flag_bits & _ENCRYPTED
        if is_packed or not info.file_size == info.compress_size == size:
            raise _Unfit(f"{info.filename} in it is not as long as it should be, or packed")
    if sum(info.compress_size for info in listed) > path.stat().st_size:
        raise _Unfit("files in it share their bytes")


def _new_file(path: Path) -> BinaryIO:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")


def restore(place: Place, file: Path, moves: Moves, *, on_progress: OnProgress) -> RestoreReport:
    """Make a library of a backup, where there is none with pictures.

    Parameters
    ----------
    place : Place
        Of the library, a folder.
    file : Path
        The backup.
    moves : Moves
        Where pictures lie now.
    on_progress : callable
        Given (`restore`, MiB read, MiB to be read).

    Raises
    ------
    BackupError, LibraryVersionError
        If the file is no whole backup of a library, or one of a newer mmsearch.
    QueryError
        If there is a library already, or the paths cannot be moved as is wanted.
    UnsupportedError
        If the library would stand at an address.
    LibraryLockedError
        If another process writes there.
    StorageError
        If the disk refuses.
    """
    folder = folder_of(place, _WHAT)
    with Backup.opened(file) as backup:
        _refuse_pictures(place)
        with storage_errors(folder, "the library folder"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(folder) as held, _staging(held) as staging:
            _refuse_pictures(place)
            backup.extract(staging, on_progress)
            return _settled(place, backup, staging, held, moves)


def _refuse_pictures(place: Place) -> None:
    if place.holds_pictures() or holds_sounds(folder_of(place, _WHAT)):
        raise QueryError(
            f"{place.address} holds a library, which a restore does not replace; choose another --library, or move "
            "that one away"
        )


@contextmanager
def _staging(held: HeldFolder) -> Iterator[Path]:
    """Give an empty folder in that of the library, and remove it."""
    staging = held.files / RESTORING
    with storage_errors(held.folder, "the library folder"):
        close_to_others(held.files)
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(mode=0o700)
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _settled(place: Place, backup: Backup, staging: Path, held: HeldFolder, moves: Moves) -> RestoreReport:
    """Check and move what was extracted, and make a library of it."""
    _check_catalog(staging / CATALOG, backup)
    with closing(Catalog.open(staging / CATALOG, write=True)) as catalog, sqlite_errors(backup.path):
        store = Store(staging, catalog)
        _check_vectors(store, backup)
        _check_parts(store, backup)
        with catalog.writing():  # also without moves: what was made of a later state is not of this one
            n_moved = move_paths(catalog, moves)
        roots = catalog.roots()
        place.refuse_mixing(roots)
        catalog.note(staging)
        report = RestoreReport(
            str(backup.path), place.address, backup.manifest["created"], store.catalog.count_files(),
            store.n_rows - store.n_dead, catalog.count_typed(), backup.manifest["has_vectors"], n_moved,
            tuple(map(os.fsdecode, roots)), n_recordings=catalog.count("sound"),
        )  # fmt: skip
        vectors, encoder = store.vectors_path(store.epoch).name, store.encoder_path.name
        parts = store.parts.path.name
        catalog.db.execute("PRAGMA journal_mode=WAL")
    _place_files(
        staging,
        held,
        {VECTORS: vectors, PARTS: parts, ENCODER.rstrip("/"): encoder, HISTORY: HISTORY, CATALOG: CATALOG},
    )
    return report


def _check_catalog(path: Path, backup: Backup) -> None:
    """Raise BackupError unless a file is a whole catalog with nothing in it that mmsearch does not write."""
    schema = backup.manifest["schema"]
    with _reading_errors(backup.path):
        try:
            with closing(connect(path, mode="ro&immutable=1")) as db:
                db.execute("PRAGMA trusted_schema=OFF")
                db.execute("PRAGMA cell_size_check=ON")
                foreign = foreign_object(db, schema=schema)
                if foreign is not None:
                    raise _Unfit(f"the catalog in it is not as mmsearch makes one: {foreign}")
                (said,) = db.execute("PRAGMA integrity_check(1)").fetchone()
                if said != "ok":
                    raise _Unfit(f"the catalog in it is damaged: {said}")
                if schema >= _SOUNDS and db.execute(_NO_PEAKS).fetchone():
                    raise _Unfit("a recording in it has no peaks as mmsearch keeps them")
                settings = dict(db.execute("SELECT key, value FROM meta"))
        except sqlite3.Error as error:
            raise _Unfit(f"the catalog in it is damaged: {error}") from error
        if not _says({name: json.loads(value) for name, value in settings.items()}, _SETTINGS):
            raise _Unfit("the catalog in it lacks settings")
        if json.loads(settings["schema"]) != schema:
            raise _Unfit("the catalog in it is of another format than is said")


def _check_vectors(store: Store, backup: Backup) -> None:
    """Raise BackupError unless the vectors are as many as the catalog lists."""
    member = backup.manifest["members"].get(VECTORS)
    with _reading_errors(backup.path):
        size = 0 if member is None else member["size"]
        if size != 2 * store.dim * store.n_rows or min(store.dim, store.n_rows, store.epoch) < 0:
            raise _Unfit(
                f"{size} bytes of vectors in it, its catalog lists {store.n_rows} of {store.dim} dimensions"
            )


def _check_parts(store: Store, backup: Backup) -> None:
    """Raise BackupError unless the vectors of parts are as many as the catalog lists."""
    member = backup.manifest["members"].get(PARTS)
    with _reading_errors(backup.path):
        size, n_rows = 0 if member is None else member["size"], store.parts.n_rows
        if size != store.dim * n_rows or n_rows < 0:
            raise _Unfit(f"{size} bytes of parts in it, its catalog lists {n_rows} of {store.dim} dimensions")


def _place_files(staging: Path, held: HeldFolder, names: Mapping[str, str]) -> None:
    """Give files and folders their names in the library, in order, in the place of whatever is called so."""
    with storage_errors(held.folder, "the library"):
        held.check()
        (held.files / CACHES).unlink(missing_ok=True)  # caches of a library whose catalog was lost
        remove_unnamed(held.files)
        for suffix in ("-wal", "-shm"):
            (held.files / f"{CATALOG}{suffix}").unlink(missing_ok=True)
        for source, name in names.items():
            if (staging / source).is_dir():
                shutil.rmtree(held.files / name, ignore_errors=True)
                sync_folder(staging / source)
            if (staging / source).exists():
                os.replace(staging / source, held.files / name)
        sync_folder(held.files)
