"""A library in Milvus, open for writing. Several processes may write at once: nothing is locked.

The id of a picture follows from its path, contents and reading, so that whoever stores it writes the same row. The
engine shows what was written a fifth of a second later; until then a writer goes by what it remembers of its own.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mmsearch.errors import DimensionError, EngineError, LibraryDamagedError
from mmsearch.milvus.about import HELD, REVISION, new_revision
from mmsearch.milvus.collection import (
    HALF,
    KNOWN,
    VECTOR_TYPE,
    WHOLE,
    engine_vectors,
    image_id_of,
    known_of,
    path_fields,
    row_of,
    stored_vectors,
)
from mmsearch.milvus.engine import Engine, Row
from mmsearch.milvus.expression import among
from mmsearch.milvus.store import MilvusStore
from mmsearch.records import Matrix
from mmsearch.store.base import Notify, OnProgress, refuse_annotations
from mmsearch.store.changes import BY_CHANCE, MAX_RUNS, TRANSIENT, Changes, KnownFile, StoredFile, TouchedFile
from mmsearch.store.matrix import Half
from mmsearch.vectors import check_directions

_REMEMBERED_S = 10.0  # longer than a bounded read may be behind
_BYTES = 3 << 20  # of rows in one call
_TOGETHER = 2  # calls
_ROWS = 4_000  # of a large commit in memory at a time
_SETTLED_FROM = 2_000  # pictures of a run that are worth an index at once
_SETTLE_S, _LOADED_S = 600.0, 60.0
_PAUSE_S = 0.5


@dataclass
class _Begun:
    """A commit of which rows may still be on their way to the engine."""

    changes: Changes
    rows: list[Row] = field(default_factory=list)
    calls: list[Future[None]] = field(default_factory=list)


class _Calls:
    """Sends rows to the engine, a few calls at a time as they were begun; after one that failed all others fail so.

    A thread that is done takes the next call at once, and each may last until the engine is given up.
    """

    def __init__(self, engine: Engine, collection: str, threads: ThreadPoolExecutor) -> None:
        self._engine, self._collection, self._threads = engine, collection, threads
        self._failure: BaseException | None = None

    def begin(self, rows: Sequence[Row]) -> Future[None]:
        return self._threads.submit(self._send, rows)

    def give_up(self, why: BaseException) -> None:
        self._failure = why

    def _send(self, rows: Sequence[Row]) -> None:
        if self._failure is not None:
            raise self._failure
        try:
            self._engine.upsert(self._collection, rows)
        except BaseException as error:
            self._failure = error
            raise


class _Recent:
    """Rows, without their vectors, that this writer stored or deleted a moment ago."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[float, Row]] = {}  # by path
        self._gone: dict[int, float] = {}  # ids

    def store(self, rows: Iterable[Row]) -> None:
        now = time.monotonic()
        for row in rows:
            self._gone.pop(row["id"], None)
            self._rows[row["path"]] = now, {name: row[name] for name in KNOWN}

    def forget(self, image_ids: Iterable[int]) -> None:
        now = time.monotonic()
        gone = set(image_ids)
        self._gone |= dict.fromkeys(gone, now)
        for path in [path for path, (_, row) in self._rows.items() if row["id"] in gone]:
            del self._rows[path]

    def corrected(self, rows: Iterable[Row], paths: Iterable[str]) -> list[Row]:
        """Return the rows of some paths: as the engine gave them, and what is known better here."""
        limit = time.monotonic() - _REMEMBERED_S
        self._rows = {path: kept for path, kept in self._rows.items() if kept[0] > limit}
        self._gone = {image_id: moment for image_id, moment in self._gone.items() if moment > limit}
        better = {path: self._rows[path][1] for path in paths if path in self._rows}
        given = [row for row in rows if row["id"] not in self._gone and row["path"] not in better]
        return [*given, *better.values()]


