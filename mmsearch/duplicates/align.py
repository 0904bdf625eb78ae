"""ALIGN: two grids of light that lie alike in, where in the one the other lies and how well they agree there out.

A copy that was cropped shows a window of its original. Windows are tried in steps first, and the best is then moved
to where the grids agree most, by the gradient of the light (B. Lucas and T. Kanade, An iterative image registration
technique, IJCAI 1981, with the damping of Levenberg and Marquardt). What two photographs of the same thing do not
share is the light that is left when the coarse light is taken off, and what two drawings do not share may be in one
place alone.
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
_LEAST_SIDE = 0.5  # of a window while it is moved
_FARTHEST = 0.05  # by which an edge is moved at once
_MOVES = 6  # at half the resolution, and then at all of it
_COARSE_SHARE = 1 / 16  # of a side, the standard deviation of the blur that is the coarse light
_PLACES = 8  # places of a side that do not overlap, in which agreement is looked at by itself
_TOGETHER = 64  # pairs
_DARK = 1e-6  # no contrast

Windows = NDArray[np.float32]
"""Starts and ends of windows in shares of the sides: float32 (n, 4), left, right, top, bottom."""
_WHOLE = np.array([[0, 1, 0, 1]], np.float32)


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


def moved(grids: NDArray[np.int8], others: NDArray[np.int8], windows: Windows) -> Windows:
    """Return windows (n, 4) of grids (n, side, side) moved to where they are most like other grids."""
    windows, _ = moved_once(_halved(grids), _halved(others), windows)
    return moved_once(grids, others, windows)[0]


def agreement(grids: NDArray[np.int8], others: NDArray[np.int8], windows: Windows) -> tuple[Matrix, Matrix]:
    """Return how well windows (n, 4) of grids (n, side, side) agree with other grids.

    Returns
    -------
    correlations : float32 array, shape (n,)
        Of both less their coarse light.
    residues : float32 array, shape (n,)
        What of that is left of the one where most is left when the other is taken off, as the ratio of its standard
        deviation there to that of the whole.
    """
    fine, other = fine_light(_cut(grids, windows)), fine_light(_as_cut(others))
    products, squares, other_squares = (
        (a * b).mean(axis=(1, 2)) for a, b in ((fine, other), (fine, fine), (other, other))
    )
    gains = products / np.maximum(squares, _DARK)
    average = _averaging(fine.shape[-1])
    left = average @ (other - gains[:, None, None] * fine) ** 2 @ average.T
    contrasts = np.sqrt(squares * other_squares)
    residues = np.sqrt(left.max(axis=(1, 2)) / np.maximum(contrasts * np.minimum(gains, 1), _DARK))
    correlations = products / np.maximum(contrasts, _DARK)
    return correlations.astype(np.float32), residues.astype(np.float32)


def fine_light(grids: NDArray[Any]) -> Matrix:
    """Return grids (n, side, side) less their coarse light."""
    blur = _blur(grids.shape[-1])
    wide = grids.astype(np.float32)
    fine: Matrix = np.subtract(wide, blur @ wide @ blur.T, dtype=np.float32)
    return fine


def moved_once(grids: NDArray[Any], others: NDArray[Any], windows: Windows) -> tuple[Windows, Matrix]:
    """Return windows moved at one resolution, and their correlations with the other grids.

    Steps are taken where they bring more of that, and made smaller where not.
    """
    windows, n, side = windows.copy(), len(windows), grids.shape[-1]
    cut, target = _cut(grids, windows), _unit(_as_cut(others))
    likeness = (_unit(cut) * target).sum(axis=(1, 2))
    damping, across = np.full(n, 0.01, np.float32), (np.arange(side, dtype=np.float32) + 0.5) / side
    for _ in range(_MOVES):
        step = np.clip(_step(cut, target, likeness, windows, damping, across), -_FARTHEST, _FARTHEST)
        tried = np.clip(windows + step, 0, 1).astype(np.float32)
        is_large = np.minimum(tried[:, 1] - tried[:, 0], tried[:, 3] - tried[:, 2]) >= _LEAST_SIDE
        tried = np.where(is_large[:, None], tried, windows)
        tried_cut = _cut(grids, tried)
        tried_likeness = (_unit(tried_cut) * target).sum(axis=(1, 2))
        is_better = tried_likeness > likeness
        windows[is_better], cut[is_better] = tried[is_better], tried_cut[is_better]
        likeness = np.maximum(likeness, tried_likeness)
        damping = np.where(is_better, damping / 4, damping * 8)
    return windows, likeness


def _step(
    cut: Matrix, target: Matrix, likeness: Matrix, windows: Windows, damping: Matrix, across: Matrix
) -> Matrix:
    """Return by how much to move the edges of windows (n, 4), whose content is `cut`, towards a target."""
    n, side, _ = cut.shape
    down, right = np.gradient(cut, axis=(1, 2))
    right *= (side / (windows[:, 1] - windows[:, 0]))[:, None, None]
    down *= (side / (windows[:, 3] - windows[:, 2]))[:, None, None]
    of_edges = [right * (1 - across), right * across, down * (1 - across)[:, None], down * across[:, None]]
    slopes = np.stack(of_edges, axis=1).reshape(n, 4, side * side)
    unit = _unit(cut).reshape(n, side * side)
    # Light and contrast do not count: neither do slopes along them.
    slopes -= slopes.mean(axis=2, keepdims=True)
    slopes -= np.einsum("nkp,np->nk", slopes, unit)[..., None] * unit[:, None]
    slopes /= np.maximum(np.linalg.norm(_centred(cut), axis=(1, 2)), _DARK)[:, None, None]
    missing = (target / np.maximum(likeness, 0.2)[:, None, None]).reshape(n, side * side) - unit
    curvature: Matrix = slopes @ slopes.transpose(0, 2, 1)
    damped = damping[:, None] * np.einsum("nkk->nk", curvature) + _DARK
    curvature += damped[:, :, None] * np.eye(4, dtype=np.float32)
    steps: Matrix = np.linalg.solve(curvature, np.einsum("nkp,np->nk", slopes, missing)[..., None])[..., 0]
    return steps


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


def _halved(grids: NDArray[Any]) -> Matrix:
    n, side, _ = grids.shape
    halved: Matrix = grids.astype(np.float32).reshape(n, side // 2, 2, side // 2, 2).mean(axis=(2, 4))
    return halved


def _centred(grids: NDArray[Any]) -> Matrix:
    wide = grids.astype(np.float32)
    centred: Matrix = wide - wide.mean(axis=(1, 2), keepdims=True)
    return centred


def _unit(grids: Matrix) -> Matrix:
    """Return grids less their mean and of unit length."""
    centred = _centred(grids)
    unit: Matrix = centred / np.maximum(np.linalg.norm(centred, axis=(1, 2), keepdims=True), _DARK)
    return unit


@cache
def _blur(side: int) -> Matrix:
    """Return what blurs so many values by a Gaussian (side, side)."""
    places = np.arange(side)
    weights = np.exp(-0.5 * ((places[:, None] - places) / (_COARSE_SHARE * side)) ** 2)
    blur: Matrix = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return blur


@cache
def _averaging(side: int) -> Matrix:
    """Return what averages so many values over each place: (side - side / _PLACES + 1, side)."""
    length = side // _PLACES
    starts, places = np.arange(side - length + 1)[:, None], np.arange(side)
    averaging: Matrix = (((places >= starts) & (places < starts + length)) / length).astype(np.float32)
    return averaging
