"""Bytes in, a picture as it is looked at out: turned by EXIF, on white, at full or at a smaller scale.

Whatever a decoder raises for one file becomes that file's error.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmsearch.errors import PictureError
from mmsearch.images.colours import adobe_rgb, in_srgb
from mmsearch.images.dates import date_taken
from mmsearch.images.depth import in_eight_bits
from mmsearch.images.formats import open_lazily, scale_jpeg
from mmsearch.images.modes import plain
from mmsearch.records import MAX_MEGAPIXELS
from mmsearch.system import is_out_of_memory

if TYPE_CHECKING:
    from PIL import Image

_ORIENTATION, _INTEROPERABILITY_IFD, _INTEROPERABILITY_INDEX = 0x0112, 0xA005, 1
_PHOTO_IFD, _COLOUR_SPACE, _SRGB = 0x8769, 0xA001, 1


@dataclass(frozen=True)
class Upright:
    """A picture as it is looked at: turned by EXIF, on white, in a mode that can be resized.

    `image` may be smaller than the original, whose `width` and `height` in pixels are those of the upright file.
    Its colours are those of the file: `in_srgb` is for the end, when a copy is as small as it gets.
    """

    image: Image.Image
    width: int
    height: int
    format: str
    taken_at: str | None
    profile: bytes | None
    exif: Image.Exif

    def in_srgb(self, copy: Image.Image, *, longer_side: int | None = None) -> Image.Image:
        """Return a copy or a part of the image in the colours that its profile means; see `colours.in_srgb`."""
        return in_srgb(copy, self.profile, longer_side=longer_side)


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
    image: Image.Image = open_lazily(data, max_megapixels)
    format_, (width, height) = image.format or "", image.size
    is_jpeg = image.format in ("JPEG", "MPO")
    if not is_jpeg:
        # Before EXIF is asked for: a PNG loads its pixels for that, and a second load hides what is broken.
        image.load()
    exif = exif_of(image)
    orientation, taken_at = _orientation(exif), date_taken(exif, image.info.get("xmp"))
    if orientation >= 5:
        width, height = height, width
    if is_jpeg:
        smallest = at_least((width, height))
        lying = smallest[::-1] if smallest is not None and orientation >= 5 else smallest
        scale_jpeg(image, data, lying, max_megapixels)
        image.load()
    profile = _profile(image, exif)
    image = in_eight_bits(image, data, lambda: open_lazily(data, max_megapixels))
    if orientation > 1:
        image = _turned(image, orientation)
    format_ = "JPEG" if format_ == "MPO" else format_
    return Upright(plain(image), width, height, format_, taken_at, profile, exif)


def exif_of(image: Image.Image) -> Image.Exif:
    """Return what EXIF says, which is nothing if it is garbage."""
    from PIL import Image as pillow

    try:
        return image.getexif()
    except Exception:  # noqa: BLE001 - a damaged EXIF block must not cost the picture
        return pillow.Exif()


def _orientation(exif: Image.Exif) -> int:
    """Return 1-8, or 1, no turn, for whatever else stands there."""
    try:
        orientation = exif.get(_ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - a damaged EXIF block must not cost the picture
        return 1
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


def _profile(image: Image.Image, exif: Image.Exif) -> bytes | None:
    """Take the colour profile from a picture, lest a copy keeps it; or that of Adobe RGB if EXIF names it.

    A camera writes it so: the interoperability index is R03, and the colour space not sRGB (DCF 2.0).
    """
    profile = image.info.pop("icc_profile", None)
    if isinstance(profile, bytes) and profile:
        return profile
    try:
        index = exif.get_ifd(_INTEROPERABILITY_IFD).get(_INTEROPERABILITY_INDEX)
        is_adobe = index == "R03" and exif.get_ifd(_PHOTO_IFD).get(_COLOUR_SPACE) != _SRGB
    except Exception:  # noqa: BLE001 - as above
        return None
    return adobe_rgb() if is_adobe else None


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
