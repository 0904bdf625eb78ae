from __future__ import annotations

import numpy as np

from mmsearch.images.windows import grid_windows, in_pixels


def test_windows_in_the_corners_come_row_by_row():
    expected = [(0, 0, 0.7, 0.7), (0.3, 0, 1, 0.7), (0, 0.3, 0.7, 1), (0.3, 0.3, 1, 1)]
    np.testing.assert_allclose(grid_windows(0.7, 2), expected)


def test_nine_windows_of_a_half_overlap_by_half_of_themselves():
    windows = grid_windows(0.5, 3)
    np.testing.assert_allclose([left for left, _, _, _ in windows], [0, 0.25, 0.5] * 3)
    np.testing.assert_allclose([top for _, top, _, _ in windows], np.repeat([0, 0.25, 0.5], 3))
    np.testing.assert_allclose([(right - left, bottom - top) for left, top, right, bottom in windows], 0.5)


def test_a_window_is_rounded_to_whole_pixels():
    assert [in_pixels(window, (5, 3)) for window in grid_windows(0.7, 2)] == [
        (0, 0, 4, 2), (2, 0, 5, 2), (0, 1, 4, 3), (2, 1, 5, 3),
    ]  # fmt: skip
