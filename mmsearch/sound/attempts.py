"""ATTEMPTS: how an excerpt is looked for, one way after another, and how many votes mean that it was found."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

Verdict = Literal["match", "perhaps"]
"""How sure it is that an excerpt is of a recording."""
LENGTHS_S = (5.0, 10.0, 60.0)
"""Lengths of excerpts for which it was measured how many votes chance gives; between them it is about a line."""


class Attempt(NamedTuple):
    """A way to look for an excerpt: its density, the speed it is taken to have been played at, and what counts.

    `match` are the votes from which on it is one, for excerpts of `LENGTHS_S`; from `perhaps` on it may be.
    """

    per_second: int
    fan: int
    speed: float
    match: tuple[int, int, int]
    perhaps: tuple[int, int, int]

    def least(self, wanted: Verdict, seconds: float) -> float:
        """Return how many votes an excerpt of a length needs."""
        return float(np.interp(seconds, LENGTHS_S, self.match if wanted == "match" else self.perhaps))


USUAL = Attempt(20, 5, 1.0, (28, 40, 100), (20, 20, 50))
DENSE = Attempt(60, 15, 1.0, (60, 90, 225), (45, 45, 112))
SPEEDS = tuple(Attempt(20, 5, speed, (28, 40, 100), (20, 20, 50)) for speed in (1.01, 1 / 1.01, 1.03, 1 / 1.03))
ATTEMPTS = (USUAL, DENSE, *SPEEDS)
"""In the order in which they are made, until one finds a match."""


def verdict(votes: int, attempt: Attempt, seconds: float) -> Verdict | None:
    """Return what so many votes for a recording say in an attempt with an excerpt of a length; None for nothing.

    >>> verdict(30, USUAL, 5.0), verdict(30, USUAL, 10.0), verdict(3, USUAL, 10.0)
    ('match', 'perhaps', None)
    """
    if votes >= attempt.least("match", seconds):
        return "match"
    return "perhaps" if votes >= attempt.least("perhaps", seconds) else None
