"""POOL: maps of a convolutional layer in, one unit descriptor a picture out; in torch, to be part of a tower.

Maps are (n, channels, height, width), activations that are mostly zero or above. Descriptors of one layer
are compared by cosine; their Euclidean distance gives the same order, as |a - b|^2 = 2 - 2 a.b at unit length.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmsearch.errors import DimensionError

if TYPE_CHECKING:
    import torch

POWER = 3.0  # of GeM, where training starts in Radenovic et al.
LEVELS = 3  # of R-MAC
_OVERLAP = 0.4  # of neighbouring regions, wanted along the longer side
_EPSILON = 1e-6


def spoc(maps: torch.Tensor) -> torch.Tensor:
    """Return the sum over positions at unit length, float32 (n, channels).

    Sum-pooled convolutional features without the centring prior: Babenko and Lempitsky, Aggregating deep
    convolutional features for image retrieval, 2015. The average has the same direction.
    """
    return _unit(maps.mean(dim=(2, 3)))


def mac(maps: torch.Tensor) -> torch.Tensor:
    """Return the maximum over positions at unit length, float32 (n, channels).

    Maximum activations of convolutions: Tolias et al., Particular object retrieval with integral
    max-pooling of CNN activations, 2016, section 3.
    """
    return _unit(maps.amax(dim=(2, 3)))


def gem(maps: torch.Tensor, power: float = POWER) -> torch.Tensor:
    """Return the generalised mean over positions at unit length.

    Parameters
    ----------
    maps : float32 tensor, shape (n, channels, height, width)
        Values below 1e-6 are taken as 1e-6.
    power : float >= 1
        1 is the average (`spoc`), towards infinity the maximum (`mac`).

    Returns
    -------
    float32 tensor, shape (n, channels)
        (mean x^p)^(1/p), divided by its length.

    Notes
    -----
    Radenovic et al., Fine-tuning CNN image retrieval with no human annotation, 2018, equation 3.
    """
    return _unit(maps.clamp(min=_EPSILON).pow(power).mean(dim=(2, 3)).pow(1 / power))


def rmac(maps: torch.Tensor, levels: int = LEVELS) -> torch.Tensor:
    """Return the sum of the `mac` of square regions at several scales, at unit length.

    Parameters
    ----------
    maps : float32 tensor, shape (n, channels, height, width)
        At least as high and wide as `levels`.
    levels : int > 0
        Scales; 3 give 14 regions of a square map.

    Returns
    -------
    float32 tensor, shape (n, channels)
        Unit vectors.

    Notes
    -----
    Tolias et al., 2016, section 4, without the whitening of every region.
    """
    import torch

    boxes = regions(maps.shape[2], maps.shape[3], levels)
    parts = [mac(maps[:, :, top : top + side, left : left + side]) for top, left, side in boxes]
    return _unit(torch.stack(parts).sum(dim=0))


def regions(height: int, width: int, levels: int = LEVELS) -> list[tuple[int, int, int]]:
    """Return the squares that cover a map at several scales, as (top, left, side).

    At scale l the side is 2 * min(height, width) / (l + 1), rounded down; l squares go along the shorter side
    and l + m along the longer, evenly from edge to edge. m, the same for all scales, is the number from 0 to 6
    that brings the overlap of the largest squares closest to 40 % (Tolias et al., 2016, section 4.2).

    Raises
    ------
    DimensionError
        If a side would be 0 or `levels` is not positive.

    Examples
    --------
    >>> regions(6, 6, levels=2)
    [(0, 0, 6), (0, 0, 4), (0, 2, 4), (2, 0, 4), (2, 2, 4)]
    """
    shorter = min(height, width)
    if levels < 1 or 2 * shorter < levels + 1:
        most = max(0, 2 * shorter - 1)
        raise DimensionError(f"a map of {height} x {width} has no {levels} scales of regions; expected 1 to {most}")
    extra = _extra_regions(shorter, max(height, width))
    boxes = []
    for level in range(1, levels + 1):
        side = 2 * shorter // (level + 1)
        tops = _evenly(height, side, level + (extra if height > width else 0))
        lefts = _evenly(width, side, level + (extra if width > height else 0))
        boxes += [(top, left, side) for top in tops for left in lefts]
    return boxes


def _extra_regions(shorter: int, longer: int) -> int:
    """Return how many more squares of the first scale fit the longer side best; none along a square's."""
    if shorter == longer:
        return 0
    overlaps = [1 - (longer - shorter) / (m * shorter) for m in range(1, 7)]
    return 1 + min(range(6), key=lambda i: abs(overlaps[i] - _OVERLAP))


def _evenly(length: int, side: int, n: int) -> list[int]:
    """Return where n segments of `side` start, from one end to the other; in the middle if it is one."""
    if n == 1:
        return [(length - side) // 2]
    return [i * (length - side) // (n - 1) for i in range(n)]


def sub_windows(maps: torch.Tensor, side: int, levels: int) -> torch.Tensor:
    """Cut the squares of `regions` from pictures or maps, each scaled to the same size.

    Descriptors of sub-windows find what fills a part of the picture: Razavian et al., CNN features
    off-the-shelf, 2014, section 3.1; summed they are one descriptor of the picture.

    Parameters
    ----------
    maps : float32 tensor, shape (n, channels, height, width)
        Not modified.
    side : int > 0
        Height and width of the result; bilinear, with antialiasing where that is smaller.
    levels : int > 0
        Scales; 2 give the whole of a square and 4 windows of two thirds of its side.

    Returns
    -------
    float32 tensor, shape (n_windows * n, channels, side, side)
        All pictures' first window, then all pictures' second, and so on.
    """
    import torch
    from torch.nn.functional import interpolate

    windows = []
    for top, left, extent in regions(maps.shape[2], maps.shape[3], levels):
        window = maps[:, :, top : top + extent, left : left + extent]
        if extent != side:
            window = interpolate(window, (side, side), mode="bilinear", antialias=extent > side)
        windows.append(window)
    return torch.cat(windows)


def _unit(vectors: torch.Tensor) -> torch.Tensor:
    from torch.nn.functional import normalize

    return normalize(vectors, dim=-1)
