"""Copies of a picture to be looked at or asked: thumbnails and parts. Upright, without EXIF, like every decode."""

from __future__ import annotations

import io
import os
from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmsearch.errors import PictureError
from mmsearch.images.decode import named_errors, open_upright
from mmsearch.images.read import read_file
from mmsearch.records import Box

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


def thumbnail(data: bytes, side: int, *, box: Box | None = None, max_megapixels: float = 64.0) -> Thumbnail:
    """Return a picture, or a part of it, whose longer side has at most `side` pixels.

    Raises
    ------
    PictureError
        If the picture cannot be read, or the box lies outside of it.
    """

    def at_least(size: tuple[int, int]) -> tuple[int, int] | None:
        shrink = min(1.0, 2 * side / max(size))
        return None if box else (max(1, round(size[0] * shrink)), max(1, round(size[1] * shrink)))

    with named_errors():
        upright = open_upright(data, at_least=at_least, max_megapixels=max_megapixels)
        image = _part(upright.image, box).convert("RGB")
        image.thumbnail((side, side))
        return Thumbnail(_saved(image, "JPEG", quality=80), (upright.width, upright.height))


def thumbnail_of_file(path: str, side: int, *, box: Box | None = None) -> Thumbnail | None:
    """Return the thumbnail of a file, or None if it cannot be read."""
    try:
        return thumbnail(read_file(os.fsencode(path))[0], side, box=box)
    except PictureError:
        return None


def part_of_picture(data: bytes, box: Box, *, max_megapixels: float = 64.0) -> bytes:
    """Return a PNG, without loss, of a part of a picture at full size.

    Raises
    ------
    PictureError
        If the picture cannot be read, or the box lies outside of it.
    """
    with named_errors():
        image = open_upright(data, max_megapixels=max_megapixels).image
        return _saved(_part(image, box).convert("RGB"), "PNG", compress_level=1)


def _part(image: Image.Image, box: Box | None) -> Image.Image:
    if box is None:
        return image
    left, top = max(0, round(box[0])), max(0, round(box[1]))
    right, bottom = min(image.width, round(box[2])), min(image.height, round(box[3]))
    if left >= right or top >= bottom:
        raise PictureError(
            "corrupt", f"the part {box} lies outside of a picture of {image.width} x {image.height} pixels"
        )
    return image.crop((left, top, right, bottom))


def _saved(image: Image.Image, format_: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()
