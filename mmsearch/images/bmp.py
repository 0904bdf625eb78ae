"""Variants of BMP that Pillow refuses: 2 bits a pixel, bit fields of any layout."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.errors import PictureError
from mmsearch.images.kinds import unread_variant
from mmsearch.images.limits import check_size
from mmsearch.records import Pixels

if TYPE_CHECKING:
    from PIL import Image

_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)
_RGB, _BIT_FIELDS, _ALPHA_BIT_FIELDS = 0, 3, 6
_DEPTHS = (1, 2, 4, 8, 16, 24, 32, 64)
_ROWS = 512


def read_bmp(data: bytes, max_megapixels: float) -> Image.Image:
    """Return a BMP that Pillow refuses.

    Raises
    ------
    PictureError
        `unsupported`, `corrupt`, `truncated` or `too_large`.
    """
    from PIL import Image

    try:
        header, width, height, depth, packing = _header(data)
    except struct.error as error:
        raise PictureError("truncated", "the file ends before the picture does") from error
    if header not in _HEADERS or depth not in _DEPTHS or width < 1 or not height or packing > 13:
        raise PictureError("corrupt", "the header of this picture is damaged")
    check_size(width, abs(height), max_megapixels)
    masks = _masks(data, header, packing)
    if header == 64 and packing != _RGB:  # OS/2 numbers other packings
        masks = None
    if packing == _RGB and depth == 2:
        pixels = _by_palette(_rows(data, width, height, depth), data, header, width)
    elif masks is not None and depth in (16, 32):
        pixels = _by_masks(_rows(data, width, height, depth), masks, depth, width)
    else:
        raise unread_variant("BMP", f"{depth} bits a pixel, packing {packing}, header of {header} bytes")
    image = Image.fromarray(pixels if height < 0 else pixels[::-1])
    image.format = "BMP"
    return image


def _header(data: bytes) -> tuple[int, int, int, int, int]:
    """Return the length of the header, width, height (negative if the top comes first), depth and packing."""
    (length,) = struct.unpack_from("<I", data, 14)
    if length == 12:
        width, height, _, depth = struct.unpack_from("<HHHH", data, 18)
        return length, width, height, depth, _RGB
    width, height, _, depth = struct.unpack_from("<iiHH", data, 18)
    return length, width, height, depth, struct.unpack_from("<I", data, 30)[0] if length >= 40 else _RGB


def _masks(data: bytes, header: int, packing: int) -> tuple[int, ...] | None:
    """Return the bits of red, green, blue and opacity, or None if there are none."""
    if packing not in (_BIT_FIELDS, _ALPHA_BIT_FIELDS):
        return None
    n = 4 if header >= 56 or packing == _ALPHA_BIT_FIELDS else 3
    masks: tuple[int, ...] = struct.unpack_from(f"<{n}I", data, 54)  # in the header, or behind a short one
    return masks if masks[3:] != (0,) else masks[:3]


def _rows(data: bytes, width: int, height: int, depth: int) -> np.ndarray:
    """Return the bytes of the rows as they are in the file, without what fills them up to 4 bytes."""
    (start,) = struct.unpack_from("<I", data, 10)
    stride, n_bytes = (width * depth + 31) // 32 * 4, (width * depth + 7) // 8
    if len(data) < start + stride * abs(height):
        raise PictureError("truncated", "the file ends before the picture does")
    rows = np.frombuffer(data, np.uint8, stride * abs(height), start).reshape(abs(height), stride)
    return rows[:, :n_bytes]


def _by_palette(rows: np.ndarray, data: bytes, header: int, width: int) -> Pixels:
    """Return the RGB pixels of rows of four numbers of colours a byte."""
    entry = 3 if header == 12 else 4
    palette = np.zeros((4, 3), dtype=np.uint8)
    (start,) = struct.unpack_from("<I", data, 10)
    stored = np.frombuffer(data[14 + header : min(start, 14 + header + 4 * entry)], np.uint8)
    stored = stored[: len(stored) // entry * entry].reshape(-1, entry)[:, 2::-1]
    palette[: len(stored)] = stored
    numbers = rows[:, :, None] >> np.array([6, 4, 2, 0], dtype=np.uint8) & 3
    found: Pixels = palette[numbers.reshape(len(rows), -1)[:, :width]]
    return found


def _by_masks(rows: np.ndarray, masks: tuple[int, ...], depth: int, width: int) -> Pixels:
    """Return the RGB or RGBA pixels of rows whose bits are shared out as the masks say."""
    found = np.zeros((len(rows), width, len(masks)), dtype=np.uint8)
    for top in range(0, len(rows), _ROWS):
        values = np.ascontiguousarray(rows[top : top + _ROWS]).view(f"<u{depth // 8}").astype(np.uint32)
        for channel, mask in enumerate(masks):
            if mask:
                shift = (mask & -mask).bit_length() - 1
                share = ((values & np.uint32(mask)) >> np.uint32(shift)).astype(np.float32)
                found[top : top + _ROWS, :, channel] = (share * (255 / (mask >> shift))).round()
    return found
