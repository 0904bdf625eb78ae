"""WRITE PATH of films: their frames to the workers, and what is unlike all that is kept into the library.

The frames of a film are decoded in a process apart, one a second and the first after every cut, and go to the
workers as pictures in memory. What is unlike all that is kept of its film is kept. Where more is wanted than
vectors, frames go to the workers for these first, and those that are kept once more. How far a film was read is
committed with its frames, so that a run that was ended goes on inside it.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from mmsearch.annotations.base import Annotations
from mmsearch.errors import PictureError
from mmsearch.film.keep import Keeper, novel_below
from mmsearch.frames import file_of, frame_hash, frame_name
from mmsearch.images import FoundFile
from mmsearch.images.read import ends_of
from mmsearch.ingest.plan_films import FilmsPlan
from mmsearch.ingest.pool import Embedded, Loose, WorkerPool
from mmsearch.processes.film_reader import FilmReader, OpenFilm
from mmsearch.records import BadPicture
from mmsearch.store.base import OnProgress
from mmsearch.store.changes import (
    UNSEEN,
    Changes,
    FilmProgress,
    FrameTimes,
    RejectedFile,
    is_tried_again,
    then_what,
)

if TYPE_CHECKING:
    from mmsearch.ingest.run import Run
    from mmsearch.store.films import KnownFilm
    from mmsearch.store.folder import Store

_MOST_LOOKED_AT = 128  # frames whose pictures are kept until it is decided of them; others are described at once
_NOTHING = "there is no picture in this film"


class _Decided(NamedTuple):
    """A frame of which it is decided whether it is kept.

    `name` is that of one that is kept. `goes_on` says whether the film looked like the one that was kept before it
    until then.
    """

    at: float
    name: bytes = b""
    goes_on: bool = False
    error: PictureError | None = None


@dataclass
class _Reading:
    """A film that is being read: which frames wait for those before them, and which one was kept last."""

    file: FoundFile
    opened: OpenFilm
    ends: bytes
    keeper: Keeper
    read_to: float = 0.0
    is_new: bool = True
    n_parts: int = 0
    waiting: dict[int, tuple[float, Embedded]] = field(default_factory=dict)
    n_given: int = 0
    n_decided: int = 0
    decided: deque[_Decided] = field(default_factory=deque)  # and not settled, in order
    described: dict[bytes, Embedded] = field(default_factory=dict)  # of those that are kept, by name
    lost: list[PictureError] = field(default_factory=list)  # of frames that the workers could not use
    last: bytes = b""  # the name of the frame that was kept last
    is_at_end: bool = False
    is_put_off: bool = False  # to the next run
    problem: str = ""

    @property
    def is_over(self) -> bool:
        """Whether nothing of it is with the workers any more."""
        return self.is_at_end and self.n_decided == self.n_given and not self.decided


class FilmIntake:
    """Reads the films of a plan with the workers of a run.

    Parameters
    ----------
    run : Run
        Takes what is to be committed.
    store : Store
        Opened as the writer.
    plan : FilmsPlan
    on_progress : callable
        Given (`films`, seconds of film that are read and on the disk, seconds in all as far as known).
    """

    def __init__(self, run: Run, store: Store, plan: FilmsPlan, on_progress: OnProgress) -> None:
        self._run, self._store, self._plan, self._on_progress = run, store, plan, on_progress
        self._threshold = novel_below(str(store.setting("model")))
        self._readings: dict[bytes, _Reading] = {}
        self._place_of: dict[bytes, tuple[bytes, int, float]] = {}  # of frames that are with the workers
        self._looked_at: dict[bytes, Loose] = {}  # those of which the workers say only what they look like
        self._to_describe: deque[Loose] = deque()  # those of them that are kept
        self._far: dict[bytes, FilmProgress] = {}  # how far films are read, to be committed
        self._begun: set[bytes] = set()  # hashes of films that are read in this run
        self._twins: list[tuple[FoundFile, bytes]] = []  # equal ones, to be copied when these are read
        self._reader = FilmReader()
        self.bad: list[BadPicture] = []
        self.report = plan.report()
        self._n_bytes = sum(file.look.size for file in plan.to_read)
        self._opened_bytes, self._opened_seconds = 0, 0.0

    def settle(self) -> None:
        """Commit all that no film need be read for."""
        plan, films = self._plan, self._store.films
        copies = self._copies(plan.copies)
        films.commit(plan.moved, plan.gone, plan.rejected, plan.forgotten, copies)
        for path in plan.to_annotate:
            film, beside = films.at(path), self._run.plan.beside
            if film is not None and beside is not None:
                annotations = beside.annotations(path, Annotations())
                self._store.commit(Changes(annotated=films.annotated(film.film_id, annotations, beside.look(path))))

    def _copies(self, copies: Iterable[tuple[KnownFilm, FoundFile]]) -> Changes:
        """Return films under the paths of their copies, with all that is known of them."""
        changes = Changes()
        for film, file in copies:
            progress, frames = self._store.films.copied(film, file.path, file.look)
            changes.films.append(progress)
            changes.stored += [self._run.annotated(frame, file.path) for frame in frames]
        return changes

    def read(self, workers: WorkerPool) -> None:
        """Read the films, a frame to the workers at a time; what was read is kept if an interrupt comes."""
        if not self._plan.to_read:
            return
        self._on_progress("films", 0, 0)
        try:
            self._read(workers, self._plan.to_read)
            while self._twins:
                self._read(workers, self._copy_twins())
        finally:
            self._reader.close()
            far, self._far = self._far, {}
            self._run.commit(far.values())
        self._flush()

    def _read(self, workers: WorkerPool, files: Sequence[FoundFile]) -> None:
        frames = self._frames(files)
        while True:
            for outcomes in workers.run(frames, job=self._run.job):
                for outcome in outcomes:
                    self._take(outcome)
                self._finish_those_over()
                if self._run.is_time_to_commit:
                    self._flush()
            if not self._to_describe:
                break
            frames = self._kept_frames()
        self._finish_those_over()

    def _take(self, outcome: Embedded) -> None:
        """Take what the workers say of a frame: what it looks like, or all, if that was wanted at once."""
        if outcome.path in self._place_of:
            path, number, at = self._place_of.pop(outcome.path)
            reading = self._readings[path]
            reading.waiting[number] = at, outcome
            self._decide(reading)
        else:
            reading = self._readings[file_of(outcome.path)]
            reading.described[outcome.path] = outcome
        self._settle(reading)

    def _copy_twins(self) -> list[FoundFile]:
        """Commit films that are equal to others of this run, and return those that are still to be read."""
        self._flush()
        twins, self._twins = self._twins, []
        self._begun.clear()
        copies, left = [], []
        for file, content_hash in twins:
            whole = next((film for film in self._store.films.with_hash(content_hash) if film.is_whole), None)
            if whole is None:
                left.append(file)
            else:
                copies.append((whole, file))
        self._store.commit(self._copies(copies))
        return left

    def _flush(self) -> None:
        """Commit what is pending, with how far the films are read."""
        far, self._far = self._far, {}  # what is refused is not tried again at the end
        self._run.flush(far.values())
        done = self.report.seconds_of_film
        n_opened = self._opened_bytes
        total = self._opened_seconds * self._n_bytes / n_opened if n_opened else 0.0
        self._on_progress("films", round(done), max(round(done), round(total)))

    # -- frames for the workers ----------------------------------------------------------------------

    def _frames(self, files: Sequence[FoundFile]) -> Iterator[Loose]:
        """Yield the frames of films, and between them once more those that are kept, to be described."""
        for file in files:
            try:
                reading = self._opened(file)
            except PictureError as error:
                self._reject(file, error)
                continue
            if reading is None:
                continue
            self._readings[file.path] = reading
            yield from self._frames_of(reading)
            reading.is_at_end = True

    def _kept_frames(self) -> Iterator[Loose]:
        while self._to_describe:
            yield self._to_describe.popleft()

    def _opened(self, file: FoundFile) -> _Reading | None:
        """Open a film, from where it is known; return None if one of equal contents is read in this run."""
        known = self._plan.unfinished.get(file.path)
        ends = ends_of(file.path)
        opened = self._reader.open(file.path, start=known.read_to if known else 0.0)
        if opened.content_hash in self._begun:
            self._twins.append((file, opened.content_hash))
            return None
        self._begun.add(opened.content_hash)
        self._opened_bytes += file.look.size
        self._opened_seconds += opened.facts.seconds or 0.0
        file = replace(file, look=opened.look)
        if known is None or known.content_hash != opened.content_hash:
            if known is not None:
                opened = self._reader.open(file.path)
            return _Reading(file, opened, ends, Keeper(self._threshold, self._store.films.vectors(-1)))
        kept = [frame.moment.at for frame in self._store.films.frames(known.film_id) if frame.moment is not None]
        keeper = Keeper(self._threshold, self._store.films.vectors(known.film_id), kept)
        last = frame_name(file.path, kept[-1]) if kept else b""
        return _Reading(file, opened, ends, keeper, known.read_to, is_new=False, n_parts=len(kept), last=last)

    def _frames_of(self, reading: _Reading) -> Iterator[Loose]:
        """Yield the frames of a film; one that cannot be read on ends there."""
        path, content_hash, last, begin = reading.file.path, reading.opened.content_hash, -1.0, reading.read_to
        try:
            while frames := self._reader.next():
                looks_first = self._looks_first()
                for frame in frames:
                    at = round(frame.at, 3)
                    if at <= last or at < begin:
                        continue  # times to the millisecond tell frames
                    last, name = at, frame_name(path, at)
                    self._place_of[name] = path, reading.n_given, at
                    reading.n_given += 1
                    is_look = looks_first and len(self._looked_at) < _MOST_LOOKED_AT
                    loose = Loose(name, frame.picture, frame_hash(content_hash, at), is_look)
                    if is_look:
                        self._looked_at[name] = loose
                    yield loose
                    yield from self._kept_frames()
            reading.problem = self._reader.problem
        except PictureError as error:
            self._stop(reading, error)

    def _looks_first(self) -> bool:
        """Return whether more is wanted of a frame that is kept than is worth to be had of all."""
        job = self._run.job()
        return job.embeds and (job.local != "off" or job.parts > 0 or job.faces)

    def _stop(self, reading: _Reading, error: PictureError) -> None:
        """Take note that a film cannot be read on: to be tried again, or to be kept as far as it was read."""
        n_tries = 1 + self._plan.tries.get(reading.file.path, 0)
        is_again = is_tried_again(error.code, n_tries)
        if is_again or not (reading.n_given or reading.n_parts):
            self._reject(reading.file, error)
            reading.is_put_off = is_again
            return
        reading.problem = f"only a part of it could be read: {error}"

    def _reject(self, file: FoundFile, error: PictureError) -> None:
        n_tries = 1 + self._plan.tries.get(file.path, 0)
        then = then_what(error.code, n_tries)
        message = f"{error}; {then}" if then else str(error)
        look = UNSEEN if error.code in ("changed", "vanished") else file.look
        known = None if is_tried_again(error.code, n_tries) else self._store.films.at(file.path)
        self._store.films.commit(
            gone=[] if known is None else [known.film_id],  # nothing of its former contents is kept
            bad=[RejectedFile(file.path, look, error.code, message, n_tries)],
        )
        self.bad.append(BadPicture(os.fsdecode(file.path), error.code, message))
        if file.path in self._plan.changed:
            self.report = replace(self.report, changed=self.report.changed - 1)
        elif file.path not in self._plan.unfinished:
            self.report = replace(self.report, new=self.report.new - 1)

    # -- what comes back -----------------------------------------------------------------------------

    def _decide(self, reading: _Reading) -> None:
        """Decide of the frames of a film that are next, as far as they are there."""
        while reading.n_decided in reading.waiting:
            at, outcome = reading.waiting.pop(reading.n_decided)
            reading.n_decided += 1
            loose = self._looked_at.pop(outcome.path, None)
            goes_on = reading.keeper.is_last_seen
            if "code" in outcome.facts:
                error = PictureError(outcome.facts["code"], outcome.facts["message"])
                reading.decided.append(_Decided(at, error=error))
            elif not reading.is_new and reading.n_decided == 1 and at == reading.read_to:
                reading.keeper.go_on(outcome.vector, at)
                reading.decided.append(_Decided(at))
            elif not reading.keeper.is_kept(outcome.vector, at):
                reading.decided.append(_Decided(at, goes_on=goes_on))
            else:
                reading.decided.append(_Decided(at, outcome.path, goes_on))
                if loose is None:
                    reading.described[outcome.path] = outcome
                else:
                    self._to_describe.append(loose._replace(is_look=False))

    def _settle(self, reading: _Reading) -> None:
        """Let the frames that are next be committed, up to one that is kept and not described yet."""
        while reading.decided:
            at, name, goes_on, error = reading.decided[0]
            if name and name not in reading.described:
                break
            reading.decided.popleft()
            seconds_of_film = self.report.seconds_of_film + max(0.0, at - reading.read_to)
            self.report = replace(self.report, seconds_of_film=seconds_of_film)
            reading.read_to = at
            if error is not None:
                reading.lost.append(error)
            if reading.last and goes_on:
                self._run.pending.ends.append((reading.last, at))  # it looks like the last one until now
            if name:
                self._keep(reading, at, reading.described.pop(name))
        if reading.n_parts:
            self._note(reading)

    def _keep(self, reading: _Reading, at: float, outcome: Embedded) -> None:
        if "code" in outcome.facts:
            reading.lost.append(PictureError(outcome.facts["code"], outcome.facts["message"]))
            reading.last = b""  # the film goes on to look like this one
            return
        stored = self._run.stored(outcome, reading.file.look)
        facts = reading.opened.facts
        frame = replace(
            stored, width=facts.width, height=facts.height, format=facts.container, taken_at=facts.taken_at,
            frame=FrameTimes(reading.n_parts, at, at, at),
        )  # fmt: skip
        self._run.take(self._run.annotated(frame, reading.file.path), outcome)
        reading.last = frame.path
        reading.n_parts += 1
        self.report = replace(self.report, n_frames=self.report.n_frames + 1)

    def _note(self, reading: _Reading, *, is_whole: bool = False) -> None:
        """Let how far a film was read be committed with its frames."""
        facts, problem = reading.opened.facts, reading.problem
        if n_lost := len(reading.lost):
            lost = f"{n_lost} frame{'s' * (n_lost > 1)} of it could not be used: {reading.lost[0]}"
            problem = f"{problem}; {lost}" if problem else lost
        seconds = facts.seconds if facts.seconds is not None or not is_whole else reading.read_to
        self._far[reading.file.path] = FilmProgress(
            reading.file.path, reading.file.look, reading.opened.content_hash, reading.ends, seconds, facts.hdr,
            reading.read_to, is_whole, problem if is_whole else "",
        )  # fmt: skip

    def _finish_those_over(self) -> None:
        for path, reading in list(self._readings.items()):
            if reading.is_over:
                self._finish(reading)
                del self._readings[path]

    def _finish(self, reading: _Reading) -> None:
        """Let a film count as read, if all of it that can be read was."""
        if reading.is_put_off:
            return
        if not reading.n_parts:
            self._reject(reading.file, reading.lost[0] if reading.lost else PictureError("no_picture", _NOTHING))
            return
        if reading.problem or reading.lost:
            self.report = replace(self.report, n_incomplete=self.report.n_incomplete + 1)
        end = reading.opened.facts.seconds
        if reading.last and reading.keeper.is_last_seen and end is not None and end > reading.read_to:
            self._run.pending.ends.append((reading.last, end))
        self._note(reading, is_whole=True)
