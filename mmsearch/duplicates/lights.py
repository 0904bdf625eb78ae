"""LIGHTS: the signatures of candidates as rows that pairs are made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mmsearch.duplicates.align import Windows
from mmsearch.duplicates.join import Pairs, Places, best_cosines, cosines_as_they_lie
from mmsearch.duplicates.keepers import WHOLE, Candidate

STRETCH = 0.03
"""By which the shapes of two forms of a picture may differ beyond rounding, as the logarithm of a ratio."""


class Lights:
    """The light of candidates that all have a signature.

    Each has a row of the whole picture and, where it has a frame, one of what is inside: `owners` are the places of
    the candidates of rows, `parts` say which of the two a row is, `firsts` and `lasts` are the rows of candidates.
    """

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        lights = [each.signature for each in candidates if each.signature is not None]
        self.owners = np.repeat(np.arange(len(candidates)), [len(light) for light in lights])
        self.parts = np.concatenate([np.arange(len(light)) for light in lights])
        self.firsts = np.searchsorted(self.owners, np.arange(len(candidates)))
        self.lasts = np.append(self.firsts[1:], len(self.owners)) - 1
        rows = np.concatenate(lights)
        self.grids = rows["grid"]
        sizes = np.array([(each.image.width, each.image.height) for each in candidates])[self.owners]
        boxes = rows["box"].astype(np.float64) / WHOLE
        widths, heights = ((boxes[:, 2:] - boxes[:, :2]) * sizes).T
        self._shapes = np.log((widths + 0.5) / (heights + 0.5))
        self._rounding = 1 / (np.minimum(widths, heights) + 0.5)

    def most_alike(self, first: Places, second: Places) -> Pairs:
        """Return pairs of candidates as those of their rows, in the turn, that are most alike, one of each."""
        rows, numbers = self._rows_between(first, second)
        pairs = best_cosines(self.grids, rows[:, 0], rows[:, 1])
        return pairs.where(best_of_each(numbers, pairs.cosines))

    def placings(self, first: Places, second: Places) -> tuple[Pairs, Places]:
        """Return pairs of candidates as pairs of all of their rows, and the number of the pair that each is of.

        Each is in the turn in which it is most alike and, where that is another, as it lies: what was cropped may
        be more alike in a turn.
        """
        rows, numbers = self._rows_between(first, second)
        best = best_cosines(self.grids, rows[:, 0], rows[:, 1])
        turned = best.turns != 0
        as_they_lie = cosines_as_they_lie(self.grids, best.where(turned))
        return best.and_those(as_they_lie), np.append(numbers, numbers[turned])

    def _rows_between(self, first: Places, second: Places) -> tuple[NDArray[np.int64], Places]:
        """Return the pairs of rows (m, 2) of pairs of candidates in order, and the numbers (m,) of these."""
        numbers = np.arange(len(first))
        rows = np.concatenate(
            [
                np.stack([ours[first], theirs[second], numbers], axis=1)
                for ours in (self.firsts, self.lasts)
                for theirs in (self.firsts, self.lasts)
            ]
        )
        rows = np.unique(rows, axis=0)
        return rows[:, :2], rows[:, 2]

    def stretch(
        self, pairs: Pairs, windows: Windows | None = None, is_inside: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float64]:
        """Return how far the shapes of pairs that lie alike are from each other, beyond rounding.

        As the logarithm of a ratio. Of one of each pair a window counts if there are windows.
        """
        second = np.where(pairs.turns // 2 % 2 == 1, -1, 1) * self._shapes[pairs.second]
        difference = self._shapes[pairs.first] - second
        if windows is not None and is_inside is not None:
            left, right, top, bottom = windows.T
            difference = difference + np.where(is_inside, 1, -1) * np.log((right - left) / (bottom - top))
        rounding = np.maximum(self._rounding[pairs.first], self._rounding[pairs.second])
        stretch: NDArray[np.float64] = np.maximum(np.abs(difference) - rounding, 0)
        return stretch


def best_of_each(numbers: Places, scores: NDArray[np.floating]) -> Places:
    """Return for each number that there is, in order, the place of its highest score."""
    order = np.lexsort((-scores, numbers))
    is_first = np.ones(len(order), dtype=bool)
    is_first[1:] = numbers[order][1:] != numbers[order][:-1]
    places: Places = order[is_first]
    return places
