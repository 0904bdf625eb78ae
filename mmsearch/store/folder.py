"""The library folder as a whole: one writer, many readers, recovery, commits, compaction, proof.

What is acknowledged is on disk: vectors first, then one SQLite transaction that lists them. A kill
between the two leaves a tail in the vector file that no catalog row names; the next writer cuts it off. What is
missing is never given up by opening a library: it is named, and the rest answers.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import numpy as np

from mmsearch.errors import LibraryDamagedError, LibraryLostError, LibraryNotFoundError
from mmsearch.file_array import HalfRows
from mmsearch.records import MAX_MEGAPIXELS, ImageRecord, LibraryStatus, Matrix, Unusable, VerifyReport
from mmsearch.store.base import MeasurableIndexes, Notify, OnProgress
from mmsearch.store.catalog import CATALOG, Catalog
from mmsearch.store.changes import Changes, StoredFile, apply_changes
from mmsearch.store.history import history_problem, sidecar_problem, with_moment
from mmsearch.store.lock import HeldFolder, locked
from mmsearch.store.matrix import Half, append_rows, look_of, open_rows, row_checksum, stored_rows
from mmsearch.store.pictures import Pictures
from mmsearch.store.place import holds_pictures, holds_sounds, is_library
from mmsearch.store.private import close_to_others
from mmsearch.store.publish import (
    Kind,
    S,
    Sidecar,
    load_matching,
    publish,
    remove_unnamed,
    sidecar_of,
    storage_errors,
    sync,
)
from mmsearch.store.query_cache import RememberedQueries
from mmsearch.store.rows import append_vectors, give_up_digest, renumber
from mmsearch.store.sqlite_errors import sqlite_errors
from mmsearch.system import shown_path, sync_folder

if TYPE_CHECKING:
    from mmsearch.store.annotations import LibraryAnnotations
    from mmsearch.store.comparisons import LibraryComparisons
    from mmsearch.store.faces import LibraryFaces
    from mmsearch.store.films import LibraryFilms
    from mmsearch.store.indexes import LibraryIndexes
    from mmsearch.store.labels import LibraryLabels
    from mmsearch.store.neighbours import LibraryNeighbours
    from mmsearch.store.parts import LibraryParts
    from mmsearch.store.people import LibraryPeople
    from mmsearch.store.signatures import LibrarySignatures
    from mmsearch.store.sounds import LibrarySounds
    from mmsearch.store.words import LibraryWords

T = TypeVar("T")
ENCODER_FOLDER = "encoder_folder"  # setting: the name of the encoder's folder after the first encoder
RESTORING = "restoring"
"""The folder in that of a library in which a backup is unpacked."""
_ENCODER = "encoder"
_ENCODER_NAME, _VECTORS = re.compile(r"encoder(-\d+)?"), re.compile(r"vectors-\d+\.f16|parts-\d+\.i8")
_MAX_MEGAPIXELS = "max_megapixels"  # setting
_GO_WITHOUT_SAYING = ("precision", "views", "agreement")  # settings that a first encoder may do without
_BLOCK = 65_536  # rows copied or checked at a time
_N_SAMPLED = 9  # rows compared with their checksums when a vector file is opened
_COMPACT_SHARE = 0.2  # dead rows tolerated before the vectors are rewritten


class Store(Pictures):
    """An open library folder; not shared between threads.

    Use `Store.open` for reading and `Store.writer` for writing. What is asked of its pictures is in `Pictures`.
    """

    def __init__(self, folder: Path, catalog: Catalog, held: HeldFolder | None = None) -> None:
        self.folder = folder
        """Where the library lies, for people and other processes."""
        self.files = folder if held is None else held.files
        """The same for this process; for a writer the folder that it locked, whatever lies under its path."""
        super().__init__(catalog)
        self._held = held
        self._annotations: LibraryAnnotations | None = None
        self._parts: LibraryParts | None = None
        self._matrix: HalfRows | None = None
        self._matrix_state: tuple[int, int, tuple[int, ...]] = (-1, -1, ())

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
        if not is_library(folder):
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
            Settings of a new library (`dim`, 0 for no vectors, `fingerprint`, ...) if there is none yet, or one
            that never held a picture.

        Raises
        ------
        LibraryLockedError
            If another process is writing.
        LibraryNotFoundError
            If there is no library and `create` is None.
        LibraryLostError
            Also later, from every write: if the library was removed, moved or replaced meanwhile.
        """
        if create is None and not is_library(folder):
            cls.open(folder)
        with storage_errors(folder, "the library folder"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(folder) as held:
            with storage_errors(folder, "the library folder"):
                close_to_others(held.files)
            is_new = create is not None and not holds_pictures(folder)
            has_sounds = is_new and holds_sounds(folder)
            if create is not None and is_new and not has_sounds:
                Catalog.create(held.files / CATALOG, create)
            held.watch(CATALOG)
            store = cls(folder, Catalog.open(folder / CATALOG, write=True, guard=held.check), held)
            with closing(store), sqlite_errors(folder / CATALOG):
                store._recover()
                if create is not None and has_sounds:  # which go by nothing that is settled with the first picture
                    store.keep(dict.fromkeys(_GO_WITHOUT_SAYING) | create)
                yield store

    def close(self) -> None:
        """Close the catalog and drop the vectors."""
        self._matrix = None
        self.catalog.close()

    # -- reading -------------------------------------------------------------------------------------

    @property
    def as_folder(self) -> Store:
        """The library itself, which is a folder on this machine."""
        return self

    @property
    def address(self) -> str:
        """Where the library lies, as people write it."""
        return str(self.folder)

    @property
    def working_folder(self) -> Path:
        """A folder on this machine that is there, in which workers run."""
        return self.folder

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
    def n_dead(self) -> int:
        """Rows that no picture refers to any more."""
        return self.catalog.count("dead")

    @property
    def epoch(self) -> int:
        """Generation of the vector file; rows are renumbered only when it changes."""
        return int(self.catalog.meta("epoch"))

    @property
    def max_megapixels(self) -> float:
        """Pictures that need memory for more pixels are refused."""
        return float(self.catalog.meta(_MAX_MEGAPIXELS) or MAX_MEGAPIXELS)

    def accepted_megapixels(self) -> float:
        """Return the ceiling under which all pictures of the library are accepted again, and new ones as ever."""
        return max(self.max_megapixels, self.catalog.most_pixels() / 1e6)

    def keep_max_megapixels(self, wanted: float | None) -> bool:
        """Keep a limit if one is given, and return whether it is above the one before; the caller is the writer."""
        before = self.max_megapixels
        if wanted is None or wanted == before:
            return False
        self.keep({_MAX_MEGAPIXELS: wanted})
        return wanted > before

    def vectors_path(self, epoch: int) -> Path:
        """Return the vector file of an epoch."""
        return self.files / f"vectors-{epoch}.f16"

    @property
    def encoder_path(self) -> Path:
        """Where the encoder lies that made the vectors.

        Raises
        ------
        LibraryDamagedError
            If the catalog names another place than the folder of an encoder in the library.
        """
        name = self.catalog.meta(ENCODER_FOLDER) or _ENCODER
        if not (isinstance(name, str) and _ENCODER_NAME.fullmatch(name)):
            raise LibraryDamagedError(
                f"{self.folder}: the catalog says that the encoder lies in {name!r}, which is no folder of an "
                "encoder in a library; restore the catalog, or index again into another --library"
            )
        return self.files / name

    def vectors_look(self) -> tuple[int, ...]:
        """Return what changes whenever the present vector file is written to, cut or replaced."""
        return look_of(self.vectors_path(self.epoch))

    def consistently(self, read: Callable[[], T]) -> T:
        """Return what `read` finds in one state of the library.

        A writer that compacts removes the vector file of the epoch before, or that of parts; a reader that was
        about to open it starts again on the new state. One that finds damage, or whose vectors are written over
        meanwhile, starts again once: what was cut is known by then, and is left out.

        Raises
        ------
        LibraryDamagedError
            If `read` does, or the vectors were written over, both times.
        """
        is_again = False
        while True:
            problem = None
            with self.catalog.reading():
                files, before = (self.epoch, self.parts.path), self.vectors_look()
                try:
                    answer = read()
                except LibraryDamagedError as error:
                    problem = error
                after, is_cut = self.vectors_look(), bool(self.lost_rows()) or self.parts.is_cut
            is_steady = problem is None and _is_as_before_or_longer(before, after)
            if is_steady and not is_cut:
                return answer
            with self.catalog.reading():
                is_replaced = (self.epoch, self.parts.path) != files
            if is_replaced:
                continue
            if is_steady:
                return answer
            if is_again:
                raise problem or self._is_written_to(files[0])
            is_again = True

    def _is_written_to(self, epoch: int) -> LibraryDamagedError:
        return LibraryDamagedError(
            f"{shown_path(self.vectors_path(epoch))} is being written to by something else than mmsearch; "
            "ask again when that is done, or run `mmsearch verify`"
        )

    def matrix(self) -> HalfRows:
        """Return the committed vectors float16 (n, dim), read when asked for; consistent inside `reading()`.

        There are `n_rows` of them, or fewer where the file was cut: the rows beyond are lost.

        Raises
        ------
        LibraryDamagedError
            If the file holds other vectors than those that the catalog lists; later, when rows are read, if it was
            cut since.
        """
        state = self.epoch, self.n_rows, self.vectors_look()
        if self._matrix is None or state != self._matrix_state:
            matrix = self.first_rows(self.lost_rows().start)
            self._refuse_foreign(matrix)
            self._matrix, self._matrix_state = matrix, state
        return self._matrix

    def first_rows(self, n_rows: int) -> HalfRows:
        """Return the first `n_rows` of the committed vectors, as `matrix` does, compared with nothing.

        Raises
        ------
        LibraryDamagedError
            If there are fewer.
        """
        return open_rows(self.vectors_path(self.epoch), n_rows, self.dim)

    def _refuse_foreign(self, matrix: HalfRows) -> None:
        """Raise if most of a few rows differ from their checksums: that is another file, and no damage."""
        sample = np.linspace(0, max(0, len(matrix) - 1), min(_N_SAMPLED, len(matrix)), dtype=np.int64)
        rows: list[int] = sample.tolist()
        expected = self.catalog.checksums(rows)
        checksums = dict(zip(rows, map(row_checksum, matrix[sample]), strict=True))
        n_foreign = sum(expected[row] != checksums[row] for row in rows if row in expected)
        if 2 * n_foreign > len(expected):
            raise LibraryDamagedError(
                f"{shown_path(self.vectors_path(self.epoch))}: these are not the vectors that the catalog lists; "
                "were they copied from another library, or is one of the two an older copy? Restore what belongs "
                "together, or run `mmsearch verify --repair` and `mmsearch index` on the folders again"
            )

    def checked_rows(self, rows: Sequence[int]) -> Half:
        """Return the vectors of a few rows (n, dim) after comparing them with their checksums.

        Raises
        ------
        LibraryDamagedError
            If a vector is not what was committed, or is lost.
        """
        matrix, numbers = self.matrix(), np.asarray(rows, dtype=np.int64)
        expected = self.catalog.checksums(rows)
        vectors = matrix[numbers[numbers < len(matrix)]]
        checksums = dict(zip(numbers[numbers < len(matrix)].tolist(), map(row_checksum, vectors), strict=True))
        for row in numbers.tolist():
            if row not in checksums or expected.get(row) != checksums[row]:
                raise LibraryDamagedError(
                    f"{shown_path(self.vectors_path(self.epoch))}: row {row} differs from its checksum; "
                    "run `mmsearch verify --repair` and then `mmsearch index` on the folders again"
                )
        return vectors

    def vectors_of(self, images: Sequence[ImageRecord]) -> Half:
        """Return the vectors (n, dim) of a few pictures after comparing them with their checksums.

        Raises
        ------
        LibraryDamagedError
            If a vector is not what was committed, or is lost.
        """
        return self.checked_rows([image.row for image in images])

    def require_whole(self, images: Sequence[ImageRecord]) -> None:
        """Compare the vectors of a few pictures with their checksums, as `vectors_of` does."""
        self.vectors_of(images)

    def stored_files(self, after: int, limit: int) -> list[tuple[int, StoredFile]]:
        """Return up to `limit` pictures whose ids come after one, by id, each with it, its row and its vector.

        Raises
        ------
        LibraryDamagedError
            If a vector is not what was committed, or is lost.
        """
        listed = self.catalog.stored_files(after, limit)
        if not (listed and self.has_vectors):
            return listed
        vectors: Matrix = self.checked_rows([file.row for _, file in listed]).astype(np.float32)
        return [
            (image_id, replace(file, vector=vector))
            for (image_id, file), vector in zip(listed, vectors, strict=True)
        ]  # fmt: skip

    def neighbours(self, *, use_index: bool = True, is_asked_once: bool = False) -> LibraryNeighbours:
        """Return what finds the nearest pictures; without the index by exact scans."""
        from mmsearch.store.neighbours import LibraryNeighbours

        return LibraryNeighbours(self, use_index=use_index, is_asked_once=is_asked_once)

    def measurable_indexes(self, texts: Matrix, *, on_progress: OnProgress) -> MeasurableIndexes:
        """Return the published indexes, or some built in memory, with the scan that they are measured against."""
        from mmsearch.store.measurable import measurable_indexes

        return measurable_indexes(self, texts, on_progress=on_progress)

    def status(self) -> LibraryStatus:
        """Return what is in the library, and how well and by which route it is searched."""
        from mmsearch.store.summary import library_status

        return library_status(self)

    def verify(self, *, is_repair: bool = False) -> VerifyReport:
        """Prove the library whole, its encoder apart; with `is_repair` the caller is the writer."""
        from mmsearch.store.verify import verify

        return verify(self, is_repair=is_repair)

    def require_vectors(self) -> None:
        """Raise unless the vector file holds every committed row, before a writer appends more of them."""
        self._matrix = None  # whatever was opened, it is the file that lies there now that counts
        if self.lost_rows():
            raise LibraryLostError(
                f"{shown_path(self.vectors_path(self.epoch))} was cut or removed while this run was writing to it; "
                "it stops, and the next `mmsearch index` names what is lost and embeds it again"
            )
        self.matrix()

    def lost_rows(self) -> range:
        """Return the rows that the catalog lists and the vector file is too short for."""
        n_rows = self.n_rows
        return range(min(stored_rows(self.vectors_path(self.epoch), self.dim), n_rows), n_rows)

    def problems(self, lost: range | None = None) -> list[str]:
        """Return what can be seen at a glance to be missing or not to belong together: sentences.

        `lost` are rows that an answer was found without; by default those that the vector file is too short for.
        """
        problems = [history_problem(self.files, self.catalog)]
        lost = self.lost_rows() if lost is None else lost
        n_pictures = self.catalog.count_where("row >= ?", (lost.start,)) if lost else 0
        if n_pictures:
            problems.append(
                f"{shown_path(self.vectors_path(self.epoch))} holds {lost.start} of {self.n_rows} vectors, so "
                f"{n_pictures} pictures cannot be found by what they show; restore the file, or run "
                "`mmsearch index` on their folders again"
            )
        return [problem for problem in problems if problem]

    # -- caches --------------------------------------------------------------------------------------

    @property
    def indexes(self) -> LibraryIndexes:
        """The indexes over the vectors, whatever their kinds, with the plans of searches."""
        from mmsearch.store.indexes import LibraryIndexes

        return LibraryIndexes(self)

    @property
    def words(self) -> LibraryWords:
        """The visual words of the pictures."""
        from mmsearch.store.words import LibraryWords

        return LibraryWords(self)

    @property
    def labels(self) -> LibraryLabels:
        """The label sets, and what they give pictures."""
        from mmsearch.store.labels import LibraryLabels

        return LibraryLabels(self)

    @property
    def annotations(self) -> LibraryAnnotations:
        """What files and users say of pictures, and searches in it."""
        if self._annotations is None:
            from mmsearch.store.annotations import LibraryAnnotations

            self._annotations = LibraryAnnotations(self)
        return self._annotations

    @property
    def signatures(self) -> LibrarySignatures:
        """The light of the pictures in coarse grids, by which copies are found."""
        from mmsearch.store.signatures import LibrarySignatures

        return LibrarySignatures(self.catalog)

    @property
    def parts(self) -> LibraryParts:
        """Further vectors of the pictures, of parts of them."""
        if self._parts is None:
            from mmsearch.store.parts import LibraryParts

            self._parts = LibraryParts(self)
        return self._parts

    @property
    def comparisons(self) -> LibraryComparisons:
        """Which pictures were compared for duplicates, and what came of it."""
        from mmsearch.store.comparisons import LibraryComparisons

        return LibraryComparisons(self)

    @property
    def faces(self) -> LibraryFaces:
        """The faces in the pictures."""
        from mmsearch.store.faces import LibraryFaces

        return LibraryFaces(self)

    @property
    def people(self) -> LibraryPeople:
        """The groups of faces, and what the user decided of them."""
        from mmsearch.store.people import LibraryPeople

        return LibraryPeople(self)

    @property
    def has_sounds(self) -> bool:
        """Whether there are recordings, or files that were rejected as such; inside `reading()`."""
        return self.catalog.count("sound") + self.catalog.count("bad_sound") > 0

    @property
    def sounds(self) -> LibrarySounds:
        """The recordings, and their fingerprints."""
        from mmsearch.store.sounds import LibrarySounds

        return LibrarySounds(self)

    @property
    def films(self) -> LibraryFilms:
        """The films, whose frames are pictures."""
        from mmsearch.store.films import LibraryFilms

        return LibraryFilms(self)

    @property
    def remembered(self) -> RememberedQueries:
        """The vectors of texts that were looked for."""
        return RememberedQueries(self)

    def sidecar(self, kind: Kind[S]) -> S | Unusable:
        """Return the sidecar of a published cache if it was made from this library, or why not; reads no cache."""
        facts = sidecar_of(self.files, kind)
        return facts if isinstance(facts, Unusable) else self._foreign(kind, facts) or facts

    def load_matching(
        self,
        kind: Kind[S],
        expected: Mapping[str, object],
        load: Callable[[BinaryIO, S], T],
        *,
        is_stamp_enough: bool = False,
    ) -> T | Unusable:
        """Load a cache that was made from this library, as `publish.load_matching` does, or say why not."""
        return load_matching(
            self.files, kind, expected, load,
            foreign=lambda facts: self._foreign(kind, facts), is_stamp_enough=is_stamp_enough,
        )  # fmt: skip

    def _foreign(self, kind: str, facts: Sidecar) -> Unusable | None:
        problem = sidecar_problem(self.files, self.catalog, kind, facts)
        return None if problem is None else Unusable(problem)

    def check(self) -> None:
        """Raise LibraryLostError if the library is no longer this writer's."""
        assert self._held is not None, "only the writer asks"
        self._held.check()

    def publish(
        self,
        kind: str,
        name: str,
        save: Callable[[Path], None],
        facts: Mapping[str, object],
        *,
        replaces: Sequence[str] = (),
    ) -> None:
        """Publish a cache made from the present state of the library, as `publish.publish` does."""
        facts = with_moment(facts, self.catalog)
        publish(self.files, kind, name, save, facts, replaces=replaces, check=self.check)

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
        with self.catalog.writing():
            if changes.gone:
                self.people.note_gone(changes.gone)
            self.apply(changes)

    def apply(self, changes: Changes) -> None:
        """Change the catalog as `commit` does; inside a transaction of the writer."""
        rows = append_vectors(self, changes.stored)
        placed = self.parts.append([file.parts for file in changes.stored])
        apply_changes(self.catalog.db, changes, rows, placed)

    def remove_images(self, image_ids: Sequence[int]) -> None:
        """Forget pictures, and whom they show; their files are not touched."""
        with self.catalog.writing():
            self.apply(Changes(gone=list(image_ids)))
            self.people.drop_empty()

    def committing(self, several: Iterable[Changes]) -> Iterator[Changes]:
        """Commit one after another, and yield each when it is kept."""
        for changes in several:
            self.commit(changes)
            yield changes

    def drop_rows(self, rows: Sequence[int]) -> int:
        """Forget damaged or missing rows with their pictures, so that the next run embeds them again.

        A film is forgotten with all its frames, and read again. Returned is how many pictures these were.
        """
        with self.catalog.writing():
            db = self.catalog.db
            n_before = self.catalog.count("image")
            for row in rows:
                db.execute("DELETE FROM film WHERE id IN (SELECT film FROM image WHERE row = ?)", (int(row),))
                db.execute("DELETE FROM image WHERE row = ?", (int(row),))
                give_up_digest(self.catalog, int(row))
            return n_before - self.catalog.count("image")

    def give_up_lost(self, notify: Notify) -> int:
        """Say what the library has lost, and give it up so that it is embedded again; return how many pictures."""
        for problem in self.problems():
            notify(f"problem: {problem}")
        n_lost = self.give_up_lost_rows()
        if n_lost:
            notify(
                f"{n_lost} pictures are given up with their vectors; `mmsearch index` embeds those of its folders "
                "again"
            )
        self.note_history()
        if self.has_vectors:
            self.matrix()  # raises if these are the vectors of another library
        return n_lost

    def give_up_lost_rows(self) -> int:
        """Forget the rows that the vector file is too short for, so that the next run embeds their pictures again.

        Returns
        -------
        int
            The number of pictures forgotten; none where only rows that no picture uses are lost.
        """
        lost = self.lost_rows()
        if not lost:
            return 0
        path = self.vectors_path(self.epoch)
        with storage_errors(path, "the vectors"):
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)  # before anything is given up
            try:
                n_pictures = self.drop_rows(lost)
                # Zero rows stand in for the lost ones, so that row numbers stay what they are; they take no space.
                os.ftruncate(handle, 2 * self.dim * self.n_rows)
                sync(handle)
            finally:
                os.close(handle)
        self._matrix = None
        return n_pictures

    def settle(self, text_probes: Matrix | None, *, on_progress: OnProgress) -> None:
        """Rewrite the vectors where too many are dead, bring labels and indexes along; None without an encoder."""
        if self.n_dead > _COMPACT_SHARE * self.n_rows:
            self.compact()
        self.labels.update(on_progress)
        self.annotations.settle()
        if text_probes is not None:
            self.parts.settle(lambda: text_probes)
            self.indexes.update(self.indexes.settings, text_probes, on_progress=on_progress)

    def shown_progress(self, on_progress: OnProgress) -> AbstractContextManager[OnProgress]:
        """Return `on_progress`, such that `status` of other processes says what it is told."""
        from mmsearch.store.progress import shown_progress

        return shown_progress(self.files, on_progress)

    def compact(self) -> None:
        """Rewrite the vector file without dead rows, as a new epoch; rows are renumbered."""
        dead = self.catalog.dead_rows()
        if not dead:
            return
        self.require_vectors()
        with self.catalog.writing():
            old, epoch = self.matrix(), self.epoch + 1
            live = np.setdiff1d(np.arange(self.n_rows), dead)
            path = self.vectors_path(epoch)
            path.unlink(missing_ok=True)
            for start in range(0, len(live), _BLOCK):
                append_rows(path, old[live[start : start + _BLOCK]], at=start)
            sync_folder(self.files)
            renumber(self.catalog.db, live.tolist())
            self.catalog.set_meta({"epoch": epoch, "n_rows": len(live)})
        self.forget_old_epochs()

    def _recover(self) -> None:
        """Undo what a killed writer left: files without a name, vectors that were never acknowledged."""
        self.check()
        shutil.rmtree(self.files / RESTORING, ignore_errors=True)
        remove_unnamed(self.files)
        if history_problem(self.files, self.catalog) is not None:
            return  # what the catalog does not know may have been acknowledged: only `note_history` forgets it
        self._note_every_commit()
        self.forget_old_epochs()
        path, size = self.vectors_path(self.epoch), 2 * self.n_rows * self.dim
        with storage_errors(path, "the vectors"):
            if path.is_file() and path.stat().st_size > size:
                os.truncate(path, size)
        self.parts.recover()

    def note_history(self) -> None:
        """Let the catalog that is there count as the latest, whatever was acknowledged before."""
        if history_problem(self.files, self.catalog) is not None:
            self.catalog.note(self.files)
            self._recover()

    def _note_every_commit(self) -> None:
        self.catalog.on_commit = lambda: self.catalog.note(self.files)

    def forget_old_epochs(self) -> None:
        """Delete the vectors and encoders that do not count any more, and those that never did."""
        kept, encoder = {self.vectors_path(self.epoch).name, self.parts.path.name}, self.encoder_path.name
        for path in self.files.iterdir():
            if _VECTORS.fullmatch(path.name) and path.name not in kept and not path.is_dir():
                path.unlink(missing_ok=True)
            # A name with `.tmp` or `.old` behind it is of one that was being replaced.
            elif _ENCODER_NAME.fullmatch(path.stem) and path.stem != encoder and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)


def _is_as_before_or_longer(before: tuple[int, ...], after: tuple[int, ...]) -> bool:
    """Return whether a file was left alone between two looks, or the same file grew, as it does under a writer."""
    if not before or not after:
        return before == after
    (length, number, *_), (length_after, number_after, *_) = before, after
    return before == after or (number == number_after and length < length_after)
