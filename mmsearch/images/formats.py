"""Bytes in, a picture whose pixels are not yet loaded out: of an allowed format and a bearable size."""

from __future__ import annotations

import io
import re
import struct
import zlib
from typing import TYPE_CHECKING

from mmsearch.errors import PictureError
from mmsearch.images.jpeg import jpeg_frame, n_scans
from mmsearch.images.kinds import HEAD_BYTES, check_kind, unread_variant
from mmsearch.images.limits import (
    JPEG_MAX_MEGAPIXELS,
    JPEG_MAX_SCANS,
    JPEG_MAX_SIDE,
    check_memory,
    check_size,
    too_many,
)
from mmsearch.images.png import SIGNATURE, without_long_texts
from mmsearch.images.tiff import check_tiff

if TYPE_CHECKING:
    from PIL import Image
    from PIL.ImageFile import ImageFile

_BMP_HEADERS, _BMP_DEPTHS = (12, 16, 40, 52, 56, 64, 108, 124), (1, 2, 4, 8, 16, 24, 32, 64)
_BMP_UNPACKED = {0: "", 3: " in odd bit fields", 6: " in odd bit fields"}


def open_lazily(data: bytes, max_megapixels: float) -> ImageFile:
    """Return a picture whose pixels are not loaded yet, after its size was checked.

    Raises
    ------
    PictureError
        `not_an_image`, `unsupported`, `corrupt`, `truncated`, `too_large` or `metadata_bomb`.
    """
    kind = check_kind(data[:HEAD_BYTES])
    _check_variant(kind, data)
    if kind == "PNG":
        data = without_long_texts(data)
    declared = _declared_size(data)
    if declared is not None:
        check_size(*declared, max_megapixels)
    try:
        image = _by_pillow(kind, data)
    except (SyntaxError, LookupError, TypeError, struct.error, OSError) as error:
        _check_refused(kind, data, str(error))
        raise PictureError("corrupt", "the header of this picture is damaged") from error
    if kind == "JPEG":  # its pixels are counted when the scale is known
        check_size(*image.size, JPEG_MAX_MEGAPIXELS, max_side=JPEG_MAX_SIDE)
    else:
        check_size(*image.size, max_megapixels)
    if kind == "TIFF":
        check_tiff(data, image)
    return image


def _check_variant(kind: str, data: bytes) -> None:
    """Refuse a variant that no reader is able to tell from a damaged file."""
    from PIL import features

    words = ""
    if kind == "JPEG":
        frame = jpeg_frame(data)
        words = frame.unread_words() if frame is not None else ""
    elif kind == "PNG" and data[12:16] == b"CgBI":
        words = "made for iPhone programs"
    elif kind in ("WEBP", "AVIF") and not features.check(kind.lower()):
        words = "this Pillow was built without it"
    if words:
        raise unread_variant(kind, words)


def _by_pillow(kind: str, data: bytes) -> ImageFile:
    """Open a picture by the plugin of its format, without Pillow's limit of pixels: it is one of the process."""
    from PIL import Image

    if kind == "HEIC":
        from pillow_heif import register_heif_opener

        register_heif_opener()
        kind = "HEIF"
    if kind not in Image.OPEN:
        Image.init()
    return Image.OPEN[kind][0](io.BytesIO(data), "")


def _check_refused(kind: str, data: bytes, refusal: str) -> None:
    """Refuse a sound variant that Pillow did not open, by its name; of a damaged header nothing is said."""
    words = ""
    if kind == "TIFF":
        check_tiff(data, None)
    elif kind == "BMP":
        words = _bmp_words(data)
    elif re.search("not (yet )?(supported|implemented)|unsupported", refusal, re.IGNORECASE):
        words = refusal[:100]
    if words:
        raise unread_variant(kind, words)


def _bmp_words(data: bytes) -> str:
    """Return what kind of BMP it is, or nothing if its header is damaged."""
    head = data[:34].ljust(34, b"\0")
    start, header, width, height, depth, packing = struct.unpack_from("<IIiixxHI", head, 10)
    if header == 12:
        width, height, depth = struct.unpack_from("<HHxxH", head, 18)
    packing = packing if header > 16 else 0
    is_odd = depth in (2, 64) or 2 < packing < 14 or header == 16  # Pillow reads the others
    if not is_odd or header not in _BMP_HEADERS or depth not in _BMP_DEPTHS or width < 1 or not height:
        return ""
    if packing in _BMP_UNPACKED and len(data) < start + (width * depth + 31) // 32 * 4 * abs(height):
        raise PictureError("truncated", "the file ends before the picture does")
    return f"{depth} bits a pixel" + _BMP_UNPACKED.get(packing, f", packing {packing}")


def scale_jpeg(image: Image.Image, data: bytes, at_least: tuple[int, int] | None, max_megapixels: float) -> None:
    """Set the smallest scale at which a JPEG is decoded to at least a size (width, height), if there is one.

    Raises
    ------
    PictureError
        `too_large` if decoding takes too much memory all the same.
    """
    size, frame = image.size, jpeg_frame(data)
    if at_least is not None and not (frame is not None and frame.is_lossless):  # those have one scale
        image.draft(None, at_least)
    if image.width * image.height > max_megapixels * 1e6:
        raise too_many(*size, max_megapixels)
    if frame is not None:
        what = f"the scans of this progressive JPEG of {size[0] * size[1] / 1e6:.4g} megapixels"
        check_memory(frame.n_waiting_bytes, what, max_megapixels)
        if frame.n_waiting_bytes and n_scans(data, JPEG_MAX_SCANS) > JPEG_MAX_SCANS:
            raise PictureError("too_large", f"this JPEG has more than {JPEG_MAX_SCANS} scans; save it anew")


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
