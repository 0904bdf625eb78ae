"""What the catalog knows of files, and what one transaction changes of that."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from mmsearch.annotations import Annotations
from mmsearch.frames import file_of
from mmsearch.records import FileLook, Matrix
from mmsearch.store.documents import annotate, write_documents
from mmsearch.store.faces import keep_faces
from mmsearch.store.part_items import keep_parts
from mmsearch.store.signatures import sign_image

TRANSIENT = ("permission", "vanished", "changed", "unreadable")
"""Reasons to reject a file that say nothing of its contents, so that a stored vector stays: tried at every run."""
BY_CHANCE = ("killed", "timeout", "out_of_memory")
"""Reasons that a circumstance may have caused: tried again at the next two runs."""
ENDED_WORKER = ("quarantined", *BY_CHANCE)
"""Reasons that come from the worker that read the file, and not from the file itself."""
MAX_RUNS = 3
LEFT_OUT = "it is left out until it changes, or until `mmsearch index --recheck`"
UNSEEN = FileLook(-1, -1, None)
"""The look of what could not be looked at, or changed while it was read: no file looks so."""


def then_what(code: str, n_tries: int) -> str:
    """Return when a file is tried again that was rejected for this reason so many times; empty if it is plain.

    >>> then_what("killed", 2)
    'it is tried again at the next run'
    """
    if code in BY_CHANCE and n_tries < MAX_RUNS:
        n = MAX_RUNS - n_tries
        return f"it is tried again at the next {'run' if n == 1 else f'{n} runs'}"
    return LEFT_OUT if code in (*BY_CHANCE, "quarantined") else ""


def is_tried_again(code: str, n_tries: int) -> bool:
    """Return whether the next run tries a film or recording again that was rejected for this reason so many times.

    >>> is_tried_again("killed", 2), is_tried_again("killed", 3), is_tried_again("corrupt", 1)
    (True, False, False)
    """
    return code in TRANSIENT or (code in BY_CHANCE and n_tries < MAX_RUNS)


def unread_words_text(n: int | None = None) -> str:
    """Say that what is written beside so many pictures, or beside all, was not read yet, and what reads it."""
    pictures = "the pictures" if n is None else f"{n} picture{'s' * (n != 1)}"
    return f"what is written beside {pictures} was not read yet; `mmsearch index FOLDER` reads it"


def read_before_text(n: int, folders: str) -> str:
    """Say what may be wrong with pictures that an earlier version read, and what reads those of folders anew."""
    pictures, them = ("picture was", "it") if n == 1 else ("pictures were", "them")
    return (
        f"{n} {pictures} read by an earlier version, without colour profiles and with other dates; "
        f"`mmsearch index --recheck {folders}` reads {them} anew"
    )


class KnownFile(NamedTuple):
    """What the catalog knows of the file of a picture, and in which way its annotations were read: 0 for never.

    `beside` is what the files beside it looked like that were read for them, None without any.
    """

    path: bytes
    look: FileLook
    image_id: int
    content_hash: bytes
    reading: int
    annotated: int = 0
    beside: bytes | None = None


class KnownBad(NamedTuple):
    """What the catalog knows of a rejected file, and how often it was tried."""

    path: bytes
    look: FileLook
    code: str
    n_tries: int


class FrameTimes(NamedTuple):
    """Which frame of a film a picture is, by its time among those that are kept, and the times of `FilmMoment`."""

    part: int
    at: float
    start: float
    end: float


class FilmProgress(NamedTuple):
    """A film, and how far it was read in seconds; its frames up to there are committed with it.

    `ends` are the sha256 of its first and last bytes, `seconds` how long it is, None if that is not known, and
    `problem` what is wrong with it, or empty.
    """

    path: bytes
    look: FileLook
    content_hash: bytes
    ends: bytes
    seconds: float | None
    hdr: str
    read_to: float
    is_whole: bool
    problem: str


@dataclass(frozen=True)
class StoredFile:
    """One picture to be committed: what the file is, and its vector (dim,), an existing row, or neither.

    `reading` is the number of the way in which it was read (`mmsearch.records.READING`). `annotations` of None are
    not read yet, and leave those of a picture that stays as they are; `beside` is what the files beside it looked
    like that were read for them. `signature` (`mmsearch.images.luminances`), `parts`
    (`mmsearch.records.parts_layout`) and `faces` (`mmsearch.faces.packing`) of None are not made yet. `frame` is
    there for a frame of a film, whose `path` is that of `mmsearch.frames`.
    """

    path: bytes
    look: FileLook
    content_hash: bytes
    width: int
    height: int
    format: str
    taken_at: str | None
    reading: int
    vector: Matrix | None = None
    row: int = -1
    annotations: Annotations | None = None
    beside: bytes | None = None
    signature: bytes | None = None
    parts: bytes | None = None
    faces: bytes | None = None
    frame: FrameTimes | None = None


@dataclass(frozen=True)
class RejectedFile:
    """A file that could not be used: its look then, a code of `PictureError` or `SoundError`, and a sentence."""

    path: bytes
    look: FileLook
    code: str
    message: str
    n_tries: int = 1


@dataclass(frozen=True)
class TouchedFile:
    """A picture whose file looks different, or lies elsewhere, and has the same contents."""

    image_id: int
    path: bytes
    look: FileLook


@dataclass(frozen=True)
class AnnotatedFile:
    """A picture whose annotations were read again, and what the files beside it looked like then."""

    image_id: int
    annotations: Annotations
    beside: bytes | None = None


@dataclass
class Changes:
    """What one transaction does to the catalog."""

    stored: list[StoredFile] = field(default_factory=list)
    rejected: list[RejectedFile] = field(default_factory=list)
    touched: list[TouchedFile] = field(default_factory=list)
    annotated: list[AnnotatedFile] = field(default_factory=list)
    gone: list[int] = field(default_factory=list)  # ids
    forgotten: list[bytes] = field(default_factory=list)  # paths of rejected files that left
    roots: list[bytes] = field(default_factory=list)  # given to `index`
    films: list[FilmProgress] = field(default_factory=list)  # those of frames in stored among them
    ends: list[tuple[bytes, float]] = field(default_factory=list)  # of frames that are listed, by their paths

    def __len__(self) -> int:
        """Return how many entries would be changed."""
        return sum(len(entries) for entries in vars(self).values())


def apply_changes(
    db: sqlite3.Connection, changes: Changes, rows: Sequence[int], parts: Sequence[bytes | None]
) -> None:
    """Change the catalog; inside a transaction. `rows` and the items of `parts` are those of `changes.stored`."""
    db.executemany("DELETE FROM image WHERE id = ?", [(image_id,) for image_id in changes.gone])
    db.executemany("DELETE FROM bad WHERE path = ?", [(path,) for path in changes.forgotten])
    db.executemany("INSERT OR IGNORE INTO root VALUES (?)", [(root,) for root in changes.roots])
    for touched in changes.touched:
        db.execute("DELETE FROM bad WHERE path = ?", (touched.path,))
        # Names of files and folders are annotations, too: they are read again where the picture lies elsewhere.
        db.execute(
            "UPDATE image SET annotated = annotated * (path = ?), path = ?, size = ?, mtime_ns = ?, ctime_ns = ? "
            "WHERE id = ?",
            (touched.path, touched.path, *touched.look, touched.image_id),
        )
    for film in changes.films:
        _keep_film(db, film)
    stored = [
        store_image(db, file, row if file.vector is not None else file.row, of_parts)
        for file, row, of_parts in zip(changes.stored, rows, parts, strict=True)
    ]
    db.executemany('UPDATE image SET "end" = ? WHERE path = ?', [(end, path) for path, end in changes.ends])
    for file in changes.annotated:
        annotate(db, file.image_id, file.annotations, file.beside)
    for bad in changes.rejected:
        _reject(db, bad)
    write_documents(db, dict.fromkeys([*stored, *(file.image_id for file in changes.annotated)]))


def store_image(db: sqlite3.Connection, file: StoredFile, row: int, parts: bytes | None = None) -> int:
    """List one picture under the row of its vector with all that is known, documents apart, and return its id.

    `parts` is the item of its parts, None where they were not made.
    """
    db.execute("DELETE FROM bad WHERE path = ?", (file.path,))
    # Contents that changed, or were read in another way, get a new id, and ids are never used twice: what is
    # known of an id stays true.
    db.execute(
        "DELETE FROM image WHERE path = ? AND (hash <> ? OR reading <> ?)",
        (file.path, file.content_hash, file.reading),
    )
    db.execute(
        "INSERT INTO image (path, size, mtime_ns, ctime_ns, hash, row, width, height, format, taken, reading) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (path) DO UPDATE SET "
        "size = excluded.size, mtime_ns = excluded.mtime_ns, hash = excluded.hash, row = excluded.row, "
        "width = excluded.width, height = excluded.height, format = excluded.format, taken = excluded.taken, "
        "ctime_ns = excluded.ctime_ns",
        (
            file.path, *file.look, file.content_hash, row, file.width, file.height, file.format, file.taken_at,
            file.reading,
        ),
    )  # fmt: skip
    image_id: int = db.execute("SELECT id FROM image WHERE path = ?", (file.path,)).fetchone()[0]
    if file.frame is not None:
        db.execute(
            'UPDATE image SET film = (SELECT id FROM film WHERE path = ?), part = ?, at = ?, start = ?, "end" = ? '
            "WHERE id = ?",
            (file_of(file.path), *file.frame, image_id),
        )
    if file.annotations is not None:
        annotate(db, image_id, file.annotations, file.beside)
    sign_image(db, image_id, file.content_hash, file.signature)
    keep_parts(db, image_id, file.content_hash, parts)
    keep_faces(db, image_id, file.content_hash, file.faces)
    return image_id


def _keep_film(db: sqlite3.Connection, film: FilmProgress) -> None:
    """List a film, or how far it was read by now; one of other contents that was at its path leaves."""
    if film.is_whole:  # or else how often it was tried would be forgotten
        db.execute("DELETE FROM bad_film WHERE path = ?", (film.path,))
    db.execute("DELETE FROM film WHERE path = ? AND hash <> ?", (film.path, film.content_hash))
    db.execute(
        "INSERT INTO film (path, size, mtime_ns, ctime_ns, hash, ends, seconds, hdr, read_to, is_whole, problem) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (path) DO UPDATE SET size = excluded.size, "
        "mtime_ns = excluded.mtime_ns, ctime_ns = excluded.ctime_ns, seconds = excluded.seconds, "
        "hdr = excluded.hdr, read_to = excluded.read_to, is_whole = excluded.is_whole, problem = excluded.problem",
        (film.path, *film.look, *film[2:]),
    )


def _reject(db: sqlite3.Connection, bad: RejectedFile) -> None:
    # A file that went bad keeps no vector of its former contents.
    is_given_up = bad.code in BY_CHANCE and bad.n_tries >= MAX_RUNS
    if is_given_up or bad.code not in (*TRANSIENT, *BY_CHANCE):
        db.execute("DELETE FROM image WHERE path = ?", (bad.path,))
    db.execute(
        "INSERT OR REPLACE INTO bad (path, size, mtime_ns, ctime_ns, code, message, n_tries) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        (bad.path, *bad.look, bad.code, bad.message, bad.n_tries),
    )
