"""QUESTION: the samples of an excerpt in, what it is looked for by out: its fingerprints, and all of its peaks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mmsearch.sound.pairs import Prints, join_prints, pair_up
from mmsearch.sound.peaks import Peaks, find_constellations
from mmsearch.sound.spectrogram import HOP, Samples

ALL = 60
"""Peaks of a second of an excerpt: nearly all that there are, as what is loudest in it may be noise."""


class Question(NamedTuple):
    """What an excerpt is looked for by: `prints`, and `peaks`, whose frames are half as long as those of prints."""

    prints: Prints
    peaks: Peaks


def ask(samples: Samples, *, per_second: int, fan: int) -> Question:
    """Return what an excerpt is looked for by.

    It is heard twice, the second time from half a hop on, as its frames do not begin with those of a recording.

    Parameters
    ----------
    samples : float32 array, shape (n_samples,)
        A minute at most.
    per_second, fan : int
        How dense its fingerprints are.
    """
    heard = [find_constellations([samples[later:]], [per_second, ALL]) for later in (0, HOP // 2)]
    prints = join_prints([pair_up(some, fan=fan) for some, _ in heard])
    frames = np.concatenate([2 * peaks.frames + later for later, (_, peaks) in enumerate(heard)])
    bins = np.concatenate([peaks.bins for _, peaks in heard])
    order = np.lexsort((bins, frames))
    return Question(prints, Peaks(frames[order], bins[order], 2 * heard[0][1].n_frames))
