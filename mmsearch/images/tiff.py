"""The tags of a TIFF in, words for what Pillow refuses or reads wrongly out: RAW pictures, unusual samples."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL.ExifTags import Base as Tag

from mmsearch.errors import PictureError
from mmsearch.images.kinds import unread, unread_variant

if TYPE_CHECKING:
    from PIL import Image

_NONE, _WEBP = 1, 50001
_COMPRESSIONS = {
    1: "no", 2: "CCITT", 3: "CCITT G3", 4: "CCITT G4", 5: "LZW", 6: "old JPEG", 7: "JPEG", 8: "Deflate",
    32771: "CCITT", 32773: "PackBits", 32809: "ThunderScan", 32946: "Deflate", 33003: "JPEG 2000",
    33005: "JPEG 2000", 34661: "JBIG", 34676: "LogLuv", 34677: "LogLuv", 34712: "JPEG 2000", 34887: "LERC",
    34892: "lossy JPEG", 34925: "LZMA", 34933: "PNG", 34934: "JPEG XR", 50000: "Zstandard", 50001: "WebP",
    50002: "JPEG XL", 52546: "JPEG XL",
}  # fmt: skip
_INVERTED, _GREY, _RGB, _PALETTE, _CMYK, _LAB = 0, 1, 2, 3, 5, 8
_COLOURS = {
    0: "inverted grey", 1: "grey", 2: "RGB", 3: "palette", 4: "mask", 5: "CMYK", 6: "YCbCr", 8: "Lab", 9: "Lab",
    10: "Lab", 32844: "LogL", 32845: "LogLuv",
}  # fmt: skip
_SENSOR_COLOURS = (32803, 34892)  # a colour filter array, or what was made of one
_SIGNED = 2
_KINDS = {1: "", 2: "signed ", 3: "floating-point ", 4: "", 5: "complex ", 6: "complex "}
_PREMULTIPLIED = 1


def check_tiff(data: bytes, image: Image.Image | None) -> None:
    """Refuse a sound TIFF that Pillow cannot read or reads wrongly; of a damaged header nothing is said.

    Parameters
    ----------
    data : bytes
        The whole file.
    image : Image or None
        The picture as Pillow opened it, or None if it refused.

    Raises
    ------
    PictureError
        `unsupported`, or `truncated` if such a file is not all there.
    """
    if image is None and data.startswith(b"MM\0+\0\x08\0\0"):  # Pillow takes its header for a short one
        raise unread_variant("TIFF", "big-endian BigTIFF")
    try:
        tags = _tags(data)
        samples = None if _is_raw(tags) else _Samples(tags, is_big_endian=data.startswith(b"MM"))
    except (LookupError, TypeError, ValueError, ArithmeticError, SyntaxError, OSError, struct.error):
        return
    if samples is None:
        raise unread("a RAW picture")
    if image is not None and not samples.is_misread() and not _has_wrapped(image, samples):
        return
    if samples.end > len(data):
        raise PictureError("truncated", "the file ends before the picture does")
    raise unread_variant("TIFF", samples.words())


def _tags(data: bytes) -> Mapping[int, Any]:
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    file = io.BytesIO(data)
    directory = ImageFileDirectory_v2(data[: 16 if data[2] == 43 else 8])
    file.seek(directory.next)
    directory.load(file)
    return directory


def _is_raw(tags: Mapping[int, Any]) -> bool:
    """Return whether the file is a camera's, and this directory holds samples of its sensor, or a preview."""
    is_preview = bool(tags.get(Tag.NewSubfileType, 0) & 1) and Tag.SubIFDs in tags
    return Tag.DNGVersion in tags or tags.get(Tag.PhotometricInterpretation) in _SENSOR_COLOURS or is_preview


def _has_wrapped(image: Image.Image, samples: _Samples) -> bool:
    """Return whether large numbers have become negative, as Pillow has no mode for them; loads the pixels."""
    return image.mode == "I" and samples.kind != _SIGNED and bool(np.asarray(image).min() < 0)


class _Samples:
    """How the samples are kept, as the numbers of the format; `end` is where the last strip or tile ends.

    A LookupError, TypeError or ValueError is raised if the tags make no sense.
    """

    def __init__(self, tags: Mapping[int, Any], *, is_big_endian: bool) -> None:
        self.is_big_endian = is_big_endian
        n, bits = tags.get(Tag.SamplesPerPixel, 1), tags.get(Tag.BitsPerSample, (1,))
        self.bits = tuple(bits) * n if len(bits) == 1 and n <= 64 else tuple(bits[:n])
        (self.kind,) = set(tags.get(Tag.SampleFormat, (1,)))
        self.colour = tags.get(Tag.PhotometricInterpretation, 0)
        self.extra = tuple(tags.get(Tag.ExtraSamples, ()))
        self.compression = tags.get(Tag.Compression, _NONE)
        self.is_planar = tags.get(Tag.PlanarConfiguration) == 2
        self.fill_order = tags.get(Tag.FillOrder, 1)
        starts = tags.get(Tag.StripOffsets) or tags[Tag.TileOffsets]
        lengths = tags.get(Tag.StripByteCounts) or tags.get(Tag.TileByteCounts, ())
        self.end = max(map(sum, zip(starts, lengths, strict=False)), default=0)
        is_known = self.colour in _COLOURS and self.compression in _COMPRESSIONS and self.kind in _KINDS
        is_picture = len(self.bits) == n > 0 and min(tags[Tag.ImageWidth], tags[Tag.ImageLength]) > 0
        if not (is_known and is_picture and 0 < max(self.bits) <= 128):
            raise ValueError("the tags make no sense")

    def is_misread(self) -> bool:
        """Return whether Pillow, if it opens the file, gives other samples or none."""
        is_swapped_twice = self.is_big_endian and max(self.bits) == 32 and self.compression != _NONE
        is_negative = (self.colour == _INVERTED and max(self.bits) > 8) or (self.kind == _SIGNED and 8 in self.bits)
        is_lost = self.is_planar and not self._is_read_in_planes()
        return self.compression == _WEBP or is_swapped_twice or is_negative or is_lost

    def _is_read_in_planes(self) -> bool:
        if self.colour == _LAB or (any(self.extra) and (self.colour, len(self.bits)) != (_RGB, 4)):
            return False
        if self.compression != _NONE:
            return True
        # Pillow unpacks a plane by one letter of the name of its mode.
        is_grey = self.colour == _GREY and self.bits in ((1,), (32,)) and not self.is_big_endian
        is_bytes = self.colour in (_GREY, _RGB, _PALETTE, _CMYK) and set(self.bits) == {8}
        return (is_grey or is_bytes) and self.fill_order == 1 and _PREMULTIPLIED not in self.extra

    def words(self) -> str:
        """Return what kind of samples they are, for people."""
        depth = "/".join(map(str, sorted(set(self.bits))))
        order = "big-endian " if self.is_big_endian and max(self.bits) > 8 else ""
        planes = " in planes" if self.is_planar and len(self.bits) > 1 else ""
        return (
            f"{len(self.bits)} x {depth}-bit {order}{_KINDS[self.kind]}{_COLOURS[self.colour]} samples{planes}, "
            f"{_COMPRESSIONS[self.compression]} compression"
        )
