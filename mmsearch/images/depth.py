"""Samples deeper than 8 bits in, 8 bits out, as light as the file means them.

Cameras and scanners put 10 or 12 bits in 16, often in the low ones, where the upper byte says nearly nothing. All
is done strip by strip: a copy of a large picture, of 8 bytes a sample, would take more memory than the picture.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from PIL.ExifTags import Base as Tag

from mmsearch.images.png import significant_bits
from mmsearch.records import Pixels

if TYPE_CHECKING:
    from PIL import Image
    from PIL.ImageFile import ImageFile
    from PIL.TiffImagePlugin import TiffImageFile

_ROWS = 512
_USUAL_BITS = (8, 10, 12)
_SIGNED = 2
_GREY_WITH_ALPHA = "LA;16B"
_TURNED_ROUND = {_GREY_WITH_ALPHA: "RGBA"}  # its four bytes one by one
for _mode in ("RGB", "RGBX", "RGBA"):
    _TURNED_ROUND |= {f"{_mode};16B": f"{_mode};16L", f"{_mode};16L": f"{_mode};16B"}
    _TURNED_ROUND[f"{_mode};16N"] = _TURNED_ROUND[f"{_mode};16{sys.byteorder[0].upper()}"]


def in_eight_bits(image: Image.Image, data: bytes, reopened: Callable[[], ImageFile]) -> Image.Image:
    """Return a loaded picture with samples of 8 bits.

    Integers of 16 bits give their upper byte, unless they use the lower ones alone (`_bits_in_use`). Floating-point
    numbers from 0 to 1 are those of black and white; other numbers that leave 0-255 are spread by their own range.

    Parameters
    ----------
    image : Image
        With its pixels; of colours Pillow has kept the upper bytes alone.
    data : bytes
        The whole file, for what it declares.
    reopened : callable
        Opens the picture again, without its pixels. Only called for colours whose upper bytes are nearly 0.
    """
    from PIL import Image

    if image.mode.startswith(("I", "F")):
        declared = _declared_bits(image, data)
        return Image.fromarray(_eight_bits(np.asarray(image), "16" in image.mode, declared))
    if image.mode in ("RGB", "RGBA") and _is_deep(image, data):
        return _spread_colours(image, _declared_bits(image, data), reopened)
    return image


def _is_deep(image: Image.Image, data: bytes) -> bool:
    if image.format == "PNG":
        return data[24] == 16
    return image.format == "TIFF" and 16 in _tags(image).get(Tag.BitsPerSample, ())


def _tags(image: Image.Image) -> Mapping[int, Any]:
    return cast("TiffImageFile", image).tag_v2


def _declared_bits(image: Image.Image, data: bytes) -> int:
    """Return how many bits of 16 the file says its samples have: 16 if it says nothing."""
    bits = 16
    if image.format == "PNG":
        bits = significant_bits(data) or 16
    elif image.format == "TIFF":
        bits = _declared_bits_of_tiff(_tags(image))
    return bits if 0 < bits < 16 else 16


def _declared_bits_of_tiff(tags: Mapping[int, Any]) -> int:
    try:
        white = max(tags.get(Tag.MaxSampleValue, (0,)))
        is_signed = _SIGNED in tags.get(Tag.SampleFormat, ())
        return int(white).bit_length() or max(tags[Tag.BitsPerSample]) - is_signed
    except (LookupError, TypeError, ValueError):  # the tags make no sense
        return 16


def _bits_in_use(highest: float, declared: int) -> int:
    """Return of how many bits white is, for samples up to `highest` in 16 bits.

    What is declared counts if no sample is above it: the PNG standard has the significant bits on top, many
    programs write them below. Without a declaration 8, 10 or 12 are taken for a picture that is black
    otherwise, nothing in it above 15 of 255. The sign of a number, which makes 15 bits, declares nothing.
    """
    choices = (declared,) if declared < 15 else (*_USUAL_BITS, declared)
    return next((bits for bits in choices if highest < 1 << bits), 16)


def _eight_bits(values: np.ndarray, is_16_bit: bool, declared: int) -> Pixels:
    """Return samples as uint8. What is no number, or infinite, counts as 0.

    Integers in 32 bits, none below 0 or above 65,535, count as 16-bit.
    """
    ranges = [(float(strip.min()), float(strip.max())) for strip in _strips(values)]
    low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
    if is_16_bit or (values.dtype.kind in "iu" and 255 < high <= 65_535 and low >= 0):
        bits = _bits_in_use(high, declared)
        return _by_strips(values, lambda strip: _upper_bits(strip, bits))
    if values.dtype.kind == "f" and low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    elif low >= 0 and high <= 255:
        low, high = 0.0, 255.0
    scale = 255 / max(high - low, 1e-12)
    return _by_strips(values, lambda strip: ((strip.astype(np.float64) - low) * scale).round())


def _upper_bits(samples: np.ndarray, bits: int) -> np.ndarray:
    """Return samples of so many bits as 8: white stays white, and of 16 it is the upper byte."""
    wide, white = samples.astype(np.int64), (1 << bits) - 1
    return wide >> 8 if bits == 16 else (wide * 255 + white // 2) // white


def _strips(values: np.ndarray) -> Iterator[np.ndarray]:
    for top in range(0, len(values), _ROWS):
        strip = values[top : top + _ROWS]
        yield np.nan_to_num(strip, posinf=0.0, neginf=0.0) if strip.dtype.kind == "f" else strip


def _by_strips(values: np.ndarray, converted: Callable[[np.ndarray], np.ndarray]) -> Pixels:
    eight = np.empty(values.shape, dtype=np.uint8)
    for number, strip in enumerate(_strips(values)):
        eight[number * _ROWS : (number + 1) * _ROWS] = converted(strip)
    return eight


def _spread_colours(image: Image.Image, declared: int, reopened: Callable[[], ImageFile]) -> Image.Image:
    """Return colours of 16 bits as `_bits_in_use` says, the same for all three; an alpha channel by its own."""
    from PIL import Image

    extrema = cast("tuple[tuple[int, int], ...]", image.getextrema())
    if _bits_in_use(256 * max(high for _, high in extrema[:3]), declared) == 16:
        return image
    low_bytes = _low_bytes(reopened())
    if low_bytes is None:
        return image
    highest = np.max([strip.max(axis=(0, 1)) for _, strip in _wide_strips(image, low_bytes)], axis=0)
    colour_bits = _bits_in_use(int(highest[:3].max()), declared)
    bits = [colour_bits] * 3 + [_bits_in_use(int(alpha), declared) for alpha in highest[3:]]
    spread = Image.new(image.mode, image.size)
    for top, strip in _wide_strips(image, low_bytes):
        bands = [_upper_bits(strip[..., band], n_bits) for band, n_bits in enumerate(bits)]
        spread.paste(Image.fromarray(np.stack(bands, axis=-1).astype(np.uint8)), (0, top))
    return spread


def _wide_strips(image: Image.Image, low_bytes: Image.Image) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the top row of every strip and its samples of 16 bits, (rows, width, bands)."""
    for top in range(0, image.height, _ROWS):
        box = 0, top, image.width, min(image.height, top + _ROWS)
        upper, lower = (np.asarray(half.crop(box), dtype=np.uint16) for half in (image, low_bytes))
        yield top, upper << 8 | lower


def _low_bytes(image: ImageFile) -> Image.Image | None:
    """Return the lower bytes of a picture whose pixels are not loaded, or None if they cannot be had.

    Pillow keeps the upper byte of every colour. Told that the bytes are the other way round, it keeps the lower.
    """
    from PIL import Image as pillow

    tiles, was_grey = [], False
    for tile in image.tile:
        order, *rest = tile.args if isinstance(tile.args, tuple) else (tile.args,)
        if order not in _TURNED_ROUND:
            return None
        was_grey = order == _GREY_WITH_ALPHA
        tiles.append(tile._replace(args=(_TURNED_ROUND[order], *rest)))
    image.tile = tiles
    image.load()
    if was_grey:
        _, grey, _, alpha = image.split()
        return pillow.merge("RGBA", (grey, grey, grey, alpha))
    return image
