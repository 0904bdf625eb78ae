"""Windows: the parts of a picture that are looked at beside the whole, in shares of its sides."""

from __future__ import annotations

from typing import TypeAlias

RelativeBox: TypeAlias = tuple[float, float, float, float]
"""Left, top, right and bottom of a part of the upright picture, from 0 to 1."""

CORNER_SHARE = 0.7
"""Of both sides of a picture, that a window in a corner takes up."""


def grid_windows(share: float, n: int) -> list[RelativeBox]:
    """Return n x n windows of a share of both sides each, spread evenly from corner to corner, row by row.

    Parameters
    ----------
    share : float in (0, 1)
        Of each side.
    n : int > 1
        Windows in a row, and rows.

    Examples
    --------
    >>> grid_windows(0.75, 2)
    [(0.0, 0.0, 0.75, 0.75), (0.25, 0.0, 1.0, 0.75), (0.0, 0.25, 0.75, 1.0), (0.25, 0.25, 1.0, 1.0)]
    """
    starts = [(1 - share) * i / (n - 1) for i in range(n)]
    return [(left, top, left + share, top + share) for top in starts for left in starts]


def in_pixels(window: RelativeBox, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return a window of a picture of (width, height) in whole pixels.

    >>> in_pixels((0.3, 0.0, 1.0, 0.7), (500, 375))
    (150, 0, 500, 262)
    """
    width, height = size
    left, top, right, bottom = window
    return round(left * width), round(top * height), round(right * width), round(bottom * height)
