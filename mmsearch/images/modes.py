"""A picture of any mode in, one that can be resized out: transparency on white, deep samples as 8 bits.

All is done strip by strip: a copy of a large picture, of 8 bytes a sample, would take more memory than the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.records import Pixels

if TYPE_CHECKING:
    from PIL import Image

_RESIZABLE = ("RGB", "L", "CMYK", "YCbCr")  # modes whose resize commutes with the conversion to RGB
_ROWS = 512


def plain(image: Image.Image) -> Image.Image:
    """Return the picture in a mode that can be resized."""
    from PIL import Image

    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_eight_bits(np.asarray(image), is_16_bit="16" in image.mode))
    if image.mode == "La":  # Pillow converts it to this alone
        image = image.convert("LA")
    if "transparency" in image.info or image.mode in ("LA", "RGBA", "PA", "RGBa"):
        return _on_white(image)
    return image if image.mode in _RESIZABLE else image.convert("RGB")


def _eight_bits(values: np.ndarray, *, is_16_bit: bool) -> Pixels:
    """Return samples as uint8: 16-bit ones by their upper byte, wider ones by their own range if they leave 0-255.

    Pillow opens 16-bit PNG as 32-bit integers, so non-negative integers up to 65,535 count as 16-bit. What is no
    number, or infinite, counts as 0.
    """
    ranges = [(float(strip.min()), float(strip.max())) for strip in _strips(values)]
    low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
    if is_16_bit or (values.dtype.kind in "iu" and 255 < high <= 65_535 and low >= 0):
        return _by_strips(values, lambda strip: (strip.astype(np.int64) >> 8).clip(0, 255))
    if values.dtype.kind == "f" and low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    elif low >= 0 and high <= 255:
        low, high = 0.0, 255.0
    scale = 255 / max(high - low, 1e-12)
    return _by_strips(values, lambda strip: ((strip.astype(np.float64) - low) * scale).round())


def _strips(values: np.ndarray) -> Iterator[np.ndarray]:
    for top in range(0, len(values), _ROWS):
        strip = values[top : top + _ROWS]
        yield np.nan_to_num(strip, posinf=0.0, neginf=0.0) if strip.dtype.kind == "f" else strip


def _by_strips(values: np.ndarray, converted: Callable[[np.ndarray], np.ndarray]) -> Pixels:
    found = np.empty(values.shape, dtype=np.uint8)
    for number, strip in enumerate(_strips(values)):
        found[number * _ROWS : (number + 1) * _ROWS] = converted(strip)
    return found


def _on_white(image: Image.Image) -> Image.Image:
    from PIL import Image

    found = Image.new("RGB", image.size)
    for top in range(0, image.height, _ROWS):
        strip = image.crop((0, top, image.width, min(image.height, top + _ROWS))).convert("RGBA")
        white = Image.new("RGBA", strip.size, (255, 255, 255, 255))
        found.paste(Image.alpha_composite(white, strip).convert("RGB"), (0, top))
    return found
