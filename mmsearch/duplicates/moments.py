"""MOMENTS: pictures of one moment, such as those of a burst, by when they were taken and by vectors.

They are no duplicates: each shows something that the others do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from mmsearch.duplicates.groups import Groups, Verdict
from mmsearch.duplicates.keepers import Candidate

SECONDS = 30
"""Pictures of a moment are taken at most so long after one another."""
NEAR = 0.9
"""The cosine of their vectors is at least so high."""
_MOST = 50  # pictures that are compared with the one that comes before them in time


def moments(candidates: Sequence[Candidate], vectors: NDArray[np.float16]) -> Groups:
    """Return the groups of candidates that are of one moment, each with the first of them as its keeper.

    Parameters
    ----------
    candidates : sequence of Candidate
        Those first that are rather kept.
    vectors : float16 array, shape (n, dim)
        Of unit length, in their order.
    """
    groups = Groups(len(candidates))
    times = sorted(
        (taken, place) for place, each in enumerate(candidates) if (taken := _time(each.image.taken_at)) is not None
    )
    pairs = []
    for at, (taken, place) in enumerate(times):
        for later, other in times[at + 1 : at + 1 + _MOST]:
            if later - taken > SECONDS:
                break
            cosine = float(vectors[place].astype(np.float32) @ vectors[other].astype(np.float32))
            if cosine >= NEAR:
                pairs.append((min(place, other), max(place, other), cosine))
    for keeper, other, cosine in sorted(pairs):
        groups.join(keeper, other, Verdict("vectors", cosine))
    return groups


def _time(taken_at: str | None) -> float | None:
    """Return a time in seconds, or None where not even the minute is known."""
    if taken_at is None or len(taken_at) < len("2023-05-01T12:00"):
        return None
    try:
        return (datetime.fromisoformat(taken_at).replace(tzinfo=None) - datetime(1, 1, 1)).total_seconds()
    except ValueError:
        return None
