"""SOUNDS: the recordings of a library and what they are asked, as `Library.sounds` gives them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from mmsearch.arguments import as_count, as_moment, as_number, as_path, shown_value
from mmsearch.errors import LibraryNotFoundError, QueryError, SoundError
from mmsearch.ingest.plan import absolute_roots
from mmsearch.processes.listener import Listener, require_media
from mmsearch.query.sounds import LEAST_S, MOST_S, search_sounds
from mmsearch.records import PathLike, SoundAnswer, SoundsFacts, SoundsReport
from mmsearch.store.base import LibraryStore, OnProgress, Place, folder_of, in_folder
from mmsearch.store.encoder import NONE
from mmsearch.store.publish import manifest_state

if TYPE_CHECKING:
    from mmsearch.store.folder import Store
    from mmsearch.store.sounds import Searchable

_WHAT = "recordings"


class OpenSounds:
    """What one search of recordings after another goes by: the process that listens, and the index.

    Parameters
    ----------
    check : callable
        Called while files are listened to for a search; what it raises ends that.
    """

    def __init__(self, check: Callable[[], None]) -> None:
        self.listener = Listener(check)
        self.searched: tuple[Any, Searchable] | None = None

    def close(self) -> None:
        """End the process and let go of the index; the next search has them again."""
        self.listener.close()
        self.searched = None


class Sounds:
    """The recordings of a library: of audio files, and of films; found by a few seconds of them, however bad.

    What is found is the very recording, not another performance of a piece.

    Parameters
    ----------
    place : Place
        Where the library stands; UnsupportedError is raised by all where that is an address.
    reader : callable
        Returns the library, opened for reading.
    opened : OpenSounds
        What searches go by.
    """

    def __init__(self, place: Place, reader: Callable[[], LibraryStore], opened: OpenSounds) -> None:
        self._place, self._reader, self._opened = place, reader, opened

    def index(
        self, paths: PathLike | Iterable[PathLike], *, on_progress: OnProgress = lambda *_: None
    ) -> SoundsReport:
        """Bring the library up to date with the recordings at or below some paths; make one if there is none.

        Only what is new or has changed is listened to; what is gone leaves. A kill loses nothing that was
        acknowledged by `on_progress`, and the next run goes on from there.

        Parameters
        ----------
        paths : path or several
            Files, or folders of them: of sounds, and of films.
        on_progress : callable
            Given (`sounds`, files that are done, files to be listened to).

        Raises
        ------
        UnsupportedError
            If the library stands at an address, or PyAV and SciPy are not installed.
        QueryError
            If no path is given, or the library would lie among the recordings.
        """
        from mmsearch.ingest.sounds import index_sounds

        folder_of(self._place, _WHAT)
        require_media()
        roots = absolute_roots(paths)
        self._place.refuse_mixing(roots)
        create = {"fingerprint": NONE, "dim": 0, "model": NONE}
        with (
            self._place.writer(create=None if self._place.holds_library() else create) as writer,
            writer.shown_progress(on_progress) as on_progress,
        ):
            return index_sounds(in_folder(writer, _WHAT), roots, on_progress=on_progress)

    def search(self, path: PathLike, *, at: float = 0.0, duration: float = 10.0, k: int = 3) -> SoundAnswer:
        """Return the recordings that a part of a file is of, or may be, the surest first; none if it is of none.

        Parameters
        ----------
        path : path
            A recording, good or bad, or a film.
        at, duration : float
            Where in it the part begins, within 24 hours, and how long it is: 2 to 60 seconds.
        k : int
            The most that are returned.

        Raises
        ------
        SoundError
            If the file cannot be used, or nothing in it could be told from other sounds.
        QueryError
            If the part is too short or too long, or behind the end of the file.
        """
        file = os.path.abspath(as_path(path, "path"))
        at, seconds = as_moment(at, "at"), as_number(duration, "duration")
        if not LEAST_S <= seconds <= MOST_S:
            raise QueryError(
                f"duration is {shown_value(duration)} s; expected {LEAST_S:g} to {MOST_S:g} s, best about 10"
            )
        require_media()
        store, k = self._store(), as_count(k, "k")
        listener = self._opened.listener
        listener.start()
        try:
            return search_sounds(store, self._segments(store), listener, file, at, seconds, k)
        except SoundError as error:
            raise SoundError(error.code, f"{os.fsdecode(file)}: {error}") from error

    def status(self) -> SoundsFacts:
        """Return how many recordings there are, and which files could not be used."""
        store = self._store()
        with store.reading():
            return store.sounds.facts()

    def remove(self, paths: PathLike | Iterable[PathLike]) -> tuple[str, ...]:
        """Forget recordings and bad files at or below some paths, and return theirs; no file is touched."""
        roots = absolute_roots(paths)
        self._require_library()
        with self._place.writer() as writer:
            sounds = in_folder(writer, _WHAT).sounds
            known = {file.path: file.sound_id for root in roots for file in sounds.known(root)}
            rejected = {bad.path for root in roots for bad in sounds.bad(root)}
            if known or rejected:
                sounds.commit(gone=known.values(), forgotten=rejected)
                sounds.settle()
        return tuple(map(os.fsdecode, sorted({*known, *rejected})))

    def close(self) -> None:
        """End the process that listens, and let go of the index; the next search has them again."""
        self._opened.close()

    def _require_library(self) -> None:
        folder_of(self._place, _WHAT)
        if not self._place.holds_library():
            raise LibraryNotFoundError(
                f"{self._place.address}: no library found; `mmsearch sound index PATH` makes one, --library names "
                "another"
            )

    def _store(self) -> Store:
        self._require_library()
        return in_folder(self._reader(), _WHAT)

    def _segments(self, store: Store) -> Searchable:
        """Return what is searched, opened again only where the library has changed."""
        with store.reading():
            state = store.revision, manifest_state(store.files)
        opened = self._opened
        if opened.searched is None or opened.searched[0] != state:
            opened.searched = state, store.sounds.searchable()
        return opened.searched[1]
