"""ATTEMPTS: how an excerpt is looked for, one way after another, and what means that it was found."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

Verdict = Literal["match", "perhaps"]
"""How sure it is that an excerpt is of a recording."""
LENGTHS_S = (5.0, 10.0, 60.0)
"""Lengths of excerpts for which it was measured what chance gives; between them it is about a line."""
_MATCH, _PERHAPS = (9.0, 12.0, 25.0), (6.5, 7.5, 20.0)  # scores for `LENGTHS_S`


class Attempt(NamedTuple):
    """A way to look for an excerpt: its density, the speed it is taken to have been played at, and what counts.

    `votes` are those without which no score is a match, for excerpts of `LENGTHS_S`: other music on the same
    instruments may have many of the peaks, but few of the pairs.
    """

    per_second: int
    fan: int
    speed: float
    votes: tuple[int, int, int]


USUAL = Attempt(20, 5, 1.0, (10, 14, 100))
DENSE = Attempt(60, 15, 1.0, (21, 32, 225))
SPEEDS = tuple(Attempt(20, 5, speed, USUAL.votes) for speed in (1.01, 1 / 1.01, 1.03, 1 / 1.03))
ATTEMPTS = (USUAL, DENSE, *SPEEDS)
"""In the order in which they are made, until one finds a match."""


def verdict(score: float, votes: int, attempt: Attempt, seconds: float) -> Verdict | None:
    """Return what score and votes of a recording in an attempt say to an excerpt of a length; None for nothing.

    >>> verdict(15.0, 20, USUAL, 10.0), verdict(15.0, 8, USUAL, 10.0), verdict(3.0, 8, USUAL, 10.0)
    ('match', 'perhaps', None)
    """
    enough = np.interp(seconds, LENGTHS_S, attempt.votes)
    if score >= np.interp(seconds, LENGTHS_S, _MATCH) and votes >= enough:
        return "match"
    return "perhaps" if score >= np.interp(seconds, LENGTHS_S, _PERHAPS) else None
