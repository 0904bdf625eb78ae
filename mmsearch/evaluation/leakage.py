"""LEAKAGE: pictures of a set that are among those by which an encoder or a classifier was taught.

What is measured by them is too good: it was learned. They are counted and named; measuring goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from mmsearch.encoders.learned import read_learned, read_pictures
from mmsearch.encoders.prepare import learned_folders
from mmsearch.evaluation.encode import SetEncoder
from mmsearch.evaluation.records import Leakage
from mmsearch.traces import Traces, known_again


def traces_behind(model: str) -> list[Traces | None]:
    """Return traces of the pictures that a model was taught by, and those of its bases; none of other models.

    None stands for a training of which nothing is known: its folder was written by an earlier version.

    Raises
    ------
    EncoderError
        If a folder is damaged.
    """
    return [read_pictures(read_learned(folder)) for folder in learned_folders(model)]


def leakages(
    taught_by: Mapping[str, Sequence[Traces | None]],
    pictures: Sequence[Path],
    traces: Callable[[Sequence[Path]], Traces],
) -> dict[str, Leakage]:
    """Return for every system that was taught what of a set it knows; nothing for others.

    Parameters
    ----------
    taught_by : mapping
        For every system the pictures of its trainings, as of `traces_behind`.
    pictures : sequence of Path
        Of the set, queries among them.
    traces : callable
        Returns their traces; asked only if a system was taught.
    """
    taught = {name: known for name, known in taught_by.items() if known}
    if not taught:
        return {}
    asked = traces(pictures)
    return {name: _leakage(asked, pictures, known) for name, known in taught.items()}


def leakages_of_encoders(encoders: Sequence[SetEncoder], pictures: Sequence[Path]) -> dict[str, Leakage]:
    """Return `leakages` of the encoders of a benchmark, by name."""
    taught_by = {encoder.encoder.name: traces_behind(encoder.encoder.name) for encoder in encoders}
    return leakages(taught_by, pictures, encoders[0].traces)


def _leakage(asked: Traces, pictures: Sequence[Path], trainings: Sequence[Traces | None]) -> Leakage:
    known = [traces for traces in trainings if traces is not None]
    same_bytes, copied = np.zeros(len(asked), dtype=bool), np.zeros(len(asked), dtype=bool)
    for traces in known:
        same, copies = known_again(asked, traces)
        same_bytes, copied = same_bytes | same, copied | copies
    copied &= ~same_bytes
    return {
        "n_pictures": len(asked),
        "n_same_bytes": int(same_bytes.sum()),
        "n_copies": int(copied.sum()),
        "pictures": [str(pictures[row]) for row in np.flatnonzero(same_bytes | copied).tolist()],
        "is_all_known": len(known) == len(trainings),
    }
