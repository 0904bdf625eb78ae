"""The first directory of a TIFF: how its samples are kept, and whether they can be read here.

Only the tags that matter are looked at, so that no header takes more memory than its file.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum


class Tag(IntEnum):
    """The tags that are looked at."""

    NEW_SUBFILE_TYPE = 254
    WIDTH = 256
    HEIGHT = 257
    BITS = 258
    COMPRESSION = 259
    PHOTOMETRIC = 262
    FILL_ORDER = 266
    STRIP_OFFSETS = 273
    ORIENTATION = 274
    N_SAMPLES = 277
    ROWS_PER_STRIP = 278
    STRIP_LENGTHS = 279
    PLANAR = 284
    DATE = 306
    PREDICTOR = 317
    TILE_WIDTH = 322
    TILE_HEIGHT = 323
    TILE_OFFSETS = 324
    TILE_LENGTHS = 325
    SUB_DIRECTORIES = 330
    EXTRA_SAMPLES = 338
    SAMPLE_FORMAT = 339
    EXIF_DIRECTORY = 34665
    DATE_TAKEN = 36867
    DNG_VERSION = 50706


PLAIN, DEFLATE, WEBP = 1, (8, 32946), 50001
GREY_INVERTED, GREY, RGB, CMYK = 0, 1, 2, 5
N_COLOURS = {GREY_INVERTED: 1, GREY: 1, RGB: 3, CMYK: 4}
PREMULTIPLIED, ALPHA = 1, 2
_UNPACKED = (PLAIN, 5, *DEFLATE, 32773, 34925, 50000)  # whose bytes come out as they were put in
_COMPRESSIONS = {
    1: "no", 2: "CCITT", 3: "CCITT G3", 4: "CCITT G4", 5: "LZW", 6: "old JPEG", 7: "JPEG", 8: "Deflate",
    32773: "PackBits", 32809: "ThunderScan", 32946: "Deflate", 33003: "JPEG 2000", 33005: "JPEG 2000",
    34676: "LogLuv", 34677: "LogLuv", 34712: "JPEG 2000", 34887: "LERC", 34892: "lossy JPEG", 34925: "LZMA",
    34933: "PNG", 34934: "JPEG XR", 50000: "Zstandard", 50001: "WebP", 50002: "JPEG XL", 52546: "JPEG XL",
}  # fmt: skip
_COLOURS = {
    0: "grey", 1: "grey", 2: "RGB", 3: "palette", 4: "mask", 5: "CMYK", 6: "YCbCr", 8: "Lab", 9: "Lab", 10: "Lab",
    32844: "LogL", 32845: "LogLuv",
}  # fmt: skip
_SENSOR_COLOURS = (32803, 34892)  # a colour filter array, or what was made of one
_KINDS = {1: "u", 2: "i", 3: "f", 4: "u"}
_KIND_WORDS = {"u": "", "i": "signed ", "f": "floating-point "}
_TYPES = {1: "B", 2: "c", 3: "H", 4: "I", 7: "B", 13: "I", 16: "Q", 18: "Q"}  # of whole numbers and text
_MAX_VALUE_BYTES = 1 << 20


@dataclass(frozen=True)
class Directory:
    """The tags of one directory; the values of those that are not looked at are empty."""

    order: str
    values: Mapping[int, tuple[int | bytes, ...]]

    def first(self, tag: Tag, default: int | None = None) -> int:
        """Return the first number of a tag; without a default it must be there."""
        value = (self.values.get(tag) or (default,))[0]
        if not isinstance(value, int):
            raise ValueError(f"there is no number in tag {tag}")
        return value

    def numbers(self, tag: Tag, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        """Return the numbers of a tag."""
        return tuple(value for value in self.values.get(tag, ()) if isinstance(value, int)) or default

    def text(self, tag: Tag) -> str:
        """Return the text of a tag, which is empty if there is none."""
        found = b"".join(value for value in self.values.get(tag, ()) if isinstance(value, bytes))
        return found.rstrip(b"\0").decode("latin-1")

    def is_raw(self) -> bool:
        """Return whether the file is a camera's, and this directory holds samples of its sensor, or a preview."""
        is_preview = bool(self.first(Tag.NEW_SUBFILE_TYPE, 0) & 1) and Tag.SUB_DIRECTORIES in self.values
        return Tag.DNG_VERSION in self.values or self.first(Tag.PHOTOMETRIC, 0) in _SENSOR_COLOURS or is_preview


