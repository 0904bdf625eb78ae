"""Views: one vector of what an image tower makes of a picture and of four windows of it.

The windows are 70 % of both sides, in the corners (`mmsearch.images.windows`), so that small things are half as
large again: unit(whole + half the mean of the windows), after the sub-windows of Razavian et al., 2014. That costs
five runs of the tower, and no byte in a library. Texts are as they are.
"""

from __future__ import annotations

import numpy as np

from mmsearch.records import Matrix
from mmsearch.vectors import l2_normalize

_WEIGHT = np.float32(0.5)  # of the windows; with 1 texts find no more, and classes are told 1.1 points worse


def joined_views(vectors: Matrix) -> Matrix:
    """Return unit vectors float32 (n, dim) of unit vectors (views, n, dim), that of the whole first.

    Examples
    --------
    >>> joined_views(np.float32([[[1, 0]], [[0, 1]], [[0, 1]], [[1, 0]], [[1, 0]]])).round(3)
    array([[0.981, 0.196]], dtype=float32)
    """
    whole, *windows = vectors
    return l2_normalize(whole + _WEIGHT * np.mean(windows, axis=0))
