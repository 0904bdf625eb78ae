"""CUTS: where a shot begins, told by the colours of small pictures while they come."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 64, 36
"""Size of the pictures of which colours are counted."""
WINDOW = 12
"""Pictures on each side with which one is compared."""
_N_BINS = 8 * 4 * 4  # of hue, saturation and value
_FLOOR, _TIMES, _MARGIN = 0.12, 3.0, 0.02
_NEAR = 2  # pictures on each side of which none differs more
_GAP_S = 0.5

Colours: TypeAlias = NDArray[np.float32]


def colours_of(picture: NDArray[np.uint8]) -> Colours:
    """Return how often each colour is in each quarter of a picture (`HEIGHT`, `WIDTH`, 4): blue, green, red, any.

    The square roots of shares, so that the inner product of two is their likeness, in [0, 1].
    """
    pixels = picture.view("<u4")[..., 0]
    red, green, blue = (pixels >> 9) & 0x7C00, (pixels >> 6) & 0x3E0, (pixels >> 3) & 0x1F
    counts = np.bincount((_bins()[red | green | blue] + _quarters()).ravel(), minlength=4 * _N_BINS)
    return np.sqrt(counts / pixels.size, dtype=np.float32)


@cache
def _quarters() -> NDArray[np.int64]:
    """Return the first bin of the quarter that each pixel lies in."""
    rows, columns = np.arange(HEIGHT) >= HEIGHT // 2, np.arange(WIDTH) >= WIDTH // 2
    quarters: NDArray[np.int64] = _N_BINS * (2 * rows[:, None] + columns)
    return quarters


@cache
def _bins() -> NDArray[np.int64]:
    """Return the bin of hue, saturation and value of each colour of 15 bits, red first."""
    red, green, blue = (np.indices((32, 32, 32)) + 0.5) / 32
    value, least = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    spread = value - least
    safe = np.where(spread == 0, 1, spread)
    sector = np.select(
        [spread == 0, value == red, value == green],
        [0, (green - blue) / safe % 6, (blue - red) / safe + 2],
        (red - green) / safe + 4,
    )
    hue, saturation = np.minimum(sector / 6 * 8, 7).astype(int), np.minimum(spread / value * 4, 3).astype(int)
    bins: NDArray[np.int64] = ((hue * 4 + saturation) * 4 + np.minimum(value * 4, 3).astype(int)).ravel()
    return bins


@dataclass
class Seen:
    """A picture that was looked at: its time, how it differs from the one before, and what is kept with it."""

    at: float
    difference: float
    kept: Any = None


class CutFinder:
    """Says of each picture whether a shot begins with it, once those after it were seen.

    It does if it differs much from the one before, and more than those around it do from theirs (the rule of
    PySceneDetect's AdaptiveDetector, with colours instead of pixels).
    """

    def __init__(self) -> None:
        self._before: deque[float] = deque(maxlen=WINDOW)
        self._waiting: deque[Seen] = deque()
        self._colours: Colours | None = None
        self._cut_at = 0.0

    def look(self, at: float, colours: Colours) -> tuple[Seen, bool]:
        """Take the next picture, and return it and whether a shot may begin with it."""
        if self._colours is None:
            self._cut_at = at
            seen = Seen(at, 0.0)
        else:
            seen = Seen(at, 1.0 - float(colours @ self._colours))
        self._colours = colours
        before = [*self._before, *(each.difference for each in self._waiting)][-WINDOW:]
        self._waiting.append(seen)
        return seen, _stands_out(seen.difference, before, [0.0] * WINDOW)

    def decided(self, *, is_end: bool = False) -> list[tuple[Seen, bool]]:
        """Return the pictures of which it is known now whether a shot begins with them, with that."""
        decided = []
        while self._waiting and (is_end or len(self._waiting) > WINDOW):
            seen = self._waiting.popleft()
            after = [each.difference for each in islice(self._waiting, WINDOW)]
            is_cut = seen.at - self._cut_at >= _GAP_S and _stands_out(seen.difference, list(self._before), after)
            if is_cut:
                self._cut_at = seen.at
            self._before.append(seen.difference)
            decided.append((seen, is_cut))
        return decided


def _stands_out(difference: float, before: list[float], after: list[float]) -> bool:
    if difference <= _FLOOR or difference < max([*before[-_NEAR:], *after[:_NEAR]], default=0.0):
        return False
    around = [*before, *after]
    return difference > _TIMES * sum(around) / max(1, len(around)) + _MARGIN
