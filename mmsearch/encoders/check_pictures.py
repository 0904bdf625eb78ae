"""Pictures that a tower is compared with another by where no real ones are at hand: the same every time."""

from __future__ import annotations

import numpy as np

from mmsearch.records import Pixels


def check_pictures(size: tuple[int, int]) -> Pixels:
    """Return uint8 pixels (4, height, width, 3): smooth colour fields with noise, like small photographs."""
    rng = np.random.default_rng(0)
    height, width = size
    coarse = rng.integers(0, 256, (4, 4, 4, 3))
    rows, columns = np.arange(height) * 4 // height, np.arange(width) * 4 // width
    smooth = coarse[:, rows][:, :, columns]
    pixels: Pixels = (smooth + rng.integers(-20, 21, smooth.shape)).clip(0, 255).astype(np.uint8)
    return pixels
