"""Bytes in, a picture as it is looked at out: turned by EXIF, on white, at full or at a smaller scale.

Whatever a decoder raises for one file becomes that file's error.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmsearch.errors import PictureError
from mmsearch.images.formats import open_lazily, scale_jpeg
from mmsearch.images.modes import plain
from mmsearch.records import MAX_MEGAPIXELS
from mmsearch.system import is_out_of_memory

if TYPE_CHECKING:
    from PIL import Image

_EXIF_ORIENTATION, _EXIF_DATE, _EXIF_IFD, _EXIF_DATE_ORIGINAL = 0x0112, 0x0132, 0x8769, 0x9003
_DATE = re.compile(r"(\d{4}):(\d\d):(\d\d)[ T](\d\d):(\d\d):(\d\d)")


@dataclass(frozen=True)
class Upright:
    """A picture as it is looked at: turned by EXIF, on white, in a mode that can be resized.

    `image` may be smaller than the original, whose `width` and `height` in pixels are those of the upright file.
    """

    image: Image.Image
    width: int
    height: int
    format: str
    taken_at: str | None


@contextmanager
def named_errors() -> Iterator[None]:
    """Turn whatever a decoder raises for one file into a PictureError with a reason code."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of what is checked here
            yield
    except PictureError:
        raise
    except Exception as error:
        raise _named(error) from error


def open_upright(
    data: bytes,
    *,
    at_least: Callable[[tuple[int, int]], tuple[int, int] | None] = lambda size: None,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> Upright:
    """Decode frame 0 of a picture, upright; inside `named_errors()`.

    Parameters
    ----------
    data : bytes
        The whole file.
    at_least : callable
        Given the upright (width, height), returns the smallest size at which libjpeg may decode, or None for
        the full one.
    max_megapixels : float
        What would be decoded to more pixels is refused before its pixels are loaded.
    """
    image = open_lazily(data, max_megapixels)
    format_, (width, height) = image.format or "", image.size
    is_jpeg = image.format in ("JPEG", "MPO")
    if not is_jpeg:
        # Before EXIF is asked for: a PNG loads its pixels for that, and a second load hides what is broken.
        image.load()
    orientation, taken_at = _exif(image)
    if orientation >= 5:
        width, height = height, width
    if is_jpeg:
        smallest = at_least((width, height))
        lying = smallest[::-1] if smallest is not None and orientation >= 5 else smallest
        scale_jpeg(image, data, lying, max_megapixels)
        image.load()
    if orientation > 1:
        image = _turned(image, orientation)
    return Upright(plain(image), width, height, "JPEG" if format_ == "MPO" else format_, taken_at)


def _exif(image: Image.Image) -> tuple[int, str | None]:
    """Return orientation 1-8 and the time taken; garbage means no turn and no time."""
    try:
        exif = image.getexif()
        orientation = exif.get(_EXIF_ORIENTATION, 1)
        original = exif.get_ifd(_EXIF_IFD).get(_EXIF_DATE_ORIGINAL) or exif.get(_EXIF_DATE)
    except Exception:  # noqa: BLE001 - a damaged EXIF block must not cost the picture
        return 1, None
    is_known = isinstance(orientation, int) and 1 <= orientation <= 8
    return orientation if is_known else 1, _taken_at(original)


def _taken_at(value: object) -> str | None:
    from datetime import datetime

    match = _DATE.match(value) if isinstance(value, str) else None
    if match is None:
        return None
    try:
        return datetime(*map(int, match.groups())).isoformat()  # type: ignore[arg-type]
    except ValueError:  # such as 0000:00:00 00:00:00
        return None


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT, 3: Transpose.ROTATE_180, 4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE, 6: Transpose.ROTATE_270, 7: Transpose.TRANSVERSE, 8: Transpose.ROTATE_90,
    }  # fmt: skip
    return image.transpose(turns[orientation])


def _named(error: BaseException) -> PictureError:
    """Return the reason code for what a decoder raised."""
    text = str(error) or type(error).__name__
    rules: tuple[tuple[str, Callable[[], bool]], ...] = (
        ("out_of_memory", lambda: is_out_of_memory(error)),
        ("too_large", lambda: "DecompressionBomb" in type(error).__name__),
        ("truncated", lambda: "truncated" in text.lower() or "unexpected end" in text.lower()),
    )  # fmt: skip
    code = next((code for code, holds in rules if holds()), "corrupt")
    said = {
        "out_of_memory": "decoding this picture needs more memory than is allowed",
        "too_large": "decoding this picture needs more memory than is allowed",
        "truncated": "the file ends before the picture does",
        "corrupt": "the picture data is damaged",
    }[code]
    return PictureError(code, f"{said} ({text[:200]})")
