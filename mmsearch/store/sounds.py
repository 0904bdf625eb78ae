"""SOUNDS: the recordings of a library, and the published inverted file of their fingerprints.

The catalog has the constellation of each, 80 bytes a second of sound, of which its fingerprints are made: what is
acknowledged is there, and goes into backups with it. The inverted file is a cache, in a base segment and a fresh
one, 400 bytes a second. A recording that is in neither, as its writer was killed, is found by fingerprints that are
made when it is looked for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple, TypeVar
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from mmsearch.records import BadRecording, FileLook, Recording, SoundsFacts, Unusable
from mmsearch.sound.inverted_file import Segment, build_segment, merge_segments, tracks_of
from mmsearch.sound.pairs import pair_up
from mmsearch.sound.peaks import Peaks
from mmsearch.store.catalog import BELOW, bounds_below
from mmsearch.store.changes import RejectedFile
from mmsearch.store.publish import Kind, Sidecar, current, manifest_state, next_name, withdraw
from mmsearch.store.rejected import note_rejected, rejected_below

if TYPE_CHECKING:
    from mmsearch.store.folder import Store


T = TypeVar("T")


class SoundSidecar(Sidecar):
    """What is noted of a segment beside it."""

    fingerprints: int
    n_tracks: int


BASE: Final[Kind[SoundSidecar]] = Kind("sounds")
FRESH: Final[Kind[SoundSidecar]] = Kind("soundsfresh")
_SEGMENTS = (BASE, FRESH)
_FINGERPRINTS = 1  # the way in which they are made of constellations
_MERGE_SHARE = 0.2  # of the base: more in the fresh segment, or dead, and both are merged
TOGETHER = 500 * 4 * 60 * 80
"""Bytes of peaks of which fingerprints are made in memory at once: 500 recordings of 4 min, 12 million, 300 MB."""
_CHUNK = 500  # bound parameters of one statement


class KnownSound(NamedTuple):
    """What the catalog knows of the file of a recording."""

    path: bytes
    look: FileLook
    sound_id: int
    content_hash: bytes


class NewSound(NamedTuple):
    """A recording to be kept; `packed` are its peaks, 4 bytes each."""

    path: bytes
    look: FileLook
    content_hash: bytes
    seconds: float
    problem: str
    n_frames: int
    packed: bytes


@dataclass(frozen=True)
class Searched:
    """A segment, and which of its recordings count; it is without `damaged` ones, which it should have."""

    segment: Segment
    alive: NDArray[np.bool_]
    damaged: tuple[int, ...] = ()


class Searchable(NamedTuple):
    """What a question is compared with: segments, and `further` recordings, as many at a time as memory is for."""

    segments: list[Searched]
    further: list[list[int]]


def damaged_text(n: int) -> str:
    """Say that so many recordings are not found as they are damaged, and what to do."""
    it, its, folders = (
        ("1 recording", "its", "its folder") if n == 1 else (f"{n} recordings", "their", "their folders")
    )
    return (
        f"{it} cannot be found, as {its} peaks are damaged; run `mmsearch verify --repair`, and then "
        f"`mmsearch sound index` on {folders} again"
    )


class LibrarySounds:
    """The recordings of one open library, as `Store.sounds` gives them.

    Parameters
    ----------
    store : Store
        Opened for reading; by its writer for all that changes something.
    """

    def __init__(self, store: Store) -> None:
        self._store, self._catalog = store, store.catalog

    # -- reading -------------------------------------------------------------------------------------

    def known(self, root: bytes) -> Iterator[KnownSound]:
        """Yield what is known of every recording at or below a path."""
        yield from self._known(f"{BELOW} ORDER BY path", bounds_below(root))

    def with_hash(self, content_hash: bytes) -> list[KnownSound]:
        """Return the recordings with these file contents."""
        return list(self._known("hash = ? ORDER BY id", (content_hash,)))

    def _known(self, condition: str, values: tuple[Any, ...]) -> Iterator[KnownSound]:
        sql = f"SELECT id, hash, path, size, mtime_ns, ctime_ns FROM sound WHERE {condition}"
        for sound_id, content_hash, path, *look in self._catalog.db.execute(sql, values):
            yield KnownSound(path, FileLook(*look), sound_id, content_hash)

    def has_size(self, size: int) -> bool:
        """Return whether a file of so many bytes may be a copy of a recording."""
        return (
            self._catalog.db.execute("SELECT 1 FROM sound WHERE size = ? LIMIT 1", (size,)).fetchone() is not None
        )

    def bad(self, root: bytes = b"/") -> list[RejectedFile]:
        """Return the files at or below a path that were rejected, by path."""
        return rejected_below(self._catalog.db, "bad_sound", root)

    def tracks(self, ids: Sequence[int]) -> dict[int, Recording]:
        """Return some recordings, by id."""
        tracks: dict[int, Recording] = {}
        for start in range(0, len(ids), _CHUNK):
            chunk = [int(sound_id) for sound_id in ids[start : start + _CHUNK]]
            sql = f"SELECT id, path, seconds, problem FROM sound WHERE id IN ({','.join('?' * len(chunk))})"
            tracks |= {row[0]: _recording(row) for row in self._catalog.db.execute(sql, chunk)}
        return tracks

    def facts(self) -> SoundsFacts:
        """Return how many recordings there are, how long and how large, and which files were rejected."""
        n, seconds, n_bytes = self._catalog.db.execute(
            "SELECT count(*), ifnull(sum(seconds), 0), ifnull(sum(length(peaks)), 0) FROM sound"
        ).fetchone()
        bad = tuple(BadRecording(os.fsdecode(each.path), each.code, each.message) for each in self.bad())
        sidecars = [facts for kind in _SEGMENTS if not isinstance(facts := self._store.sidecar(kind), Unusable)]
        n_bytes += sum(facts["length"] for facts in sidecars)
        tracks = [self._load(kind, tracks_of, is_stamp_enough=True) for kind in _SEGMENTS]
        published = {track for each in tracks if not isinstance(each, Unusable) for track in each}
        n_indexed = len(published & self._checksums().items())
        sql = "SELECT id, path, seconds, problem FROM sound WHERE problem <> '' ORDER BY path"
        incomplete = tuple(map(_recording, self._catalog.db.execute(sql)))
        return SoundsFacts(n, seconds, n_bytes, n_indexed, bad, incomplete)

    def searchable(self) -> Searchable:
        """Return what a question is compared with: the published segments, and recordings that are not in them.

        Of these as many as memory is for are in a segment already; `built` makes one of the others at a time.
        """
        while True:
            before = manifest_state(self._store.files)
            with self._store.reading():
                checksums = self._checksums()
                searched = list(self._published(checksums).values())
                if manifest_state(self._store.files) == before:  # else segments of two states may have met
                    chunks = list(self._chunks(_missing(searched, checksums)))
                    return Searchable([*searched, *map(self.built, chunks[:1])], chunks[1:])

    def _published(self, checksums: dict[int, int]) -> dict[Kind[SoundSidecar], Searched]:
        """Return the segments that can be used, given the checksums of all recordings."""
        published = {}
        for kind in _SEGMENTS:
            segment = self._load(kind, Segment.open, is_stamp_enough=True)
            if isinstance(segment, Segment):
                published[kind] = Searched(segment, _alive(segment, checksums))
        return published

    def _load(
        self, kind: Kind[SoundSidecar], load: Callable[[BinaryIO], T], *, is_stamp_enough: bool = False
    ) -> T | Unusable:
        return self._store.load_matching(
            kind, {"fingerprints": _FINGERPRINTS}, lambda file, _: load(file), is_stamp_enough=is_stamp_enough
        )

    def problems(self) -> dict[str, str]:
        """Return what is wrong with each segment that there is, by reading all of it."""
        kinds = [kind for kind in _SEGMENTS if current(self._store.files, kind) is not None]
        loaded = {kind: self._load(kind, Segment.open) for kind in kinds}
        return {kind: problem.reason for kind, problem in loaded.items() if isinstance(problem, Unusable)}

    def damaged(self) -> list[tuple[int, bytes]]:
        """Return id and path of the recordings whose peaks differ from their checksums."""
        listed = self._catalog.db.execute("SELECT id, path, crc32, peaks FROM sound ORDER BY path")
        return [(sound_id, path) for sound_id, path, checksum, packed in listed if crc32(packed) != checksum]

    def _checksums(self) -> dict[int, int]:
        """Return the checksums of all recordings, by id."""
        return dict(self._catalog.db.execute("SELECT id, crc32 FROM sound"))

    def _chunks(self, ids: Sequence[int]) -> Iterator[list[int]]:
        """Yield some recordings, as many at a time as memory is for: a film has as many peaks as thirty songs."""
        chunk: list[int] = []
        n_bytes = 0
        for sound_id in ids:
            sql = "SELECT length(peaks) FROM sound WHERE id = ?"
            n_bytes += self._catalog.db.execute(sql, (sound_id,)).fetchone()[0]
            chunk.append(sound_id)
            if n_bytes >= TOGETHER:
                yield chunk
                chunk, n_bytes = [], 0
        if chunk:
            yield chunk

    def built(self, ids: Sequence[int]) -> Searched:
        """Return a segment of some recordings, made of their peaks; inside `reading()`."""
        tracks, damaged = [], []
        for sound_id, checksum, peaks in self._constellations(ids):
            if peaks is None:
                damaged.append(sound_id)
            else:
                tracks.append((sound_id, checksum, peaks.n_frames, pair_up(peaks)))
        return Searched(build_segment(tracks), np.ones(len(tracks), bool), tuple(damaged))

    def constellations(self, ids: Iterable[int]) -> dict[int, Peaks | None]:
        """Return the peaks by id of those recordings that are there, None for damaged ones; inside `reading()`."""
        return {sound_id: peaks for sound_id, _, peaks in self._constellations(ids)}

    def _constellations(self, ids: Iterable[int]) -> Iterator[tuple[int, int, Peaks | None]]:
        """Yield id, checksum and peaks of those recordings that are there, None for damaged peaks."""
        sql = "SELECT crc32, n_frames, peaks FROM sound WHERE id = ?"
        for sound_id in ids:
            for checksum, n_frames, packed in self._catalog.db.execute(sql, (sound_id,)):  # none if it left
                is_whole = crc32(packed) == checksum
                yield sound_id, checksum, Peaks.of_packed(packed, n_frames) if is_whole else None

    # -- writing -------------------------------------------------------------------------------------

    def commit(
        self,
        new: Iterable[NewSound] = (),
        moved: Iterable[KnownSound] = (),
        gone: Iterable[int] = (),
        bad: Iterable[RejectedFile] = (),
        forgotten: Iterable[bytes] = (),
    ) -> None:
        """Keep recordings, forget others, and note rejected files, in one transaction: all is on disk after it.

        One that is new takes the place of what its path was. `moved` have a known id, and the path and look of now;
        `forgotten` are paths of rejected files.
        """
        with self._catalog.writing():
            db = self._catalog.db
            db.executemany("DELETE FROM sound WHERE id = ?", [(sound_id,) for sound_id in gone])
            for file in moved:
                db.execute("DELETE FROM sound WHERE path = ? AND id <> ?", (file.path, file.sound_id))
                db.execute("DELETE FROM bad_sound WHERE path = ?", (file.path,))
                db.execute(
                    "UPDATE sound SET path = ?, size = ?, mtime_ns = ?, ctime_ns = ? WHERE id = ?",
                    (file.path, *file.look, file.sound_id),
                )
            for sound in new:
                db.execute("DELETE FROM sound WHERE path = ?", (sound.path,))
                db.execute("DELETE FROM bad_sound WHERE path = ?", (sound.path,))
                db.execute(
                    "INSERT INTO sound (path, size, mtime_ns, ctime_ns, hash, seconds, problem, n_frames, crc32, "
                    "peaks) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (sound.path, *sound.look, *sound[2:6], crc32(sound.packed), sound.packed),
                )
            note_rejected(db, "bad_sound", bad, forgotten)

    def copied(self, sound_id: int, path: bytes, look: FileLook) -> NewSound:
        """Return a recording under another path, whose file has the same contents."""
        sql = "SELECT hash, seconds, problem, n_frames, peaks FROM sound WHERE id = ?"
        content_hash, seconds, problem, n_frames, packed = self._catalog.db.execute(sql, (sound_id,)).fetchone()
        return NewSound(path, look, content_hash, seconds, problem, n_frames, packed)

    def settle(self) -> tuple[int, ...]:
        """Publish fingerprints of the recordings that have none, and merge the segments where it is time to.

        Returns
        -------
        tuple of int
            The recordings that differ from their checksums, and have no fingerprints.

        Raises
        ------
        StorageError
            If the disk refuses; what was published before stays.
        """
        checksums = self._checksums()
        segments = self._published(checksums)
        for kind in set(_SEGMENTS) - segments.keys():
            if current(self._store.files, kind) is not None:
                withdraw(self._store.files, kind)
        damaged: tuple[int, ...] = ()
        for chunk in self._chunks(_missing(segments.values(), checksums)):
            added = self.built(chunk)
            damaged += added.damaged
            if len(added.alive):
                self._publish(FRESH, [*filter(None, [segments.get(FRESH)]), added], segments)
                self._merge(segments)
        self._merge(segments)
        return damaged

    def _merge(self, segments: dict[Kind[SoundSidecar], Searched]) -> None:
        """Put both segments into the base if the fresh one has grown, or many of the base are dead."""
        n_base, n_dead = 0, 0
        for searched in segments.values():
            n_dead += int((~searched.alive).sum())
        if BASE in segments:
            n_base = len(segments[BASE].segment.ids)
        n_fresh = len(segments[FRESH].segment.ids) if FRESH in segments else 0
        if max(n_fresh, n_dead) > _MERGE_SHARE * n_base:
            self._publish(BASE, [segments[kind] for kind in _SEGMENTS if kind in segments], segments, FRESH)

    def _publish(
        self, kind: Kind[SoundSidecar], merged: list[Searched], segments: dict[Kind[SoundSidecar], Searched],
        *replaces: Kind[SoundSidecar],
    ) -> None:  # fmt: skip
        """Publish what counts of some segments as one, in the place of those of its kind and of others."""
        self._store.check()
        n_tracks = sum(int(searched.alive.sum()) for searched in merged)
        facts = {"fingerprints": _FINGERPRINTS, "n_tracks": n_tracks}
        name = next_name(self._store.files, kind)
        parts, alive = [each.segment for each in merged], [each.alive for each in merged]
        self._store.publish(kind, name, lambda path: merge_segments(parts, alive, path), facts, replaces=replaces)
        for other in replaces:
            segments.pop(other, None)
        segments[kind] = Searched(Segment.open(self._store.files / f"{name}.bin"), np.ones(n_tracks, bool))


def _recording(row: tuple[int, bytes, float, str]) -> Recording:
    sound_id, path, seconds, problem = row
    return Recording(sound_id, os.fsdecode(path), seconds, problem)


def _alive(segment: Segment, checksums: dict[int, int]) -> NDArray[np.bool_]:
    """Return which recordings of a segment are those of the catalog."""
    known = zip(segment.ids.tolist(), segment.checksums.tolist(), strict=True)
    return np.fromiter((checksums.get(sound_id) == checksum for sound_id, checksum in known), bool)


def _missing(searched: Iterable[Searched], checksums: dict[int, int]) -> list[int]:
    """Return the recordings that are in none of some segments."""
    covered = {sound_id for each in searched for sound_id in each.segment.ids[each.alive].tolist()}
    return sorted(checksums.keys() - covered)
