"""FILMS: the films of a library. A frame that is kept of one is a picture; what is known of all of them is here.

A film is read from its beginning on, a transaction at a time: its frames are listed with how far it was read, so
that a run goes on where one before it was ended.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mmsearch.annotations.base import Annotations
from mmsearch.errors import PictureError
from mmsearch.frames import frame_hash, frame_name
from mmsearch.records import BadPicture, FileLook, Film, FilmsFacts, ImageRecord, Matrix
from mmsearch.store.base import Condition
from mmsearch.store.catalog import BELOW, bounds_below
from mmsearch.store.changes import AnnotatedFile, Changes, FilmProgress, FrameTimes, RejectedFile, StoredFile
from mmsearch.store.rejected import note_rejected, rejected_below
from mmsearch.vectors import l2_normalize

if TYPE_CHECKING:
    from mmsearch.store.folder import Store

_CHUNK = 500  # bound parameters of one statement
_N_FRAMES = "(SELECT count(*) FROM image WHERE image.film = film.id)"
_COLUMNS = f"id, path, seconds, {_N_FRAMES}, hdr, is_whole, problem"  # those of `Film`


class KnownFilm(NamedTuple):
    """What the catalog knows of the file of a film, and how far it was read, in seconds.

    `ends` are the sha256 of its first and last bytes (`mmsearch.images.read.ends_of`).
    """

    path: bytes
    look: FileLook
    film_id: int
    content_hash: bytes
    ends: bytes
    read_to: float
    is_whole: bool


class LibraryFilms:
    """The films of one open library, as `Store.films` gives them.

    Parameters
    ----------
    store : Store
        Opened for reading; by its writer for all that changes something.
    """

    def __init__(self, store: Store) -> None:
        self._store, self._db = store, store.catalog.db

    # -- reading -------------------------------------------------------------------------------------

    @property
    def are_any(self) -> bool:
        """Whether there is a film."""
        return self._store.catalog.has_films()

    @property
    def n_films(self) -> int:
        """How many films there are."""
        return self._store.catalog.count("film")

    def known(self, root: bytes) -> Iterator[KnownFilm]:
        """Yield what is known of every film at or below a path."""
        yield from self._known(f"{BELOW} ORDER BY path", bounds_below(root))

    def at(self, path: bytes) -> KnownFilm | None:
        """Return the film that was indexed under a path, or None."""
        return next(self._known("path = ?", (path,)), None)

    def unchanged(self, path: bytes) -> KnownFilm:
        """Return the film that was indexed under a path, whose file is what was indexed by its size and both ends.

        Raises
        ------
        PictureError
            `changed` if there is no such film, or the file is another; else as from `ends_of`.
        """
        from mmsearch.images.read import CHANGED, ends_of  # with what decodes pictures, which searches do without

        film = self.at(path)
        if film is None or ends_of(path) != film.ends:
            raise PictureError("changed", CHANGED)
        return film

    def with_hash(self, content_hash: bytes) -> list[KnownFilm]:
        """Return the films with these file contents, by id."""
        return list(self._known("hash = ? ORDER BY id", (content_hash,)))

    def _known(self, condition: str, values: tuple[Any, ...]) -> Iterator[KnownFilm]:
        sql = (
            f"SELECT id, hash, ends, read_to, is_whole, path, size, mtime_ns, ctime_ns FROM film WHERE {condition}"
        )
        for film_id, content_hash, ends, read_to, is_whole, path, *look in self._db.execute(sql, values).fetchall():
            yield KnownFilm(path, FileLook(*look), film_id, content_hash, ends, read_to, bool(is_whole))

    def has_size(self, size: int) -> bool:
        """Return whether a file of so many bytes may be a copy of a film."""
        return self._db.execute("SELECT 1 FROM film WHERE size = ? LIMIT 1", (size,)).fetchone() is not None

    def bad(self, root: bytes = b"/") -> list[RejectedFile]:
        """Return the films at or below a path that were rejected, by path."""
        return rejected_below(self._db, "bad_film", root)

    def bad_films(self) -> tuple[BadPicture, ...]:
        """Return every rejected film with its reason, by path."""
        return tuple(BadPicture(os.fsdecode(bad.path), bad.code, bad.message) for bad in self.bad())

    def films(self, film_ids: Iterable[int]) -> dict[int, Film]:
        """Return some films, by id."""
        ids, films = list(film_ids), dict[int, Film]()
        for start in range(0, len(ids), _CHUNK):
            chunk = [int(film_id) for film_id in ids[start : start + _CHUNK]]
            sql = f"SELECT {_COLUMNS} FROM film WHERE id IN ({','.join('?' * len(chunk))})"
            films |= {row[0]: _film(row) for row in self._db.execute(sql, chunk)}
        return films

    def hashes(self, film_ids: Sequence[int]) -> list[bytes]:
        """Return the sha256 of the files of some films, in no order."""
        sql = "SELECT hash FROM film WHERE id IN (SELECT value FROM json_each(?))"
        return [content_hash for (content_hash,) in self._db.execute(sql, (json.dumps(film_ids),))]

    def facts(self) -> FilmsFacts:
        """Return how many films there are, how long, and which of them could not be read to their end."""
        n, seconds, n_hdr = self._db.execute(
            "SELECT count(*), ifnull(sum(ifnull(seconds, read_to)), 0), ifnull(sum(hdr <> ''), 0) FROM film"
        ).fetchone()
        (n_frames,) = self._db.execute("SELECT count(*) FROM image WHERE film IS NOT NULL").fetchone()
        sql = f"SELECT {_COLUMNS} FROM film WHERE problem <> '' OR NOT is_whole ORDER BY path"
        return FilmsFacts(n, seconds, n_frames, tuple(map(_film, self._db.execute(sql))), n_hdr)

    def frames(self, film_id: int, *, after: float = -1.0, limit: int = -1) -> list[ImageRecord]:
        """Return the frames of a film that are kept, by time: all, or so many after a time in seconds."""
        ids = [image_id for (image_id,) in self._db.execute(
            "SELECT id FROM image WHERE film = ? AND at > ? ORDER BY part LIMIT ?", (film_id, after, limit)
        )]  # fmt: skip
        images = {image.image_id: image for image in self._store.catalog.images_of_ids(ids)}
        return [images[image_id] for image_id in ids]

    def passing(self, film_id: int, condition: Condition) -> list[ImageRecord]:
        """Return the frames that pass a condition of a film and of others of the same contents, in no order."""
        ids = self._db.execute(
            "SELECT id FROM image WHERE film IN "
            "(SELECT id FROM film WHERE hash = (SELECT hash FROM film WHERE id = ?))",
            (film_id,),
        )
        return self._store.images_of_ids([image_id for (image_id,) in ids.fetchall()], condition)

    def first_frames_of_copies(self, film_id: int) -> list[ImageRecord]:
        """Return the first frame of each other film whose file has the same contents."""
        ids = self._db.execute(
            "SELECT image.id FROM film JOIN image ON image.film = film.id AND image.part = 0 "
            "WHERE film.hash = (SELECT hash FROM film WHERE id = ?) AND film.id <> ? ORDER BY film.path",
            (film_id, film_id),
        ).fetchall()
        return self._store.catalog.images_of_ids([image_id for (image_id,) in ids])

    def vectors(self, film_id: int) -> Matrix:
        """Return the unit vectors float32 (n, dim) of the frames of a film, by time; (n, 0) without an encoder."""
        frames = self.frames(film_id)
        if not self._store.has_vectors:
            return np.zeros((len(frames), 0), np.float32)
        return l2_normalize(self._store.vectors_of(frames).astype(np.float32))

    def annotated(self, film_id: int, annotations: Annotations, beside: bytes | None) -> list[AnnotatedFile]:
        """Return the frames of a film with what is written about it, to be committed."""
        sql = "SELECT id FROM image WHERE film = ?"
        return [AnnotatedFile(image_id, annotations, beside) for (image_id,) in self._db.execute(sql, (film_id,))]

    def problems(self) -> list[str]:
        """Return what does not fit together of films and their frames: sentences."""
        lost = self._db.execute(
            "SELECT count(*) FROM image WHERE film IS NOT NULL AND film NOT IN (SELECT id FROM film)"
        ).fetchone()[0]
        return [f"{lost} frames are of films that are not listed"] if lost else []

    # -- writing -------------------------------------------------------------------------------------

    def commit(
        self,
        moved: Iterable[KnownFilm] = (),
        gone: Iterable[int] = (),
        bad: Iterable[RejectedFile] = (),
        forgotten: Iterable[bytes] = (),
        copies: Changes | None = None,
    ) -> None:
        """Give films the paths and looks of now, forget others with their frames, and note rejected files.

        One that moves takes the place of what its new path was, and so do copies, which are made last: films may
        have changed places.
        """
        with self._store.catalog.writing():
            self._leave(list(gone))
            for film in moved:
                self._move(film)
            note_rejected(self._db, "bad_film", bad, forgotten)
            if copies is not None:
                self._store.apply(copies)

    def remove(self, roots: Iterable[bytes]) -> set[bytes]:
        """Forget films and rejected films at or below some paths, with their frames, and return theirs."""
        known = {film.path: film.film_id for root in roots for film in self.known(root)}
        bad = {bad.path for root in roots for bad in self.bad(root)}
        if known or bad:
            with self._store.catalog.writing():
                self._leave([*known.values()])
                note_rejected(self._db, "bad_film", (), bad)
                self._store.people.drop_empty()
        return {*known, *bad}

    def copied(self, film: KnownFilm, path: bytes, look: FileLook) -> tuple[FilmProgress, list[StoredFile]]:
        """Return a film under another path, whose file has the same contents, and its frames, to be committed."""
        seconds, hdr, problem = self._db.execute(
            "SELECT seconds, hdr, problem FROM film WHERE id = ?", (film.film_id,)
        ).fetchone()
        progress = FilmProgress(
            path, look, film.content_hash, film.ends, seconds, hdr, film.read_to, film.is_whole, problem
        )
        frames, images = [], self.frames(film.film_id)
        loaded = self._store.signatures.load([image.image_id for image in images])
        signatures = {image_id: signature.tobytes() for image_id, signature in loaded.items()}
        for part, image in enumerate(images):
            assert image.moment is not None, "it is a frame"
            at, start, end = image.moment[1:]
            frames.append(
                StoredFile(
                    frame_name(path, at), look, frame_hash(film.content_hash, at), image.width, image.height,
                    image.format, image.taken_at, self._store.reading_of(image.image_id), row=image.row,
                    signature=signatures.get(image.image_id), frame=FrameTimes(part, at, start, end),
                )
            )  # fmt: skip
        return progress, frames

    def _leave(self, film_ids: Sequence[int]) -> None:
        """Forget films with their frames; people keep what is known of the faces in these."""
        frames = [frame.image_id for film_id in film_ids for frame in self.frames(film_id)]
        if frames:
            self._store.people.note_gone(frames)
        self._db.executemany("DELETE FROM film WHERE id = ?", [(film_id,) for film_id in film_ids])

    def _move(self, film: KnownFilm) -> None:
        before = self._db.execute("SELECT path FROM film WHERE id = ?", (film.film_id,)).fetchone()[0]
        displaced = "SELECT id FROM film WHERE path = ? AND id <> ?"
        self._leave([row[0] for row in self._db.execute(displaced, (film.path, film.film_id)).fetchall()])
        self._db.execute("DELETE FROM bad_film WHERE path = ?", (film.path,))
        self._db.execute(
            "UPDATE film SET path = ?, size = ?, mtime_ns = ?, ctime_ns = ? WHERE id = ?",
            (film.path, *film.look, film.film_id),
        )
        self._db.execute(
            "UPDATE image SET annotated = annotated * (? = ?), path = CAST(? || substr(path, ?) AS BLOB), "
            "size = ?, mtime_ns = ?, ctime_ns = ? WHERE film = ?",
            (film.path, before, film.path, 1 + len(before), *film.look, film.film_id),
        )


def _film(row: Sequence[Any]) -> Film:
    film_id, path, seconds, n_frames, hdr, is_whole, problem = row
    return Film(film_id, os.fsdecode(path), seconds, n_frames, hdr, bool(is_whole), problem)
