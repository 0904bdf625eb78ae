"""HELD: pictures as callers hold them in, whole files out: images of Pillow, NumPy arrays, bytes, open files.

This is done where an argument comes in, so that all behind it knows files alone. Pillow is not imported for it: who
holds an image of it has done so.
"""

from __future__ import annotations

import io
import os
import struct
import sys
import warnings
import zlib
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmsearch.arguments import unfit
from mmsearch.errors import PictureError, reason

_ARRAY = (
    "a picture as uint8: RGB (height, width, 3), with opacity (height, width, 4), or grey (height, width) or "
    "(height, width, 1)"
)
_COLOUR_TYPE = {1: 0, 3: 2, 4: 6}  # of PNG, by channels
_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
_TIFF_MODES = ("CMYK", "YCbCr", "LAB", "I", "F")
_PLAIN_MODES = {"La": "LA", "PA": "RGBA", "RGBa": "RGBA"}
_LONGEST_PATH = 4096


class PillowImage(Protocol):
    """An image of Pillow, as far as it is asked here."""

    @property
    def mode(self) -> str:
        """What its pixels mean."""

    def getexif(self) -> Any:
        """Return what EXIF says."""

    def convert(self, mode: str) -> Any:
        """Return the image in another mode."""

    def save(self, fp: Any, format: str | None = None, **options: Any) -> None:
        """Write it as a file."""


class OpenPicture(Protocol):
    """A file that is open in binary mode, or what is read like one."""

    def read(self) -> bytes:
        """Return all that is left in it."""


Held: TypeAlias = "bytes | bytearray | memoryview | NDArray[np.uint8] | PillowImage | OpenPicture"
"""A picture that is no file with a path: bytes of one, pixels, an image of Pillow, or an open file."""


class HeldFile(NamedTuple):
    """A picture as the bytes of a file, its name if it has one, and why there are no bytes if there are none."""

    data: bytes
    name: str | None = None
    problem: PictureError | None = None


def held_file(value: object, name: str) -> HeldFile | None:
    r"""Return the file of a picture that somebody holds, or None if it is something else, such as a path.

    Bytes are the contents of a file if they are no path: paths hold no NUL, and have 4096 bytes at most. Every
    format of pictures has a NUL near its beginning.

    Parameters
    ----------
    value : object
        An image of Pillow, an array, bytes or an open file. It is read at once, an open file from where it stands.
    name : str
        Of the argument, in messages.

    Raises
    ------
    ArgumentError
        If it is an array of another type or shape, or a file that is open as text.

    Examples
    --------
    >>> held_file(b"/photos/cat.jpg", "images") is None
    True
    >>> held_file(np.zeros((2, 3), np.uint8), "images").data[:4]
    b'\x89PNG'
    >>> held_file(np.zeros((2, 3), np.float32), "images")
    Traceback (most recent call last):
    mmsearch.errors.ArgumentError: images is an array of float32 (2, 3); expected a picture as uint8: ...
    """
    if isinstance(value, bytearray | memoryview):
        return HeldFile(bytes(value))
    if isinstance(value, bytes):
        return HeldFile(value) if b"\0" in value or len(value) > _LONGEST_PATH else None
    if isinstance(value, np.ndarray):
        return HeldFile(_png(_checked(value, name)))
    pillow = sys.modules.get("PIL.Image")
    if pillow is not None and isinstance(value, pillow.Image):
        return _of_image(value)
    if callable(getattr(value, "read", None)):
        return _of_file(value, name)
    return None


def is_single(given: object) -> bool:
    """Return whether something that can be iterated is one picture: an open file, or an array of pixels.

    An array of four axes holds several pictures, one of a single axis ids.
    """
    if isinstance(given, np.ndarray):
        return given.ndim in (2, 3)
    return callable(getattr(given, "read", None))


def _checked(pixels: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """Return pixels (height, width, channels), or raise ArgumentError."""
    shape = pixels.shape if pixels.ndim == 3 else (*pixels.shape, 1)
    if pixels.dtype == np.uint8 and len(shape) == 3 and shape[2] in _COLOUR_TYPE and pixels.size:
        return pixels.reshape(shape)
    hint = ""
    if pixels.dtype.kind == "f":
        hint = "; values from 0 to 1 become that by (255 * array).round().astype(np.uint8)"
    elif pixels.ndim == 3 and pixels.shape[0] in _COLOUR_TYPE and pixels.size:
        hint = "; np.moveaxis(array, 0, -1) puts the colours last"
    raise unfit(name, pixels, f"{_ARRAY}{hint}", shown=f"an array of {pixels.dtype} {pixels.shape}")


def _png(pixels: NDArray[np.uint8]) -> bytes:
    """Return pixels (height, width, channels) as a PNG, which is not compressed: it is about to be read."""
    height, width, n_channels = pixels.shape
    lines = np.zeros((height, 1 + width * n_channels), np.uint8)  # a line begins with its filter, which is none
    lines[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPE[n_channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.data, 0)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, body) for kind, body in chunks)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _of_image(image: PillowImage) -> HeldFile:
    """Return an image of Pillow as a file without loss, which says how it is turned and what its colours mean."""
    name = getattr(image, "filename", None)
    name = os.fsdecode(name) if isinstance(name, str | bytes | os.PathLike) and name else None
    buffer, exif = io.BytesIO(), _exif(image)
    try:
        if image.mode in _TIFF_MODES:
            image.save(buffer, "TIFF", exif=exif)
        else:
            kept = image if image.mode in _PNG_MODES else image.convert(_PLAIN_MODES.get(image.mode, "RGB"))
            kept.save(buffer, "PNG", compress_level=0, exif=exif)
    except Exception as error:  # noqa: BLE001 - whatever a decoder raises for a file that was opened and not yet read
        words = str(error) or type(error).__name__
        return HeldFile(b"", name, PictureError("corrupt", f"Pillow cannot load this image ({words[:200]})"))
    return HeldFile(buffer.getvalue(), name)


def _exif(image: PillowImage) -> bytes:
    """Return what EXIF says, which is nothing if it is garbage, as where a file is read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of entries that are left out
        try:
            exif: bytes = image.getexif().tobytes()
        except Exception:  # noqa: BLE001 - a damaged EXIF block must not cost the picture
            return b""
    return exif


def _of_file(file: Any, name: str) -> HeldFile:
    """Return what is left in an open file."""
    called = getattr(file, "name", None)
    called = os.fsdecode(called) if isinstance(called, str | bytes) else None
    try:
        data = file.read()
    except (OSError, ValueError) as error:  # ValueError: it is closed, or its text is no text
        words = reason(error) if isinstance(error, OSError) else str(error)
        return HeldFile(b"", called, PictureError("unreadable", f"this file cannot be read ({words})"))
    if not isinstance(data, bytes | bytearray | memoryview):
        raise unfit(name, file, "a file that is open in binary mode: open(path, 'rb')")
    if not len(data):
        problem = PictureError("truncated", "nothing is left to be read in this file; file.seek(0) goes back in it")
        return HeldFile(b"", called, problem)
    return HeldFile(bytes(data), called)
