"""Resize, crop and pad a picture as an image tower wants it, rounded as torchvision and open_clip do."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mmsearch.records import Preprocessing

if TYPE_CHECKING:
    from PIL import Image


def resized(size: tuple[int, int], wanted: Preprocessing) -> tuple[int, int]:
    """Return the (width, height) that the resize gives, rounded as torchvision and open_clip do."""
    width, height = size
    if wanted.mode == "squash":
        return wanted.size[1], wanted.size[0]
    if wanted.mode == "longest":
        ratio = max(height / wanted.size[0], width / wanted.size[1])
        return max(1, round(width / ratio)), max(1, round(height / ratio))
    short, long = min(size), max(size)
    other = int(wanted.resize * long / short)
    return (wanted.resize, other) if width <= height else (other, wanted.resize)


def fit(image: Image.Image, wanted: Preprocessing, recoloured: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Resize, recolour what is small now, then cut from or pad round the centre to the size wanted."""
    from PIL.Image import Resampling

    if wanted.mode == "shortest":
        image = _without_far_ends(image, wanted)
    filters = {"bicubic": Resampling.BICUBIC, "bilinear": Resampling.BILINEAR}
    target = resized(image.size, wanted)
    if target != image.size:
        image = image.resize(target, filters[wanted.interpolation])
    return _centred(recoloured(image), wanted)


def _without_far_ends(image: Image.Image, wanted: Preprocessing) -> Image.Image:
    """Cut what the centre crop would throw away from a picture longer than 20 times its width.

    A strip of 1 x 32,768 pixels would otherwise be resized to 224 x 7,340,032 first.
    """
    width, height = image.size
    reach = 20 * min(width, height)
    if max(width, height) <= reach:
        return image
    left, top = max(0, (width - reach) // 2), max(0, (height - reach) // 2)
    return image.crop((left, top, left + min(width, reach), top + min(height, reach)))


def _centred(image: Image.Image, wanted: Preprocessing) -> Image.Image:
    from PIL import Image

    height, width = wanted.size
    if image.width < width or image.height < height:
        padded = (max(width, image.width), max(height, image.height))
        colour = (wanted.fill,) * 3
        canvas = Image.new("RGB", padded, colour)
        canvas.paste(image.convert("RGB"), ((padded[0] - image.width) // 2, (padded[1] - image.height) // 2))
        image = canvas
    if image.size == (width, height):
        return image
    left, top = round((image.width - width) / 2.0), round((image.height - height) / 2.0)
    return image.crop((left, top, left + width, top + height))
