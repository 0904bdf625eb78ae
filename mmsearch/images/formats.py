"""Bytes in, a picture whose pixels are not yet loaded out: of an allowed format and a bearable size."""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING

from mmsearch.errors import PictureError
from mmsearch.images.jpeg import jpeg_frame
from mmsearch.images.kinds import HEAD_BYTES, check_kind
from mmsearch.images.png import SIGNATURE, without_long_texts
from mmsearch.records import MAX_MEGAPIXELS

if TYPE_CHECKING:
    from PIL import Image

MAX_SIDE = 32_768
_JPEG_MAX_SIDE, _JPEG_MAX_MEGAPIXELS = 65_500, 1000  # of the file, however small it is decoded
_COEFFICIENT_BYTES = 12  # for every pixel of the ceiling, which a decoded picture needs as well


def enough_for(width: int, height: int) -> float:
    """Return the ceiling in megapixels under which a picture that was accepted once is accepted again."""
    return max(MAX_MEGAPIXELS, width * height / 1e6)


def open_lazily(data: bytes, max_megapixels: float) -> Image.Image:
    """Return a picture whose pixels are not loaded yet, after its size was checked.

    The plugin of the one format that the first bytes show is called without Pillow's own limit of pixels, which
    belongs to the whole process.

    Raises
    ------
    PictureError
        `not_an_image`, `unsupported`, `corrupt`, `too_large` or `metadata_bomb`.
    """
    from PIL import Image

    kind = check_kind(data[:HEAD_BYTES])
    if kind == "HEIC":
        from pillow_heif import register_heif_opener

        register_heif_opener()
        kind = "HEIF"
    if kind == "PNG":
        data = without_long_texts(data)
    if kind not in Image.OPEN:
        Image.init()
    declared = _declared_size(data)
    if declared is not None:
        check_size(*declared, max_megapixels)
    try:
        image = Image.OPEN[kind][0](io.BytesIO(data), "")
    except (SyntaxError, IndexError, TypeError, KeyError, struct.error) as error:
        raise PictureError("corrupt", "the header of this picture is damaged") from error
    if kind == "JPEG":  # its pixels are counted when the scale is known
        check_size(*image.size, _JPEG_MAX_MEGAPIXELS, max_side=_JPEG_MAX_SIDE)
    else:
        check_size(*image.size, max_megapixels)
    return image


def check_size(
    width: int, height: int, max_megapixels: float, *, max_side: int = MAX_SIDE, what: str = "the picture"
) -> None:
    """Refuse a picture, or a part of one, whose pixels are too many.

    Raises
    ------
    PictureError
        `too_large`, or `corrupt` if it has none.
    """
    if width > max_side or height > max_side:
        raise PictureError("too_large", f"{what} is {width} x {height} pixels, a side may have {max_side} at most")
    if width * height > max_megapixels * 1e6:
        raise _too_many(what, width, height, max_megapixels)
    if width < 1 or height < 1:
        raise PictureError("corrupt", f"{what} is {width} x {height} pixels")


def check_decoded(image: Image.Image, data: bytes, size: tuple[int, int], max_megapixels: float) -> None:
    """Refuse a JPEG of a size (width, height) whose decoding, at the scale that is set, takes too much memory.

    Raises
    ------
    PictureError
        `too_large`.
    """
    if image.width * image.height > max_megapixels * 1e6:
        raise _too_many("the picture", *size, max_megapixels)
    frame = jpeg_frame(data)
    if frame is not None and frame.n_waiting_bytes > _COEFFICIENT_BYTES * max_megapixels * 1e6:
        raise PictureError(
            "too_large",
            f"the picture is a progressive JPEG of {size[0] * size[1] / 1e6:.0f} megapixels, which takes "
            f"{frame.n_waiting_bytes / 1e6:.0f} MB to decode; save it as a baseline JPEG, or raise the limit of "
            f"{max_megapixels:g} by --max-megapixels of `index`",
        )


def _too_many(what: str, width: int, height: int, max_megapixels: float) -> PictureError:
    return PictureError(
        "too_large",
        f"{what} has {width * height / 1e6:.4g} megapixels, the limit is {max_megapixels:g}; "
        "--max-megapixels of `index` raises it",
    )


def _declared_size(data: bytes) -> tuple[int, int] | None:
    """Return the size in the header where Pillow does not get to tell it.

    It calls a PNG of sides beyond 2**31 unidentified, and allocates a WebP's canvas when it opens it.
    """
    if data.startswith(SIGNATURE + b"\0\0\0\rIHDR") and len(data) >= 33:
        is_intact = struct.unpack(">I", data[29:33])[0] == zlib.crc32(data[12:29])
        return struct.unpack(">II", data[16:24]) if is_intact else None
    if data[8:16] == b"WEBPVP8X" and len(data) >= 30:
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if data[8:16] == b"WEBPVP8 " and len(data) >= 30:
        width, height = struct.unpack("<HH", data[26:30])
        return width & 0x3FFF, height & 0x3FFF
    if data[8:16] == b"WEBPVP8L" and len(data) >= 25:
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return None
