"""WARP: a picture in, pictures of it as others would take them out; what similar means without any label.

Two kinds, in turn: the picture photographed (in perspective, turned, before something else) and a part of it,
turned. Both in other light, with blur, glare and noise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmsearch.images.fit import fit
from mmsearch.images.upright import named_errors, open_upright
from mmsearch.records import MAX_MEGAPIXELS, Pixels, Preprocessing

if TYPE_CHECKING:
    from PIL import Image

SIDE = 480  # of warped pictures, the longer one
_SHORTER = 360
Points = NDArray[np.float64]


def warps(
    data: bytes,
    ground: bytes,
    preprocessing: Preprocessing,
    *,
    n: int,
    seed: int,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> Pixels:
    """Return warped copies of a picture, as an image tower wants them.

    Parameters
    ----------
    data : bytes
        The file of the picture.
    ground : bytes
        The file of another picture, seen behind it.
    preprocessing : Preprocessing
        Of the tower.
    n : int
        How many.
    seed : int
        The same seed gives the same copies.
    max_megapixels : float
        As for `decode`.

    Returns
    -------
    uint8 array, shape (n, height, width, 3)
        With the size of the preprocessing.

    Raises
    ------
    PictureError
        As `decode`.
    """
    with named_errors():
        picture, behind = (_small(file, max_megapixels) for file in (data, ground))
        rng = np.random.default_rng(seed)
        copies = []
        for i in range(n):
            copy = _photographed(picture, behind, rng) if i % 2 == 0 else _part(picture, rng)
            fitted = fit(_in_other_light(copy, rng), preprocessing, lambda image, **_: image)
            copies.append(np.asarray(fitted, dtype=np.uint8))
        return np.stack(copies)


def _small(data: bytes, max_megapixels: float) -> Image.Image:
    """Return an upright RGB picture, at most about twice as large as the copies."""
    upright = open_upright(data, at_least=lambda size: _reduced(size, 2 * SIDE), max_megapixels=max_megapixels)
    image = upright.in_srgb(upright.image, longer_side=2 * SIDE).convert("RGB")
    image.thumbnail((2 * SIDE, 2 * SIDE))
    return image


def _reduced(size: tuple[int, int], longer_side: int) -> tuple[int, int]:
    ratio = min(1.0, longer_side / max(size))
    return max(1, round(size[0] * ratio)), max(1, round(size[1] * ratio))


def _photographed(picture: Image.Image, behind: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return the picture in perspective and turned, before another one."""
    from PIL import Image

    width, height = (SIDE, _SHORTER) if rng.random() < 0.5 else (_SHORTER, SIDE)
    scale = rng.uniform(0.55, 1.1) * min(width / picture.width, height / picture.height)
    quarter = 90 * rng.integers(1, 4) if rng.random() < 0.15 else 0
    angle = np.radians(rng.normal(0, 8) + quarter)
    half = scale * np.array(picture.size) / 2
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = np.array([width, height]) * (0.5 + rng.uniform(-0.1, 0.1, 2))
    seen = corners @ turn + centre + rng.normal(0, 0.1 * half.min(), corners.shape)
    source = np.array(
        [[0, 0], [picture.width, 0], [picture.width, picture.height], [0, picture.height]], dtype=float
    )
    coefficients = homography(seen, source)
    canvas = behind.resize((width, height))
    warped = [
        image.transform((width, height), Image.Transform.PERSPECTIVE, coefficients, Image.Resampling.BILINEAR)
        for image in (picture, Image.new("L", picture.size, 255))
    ]
    canvas.paste(warped[0], mask=warped[1])
    return canvas


def homography(source: Points, target: Points) -> tuple[float, ...]:
    """Return a to h of the map (x, y) -> ((a x + b y + c), (d x + e y + f)) / (g x + h y + 1) of four points.

    Parameters
    ----------
    source, target : float64 arrays, shape (4, 2)
        No three of a side on a line.

    Examples
    --------
    >>> square = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    >>> [round(value, 6) + 0.0 for value in homography(square, 2 * square)]
    [2.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0]
    """
    rows, values = [], []
    for (x, y), (u, v) in zip(source, target, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    return tuple(np.linalg.solve(np.array(rows), np.array(values)).tolist())


def _part(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return a window of the picture, turned about its middle."""
    from PIL import Image

    degrees = float(rng.choice([0, 0, 0, 30, -30, 15, 90, 180]))
    size = np.maximum(8, rng.uniform(0.35, 0.85) * np.array(picture.size)).astype(int)
    corner = rng.integers(0, np.maximum(1, np.array(picture.size) - size + 1))
    window = picture.crop((*corner.tolist(), *(corner + size).tolist()))
    turned = window.rotate(degrees, resample=Image.Resampling.BILINEAR, expand=degrees in (90, 180))
    turned.thumbnail((SIDE, SIDE))
    return turned


def _in_other_light(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return the picture with blur, in other light and colour, with glare and noise."""
    from PIL import Image, ImageFilter

    if rng.random() < 0.5:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 2)))
    pixels = np.asarray(image, dtype=np.float32)
    pixels = pixels * (rng.uniform(0.6, 1.3) * rng.uniform(0.88, 1.12, 3)).astype(np.float32)
    mean = pixels.mean()
    pixels = (pixels - mean) * np.float32(rng.uniform(0.6, 1.2)) + mean
    if rng.random() < 0.3:
        pixels = pixels + _glare(pixels.shape[0], pixels.shape[1], rng)
    pixels = pixels + rng.normal(0, rng.uniform(0, 10), pixels.shape).astype(np.float32)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _glare(height: int, width: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return light that falls off round a point, (height, width, 1)."""
    rows, columns = np.mgrid[:height, :width]
    top, left, reach = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(0.1, 0.3) * max(height, width)
    light = rng.uniform(60, 160) * np.exp(-((rows - top) ** 2 + (columns - left) ** 2) / (2 * reach**2))
    glare: NDArray[np.float32] = light[..., None].astype(np.float32)
    return glare
