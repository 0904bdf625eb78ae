"""VECTORS: the embeddings of all pictures in, the pairs of which one is among the nearest of the other out."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from mmsearch.duplicates.join import Places
from mmsearch.records import Matrix

N_NEAREST = 5
"""So many others are looked at of every picture."""
_DIM = 64  # of projections, by which they are chosen
_SAMPLE = 5_000  # vectors that the projection is made of
_ROWS = 256  # of one product
_GROUP = 128  # columns of which only the best value is looked at first


def nearest_pairs(
    vectors: NDArray[np.float16],
    *,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[tuple[Places, Places]]:
    """Yield pairs of rows, the first before the second, of which one is among the `N_NEAREST` of the other.

    They are the nearest by a projection that keeps nearly all of what tells the vectors apart.

    Parameters
    ----------
    vectors : float16 array, shape (n, dim)
        Of unit length.
    on_progress : callable
        Given (rows done, rows); what it raises ends the search.
    """
    n = len(vectors)
    if n < 2:
        return
    projected = _projected(vectors)
    n_groups = -(-n // _GROUP)
    k = min(N_NEAREST, n - 1)
    for start in range(0, n, _ROWS):
        on_progress(start, n)
        rows = np.arange(start, min(start + _ROWS, n))
        cosines = np.full((len(rows), n_groups * _GROUP), -np.inf, np.float32)
        np.matmul(projected[rows], projected.T, out=cosines[:, :n])
        cosines[rows - start, rows] = -np.inf
        grouped = cosines.reshape(len(rows), n_groups, _GROUP)
        # The k best values are in the k groups whose best values are the best.
        groups = _best(grouped.max(axis=2), min(k, n_groups))
        values = np.take_along_axis(grouped, groups[..., None], axis=1).reshape(len(rows), -1)
        columns = (groups[..., None] * _GROUP + np.arange(_GROUP)).reshape(len(rows), -1)
        nearest = np.take_along_axis(columns, _best(values, k), axis=1)
        first, second = np.repeat(rows, k), nearest.ravel()
        yield np.minimum(first, second), np.maximum(first, second)
    on_progress(n, n)


def _best(values: Matrix, k: int) -> NDArray[np.int64]:
    """Return the columns of the k highest values of each row, in no special order."""
    best: NDArray[np.int64] = np.argpartition(values, values.shape[1] - k, axis=1)[:, values.shape[1] - k :]
    return best


def _projected(vectors: NDArray[np.float16]) -> Matrix:
    """Return vectors in the directions in which they differ most, float32 (n, at most `_DIM`)."""
    drawn = vectors[np.linspace(0, len(vectors) - 1, min(len(vectors), _SAMPLE)).astype(np.int64)]
    _, directions = np.linalg.eigh(drawn.astype(np.float32).T @ drawn.astype(np.float32))
    axes = np.ascontiguousarray(directions[:, -_DIM:], dtype=np.float32)
    blocks = (vectors[start : start + _SAMPLE] for start in range(0, len(vectors), _SAMPLE))
    projected: Matrix = np.concatenate([block.astype(np.float32) @ axes for block in blocks])
    return projected
