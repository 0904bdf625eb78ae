"""READ PATH of sounds: an excerpt in, the recordings that it is of out, with the place in each."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import NamedTuple

from mmsearch.errors import QueryError
from mmsearch.processes.listener import Listener
from mmsearch.records import SoundAnswer, SoundHit
from mmsearch.sound.alignment import N_PLACES, N_RECORDINGS, Alignment, align
from mmsearch.sound.attempts import ATTEMPTS, Attempt, Verdict, verdict
from mmsearch.sound.pairs import require_features
from mmsearch.sound.question import Question
from mmsearch.sound.spectrogram import HOP, RATE
from mmsearch.sound.vote import vote
from mmsearch.store.folder import Store
from mmsearch.store.sounds import Searchable, Searched, damaged_text
from mmsearch.system import is_gone

LEAST_S, MOST_S = 2.0, 60.0
"""How long an excerpt may be: shorter ones are like any other, longer ones tell no more."""


class _Judged(NamedTuple):
    """A recording that an attempt found, and how sure that is."""

    alignment: Alignment
    speed: float
    verdict: Verdict

    @property
    def surety(self) -> tuple[bool, float]:
        """What is higher for what is surer, whatever the attempt."""
        return self.verdict == "match", self.alignment.score


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
    start, length = time.perf_counter(), duration
    best, damaged = dict[int, _Judged](), set[int]()
    for attempt in ATTEMPTS:
        question, heard = listener.question(path, at, duration, attempt)
        if attempt is ATTEMPTS[0]:
            length = heard
            _require_length(heard, path, at)
            require_features(question.prints)
        n_recordings = 0
        for part in _parts(store, searchable):
            n_recordings += int(part.alive.sum())
            alignments, unreadable = _alignments(store, part, question, k)
            damaged |= {*part.damaged, *unreadable}
            for judged in _judged(alignments, attempt, length):
                before = best.get(judged.alignment.track_id)
                if before is None or judged.surety > before.surety:
                    best[judged.alignment.track_id] = judged
        if any(judged.verdict == "match" for judged in best.values()):
            break
    surest = sorted(best.values(), key=lambda judged: (judged.surety, -judged.alignment.track_id), reverse=True)[:k]
    with store.reading():
        recordings = store.sounds.tracks([judged.alignment.track_id for judged in surest])
    known = [judged for judged in surest if judged.alignment.track_id in recordings]
    hits = tuple(
        SoundHit(
            rank, recording, judged.alignment.frame * HOP / RATE, judged.alignment.votes, judged.verdict,
            judged.speed, is_gone(os.fsencode(recording.path)), judged.alignment.score,
        )
        for rank, judged in enumerate(known, 1)
        for recording in [recordings[judged.alignment.track_id]]
    )  # fmt: skip
    notices = (damaged_text(len(damaged)),) if damaged else ()
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


def _alignments(store: Store, part: Searched, question: Question, k: int) -> tuple[list[Alignment], set[int]]:
    """Return what a segment has that a question may be of, and which recordings turned out to be damaged."""
    votes = vote(part.segment, question.prints, k=max(k, N_RECORDINGS), alive=part.alive, n_places=N_PLACES)
    with store.reading():
        recordings = store.sounds.constellations({each.track_id for each in votes})
    whole = {track_id: peaks for track_id, peaks in recordings.items() if peaks is not None}
    return align(votes, question, whole), recordings.keys() - whole.keys()


def _judged(alignments: list[Alignment], attempt: Attempt, seconds: float) -> list[_Judged]:
    """Return what an attempt found that is a match, or perhaps one."""
    judged = ((each, verdict(each.score, each.votes, attempt, seconds)) for each in alignments)
    return [_Judged(each, attempt.speed, said) for each, said in judged if said is not None]
