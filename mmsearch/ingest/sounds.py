"""WRITE PATH of sounds: folders in, recordings with their fingerprints out; what is acknowledged is on the disk."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import SimpleQueue
from threading import Event

from mmsearch.errors import SoundError
from mmsearch.images.find import FoundFile, Unreachable, find_files, is_below
from mmsearch.ingest.origins import origin_of, same_contents
from mmsearch.processes.listener import HeardFile, Listener
from mmsearch.records import BadRecording, FileLook, SoundsReport
from mmsearch.sound.decode import is_named_like_a_sound
from mmsearch.store.base import OnProgress
from mmsearch.store.changes import BY_CHANCE, UNSEEN, RejectedFile, is_tried_again
from mmsearch.store.folder import Store
from mmsearch.store.sounds import TOGETHER, KnownSound, NewSound, damaged_text
from mmsearch.system import n_cores

_COMMIT_RECORDINGS, _COMMIT_S = 64, 1.0


@dataclass
class _Scan:
    """What the folders hold, compared with what the library has of them."""

    known: dict[bytes, KnownSound]
    known_bad: dict[bytes, RejectedFile]
    to_hear: list[FoundFile] = field(default_factory=list)
    seen: set[bytes] = field(default_factory=set)
    protected: set[bytes] = field(default_factory=set)
    bad: list[RejectedFile] = field(default_factory=list)
    forgotten: list[bytes] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    n_known_bad: int = 0
    n_unchanged: int = 0

    def add(self, file: FoundFile) -> None:
        """Take note of a file."""
        self.seen.add(file.path)
        known, bad = self.known.get(file.path), self.known_bad.get(file.path)
        if known is not None and file.look.is_as(known.look):
            self.n_unchanged += 1
            if bad is not None:  # it could not be heard for a while
                self.forgotten.append(file.path)
        elif (
            known is None
            and bad is not None
            and file.look.is_as(bad.look)
            and not is_tried_again(bad.code, bad.n_tries)
        ):
            self.n_known_bad += 1
        else:
            self.to_hear.append(file)

    def gone(self) -> set[bytes]:
        """Return the paths of recordings whose files are gone: what could not be looked at is not."""
        return {path for path in self.known if path not in self.seen and not is_below(path, self.protected)}


def index_sounds(store: Store, roots: Sequence[bytes], *, on_progress: OnProgress) -> SoundsReport:
    """Bring the recordings of a library up to date with folders and files.

    Parameters
    ----------
    store : Store
        Opened as the writer.
    roots : sequence of bytes
        Absolute paths.
    on_progress : callable
        Given (`sounds`, files that are done and on the disk, files to be listened to).
    """
    start, scan = time.perf_counter(), _scanned(store, roots)
    gone, n_moved = scan.gone(), 0
    moved, copied, to_hear, taken = [], [], [], set[bytes]()
    for file in scan.to_hear:
        same = same_contents(store.sounds, file)
        left = origin_of(file, same, gone, taken)
        if left is not None:
            taken.add(left.path)
            gone.discard(left.path)
            moved.append(left._replace(path=file.path, look=file.look))
            n_moved += left.path != file.path
        elif same:
            copied.append(store.sounds.copied(same[0].sound_id, file.path, file.look))
        else:
            to_hear.append(file)
    ids_gone = [scan.known[path].sound_id for path in sorted(gone)]
    store.sounds.commit(
        copied, moved, ids_gone, [bad for bad in scan.bad if bad.code != "vanished"], scan.forgotten
    )
    run = _Run(store, scan, len(to_hear), on_progress)
    run.take(to_hear)
    damaged = store.sounds.settle()
    if damaged:
        scan.notices.append(damaged_text(len(damaged)))
    n_copied = sum(sound.path not in scan.known for sound in copied)
    bad = tuple(BadRecording(os.fsdecode(each.path), each.code, each.message) for each in (*scan.bad, *run.bad))
    return SoundsReport(
        new=run.n_new + n_copied, changed=run.n_changed + len(copied) - n_copied, moved=n_moved, gone=len(gone),
        unchanged=scan.n_unchanged + len(moved) - n_moved, bad=bad, known_bad=scan.n_known_bad,
        seconds_of_sound=run.seconds_of_sound, seconds=time.perf_counter() - start, notices=tuple(scan.notices),
        n_incomplete=run.n_incomplete,
    )  # fmt: skip


def _scanned(store: Store, roots: Sequence[bytes]) -> _Scan:
    known = {file.path: file for root in roots for file in store.sounds.known(root)}
    scan = _Scan(known, {bad.path: bad for root in roots for bad in store.sounds.bad(root)})
    for entry in find_files(roots, is_named=is_named_like_a_sound):
        if isinstance(entry, Unreachable):
            scan.protected.add(entry.path)
            scan.bad.append(RejectedFile(entry.path, UNSEEN, entry.code, entry.message))
        elif isinstance(entry, FoundFile):
            scan.add(entry)
    scan.forgotten += [path for path in scan.known_bad if not (path in scan.seen or is_below(path, scan.protected))]
    for root in roots:  # an empty folder may be one whose disk is not mounted
        n_missing = sum(is_below(path, {root}) for path in scan.known)
        if n_missing and not any(is_below(path, {root}) for path in scan.seen):
            scan.protected.add(root)
            name = os.fsdecode(root)
            scan.notices.append(
                f"none of the {n_missing} recordings of {name} is there, so they stay in the library (is a drive "
                f"not mounted?); `mmsearch sound rm {name}` forgets them"
            )
    return scan


class _Run:
    """Files that are listened to, and kept or rejected a few at a time."""

    def __init__(self, store: Store, scan: _Scan, n_files: int, on_progress: OnProgress) -> None:
        self._store, self._scan, self._n_files, self._on_progress = store, scan, n_files, on_progress
        self.bad: list[RejectedFile] = []
        self.n_new = self.n_changed = self.n_incomplete = 0
        self.seconds_of_sound = 0.0
        self._new: list[NewSound] = []
        self._rejected: list[RejectedFile] = []
        self._gone: list[int] = []
        self._n_done, self._committed = 0, time.monotonic()
        self._n_unpublished = 0  # bytes of peaks

    def take(self, files: Sequence[FoundFile]) -> None:
        """Listen to files; what was heard is kept even if an interrupt comes."""
        try:
            for file, heard in _heard(files):
                self._n_done += 1
                if isinstance(heard, SoundError):
                    self._reject(file, heard)
                else:
                    self._keep(file, heard)
                n = len(self._new) + len(self._rejected)
                if n >= _COMMIT_RECORDINGS or time.monotonic() - self._committed >= _COMMIT_S:
                    self._commit()
                if self._n_unpublished >= TOGETHER:
                    self._commit()
                    self._store.sounds.settle()
                    self._n_unpublished = 0
        finally:
            self._commit()

    def _keep(self, file: FoundFile, heard: HeardFile) -> None:
        self._new.append(NewSound(file.path, *heard[:3], heard.problem, heard.n_frames, heard.peaks))
        self.seconds_of_sound += heard.seconds
        self.n_incomplete += bool(heard.problem)
        self._n_unpublished += len(heard.peaks)
        is_known = file.path in self._scan.known
        self.n_changed += is_known
        self.n_new += not is_known

    def _reject(self, file: FoundFile, error: SoundError) -> None:
        before, known = self._scan.known_bad.get(file.path), self._scan.known.get(file.path)
        is_again = before is not None and before.code in BY_CHANCE and file.look.is_as(before.look)
        n_tries = 1 + (before.n_tries if before is not None and is_again else 0)
        look: FileLook = UNSEEN if error.code in ("changed", "vanished") else file.look
        bad = RejectedFile(file.path, look, error.code, str(error), n_tries)
        self._rejected.append(bad)
        self.bad.append(bad)
        if known is not None and not is_tried_again(bad.code, bad.n_tries):
            self._gone.append(known.sound_id)

    def _commit(self) -> None:
        if self._new or self._rejected:
            self._store.sounds.commit(self._new, gone=self._gone, bad=self._rejected)
            self._new, self._rejected, self._gone = [], [], []
            self._on_progress("sounds", self._n_done, self._n_files)
        self._committed = time.monotonic()


class _Ended(Exception):
    """Nobody wants to hear more."""


def _heard(files: Sequence[FoundFile]) -> Iterator[tuple[FoundFile, HeardFile | SoundError]]:
    """Yield what is heard of files, in order; several are listened to at once, each in a process apart."""
    is_over, idle = Event(), SimpleQueue[Listener]()

    def check() -> None:
        if is_over.is_set():
            raise _Ended

    def listen(file: FoundFile) -> tuple[FoundFile, HeardFile | SoundError]:
        listener = idle.get()
        try:
            return file, listener.recording(file.path)
        except SoundError as error:
            return file, error
        finally:
            idle.put(listener)

    listeners = [Listener(check) for _ in range(min(n_cores(), len(files)))]
    for listener in listeners:
        idle.put(listener)
    pool = ThreadPoolExecutor(max(1, len(listeners)))
    try:
        yield from pool.map(listen, files)
    finally:
        is_over.set()
        pool.shutdown(cancel_futures=True)
        for listener in listeners:
            listener.close()
