"""ALIGN: two grids of light that lie alike in, where in the one the other lies and how well they agree there out.

A copy that was cropped shows a window of its original. Windows are tried in steps first, and the best is then moved
to where the grids agree most. What two photographs of the same thing do not share is the light that is left when
the coarse light is taken off.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.records import Matrix

_STEP = 0.05  # between windows, and between their lengths
_SHORTEST = 0.85  # of a side
_WIDEST_ASPECT = 0.1  # by which the lengths of the two sides may differ
_FINEST = 0.004  # step by which a window is moved at last
_COARSE_CELLS = 16  # of a side: the light that is taken off at the end
_TOGETHER = 64  # pairs

Windows = NDArray[np.float32]
"""Starts and ends of windows in shares of the sides: float32 (n, 4), left, right, top, bottom."""
_WHOLE = np.array([[0, 1, 0, 1]], np.float32)
_MOVES = np.array(
    [[1, 1, 0, 0], [0, 0, 1, 1], [1, -1, 1, -1], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], np.float32
)
"""Of edges together: right, down, smaller, and then each by itself."""


def best_windows(grids: NDArray[np.int8], others: NDArray[np.int8]) -> tuple[Windows, Matrix]:
    """Return for each of two grids (n, side, side) the window of the first that is most like the second.

    Returns
    -------
    windows : float32 array, shape (n, 4)
        Of those that are tried.
    correlations : float32 array, shape (n,)
        Of the window and the second grid.
    """
    sides, is_tried = _tried()
    side = grids.shape[-1]
    matrices = _resampling(sides[:, 0], sides[:, 1], side)
    stacked = matrices.reshape(-1, side)  # (windows * side, side)
    windows, best = [np.zeros((0, 4), np.float32)], [np.zeros(0, np.float32)]
    for start in range(0, len(grids), _TOGETHER):
        block = grids[start : start + _TOGETHER].astype(np.float32)
        other = _centred(_as_cut(others[start : start + _TOGETHER]))
        cut = (stacked @ block @ stacked.T).reshape(len(block), len(sides), side, len(sides), side)
        products = np.einsum("ndiaj,nij->nda", cut, other, optimize=True)
        means, squares = cut.mean(axis=(2, 4)), np.einsum("ndiaj,ndiaj->nda", cut, cut)
        lengths = np.sqrt(np.maximum(squares - side * side * means**2, 1e-6))
        scores = products / (lengths * np.maximum(np.linalg.norm(other, axis=(1, 2)), 1e-6)[:, None, None])
        scores = np.where(is_tried, scores, -1).reshape(len(block), -1)
        down, across = np.divmod(scores.argmax(axis=1), len(sides))
        windows.append(np.concatenate([sides[across], sides[down]], axis=1).astype(np.float32))
        best.append(scores.max(axis=1))
    return np.concatenate(windows), np.concatenate(best)


def fine_agreement(grids: NDArray[np.int8], others: NDArray[np.int8], windows: Windows) -> tuple[Windows, Matrix]:
    """Return windows (n, 4) of grids moved to where they are most like other grids, and how alike they are.

    Returns
    -------
    windows : float32 array, shape (n, 4)
    correlations : float32 array, shape (n,)
        Of the window and the other grid, both less their coarse light.
    """
    windows, soft = windows.copy(), _as_cut(others)
    best = _correlations(_cut(grids, windows), soft)
    step = _STEP / 2
    while step >= _FINEST:
        for move in (*_MOVES, *-_MOVES):
            moved = np.clip(windows + np.float32(step) * move, 0, 1)
            scores = _correlations(_cut(grids, moved), soft)
            is_better = scores > best
            windows[is_better], best[is_better] = moved[is_better], scores[is_better]
        step /= 2
    return windows, _correlations(_without_coarse(_cut(grids, windows)), _without_coarse(soft))


@cache
def _tried() -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the windows of one side that are tried (m, 2), and which of them for two sides together (m, m)."""
    sides = np.array(
        [
            (start, start + length)
            for length in np.arange(1, _SHORTEST - _STEP / 2, -_STEP)
            for start in np.arange(0, 1 - length + _STEP / 2, _STEP)
        ]
    )
    lengths = sides[:, 1] - sides[:, 0]
    return sides, np.abs(lengths[:, None] - lengths) <= _WIDEST_ASPECT + _STEP / 2


def _resampling(starts: NDArray[Any], ends: NDArray[Any], side: int) -> Matrix:
    """Return what takes the cells of a side, counted at their centres, to those of a window: (n, side, side)."""
    within = (np.arange(4 * side) + 0.5) / (4 * side)
    places = (starts[:, None] + (ends - starts)[:, None] * within) * side - 0.5
    places = np.clip(places, 0, side - 1)
    left = np.minimum(places.astype(np.int64), side - 2)
    share = (places - left).astype(np.float32)
    weights = np.zeros((len(starts), 4 * side, side), np.float32)
    np.put_along_axis(weights, left[..., None], 1 - share[..., None], axis=2)
    np.put_along_axis(weights, left[..., None] + 1, share[..., None], axis=2)
    averaged: Matrix = weights.reshape(len(starts), side, 4, side).mean(axis=2)
    return averaged


def _cut(grids: NDArray[Any], windows: Windows) -> Matrix:
    """Return a window of each grid (n, side, side), as large as the grid."""
    side = grids.shape[-1]
    across = _resampling(windows[:, 0], windows[:, 1], side)
    down = _resampling(windows[:, 2], windows[:, 3], side)
    cut: Matrix = down @ grids.astype(np.float32) @ across.transpose(0, 2, 1)
    return cut


def _as_cut(grids: NDArray[Any]) -> Matrix:
    """Return grids as soft as windows of others are."""
    return _cut(grids, _WHOLE.repeat(len(grids), axis=0))


def _centred(grids: NDArray[Any]) -> Matrix:
    wide = grids.astype(np.float32)
    centred: Matrix = wide - wide.mean(axis=(1, 2), keepdims=True)
    return centred


def _correlations(grids: NDArray[Any], others: NDArray[Any]) -> Matrix:
    """Return the correlation of the cells of each grid (n, side, side) and another, 0 for one of one colour."""
    a, b = _centred(grids), _centred(others)
    lengths = np.linalg.norm(a, axis=(1, 2)) * np.linalg.norm(b, axis=(1, 2))
    correlations: Matrix = np.einsum("nij,nij->n", a, b) / np.maximum(lengths, 1e-6)
    return correlations


def _without_coarse(grids: NDArray[Any]) -> Matrix:
    """Return grids (n, side, side) less their coarse light."""
    n, side, _ = grids.shape
    cells = side // _COARSE_CELLS
    coarse = grids.astype(np.float32).reshape(n, _COARSE_CELLS, cells, _COARSE_CELLS, cells).mean(axis=(2, 4))
    fine: Matrix = grids - coarse.repeat(cells, axis=1).repeat(cells, axis=2)
    return fine
