"""PAIRS: peaks in, hashes of pairs of them out, each with the frame that it begins in."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import SoundError
from mmsearch.sound.peaks import Peaks

FAN = 5
"""Pairs that begin with one peak."""
_LEAST_GAP, _MOST_GAP = 2, 63  # frames from the first peak of a pair to the second
_MOST_STEP = 127  # bins between them
_LEAST_HASHES = 40  # different ones: silence has none, a tone a few


class Prints(NamedTuple):
    """Fingerprints: `hashes` uint32 (n,), and `frames` uint32 (n,), in which each begins."""

    hashes: NDArray[np.uint32]
    frames: NDArray[np.uint32]


def pair_up(peaks: Peaks, *, fan: int = FAN) -> Prints:
    """Return the fingerprints of a constellation: each peak with the first `fan` that follow close to it.

    Notes
    -----
    A hash is the bin of the first peak, the bins from it to the second (+ 128) and the frames between them, in 9, 8
    and 6 bits. It says nothing of where the pair is, so that two recordings of one sound have it in common.
    """
    frames, bins = peaks.frames, peaks.bins
    counts = np.zeros(len(frames), np.int64)
    hashes, anchors = [np.zeros(0, np.uint32)], [np.zeros(0, np.uint32)]
    for ahead in range(1, len(frames)):
        gaps, steps = frames[ahead:] - frames[:-ahead], bins[ahead:] - bins[:-ahead]
        is_open = counts[:-ahead] < fan
        if not (is_open & (gaps <= _MOST_GAP)).any():
            break
        is_pair = is_open & (gaps >= _LEAST_GAP) & (gaps <= _MOST_GAP) & (np.abs(steps) <= _MOST_STEP)
        at = np.flatnonzero(is_pair)
        counts[at] += 1
        hashes.append((bins[at] << 14 | (steps[at] + 128) << 6 | gaps[at]).astype(np.uint32))
        anchors.append(frames[at].astype(np.uint32))
    return Prints(np.concatenate(hashes), np.concatenate(anchors))


def join_prints(several: list[Prints]) -> Prints:
    """Return fingerprints together, each pair of hash and frame once."""
    hashes, frames = (np.concatenate(arrays) for arrays in zip(*several, strict=True))
    keys = np.unique(hashes.astype(np.uint64) << np.uint64(32) | frames)
    return Prints((keys >> np.uint64(32)).astype(np.uint32), keys.astype(np.uint32))


def require_features(prints: Prints) -> None:
    """Raise SoundError (`silent`) if fingerprints are too few to tell a sound from others."""
    if len(np.unique(prints.hashes)) < _LEAST_HASHES:
        raise SoundError(
            "silent", "nothing in it could be told from other sounds: it is silence, or one tone, or too short"
        )