def read_directory(data: bytes, offset: int | None = None) -> Directory:
    """Return the directory at an offset of a file, or the first one.

    Raises
    ------
    struct.error
        If it reaches beyond the end of the file.
    """
    order, is_big = "<" if data.startswith(b"II") else ">", 43 in data[2:4]
    address, entry, inline = ("Q", "HHQ", 8) if is_big else ("I", "HHI", 4)
    if offset is None:
        (offset,) = struct.unpack_from(order + address, data, inline)
    (n,) = struct.unpack_from(order + ("Q" if is_big else "H"), data, offset)
    values: dict[int, tuple[int | bytes, ...]] = {}
    for number in range(min(n, 4096)):
        at = offset + (8 if is_big else 2) + number * (4 + 2 * inline)
        tag, type_, count = struct.unpack_from(order + entry, data, at)
        code, at = _TYPES.get(type_), at + 4 + inline
        n_bytes = count * struct.calcsize(code) if code else 0
        if code is None or n_bytes > _MAX_VALUE_BYTES or tag not in Tag.__members__.values():
            values[tag] = ()
            continue
        if n_bytes > inline:
            (at,) = struct.unpack_from(order + address, data, at)
        values[tag] = struct.unpack_from(f"{order}{count}{code}", data, at)
    return Directory(order, values)


@dataclass(frozen=True)
class TiffLayout:
    """How the samples of a TIFF are kept; `block` is the (width, height) of its strips or tiles."""

    width: int
    height: int
    bits: tuple[int, ...]
    kind: str
    colour: int
    extra: tuple[int, ...]
    compression: int
    predictor: int
    is_planar: bool
    fill_order: int
    order: str
    is_tiled: bool
    block: tuple[int, int]
    offsets: tuple[int, ...]
    lengths: tuple[int, ...]

    @classmethod
    def of(cls, directory: Directory) -> TiffLayout:
        """Return the layout that a directory describes.

        Raises
        ------
        ValueError, KeyError
            If it makes no sense.
        """
        first, numbers = directory.first, directory.numbers
        width, height, n = first(Tag.WIDTH), first(Tag.HEIGHT), first(Tag.N_SAMPLES, 1)
        bits, formats = numbers(Tag.BITS, (1,)), set(numbers(Tag.SAMPLE_FORMAT, (1,)))
        bits = bits * n if len(bits) == 1 and n <= 64 else bits[:n]
        colour, compression = first(Tag.PHOTOMETRIC, 0), first(Tag.COMPRESSION, 1)
        is_tiled = Tag.TILE_OFFSETS in directory.values
        strip = width, min(first(Tag.ROWS_PER_STRIP, height), height)
        block = (first(Tag.TILE_WIDTH), first(Tag.TILE_HEIGHT)) if is_tiled else strip
        is_known = colour in _COLOURS and compression in _COMPRESSIONS and len(formats) == 1
        if not (is_known and len(bits) == n > 0 and 0 < max(bits) <= 64 and min(width, height, *block) > 0):
            raise ValueError("the directory makes no sense")
        return cls(
            width=width, height=height, bits=bits, kind=_KINDS[formats.pop()], colour=colour,
            extra=numbers(Tag.EXTRA_SAMPLES), compression=compression, predictor=first(Tag.PREDICTOR, 1),
            is_planar=first(Tag.PLANAR, 1) == 2 and n > 1, fill_order=first(Tag.FILL_ORDER, 1),
            order=directory.order, is_tiled=is_tiled, block=block,
            offsets=numbers(Tag.TILE_OFFSETS if is_tiled else Tag.STRIP_OFFSETS),
            lengths=numbers(Tag.TILE_LENGTHS if is_tiled else Tag.STRIP_LENGTHS),
        )  # fmt: skip

    @property
    def is_readable(self) -> bool:
        """Whether the samples can be unpacked and put together here."""
        depth, n = self.bits[0], len(self.bits)
        is_sound = set(self.bits) == {depth} and self.fill_order == 1 and n >= N_COLOURS.get(self.colour, n + 1)
        if self.compression == WEBP:
            return is_sound and depth == 8 and not self.is_planar and self.colour == RGB and n in (3, 4)
        return (
            is_sound
            and self.compression in _UNPACKED
            and self.predictor in (1, 2, 3)
            and depth in ((16, 32, 64) if self.kind == "f" else (8, 16, 32, 64))
        )

    @property
    def is_misread(self) -> bool:
        """Whether Pillow opens the file, but gives other samples or none."""
        is_wide = self.kind in "fi" or max(self.bits) >= 32
        is_deep_plane = self.is_planar and (max(self.bits) > 8 or bool(self.extra))
        return is_wide or is_deep_plane or self.compression == WEBP

    @property
    def alpha(self) -> int:
        """How the sample behind the colours makes them transparent: `ALPHA`, `PREMULTIPLIED`, or 0 for not."""
        if self.compression == WEBP:
            return ALPHA if len(self.bits) == 4 else 0
        is_there = len(self.bits) > N_COLOURS[self.colour] and self.colour != CMYK
        return self.extra[0] if is_there and self.extra[:1] in ((PREMULTIPLIED,), (ALPHA,)) else 0

    def words(self) -> str:
        """Return what kind of samples they are, for people."""
        depth = "/".join(map(str, sorted(set(self.bits))))
        return (
            f"{len(self.bits)} x {depth}-bit {_KIND_WORDS[self.kind]}{_COLOURS[self.colour]} samples, "
            f"{_COMPRESSIONS[self.compression]} compression"
        )
