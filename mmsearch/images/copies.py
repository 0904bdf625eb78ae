"""Copies of a picture to be looked at, asked or compared: thumbnails and parts.

Upright, in sRGB, without EXIF or profile.
"""

from __future__ import annotations

import io
import os
from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import PictureError
from mmsearch.images.limits import check_size
from mmsearch.images.read import read_file
from mmsearch.images.upright import Upright, named_errors, open_upright
from mmsearch.records import MAX_MEGAPIXELS, Box

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class Thumbnail:
    """A small JPEG, and the (width, height) in pixels of the upright original."""

    jpeg: bytes
    original_size: tuple[int, int]

    def address(self) -> str:
        """Return the address by which a page can hold it itself."""
        return "data:image/jpeg;base64," + b64encode(self.jpeg).decode()


def thumbnail(
    data: bytes, side: int, *, box: Box | None = None, max_megapixels: float = MAX_MEGAPIXELS
) -> Thumbnail:
    """Return a picture, or a part of it, whose longer side has at most `side` pixels.

    Raises
    ------
    PictureError
        If the picture cannot be read, or the box lies outside of it.
    """

    def at_least(size: tuple[int, int]) -> tuple[int, int]:
        if box is not None:
            return _largest_below(size, max_megapixels)
        shrink = min(1.0, 2 * side / max(size))
        return max(1, round(size[0] * shrink)), max(1, round(size[1] * shrink))

    with named_errors():
        upright = open_upright(data, at_least=at_least, max_megapixels=max_megapixels)
        image = upright.image if box is None else _part(upright, box)
        image.thumbnail((side, side))
        shown = upright.in_srgb(image).convert("RGB")
        return Thumbnail(_saved(shown, "JPEG", quality=80), (upright.width, upright.height))


def thumbnail_of_file(path: str, side: int, *, box: Box | None = None) -> Thumbnail | None:
    """Return the thumbnail of a file, or None if it cannot be read."""
    try:
        data, _ = read_file(os.fsencode(path))
        return thumbnail(data, side, box=box)
    except PictureError:
        return None


def small_square(data: bytes, side: int, *, max_megapixels: float = MAX_MEGAPIXELS) -> NDArray[np.uint8]:
    """Return a picture squeezed to a small square, sRGB: uint8 (side, side, 3).

    A JPEG is decoded at a small scale: 1 ms for 500 x 375 pixels, some tens for twelve megapixels.

    Raises
    ------
    PictureError
        If the picture cannot be read.
    """
    from PIL.Image import Resampling

    def at_least(size: tuple[int, int]) -> tuple[int, int]:
        return min(size[0], 4 * side), min(size[1], 4 * side)

    with named_errors():
        upright = open_upright(data, at_least=at_least, max_megapixels=max_megapixels)
        small = upright.in_srgb(upright.image.resize((side, side), Resampling.BILINEAR)).convert("RGB")
        pixels: NDArray[np.uint8] = np.asarray(small, dtype=np.uint8)
        return pixels


def part_of_picture(data: bytes, box: Box, *, max_megapixels: float = MAX_MEGAPIXELS) -> bytes:
    """Return a PNG, without loss, of a part of a picture at full size.

    A JPEG above the ceiling is decoded at a smaller scale, and its part enlarged to the size that it should have.

    Raises
    ------
    PictureError
        If the picture cannot be read, or the box lies outside of it.
    """
    with named_errors():
        upright = open_upright(
            data, at_least=lambda size: _largest_below(size, max_megapixels), max_megapixels=max_megapixels
        )
        left, top, right, bottom = _inside(box, upright)
        size = right - left, bottom - top
        check_size(*size, max_megapixels, what="the part")
        part = upright.in_srgb(_part(upright, box)).convert("RGB")
        return _saved(part if part.size == size else part.resize(size), "PNG", compress_level=1)


def corner_of(box: Box) -> tuple[int, int]:
    """Return the whole pixel at the upper left of a part."""
    return max(0, round(box[0])), max(0, round(box[1]))


def _largest_below(size: tuple[int, int], max_megapixels: float) -> tuple[int, int]:
    """Return the size of the largest scale of libjpeg with at most so many pixels."""
    by = next((by for by in (1, 2, 4) if size[0] * size[1] <= max_megapixels * 1e6 * by**2), 8)
    return max(1, size[0] // by), max(1, size[1] // by)


def _inside(box: Box, upright: Upright) -> tuple[int, int, int, int]:
    """Return a box in whole pixels of the original, cut off at its edges."""
    left, top = corner_of(box)
    right, bottom = min(upright.width, round(box[2])), min(upright.height, round(box[3]))
    if left >= right or top >= bottom:
        raise PictureError(
            "corrupt", f"the part {box} lies outside of a picture of {upright.width} x {upright.height} pixels"
        )
    return left, top, right, bottom


def _part(upright: Upright, box: Box) -> Image.Image:
    """Return a part, smaller than it is in the original if the picture was decoded at a smaller scale."""
    left, top, right, bottom = _inside(box, upright)
    x, y = upright.image.width / upright.width, upright.image.height / upright.height
    near = int(left * x), int(top * y)
    return upright.image.crop((*near, max(near[0] + 1, round(right * x)), max(near[1] + 1, round(bottom * y))))


def _saved(image: Image.Image, format_: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()