class MilvusWriter(MilvusStore):
    """An open library in Milvus that is written to; not shared between threads.

    Parameters
    ----------
    engine : Engine
        Connected, closed with the store.
    working_folder : Path
        A folder on this machine that is there, in which workers run.
    """

    def __init__(self, engine: Engine, working_folder: Path) -> None:
        super().__init__(engine)
        self.working_folder = working_folder
        # From here on answers hold all that was written before, by whomever.
        engine.count(self.collection, level="Strong")
        self._is_half = self.fixed.get(VECTOR_TYPE) == HALF
        self._recent = _Recent()
        self._looked: dict[bytes, list[Row]] = {}  # what was said of the paths asked for last
        self._rejected: set[bytes] | None = None
        self._last_added = 0
        self._n_stored = 0
        self._has_held = False

    # -- settings ------------------------------------------------------------------------------------

    def keep(self, settings: dict[str, Any]) -> None:
        """Store settings that JSON can hold."""
        self.about.keep({**settings, REVISION: new_revision()})

    def keep_max_megapixels(self, wanted: float | None) -> bool:
        """Keep a limit if one is given, and return whether it is above the one before."""
        before = self.max_megapixels
        if wanted is None or wanted == before:
            return False
        self.keep({"max_megapixels": wanted})
        return wanted > before

    # -- pictures ------------------------------------------------------------------------------------

    def files_at(self, paths: Sequence[bytes]) -> list[KnownFile]:
        """Return what is known of the pictures that are stored under these paths, in no special order."""
        self._looked = self._rows_by_path(paths)
        return [known_of(row) for rows in self._looked.values() for row in rows]

    def commit(self, changes: Changes) -> None:
        """Store pictures with their vectors, and forget others; what it returns from is kept, as `committing`."""
        for _ in self.committing([changes]):
            pass

    def committing(self, several: Iterable[Changes]) -> Iterator[Changes]:
        """Commit changes that have no path in common, and yield each when it is kept; the next is begun by then.

        Raises
        ------
        VectorError, DimensionError
            If a vector cannot be used; nothing is stored.
        LibraryLostError
            If another library was made in the place of this one; nothing is stored.
        EngineError
            If the engine does not answer or refuses; what was stored before stays.
        """
        begun: deque[_Begun] = deque()
        with ThreadPoolExecutor(_TOGETHER) as threads:  # the engine takes rows in while others are made ready
            calls = _Calls(self.engine, self.collection, threads)
            try:
                for changes in several:
                    begun.append(self._begun(changes, calls))
                    if len(begun) > 1:
                        yield self._finished(begun)
                while begun:
                    yield self._finished(begun)
            except EngineError as error:
                begun.clear()
                calls.give_up(error)
                raise
            finally:  # should the next not be had, or nobody ask for it
                while begun:
                    self._finished(begun)

    def _begun(self, changes: Changes, calls: _Calls) -> _Begun:
        """Begin a commit: all is done but that its last rows are on their way."""
        begun = _Begun(changes)
        if not len(changes):
            return begun
        refuse_annotations(self.address, changes)
        files = list({file.path: file for file in changes.stored}.values())
        vectors = self._given_vectors(files)
        self.require_same()
        self.forget(changes.gone)
        self.about.add_roots(changes.roots)
        self._accept([*changes.forgotten, *(file.path for file in changes.touched), *(file.path for file in files)])
        moving = {file.image_id for file in changes.touched}
        for start in range(0, len(changes.touched), _ROWS):
            self._touch(changes.touched[start : start + _ROWS], moving)
        for start in range(0, len(files), _ROWS):
            self._sent(begun)
            rows = self._rows_to_store(files[start : start + _ROWS], vectors[start : start + _ROWS])
            begun.rows, begun.calls = rows, self._sending(rows, calls)
        return begun

    def _finished(self, several: deque[_Begun]) -> Changes:
        """Finish the first of some commits that were begun."""
        begun = several.popleft()
        self._sent(begun)
        changes = begun.changes
        if len(changes):
            self._reject(changes)
            held = {HELD: True} if changes.stored and not self._has_held else {}
            self.about.keep({REVISION: new_revision(), **held})
            self._has_held = self._has_held or bool(held)
        return changes

    def remove_images(self, image_ids: Sequence[int]) -> None:
        """Forget pictures; their files are not touched."""
        self.commit(Changes(gone=list(image_ids)))

    def forget(self, image_ids: Sequence[int]) -> None:
        """Delete pictures."""
        super().forget(image_ids)
        self._recent.forget(image_ids)

    def give_up_lost(self, notify: Notify) -> int:
        """Say what is lost, and return 0: of pictures the engine keeps what it has acknowledged."""
        for problem in self.problems():
            notify(problem)
        return 0

    def settle(self, text_probes: Matrix | None, *, on_progress: OnProgress) -> None:
        """Let the engine index what a large run has stored, and wait for it; a few pictures it scans as is."""
        if self._n_stored < _SETTLED_FROM:
            return
        try:
            self.engine.call("flush", self.collection, timeout=60.0)
        except EngineError as error:
            if error.is_unreachable and not self.engine.is_alive():
                raise
            return  # it is asked too often, and does so in its time
        end = time.monotonic() + _SETTLE_S
        while time.monotonic() < end:
            facts = self.engine.call("describe_index", self.collection, "vector") or {}
            total, pending = int(facts.get("total_rows", 0)), int(facts.get("pending_index_rows", 0))
            on_progress("graph", total - pending, total)
            if not pending:
                self._wait_until_loaded(total, min(end, time.monotonic() + _LOADED_S))
                break
            time.sleep(_PAUSE_S)
        self._n_stored = 0

    def _wait_until_loaded(self, n_rows: int, end: float) -> None:
        """Wait until the engine searches by the index that it has built, and no more by the rows as they came."""
        while time.monotonic() < end:
            try:
                segments = self.engine.call("list_loaded_segments", self.collection)
            except EngineError:
                return  # it does not say
            if sum(int(segment.num_rows) for segment in segments) >= n_rows:
                return
            time.sleep(_PAUSE_S)

    def shown_progress(self, on_progress: OnProgress) -> AbstractContextManager[OnProgress]:
        """Return `on_progress`; other processes do not see it."""
        return nullcontext(on_progress)

    # -- the parts of a commit -----------------------------------------------------------------------

    def _given_vectors(self, files: Sequence[StoredFile]) -> list[Half]:
        """Return the vectors of pictures as they will be stored, each (dim,): those given, and those of others."""
        given = [file.vector for file in files if file.vector is not None]
        half = np.stack(given).astype(np.float16) if given else np.zeros((0, self.dim), np.float16)
        if half.shape[1] != self.dim:
            raise DimensionError(
                f"vectors have {half.shape[1]} dimensions, the library has {self.dim}; was it built with another "
                "model?"
            )
        check_directions(half.astype(np.float32), "vectors to store")
        sources = sorted({file.row for file in files if file.vector is None})
        shared: dict[int, Half] = {}
        for start in range(0, len(sources), _ROWS):  # as the client gives them they take much more memory
            rows = self.rows_among("id", sources[start : start + _ROWS], ("id", "vector"))
            halves = stored_vectors([row["vector"] for row in rows], self.dim)
            shared |= {row["id"]: vector for row, vector in zip(rows, halves, strict=True)}
        if missing := [file for file in files if file.vector is None and file.row not in shared]:
            raise LibraryDamagedError(
                f"{self.address}: the picture whose vector {missing[0].path!r} was to share is not there any more; "
                "run again"
            )
        remaining = iter(half)
        return [shared[file.row] if file.vector is None else next(remaining) for file in files]

    def _rows_to_store(self, files: Sequence[StoredFile], vectors: Sequence[Half]) -> list[Row]:
        """Return the rows of pictures; those under their paths with other contents are deleted."""
        paths = [file.path for file in files]
        known = self._looked if all(path in self._looked for path in paths) else self._rows_by_path(paths)
        self._looked = {}
        ids, came = self._ids_for(files)
        kept = set(ids)
        self.forget([row["id"] for path in paths for row in known.get(path, ()) if row["id"] not in kept])
        rows = []
        block = engine_vectors(np.stack(vectors), is_half=self._is_half)
        for file, image_id, vector in zip(files, ids, block, strict=True):
            rows.append(row_of(file, image_id, came.get(image_id) or self._next_added(), vector))
        return rows

    def _ids_for(self, files: Sequence[StoredFile]) -> tuple[list[int], dict[int, int]]:
        """Return the ids of pictures, and when those came that are there already."""
        ids = [image_id_of(file.path, file.content_hash, file.reading) for file in files]
        taken = {row["id"]: row for row in self._bounded(among("id", ids))}
        came: dict[int, int] = {}
        for place, file in enumerate(files):
            salt = 0
            while (row := taken.get(ids[place])) is not None and not _is_of(row, file):
                salt += 1
                ids[place] = image_id_of(file.path, file.content_hash, file.reading, salt=salt)
                taken |= {row["id"]: row for row in self._bounded(among("id", [ids[place]]))}
            if row is not None:
                came[ids[place]] = row["added"]
        return ids, came

    def _touch(self, touched: Sequence[TouchedFile], moving: Collection[int]) -> None:
        """Give pictures another look or path; what is stored under that path makes room, unless it moves itself."""
        rows = {row["id"]: row for row in self.rows_among("id", [file.image_id for file in touched], WHOLE)}
        at_paths = self._rows_by_path([file.path for file in touched])
        self.forget([row["id"] for known in at_paths.values() for row in known if row["id"] not in moving])
        changed = []
        for file in touched:
            if (row := rows.get(file.image_id)) is None:
                continue  # somebody else removed it
            half = stored_vectors([row["vector"]], self.dim)
            look = file.look
            changed.append(
                {
                    **row, **path_fields(file.path), "size": look.size, "mtime_ns": look.mtime_ns,
                    "ctime_ns": -1 if look.ctime_ns is None else look.ctime_ns,
                    "vector": engine_vectors(half, is_half=self._is_half)[0],
                }
            )  # fmt: skip
        self.engine.upsert(self.collection, changed)
        self._recent.store(changed)

    def _reject(self, changes: Changes) -> None:
        """Keep why files could not be used; those that went bad for good keep no picture."""
        gone_bad = [
            bad.path
            for bad in changes.rejected
            if (bad.code in BY_CHANCE and bad.n_tries >= MAX_RUNS) or bad.code not in (*TRANSIENT, *BY_CHANCE)
        ]
        if gone_bad:
            self.forget([row["id"] for rows in self._rows_by_path(gone_bad).values() for row in rows])
        self.about.reject(changes.rejected)
        if self._rejected is not None:
            self._rejected |= {bad.path for bad in changes.rejected}

    def _accept(self, paths: Sequence[bytes]) -> None:
        """Forget why files could not be used."""
        if self._rejected is None:
            self._rejected = self.about.bad_paths()
        accepted = self._rejected.intersection(paths)
        self.about.accept(accepted)
        self._rejected -= accepted

    # -- rows ----------------------------------------------------------------------------------------

    def _rows_by_path(self, paths: Sequence[bytes]) -> dict[bytes, list[Row]]:
        """Return the rows of paths: as the engine shows them, and what this writer knows better."""
        given = self.rows_at(paths, KNOWN, level="Bounded")
        rows: dict[bytes, list[Row]] = {path: [] for path in paths}
        for row in self._recent.corrected(given, [path.hex() for path in paths]):
            rows[bytes.fromhex(row["path"])].append(row)
        return rows

    def _bounded(self, expression: str) -> list[Row]:
        return self.rows(expression, KNOWN, level="Bounded")

    def _sending(self, rows: Sequence[Row], calls: _Calls) -> list[Future[None]]:
        """Begin to store rows."""
        n_parts = -(-len(rows) * (4 * self.dim + 1_000) // _BYTES)
        step = max(1, -(-len(rows) // max(1, n_parts)))  # alike, so that none is waited for alone
        parts = [rows[start : start + step] for start in range(0, len(rows), step)]
        return [calls.begin(part) for part in parts]

    def _sent(self, begun: _Begun) -> None:
        """Wait until the rows of a commit that are on their way are stored."""
        for call in begun.calls:
            call.result()
        self._recent.store(begun.rows)
        self._n_stored += len(begun.rows)
        begun.rows, begun.calls = [], []

    def _next_added(self) -> int:
        self._last_added = max(self._last_added + 1, time.time_ns() // 1000)
        return self._last_added


def _is_of(row: Row, file: StoredFile) -> bool:
    said = row["path"], row["content_hash"], row["reading"]
    return said == (file.path.hex(), file.content_hash.hex(), file.reading)
