"""GROUPS: pairs of pictures that were decided in, groups with one keeper out.

Every picture of a group was compared with its keeper, or is nearly equal to one that was: where a is the same as b,
and b as c, but a is not the same as c, then c stays out of the group of a.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mmsearch.records import Evidence


@dataclass(frozen=True)
class Verdict:
    """Why one picture is another, and how well they agree.

    `turns` bring the other to lie as the keeper, `parts` say of which of its records each was compared (0 is the
    whole, 1 the inside of a frame), and `shown` are shares of the sides of one that the other shows.
    """

    evidence: Evidence
    score: float
    turns: int = 0
    parts: tuple[int, int] = (0, 0)
    shown: tuple[float, float] = (1.0, 1.0)


@dataclass
class Groups:
    """Groups of n pictures that are numbered in the order in which they are kept.

    `is_open` says which pictures are in no other's group, `keepers` are those of all, and `verdicts` has those of
    the others by their keepers.
    """

    n: int
    is_open: NDArray[np.bool_] = field(init=False)
    keepers: NDArray[np.int64] = field(init=False)
    verdicts: dict[int, dict[int, Verdict]] = field(default_factory=lambda: defaultdict(dict))

    def __post_init__(self) -> None:
        self.is_open, self.keepers = np.ones(self.n, dtype=bool), np.arange(self.n)

    def join(self, keeper: int, other: int, verdict: Verdict) -> bool:
        """Put a picture into the group of one that is kept before it, and return whether both were free."""
        if not (self.is_open[keeper] and self.is_open[other]) or other in self.verdicts:
            return False
        self.verdicts[keeper][other] = verdict
        self.is_open[other], self.keepers[other] = False, keeper
        return True

    def release(self, keeper: int) -> dict[int, Verdict]:
        """Dissolve the group of a picture, and return who else was in it, and why."""
        verdicts = self.verdicts.pop(keeper, {})
        others = list(verdicts)
        self.is_open[others], self.keepers[others] = True, others
        return verdicts
