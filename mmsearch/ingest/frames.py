"""FRAMES AGAIN: frames of films that a library has, decoded once more for workers, as pictures in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from mmsearch.errors import PictureError
from mmsearch.frames import file_of, frame_hash, is_frame, time_of
from mmsearch.ingest.pool import Embedded, Loose, WorkerPool
from mmsearch.ingest.worker import Job
from mmsearch.processes.film_reader import FilmReader
from mmsearch.store.films import KnownFilm, LibraryFilms


def outcomes_of(
    paths: Iterable[bytes], films: LibraryFilms | None, workers: WorkerPool, *, job: Callable[[], Job]
) -> Iterator[list[Embedded]]:
    """Yield what becomes of pictures of a library, some at a time: files, and frames of films.

    Parameters
    ----------
    paths : iterable of bytes
        As the catalog has them.
    films : LibraryFilms or None
        Those of the library; None where there are none.
    workers : WorkerPool
    job : callable
        As for `WorkerPool.run`, and so are the errors.
    """
    failed: list[Embedded] = []
    reader = FilmReader()
    try:
        for outcomes in workers.run(_items(paths, films, reader, failed), job=job):
            yield [*failed, *outcomes]
            failed.clear()
    finally:
        reader.close()
    if failed:
        yield failed


def _items(
    paths: Iterable[bytes], films: LibraryFilms | None, reader: FilmReader, failed: list[Embedded]
) -> Iterator[bytes | Loose]:
    known: dict[bytes, KnownFilm | PictureError] = {}
    for path in paths:
        if films is None or not is_frame(path):
            yield path
            continue
        file = file_of(path)
        if file not in known:
            known[file] = _unchanged(films, file)
        film = known[file]
        try:
            if isinstance(film, PictureError):
                raise film
            frame = reader.frame(file, time_of(path)).frame
            yield Loose(path, frame.picture, frame_hash(film.content_hash, time_of(path)))
        except PictureError as error:
            failed.append(Embedded(path, {"code": error.code, "message": str(error)}, None))


def _unchanged(films: LibraryFilms, path: bytes) -> KnownFilm | PictureError:
    """Return a film whose file is what was indexed, or why it is not."""
    try:
        return films.unchanged(path)
    except PictureError as error:
        return error
