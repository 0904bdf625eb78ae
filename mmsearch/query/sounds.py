"""READ PATH of sounds: an excerpt in, the recordings that it is of out, with the place in each."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import NamedTuple

from mmsearch.errors import QueryError
from mmsearch.processes.listener import Listener
from mmsearch.records import SoundAnswer, SoundHit
from mmsearch.sound.attempts import ATTEMPTS, Attempt, Verdict, verdict
from mmsearch.sound.pairs import Prints, require_features
from mmsearch.sound.spectrogram import HOP, RATE
from mmsearch.sound.vote import Vote, vote
from mmsearch.store.folder import Store
from mmsearch.store.sounds import Searchable, Searched, damaged_text
from mmsearch.system import is_gone

LEAST_S, MOST_S = 2.0, 60.0
"""How long an excerpt may be: shorter ones are like any other, longer ones tell no more."""


class _Judged(NamedTuple):
    """A recording that an attempt found, and how sure that is."""

    vote: Vote
    attempt: Attempt
    verdict: Verdict
    seconds: float

    @property
    def surety(self) -> tuple[bool, float]:
        """What is higher for what is surer, whatever the attempt."""
        return self.verdict == "match", self.vote.votes / self.attempt.least("perhaps", self.seconds)


def search_sounds(
    store: Store, searchable: Searchable, listener: Listener, path: bytes, at: float, duration: float, k: int
) -> SoundAnswer:
    """Return the recordings that an excerpt of a file is of, or may be, the surest first.

    Parameters
    ----------
    store : Store
        The library.
    searchable : Searchable
        What `store.sounds.searchable` returned.
    listener : Listener
        Hears the excerpt.
    path : bytes
        The file.
    at, duration : float
        Where in it the excerpt begins, and how long it is, in seconds.
    k : int
        The most that are returned.

    Raises
    ------
    QueryError
        If there is less than two seconds of it.
    SoundError
        If it cannot be used.
    """
    start, length, best = time.perf_counter(), duration, dict[int, _Judged]()
    for attempt in ATTEMPTS:
        prints, heard = listener.prints(path, at, duration, attempt)
        if attempt is ATTEMPTS[0]:
            length = heard
            _require_length(heard, path, at)
            require_features(prints)
        n_recordings, n_damaged = 0, 0
        for part in _parts(store, searchable):
            n_recordings, n_damaged = n_recordings + int(part.alive.sum()), n_damaged + len(part.damaged)
            for judged in _judged(part, prints, attempt, length, k):
                before = best.get(judged.vote.track_id)
                if before is None or judged.surety > before.surety:
                    best[judged.vote.track_id] = judged
        if any(judged.verdict == "match" for judged in best.values()):
            break
    surest = sorted(best.values(), key=lambda judged: (judged.surety, -judged.vote.track_id), reverse=True)[:k]
    with store.reading():
        recordings = store.sounds.tracks([judged.vote.track_id for judged in surest])
    known = [judged for judged in surest if judged.vote.track_id in recordings]
    hits = tuple(
        SoundHit(
            rank, recording, judged.vote.frame * HOP / RATE, judged.vote.votes, judged.verdict,
            judged.attempt.speed, is_gone(os.fsencode(recording.path)),
        )
        for rank, judged in enumerate(known, 1)
        for recording in [recordings[judged.vote.track_id]]
    )  # fmt: skip
    notices = (damaged_text(n_damaged),) if n_damaged else ()
    return SoundAnswer(hits, at, length, n_recordings, time.perf_counter() - start, notices)


def _parts(store: Store, searchable: Searchable) -> Iterator[Searched]:
    """Yield all segments; those that are made now, one after the other, are not kept."""
    yield from searchable.segments
    for ids in searchable.further:
        with store.reading():
            part = store.sounds.built(ids)
        yield part


def _require_length(seconds: float, path: bytes, at: float) -> None:
    if seconds < LEAST_S:
        raise QueryError(
            f"there are {seconds:.1f} s of sound in {os.fsdecode(path)} from {at:g} s on, which are like many "
            f"others; give an excerpt of {LEAST_S:g} s at least, better of 10"
        )


def _judged(part: Searched, prints: Prints, attempt: Attempt, seconds: float, k: int) -> list[_Judged]:
    """Return what an attempt finds in a segment that is a match, or perhaps one."""
    votes = vote(part.segment, prints, k=k, alive=part.alive)
    judged = ((each, attempt, verdict(each.votes, attempt, seconds)) for each in votes)
    return [_Judged(each, by, said, seconds) for each, by, said in judged if said is not None]
