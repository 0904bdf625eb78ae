"""Dense local descriptors: what a convolutional layer says of each cell of a grid, over several scales.

Which cells are worth keeping is said by the length of their activation, and neighbours are averaged: Tolias,
Jenicek and Chum, Learning and aggregating deep local descriptors for instance-level recognition, 2020.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.encoders.whitening import Whitening, whiten
from mmsearch.errors import DimensionError
from mmsearch.records import LocalFeatures, Matrix, Pixels
from mmsearch.vectors import l2_normalize

if TYPE_CHECKING:
    import torch

LONGER_SIDE = 640
_SMOOTHED = 3  # cells along each side of what is averaged


@dataclass(frozen=True)
class ConvLayer:
    """A layer of a convolutional network.

    `maps` takes uint8 (1, height, width, 3), both multiples of `stride`, to float32 (1, channels,
    height / stride, width / stride). A cell is taken to look at the square of pixels that it stands for.
    """

    maps: Callable[[torch.Tensor], torch.Tensor]
    stride: int


@dataclass(frozen=True)
class DenseSettings:
    """At which zooms of the frame a picture is looked at, how many features are kept, and how they are whitened."""

    zooms: tuple[float, ...] = (1.0, 0.7071, 0.5, 0.3536, 0.25)
    n_features: int = 500
    whitening: Whitening | None = None


def extract_dense(
    pixels: Pixels,
    layer: ConvLayer,
    *,
    settings: DenseSettings | None = None,
    original_size: tuple[int, int] | None = None,
) -> LocalFeatures:
    """Return the strongest dense features of a picture, looked at with a longer side of at most 640 px.

    Parameters
    ----------
    pixels : uint8 array, shape (height, width, 3)
        Upright RGB. Not modified; reduced if larger.
    layer : ConvLayer
        Whose activations are the descriptors.
    settings : DenseSettings, optional
        The default keeps 500 features of five zooms, not whitened.
    original_size : (width, height), optional
        Of the upright original, if `pixels` are a reduced copy of it.

    Returns
    -------
    LocalFeatures
        Strongest first: by the L2 norm of the activation, ties by zoom and position. Descriptors have unit L2
        length and no orientation (`angles` are 0); `scales` is the side of the 3 x 3 cells that are averaged.
        Cells without activation are left out.

    Raises
    ------
    DimensionError
        If `pixels` have another shape, or the whitening was learned on another layer.
    """
    import torch

    if pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise DimensionError(f"pixels have shape {pixels.shape}, expected (height, width, 3)")
    settings = settings or DenseSettings()
    height, width = pixels.shape[:2]
    ratio = min(1.0, LONGER_SIDE / max(height, width))
    size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    upright = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None].float()
    with torch.inference_mode():
        grids = [_grid(upright, layer, size, zoom) for zoom in settings.zooms]
    positions, scales, attention, descriptors = (np.concatenate(parts) for parts in zip(*grids, strict=True))
    order = np.argsort(-attention, kind="stable")[: settings.n_features]
    order = order[attention[order] > 0]
    kept = descriptors[order]
    return LocalFeatures(
        positions[order],
        scales[order],
        np.zeros(len(order), dtype=np.float32),
        l2_normalize(kept) if settings.whitening is None else whiten(kept, settings.whitening),
        size,
        original_size or (width, height),
    )


def _grid(
    upright: torch.Tensor, layer: ConvLayer, size: tuple[int, int], zoom: float
) -> tuple[Matrix, Matrix, Matrix, Matrix]:
    """Return positions (n, 2) in the frame, scales (n,), attention (n,) and smoothed activations (n, channels)."""
    import torch
    from torch.nn.functional import avg_pool2d, interpolate

    stride = layer.stride
    columns, rows = (max(1, round(side * zoom / stride)) for side in size)
    target = (rows * stride, columns * stride)
    zoomed = interpolate(upright, target, mode="bilinear", antialias=True)
    maps = layer.maps(zoomed.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1))
    attention = maps.norm(dim=1).flatten()
    smoothed = avg_pool2d(maps, _SMOOTHED, stride=1, padding=_SMOOTHED // 2, count_include_pad=False)
    y, x = np.divmod(np.arange(rows * columns), columns)
    # Both axes are brought to whole cells, so their zoom differs a little.
    back = np.divide(size, target[::-1], dtype=np.float64)
    positions = stride * (np.stack([x, y], axis=1) + 0.5) * back - 0.5
    side = np.full(rows * columns, _SMOOTHED * stride * back.mean(), dtype=np.float32)
    return positions.astype(np.float32), side, attention.numpy(), smoothed[0].flatten(1).T.numpy()
