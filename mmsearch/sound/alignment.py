"""ALIGN: an excerpt laid over a recording where a vote places it: how many peaks of the recording are in it.

What a vote counts needs both peaks of a pair to come through noise; here each counts alone. It is to fingerprints
(A. Wang, An industrial-strength audio search algorithm, ISMIR 2003) what spatial verification is to visual words: a
few candidates are looked at closely, and put in order by what is seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmsearch.sound.peaks import Peaks
from mmsearch.sound.question import Question
from mmsearch.sound.spectrogram import FIRST_BIN, LAST_BIN
from mmsearch.sound.vote import Vote

_AGREE = (1.0, 0.7, 0.3), (1.0, 0.5)
"""What peaks count that are 0, 1 or 2 half frames, and 0 or 1 bin, apart: the repeats of a loop differ by less."""
_REACH = 4  # half frames round the place of a vote
N_RECORDINGS, N_PLACES = 10, 8
"""Of a vote that are aligned: recordings at least, and places of each at most, as music repeats itself."""
_DRIFTS = range(-10, 11, 5)  # frames by which what an excerpt is of may be longer than it
_N_STRETCHED = 5  # places, the best, that are tried with all of these
_VARIANCE = 1.0  # added to that of chance: one peak more than none is no wonder


class Alignment(NamedTuple):
    """An excerpt over a recording.

    Parameters
    ----------
    track_id : int
        The recording.
    frame : float
        Of the recording, where the excerpt begins.
    score : float
        By how many standard deviations more of its peaks are in the excerpt than by chance; more is surer.
    votes : int
        Fingerprints that agree on a place near this one.
    """

    track_id: int
    frame: float
    score: float
    votes: int


def align(votes: Iterable[Vote], question: Question, recordings: Mapping[int, Peaks]) -> list[Alignment]:
    """Return for each recording the place where the question lies best over it, the surest first.

    Parameters
    ----------
    votes : iterable of Vote
        Recordings with the places that are tried, the first of equals.
    question : Question
        The excerpt.
    recordings : mapping of int to Peaks
        The constellations by id; what is not there is left out.

    Notes
    -----
    At each place the excerpt is moved to and fro, and stretched a little, as one that is played in less time at the
    same pitch drifts past the recording.
    """
    overlay = _Overlay(question.peaks)
    placed = [
        Alignment(each.track_id, *overlay.over(recordings[each.track_id], each.frame, [0]), each.votes)
        for each in votes
        if each.track_id in recordings
    ]
    placed.sort(key=lambda each: -each.score)
    for each in placed[:_N_STRETCHED]:
        stretched = overlay.over(recordings[each.track_id], round(each.frame), _DRIFTS)
        placed.append(Alignment(each.track_id, *stretched, each.votes))
    placed.sort(key=lambda each: -each.score)
    best: dict[int, Alignment] = {}
    for each in placed:
        best.setdefault(each.track_id, each)
    return list(best.values())


class _Overlay:
    """What a peak of a recording counts anywhere on an excerpt, to be laid over recordings."""

    def __init__(self, peaks: Peaks) -> None:
        n_halves, reach, width = peaks.n_frames, len(_AGREE[0]) - 1, len(_AGREE[1]) - 1
        counts = np.zeros((n_halves + 2 * reach, LAST_BIN - FIRST_BIN + 2 * width), np.float32)
        for later, higher in sorted(
            product(range(-reach, reach + 1), range(-width, width + 1)), key=lambda apart: _agreement(*apart)
        ):
            counts[peaks.frames + reach + later, peaks.bins + width + higher] = _agreement(later, higher)
        inside = counts[reach : reach + n_halves, width:-width]
        self._counts = np.pad(inside, ((0, 1), (0, 0)))  # the last row is what lies outside
        self._mean, self._variance = inside.mean(axis=0), inside.var(axis=0)
        self._n_halves = n_halves

    def over(self, recording: Peaks, frame: int, drifts: Iterable[int]) -> tuple[float, float]:
        """Return the frame near a frame of a recording at which the excerpt lies best over it, and the score.

        Notes
        -----
        Score: (sum c - sum m) / sqrt(sum v + 1), where c is what a peak of the recording counts, and m and v are
        mean and variance of what one in its bin counts all over the excerpt: tones that last long say little.
        """
        n_halves = self._n_halves
        moves, stretches = _tried(drifts, n_halves)
        margin = int(np.abs(moves).max())
        ends = np.searchsorted(recording.frames, [frame - margin, frame + n_halves // 2 + margin])
        frames, bins = recording.frames[slice(*ends)], recording.bins[slice(*ends)]
        rows = np.rint((2 * (frames - frame) - moves[:, None]) / stretches[:, None]).astype(np.int64)
        is_outside = (rows < 0) | (rows >= n_halves)
        rows[is_outside] = n_halves
        mean, variance = (
            np.where(is_outside, 0, values[bins]).sum(axis=1) for values in (self._mean, self._variance)
        )
        scores = (self._counts[rows, bins].sum(axis=1) - mean) / np.sqrt(variance + _VARIANCE)
        best = int(np.argmax(scores))
        return frame + float(moves[best]) / 2, float(scores[best])


def _agreement(later: int, higher: int) -> float:
    return _AGREE[0][abs(later)] * _AGREE[1][abs(higher)]


def _tried(drifts: Iterable[int], n_halves: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return moves in half frames, and stretches, the least first; what is stretched is so about its middle."""
    tried = ((drift, to) for drift in drifts for to in range(-_REACH - abs(drift), _REACH + abs(drift) + 1))
    drift, to = np.array(sorted(tried, key=lambda each: (abs(each[0]), abs(each[1])))).T
    return to - drift, 1 + 2 * drift / n_halves
