"""What a run of `index` will do with films: the folders compared with the catalog. Nothing is decoded here."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING

from mmsearch.images import FoundFile
from mmsearch.images.find import is_below, is_in_bundle
from mmsearch.ingest.origins import origin_of, same_contents
from mmsearch.records import FileLook, FilmsReport
from mmsearch.store.changes import RejectedFile, is_tried_again
from mmsearch.store.films import KnownFilm

if TYPE_CHECKING:
    from mmsearch.store.base import LibraryStore
    from mmsearch.store.folder import Store


def reads_films(store: LibraryStore | None) -> bool:
    """Return whether the films beside pictures are read for a library, which may not exist yet."""
    return find_spec("av") is not None and (store is None or store.as_folder is not None)


@dataclass
class FilmsPlan:
    """What a run will do with films."""

    to_read: list[FoundFile] = field(default_factory=list)
    unfinished: dict[bytes, KnownFilm] = field(default_factory=dict)  # of to_read, to be read on
    changed: set[bytes] = field(default_factory=set)  # those of to_read that are known with other contents
    moved: list[KnownFilm] = field(default_factory=list)  # with the paths and looks of now
    copies: list[tuple[KnownFilm, FoundFile]] = field(default_factory=list)
    gone: list[int] = field(default_factory=list)
    rejected: list[RejectedFile] = field(default_factory=list)
    forgotten: list[bytes] = field(default_factory=list)
    to_annotate: list[bytes] = field(default_factory=list)  # paths of now
    tries: dict[bytes, int] = field(default_factory=dict)
    n_moved: int = 0
    n_unchanged: int = 0
    n_known_bad: int = 0

    def report(self) -> FilmsReport:
        """Return what carrying it out does, apart from what is read."""
        paths = [file.path for file in self.to_read] + [file.path for _, file in self.copies]
        return FilmsReport(
            new=sum(path not in self.changed and path not in self.unfinished for path in paths),
            changed=len(self.changed), moved=self.n_moved, gone=len(self.gone), unchanged=self.n_unchanged,
            known_bad=self.n_known_bad,
        )  # fmt: skip

    @property
    def is_empty(self) -> bool:
        """Whether there are no films, and were none."""
        return self == FilmsPlan()


def plan_films(
    store: Store | None, roots: Sequence[bytes], paths: Iterable[bytes], kept: Set[bytes], *, is_recheck: bool
) -> FilmsPlan:
    """Compare the films below the roots with the catalog.

    Parameters
    ----------
    store : Store or None
        The library, or None if it does not exist yet.
    roots : sequence of bytes
        Absolute paths of folders and files.
    paths : iterable of bytes
        The films that are there.
    kept : set of bytes
        Places that could not be looked at, so that nothing at or below them is gone.
    is_recheck : bool
        Try rejected films again, and compare the contents of all others with their hashes.
    """
    return _Planning(store, roots, is_recheck=is_recheck).plan(list(paths), kept)


class _Planning:
    """The films of the roots, as the catalog knows them, and what becomes of them."""

    def __init__(self, store: Store | None, roots: Sequence[bytes], *, is_recheck: bool) -> None:
        self._store, self._roots, self._is_recheck = store, roots, is_recheck
        self._known = {film.path: film for root in roots for film in store.films.known(root)} if store else {}
        self._bad = {bad.path: bad for root in roots for bad in store.films.bad(root)} if store else {}
        self._taken: set[bytes] = set()  # paths of films that others are now
        self._plan = FilmsPlan()

    def plan(self, paths: Sequence[bytes], kept: Set[bytes]) -> FilmsPlan:
        candidates = [file for path in paths if (file := self._unsettled(path)) is not None]
        seen = {*paths, *kept}
        gone = {path for path in self._known if path not in seen and not is_below(path, kept)}
        gone = {path for path in gone if not is_in_bundle(path)}
        self._plan.forgotten += [path for path in self._bad if path not in seen and not is_below(path, kept)]
        for file in candidates:
            self._place(file, gone)
        self._plan.gone = [self._known[path].film_id for path in sorted(gone)]
        return self._plan

    def _unsettled(self, path: bytes) -> FoundFile | None:
        """Return a film of which more is to be found out, or None once note is taken of it."""
        try:
            file = FoundFile(path, FileLook.of(os.stat(path)))
        except OSError:
            return None  # it left a moment ago, and the next run will see
        known, bad, plan = self._known.get(path), self._bad.get(path), self._plan
        is_known = known is not None and file.look.is_as(known.look) and not self._is_recheck
        if known is not None and is_known and known.is_whole:
            plan.n_unchanged += 1
            plan.forgotten += [path] if bad is not None else []
            return None
        if bad is not None and file.look.is_as(bad.look) and not self._is_tried_again(bad):
            plan.n_known_bad += 1
            return None
        if bad is not None and file.look.is_as(bad.look):
            plan.tries[path] = bad.n_tries
        if known is not None and is_known:
            plan.n_unchanged += 1
            self._read_on(known, file)
            return None
        return file

    def _is_tried_again(self, bad: RejectedFile) -> bool:
        return self._is_recheck or is_tried_again(bad.code, bad.n_tries)

    def _place(self, file: FoundFile, gone: set[bytes]) -> None:
        """Decide what a new or altered film is: the same, moved, a copy, changed or new."""
        plan, known = self._plan, self._known.get(file.path)
        same = [] if self._store is None else same_contents(self._store.films, file)
        origin = origin_of(file, same, gone, self._taken)
        if origin is not None:
            self._taken.add(origin.path)
            gone.discard(origin.path)
            here = origin._replace(path=file.path, look=file.look)
            plan.moved += [here] if here != origin else []
            is_elsewhere = origin.path != file.path
            plan.n_moved += is_elsewhere
            plan.n_unchanged += not is_elsewhere
            if not origin.is_whole:
                self._read_on(here, file)
            return
        whole = next((film for film in same if film.is_whole), None)
        if whole is not None:
            plan.copies.append((whole, file))
        else:
            plan.to_read.append(file)
        if known is not None:
            plan.changed.add(file.path)

    def _read_on(self, film: KnownFilm, file: FoundFile) -> None:
        self._plan.unfinished[file.path] = film
        self._plan.to_read.append(file)
