"""Variants of TIFF that Pillow refuses or reads wrongly: deep and floating-point samples, planes, WebP inside.

The strips or tiles are unpacked one by one, by zlib or as small TIFFs of bytes by Pillow's libtiff, and put
together by NumPy. What cannot be read this way either is told from a damaged file.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.errors import PictureError
from mmsearch.images.kinds import unread, unread_variant
from mmsearch.images.limits import check_memory, check_size
from mmsearch.images.modes import eight_bits
from mmsearch.images.tiff_header import (
    DEFLATE,
    GREY_INVERTED,
    N_COLOURS,
    PLAIN,
    PREMULTIPLIED,
    WEBP,
    Directory,
    Tag,
    TiffLayout,
    read_directory,
)
from mmsearch.records import Pixels

if TYPE_CHECKING:
    from PIL import Image


def read_tiff(data: bytes, max_megapixels: float, *, is_refused: bool) -> Image.Image | None:
    """Return a TIFF that Pillow refuses or reads wrongly, or None if it is best left to Pillow.

    Parameters
    ----------
    data : bytes
        The whole file.
    max_megapixels : float
        Larger pictures are refused before their samples are looked at.
    is_refused : bool
        Whether Pillow has refused it.

    Raises
    ------
    PictureError
        `unsupported`, `corrupt`, `truncated` or `too_large`.
    """
    try:
        directory = read_directory(data)
        layout = None if directory.is_raw() else TiffLayout.of(directory)
    except (LookupError, ValueError, struct.error):
        return None  # damaged, as Pillow will say
    if layout is None:
        raise unread("a RAW picture")
    if not (is_refused or layout.is_misread):
        return None
    if not layout.is_readable:
        if is_refused:
            raise unread_variant("TIFF", layout.words())
        return None
    if sum(layout.lengths) > 4 * len(data):
        raise PictureError("corrupt", "the parts of this picture overlap")
    check_size(layout.width, layout.height, max_megapixels)
    n_bytes = layout.width * layout.height * len(layout.bits) * layout.bits[0] // 8
    check_memory(n_bytes, "the samples of the picture", max_megapixels)
    image = _image(_samples(data, layout), layout)
    image.format = "TIFF"
    _keep_exif(image, directory, data)
    return image


def _samples(data: bytes, layout: TiffLayout) -> np.ndarray:
    """Return the samples, shape (height, width, n), of those that make the colour and its transparency."""
    n = N_COLOURS[layout.colour] + bool(layout.alpha)
    found = np.zeros((layout.height, layout.width, n), dtype=_dtype(layout, "="))
    width, height = layout.block
    for number, (plane, top, left) in enumerate(_places(layout)):
        if plane >= n:
            break
        start = layout.offsets[number]
        rows = height if layout.is_tiled else min(height, layout.height - top)  # the last strip is shorter
        block = _block(data[start : start + layout.lengths[number]], layout, rows)
        part = found[top : top + height, left : left + width]
        shown = block[: part.shape[0], : part.shape[1]]
        if layout.is_planar:
            part[..., plane] = shown[..., 0]
        else:
            part[...] = shown[..., :n]
    return found


def _places(layout: TiffLayout) -> Iterator[tuple[int, int, int]]:
    """Yield plane, top and left of every strip or tile, in the order of the file."""
    width, height = layout.block
    for plane in range(len(layout.bits) if layout.is_planar else 1):
        for top in range(0, layout.height, height):
            for left in range(0, layout.width, width):
                yield plane, top, left


def _dtype(layout: TiffLayout, order: str) -> np.dtype[Any]:
    return np.dtype(f"{order}{layout.kind}{layout.bits[0] // 8}")


def _block(packed: bytes, layout: TiffLayout, rows: int) -> np.ndarray:
    """Return the samples of one strip or tile, shape (rows, width, n)."""
    width, n = layout.block[0], 1 if layout.is_planar else len(layout.bits)
    if layout.compression == WEBP:
        return _webp(packed, width, rows)
    dtype = _dtype(layout, layout.order)
    row_bytes = width * n * dtype.itemsize
    unpacked = _unpacked(packed, layout.compression, row_bytes, rows)
    if len(unpacked) < row_bytes * rows:
        raise PictureError("truncated", "the file ends before the picture does")
    values = np.frombuffer(unpacked, dtype=np.uint8, count=row_bytes * rows).reshape(rows, row_bytes)
    if layout.predictor == 3 and layout.kind == "f":
        return _floats(values, n, dtype.itemsize).reshape(rows, width, n)
    samples = values.view(dtype).reshape(rows, width, n)
    if layout.predictor == 2:
        whole = np.dtype(f"u{dtype.itemsize}")
        differences = samples.view(f"{layout.order}{whole.str[1:]}").astype(whole)
        samples = np.cumsum(differences, axis=1, dtype=whole).view(_dtype(layout, "="))
    return samples


def _webp(packed: bytes, width: int, rows: int) -> Pixels:
    """Return a block that is a WebP as RGBA, shape (rows, width, 4)."""
    from PIL.WebPImagePlugin import WebPImageFile

    image = WebPImageFile(io.BytesIO(packed), "")
    if image.width < width or image.height < rows:
        raise PictureError("corrupt", "a part of the picture is smaller than it should be")
    return np.asarray(image.crop((0, 0, width, rows)).convert("RGBA"))


def _floats(values: Pixels, n: int, n_bytes: int) -> np.ndarray:
    """Return the numbers whose bytes, the most significant first, were sorted by significance and differenced."""
    rows = len(values)
    summed = np.cumsum(values.reshape(rows, -1, n), axis=1, dtype=np.uint8).reshape(rows, n_bytes, -1)
    return np.ascontiguousarray(summed.transpose(0, 2, 1)).view(f">f{n_bytes}")


def _unpacked(packed: bytes, compression: int, row_bytes: int, rows: int) -> bytes:
    if compression == PLAIN:
        return packed
    if compression in DEFLATE:
        try:
            return zlib.decompressobj().decompress(packed, row_bytes * rows)
        except zlib.error as error:
            raise PictureError("corrupt", f"the picture data is damaged ({error})") from error
    from PIL.TiffImagePlugin import TiffImageFile

    tags = {
        Tag.WIDTH: row_bytes, Tag.HEIGHT: rows, Tag.BITS: 8, Tag.COMPRESSION: compression, Tag.PHOTOMETRIC: 1,
        Tag.STRIP_OFFSETS: 8, Tag.N_SAMPLES: 1, Tag.ROWS_PER_STRIP: rows, Tag.STRIP_LENGTHS: len(packed),
    }  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    directory = struct.pack("<H", len(tags)) + entries + b"\0\0\0\0"
    return TiffImageFile(
        io.BytesIO(b"II*\0" + struct.pack("<I", 8 + len(packed)) + packed + directory), ""
    ).tobytes()


def _image(samples: np.ndarray, layout: TiffLayout) -> Image.Image:
    from PIL import Image

    n = N_COLOURS[layout.colour]
    eight = samples if samples.dtype == np.uint8 else _eight(samples, n)
    if layout.colour == GREY_INVERTED:
        eight[..., 0] = 255 - eight[..., 0]
    mode = {1: "L", 3: "RGB", 4: "CMYK"}[n]
    if layout.alpha:
        mode = "LA" if n == 1 else "RGBa" if layout.alpha == PREMULTIPLIED else "RGBA"
    image = Image.frombytes(mode, (layout.width, layout.height), eight.tobytes())
    return image.convert("RGBA") if mode == "RGBa" else image


def _eight(samples: np.ndarray, n: int) -> Pixels:
    """Return samples as uint8, n colours and then opacity, which goes by the range of its type."""
    colours = samples[..., :n].astype(np.float32) if samples.dtype.kind == "i" else samples[..., :n]
    found = np.empty(samples.shape, dtype=np.uint8)
    found[..., :n] = eight_bits(colours, is_16_bit=samples.dtype == np.uint16)
    if samples.shape[-1] > n:
        opacity = np.nan_to_num(samples[..., n:]).astype(np.float32)
        top = 1.0 if samples.dtype.kind == "f" else float(np.iinfo(samples.dtype).max)
        found[..., n:] = (opacity * (255 / top)).clip(0, 255).round()
    return found


def _keep_exif(image: Image.Image, directory: Directory, data: bytes) -> None:
    """Give the picture the turn and the times that its file has."""
    from PIL.Image import Exif

    kept = Exif()
    kept[Tag.ORIENTATION] = directory.first(Tag.ORIENTATION, 1)
    kept[Tag.DATE] = directory.text(Tag.DATE)
    with suppress(ValueError, struct.error):  # it has no other directory
        known = read_directory(data, directory.first(Tag.EXIF_DIRECTORY))
        kept.get_ifd(Tag.EXIF_DIRECTORY)[Tag.DATE_TAKEN] = known.text(Tag.DATE_TAKEN)
    image.info["exif"] = kept.tobytes()
