"""Windows: the parts of a picture that are looked at beside the whole, in shares of its sides."""

from __future__ import annotations

from collections.abc import Sequence

from mmsearch.records import RelativeBox

_CORNER_SHARE, _GRID_SHARE = 0.7, 0.5  # of both sides of a picture


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


CORNERS = tuple(grid_windows(_CORNER_SHARE, 2))
"""The windows of five views, beside the whole."""
PART_WINDOWS = (*CORNERS, *grid_windows(_GRID_SHARE, 3))
"""The windows of which parts of a picture are chosen; those of its views come first."""


def smallest_share(windows: Sequence[RelativeBox]) -> float:
    """Return which share of the sides the narrowest window takes up, 1 where there are none."""
    return min((min(right - left, bottom - top) for left, top, right, bottom in windows), default=1.0)
