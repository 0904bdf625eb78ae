"""VECTORS: the embeddings of all pictures in, of each the pairs with the nearest of those before it out."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from mmsearch.duplicates.join import Places
from mmsearch.records import Matrix

N_NEAREST = 10
"""So many of those before it are looked at of every picture."""
_DIM = 128  # of projections, by which they are chosen
_SAMPLE = 5_000  # vectors that the projection is made of
_ROWS = 256  # of one product
_GROUP = 128  # columns of which only the best value is looked at first


def nearest_pairs(
    vectors: NDArray[np.float16],
    *,
    n_known: int = 0,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[tuple[Places, Places]]:
    """Yield pairs of rows of which the first is among the `N_NEAREST` of those before the second.

    They are the nearest by a projection that keeps nearly all of what tells the vectors apart. The pairs of a row
    stay what they are whatever comes after it.

    Parameters
    ----------
    vectors : float16 array, shape (n, dim)
        Of unit length.
    n_known : int
        So many rows, the first, are only compared with those that follow.
    on_progress : callable
        Given (rows done, rows); what it raises ends the search.
    """
    n = len(vectors)
    if n < 2 or n_known == n:
        return
    projected = _projected(vectors)
    for start in range(max(1, n_known), n, _ROWS):
        on_progress(start, n)
        rows = np.arange(start, min(start + _ROWS, n))
        n_groups = -(-int(rows[-1]) // _GROUP)
        cosines = np.full((len(rows), n_groups * _GROUP), -np.inf, np.float32)
        np.matmul(projected[rows], projected[: rows[-1]].T, out=cosines[:, : rows[-1]])
        cosines[:, start:][np.arange(start, n_groups * _GROUP) >= rows[:, None]] = -np.inf
        grouped = cosines.reshape(len(rows), n_groups, _GROUP)
        # The k best values are in the k groups whose best values are the best.
        groups = _best(grouped.max(axis=2), min(N_NEAREST, n_groups))
        values = np.take_along_axis(grouped, groups[..., None], axis=1).reshape(len(rows), -1)
        columns = (groups[..., None] * _GROUP + np.arange(_GROUP)).reshape(len(rows), -1)
        best = _best(values, min(N_NEAREST, values.shape[1]))
        is_before = np.isfinite(np.take_along_axis(values, best, axis=1))
        yield np.take_along_axis(columns, best, axis=1)[is_before], np.repeat(rows, is_before.sum(axis=1))
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
