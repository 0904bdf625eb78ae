"""Bytes in, a picture whose pixels are not yet loaded out: of an allowed format and a bearable size."""

from __future__ import annotations

import io
import re
import struct
import zlib
from typing import TYPE_CHECKING

from mmsearch.errors import PictureError
from mmsearch.images.bmp import read_bmp
from mmsearch.images.jpeg import jpeg_frame
from mmsearch.images.kinds import HEAD_BYTES, check_kind, unread_variant
from mmsearch.images.limits import JPEG_MAX_MEGAPIXELS, JPEG_MAX_SIDE, check_memory, check_size, too_many
from mmsearch.images.png import SIGNATURE, without_long_texts
from mmsearch.images.tiff import read_tiff

if TYPE_CHECKING:
    from PIL import Image


def open_lazily(data: bytes, max_megapixels: float) -> Image.Image:
    """Return a picture whose pixels are not loaded yet, after its size was checked.

    Variants that Pillow refuses or reads wrongly, and that are read here, are loaded.

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
        opened, refusal = _by_pillow(kind, data), None
    except (SyntaxError, LookupError, TypeError, struct.error, OSError) as error:
        opened, refusal = None, error
    image = _by_own_reader(kind, data, max_megapixels, refusal) or opened
    if image is None:
        if re.search("not (yet )?(supported|implemented)|unsupported", str(refusal), re.IGNORECASE):
            raise unread_variant(kind, str(refusal)[:100])
        raise PictureError("corrupt", "the header of this picture is damaged") from refusal
    if kind == "JPEG":  # its pixels are counted when the scale is known
        check_size(*image.size, JPEG_MAX_MEGAPIXELS, max_side=JPEG_MAX_SIDE)
    else:
        check_size(*image.size, max_megapixels)
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


def _by_pillow(kind: str, data: bytes) -> Image.Image:
    """Open a picture by the plugin of its format, without Pillow's limit of pixels: it is one of the process."""
    from PIL import Image

    if kind == "HEIC":
        from pillow_heif import register_heif_opener

        register_heif_opener()
        kind = "HEIF"
    if kind not in Image.OPEN:
        Image.init()
    return Image.OPEN[kind][0](io.BytesIO(data), "")


def _by_own_reader(kind: str, data: bytes, max_megapixels: float, refusal: Exception | None) -> Image.Image | None:
    """Return a picture that Pillow refused or reads wrongly, or None if no reader here knows better."""
    if kind == "TIFF":
        return read_tiff(data, max_megapixels, is_refused=refusal is not None)
    if kind == "BMP" and isinstance(refusal, OSError):
        return read_bmp(data, max_megapixels)
    return None


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
