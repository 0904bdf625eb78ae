"""ATTEMPTS: how an excerpt is looked for, one way after another, and how many votes mean that it was found.

Of 474 excerpts of recordings that were not in a library of 1,000, none of 5 s had more than 27 votes in the usual
attempt, and of 10 s one in a hundred more than 32. Denser attempts give strangers about twice as many, and other
speeds no more. `benchmarks/sound.py` chooses thresholds on one half of such strangers, and counts the others.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Verdict = Literal["match", "perhaps"]
"""How sure it is that an excerpt is of a recording."""


class Attempt(NamedTuple):
    """A way to look for an excerpt: its density, the speed it is taken to have been played at, and what counts.

    `match` are the votes from which on it is one, for excerpts of less than 7 s and for longer ones; from `perhaps`
    on it may be.
    """

    per_second: int
    fan: int
    speed: float
    match: tuple[int, int]
    perhaps: int


USUAL = Attempt(20, 5, 1.0, (28, 40), 20)
DENSE = Attempt(60, 15, 1.0, (60, 90), 45)
SPEEDS = tuple(Attempt(20, 5, speed, (28, 40), 20) for speed in (1.01, 1 / 1.01, 1.03, 1 / 1.03))
ATTEMPTS = (USUAL, DENSE, *SPEEDS)
"""In the order in which they are made, until one finds a match."""
_SHORT_S = 7.0


def verdict(votes: int, attempt: Attempt, seconds: float) -> Verdict | None:
    """Return what so many votes for a recording say in an attempt with an excerpt of a length; None for nothing.

    >>> verdict(30, USUAL, 5.0), verdict(30, USUAL, 10.0), verdict(3, USUAL, 10.0)
    ('match', 'perhaps', None)
    """
    if votes >= attempt.match[seconds >= _SHORT_S]:
        return "match"
    return "perhaps" if votes >= attempt.perhaps else None
