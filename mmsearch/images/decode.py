"""Bytes in, upright RGB pixels at the tower's size out; or a `PictureError` with a reason code.

Only allow-listed formats reach a decoder, dimensions are checked before pixels are loaded, and whatever a
decoder raises for one file becomes that file's error.
"""

from __future__ import annotations

import io
import re
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.errors import PictureError
from mmsearch.images.fit import fit, resized
from mmsearch.images.kinds import HEAD_BYTES, check_kind
from mmsearch.records import Picture, Pixels, Preprocessing

if TYPE_CHECKING:
    from PIL import Image

MAX_SIDE = 32_768
_EXIF_ORIENTATION, _EXIF_DATE, _EXIF_IFD, _EXIF_DATE_ORIGINAL = 0x0112, 0x0132, 0x8769, 0x9003
_DATE = re.compile(r"(\d{4}):(\d\d):(\d\d)[ T](\d\d):(\d\d):(\d\d)")
_RESIZABLE = ("RGB", "L", "CMYK", "YCbCr")  # modes whose resize commutes with the conversion to RGB


def decode(
    data: bytes,
    preprocessing: Preprocessing,
    *,
    use_draft: bool = True,
    max_megapixels: float = 64.0,
) -> Picture:
    """Decode one picture for an image tower.

    Frame 0, turned by its EXIF orientation, hidden colours composited on white, 16- and 32-bit grey scaled
    to 8 bits, then resized, cut or padded as `preprocessing` says. Without draft the pixels equal those of
    open_clip's own transform.

    Parameters
    ----------
    data : bytes
        The whole file. Never modified.
    preprocessing : Preprocessing
        Size and manner of the result.
    use_draft : bool
        Let libjpeg decode at the smallest scale that is at least twice the target: 3x faster for large
        photographs, at a cosine of 0.999 between the embeddings.
    max_megapixels : float
        Larger pictures are refused before their pixels are loaded, as are sides above 32,768 pixels.

    Returns
    -------
    Picture
        `pixels` uint8 (height, width, 3) with `preprocessing.size`.

    Raises
    ------
    PictureError
        `not_an_image`, `truncated`, `corrupt`, `too_large` or `metadata_bomb`.
    """

    def at_least(size: tuple[int, int]) -> tuple[int, int] | None:
        return _twice(size, preprocessing) if use_draft else None

    with named_errors():
        upright = open_upright(data, at_least=at_least, max_megapixels=max_megapixels)
        return _picture(upright, _fitted(upright.image, preprocessing))


def decode_for_both(
    data: bytes, preprocessing: Preprocessing, *, longer_side: int, max_megapixels: float = 64.0
) -> tuple[Picture, Pixels]:
    """Decode one picture once, for an image tower and for local features.

    libjpeg decodes at the smallest scale that suits both, so the tower's pixels may differ a little from those of
    `decode`.

    Parameters
    ----------
    data, preprocessing, max_megapixels
        As for `decode`, with the same errors.
    longer_side : int
        At least so many pixels of the longer side are kept for local features, if the picture has them.

    Returns
    -------
    picture : Picture
        As from `decode`.
    grey : uint8 array, shape (height, width)
        Upright; reducing it further is left to the extractor.
    """

    def at_least(size: tuple[int, int]) -> tuple[int, int]:
        tower, local = _twice(size, preprocessing), _at_longer_side(size, longer_side)
        return max(tower[0], local[0]), max(tower[1], local[1])

    with named_errors():
        upright = open_upright(data, at_least=at_least, max_megapixels=max_megapixels)
        return _picture(upright, _fitted(upright.image, preprocessing)), _grey(upright.image)


def decode_grey(data: bytes, *, longer_side: int, max_megapixels: float = 64.0) -> Picture:
    """Decode one picture for local features alone; see `decode_for_both`.

    Returns
    -------
    Picture
        `pixels` uint8 (height, width) grey, the longer side at least `longer_side` if the picture's is.
    """

    def at_least(size: tuple[int, int]) -> tuple[int, int]:
        return _at_longer_side(size, longer_side)

    with named_errors():
        upright = open_upright(data, at_least=at_least, max_megapixels=max_megapixels)
        return _picture(upright, _grey(upright.image))


def _twice(size: tuple[int, int], wanted: Preprocessing) -> tuple[int, int]:
    """Return the smallest size that is reduced to a tower's without harm."""
    width, height = resized(size, wanted)
    return 2 * width, 2 * height


def _at_longer_side(size: tuple[int, int], longer_side: int) -> tuple[int, int]:
    ratio = min(1.0, longer_side / max(size))
    return max(1, round(size[0] * ratio)), max(1, round(size[1] * ratio))


def _picture(upright: Upright, pixels: Pixels) -> Picture:
    return Picture(pixels, upright.width, upright.height, upright.format, upright.taken_at)


def _fitted(image: Image.Image, preprocessing: Preprocessing) -> Pixels:
    return np.asarray(fit(image, preprocessing).convert("RGB"), dtype=np.uint8)


def _grey(image: Image.Image) -> Pixels:
    coloured = image if image.mode in ("L", "RGB") else image.convert("RGB")
    return np.asarray(coloured.convert("L"), dtype=np.uint8)


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
    max_megapixels: float = 64.0,
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
        Larger pictures are refused before their pixels are loaded.
    """
    image = _open(data, max_megapixels)
    _check_size(image.width, image.height, max_megapixels)
    format_, (width, height) = image.format or "", image.size
    if image.format not in ("JPEG", "MPO"):
        # Before EXIF is asked for: a PNG loads its pixels for that, and a second load hides what is broken.
        image.load()
    orientation, taken_at = _exif(image)
    if orientation >= 5:
        width, height = height, width
    smallest = at_least((width, height))
    if smallest is not None:  # other formats than JPEG know no draft and stay as they are
        image.draft(None, smallest if orientation < 5 else smallest[::-1])
    image.load()
    if orientation > 1:
        image = _turned(image, orientation)
    return Upright(_plain(image), width, height, "JPEG" if format_ == "MPO" else format_, taken_at)


def _open(data: bytes, max_megapixels: float) -> Image.Image:
    from PIL import Image, UnidentifiedImageError

    kind = check_kind(data[:HEAD_BYTES])
    formats: tuple[str, ...] = (kind,)
    if kind == "HEIC":
        from pillow_heif import register_heif_opener

        register_heif_opener()
        formats = ("HEIF",)
    try:
        return Image.open(io.BytesIO(data), formats=formats)
    except Image.DecompressionBombError as error:
        raise PictureError("too_large", f"{error}") from error
    except UnidentifiedImageError as error:
        size = _png_size(data)
        if size is not None:  # Pillow calls a size beyond 2**31 unidentified
            _check_size(*size, max_megapixels)
        raise PictureError("corrupt", "the header of this picture is damaged") from error


def _png_size(data: bytes) -> tuple[int, int] | None:
    if data.startswith(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR") and len(data) >= 24:
        width, height = struct.unpack(">II", data[16:24])
        intact = len(data) >= 33 and struct.unpack(">I", data[29:33])[0] == zlib.crc32(data[12:29])
        return (width, height) if intact else None
    return None


def _check_size(width: int, height: int, max_megapixels: float) -> None:
    if width > MAX_SIDE or height > MAX_SIDE:
        raise PictureError(
            "too_large", f"the picture is {width} x {height} pixels, a side may have {MAX_SIDE} at most"
        )
    if width * height > max_megapixels * 1e6:
        raise PictureError(
            "too_large",
            f"the picture has {width * height / 1e6:.0f} megapixels, the limit is {max_megapixels:g}",
        )
    if width < 1 or height < 1:
        raise PictureError("corrupt", f"the picture is {width} x {height} pixels")


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


def _plain(image: Image.Image) -> Image.Image:
    """Return the picture in a mode that can be resized: transparency on white, deep grey as 8 bits."""
    from PIL import Image

    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_eight_bits(np.asarray(image), is_16_bit="16" in image.mode))
    has_transparency = "transparency" in image.info or image.mode in ("LA", "RGBA", "PA", "La", "RGBa")
    if has_transparency:
        coloured = image.convert("RGBA")
        white = Image.new("RGBA", coloured.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, coloured).convert("RGB")
    return image if image.mode in _RESIZABLE else image.convert("RGB")


def _eight_bits(values: np.ndarray, *, is_16_bit: bool) -> np.ndarray:
    """Return grey uint8: 16-bit values by their upper byte, wider ones by their own range if they leave 0-255.

    Pillow opens 16-bit PNG as 32-bit integers, so non-negative integers up to 65,535 count as 16-bit.
    """
    if values.dtype.kind == "f":
        values = np.nan_to_num(values, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if is_16_bit or (values.dtype.kind in "iu" and 255 < high <= 65_535 and low >= 0):
        return (values.astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
    if values.dtype.kind == "f" and low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    elif low >= 0 and high <= 255:
        low, high = 0.0, 255.0
    scaled = (values.astype(np.float64) - low) * (255 / max(high - low, 1e-12))
    return scaled.round().astype(np.uint8)


def _named(error: BaseException) -> PictureError:
    """Return the reason code for what a decoder raised."""
    text = str(error) or type(error).__name__
    rules: tuple[tuple[str, Callable[[], bool]], ...] = (
        ("too_large", lambda: isinstance(error, MemoryError) or "DecompressionBomb" in type(error).__name__),
        ("metadata_bomb", lambda: "ecompressed data too large" in text or "Too many text" in text
         or "MAX_TEXT" in text or "too much memory" in text),
        ("truncated", lambda: "truncated" in text.lower() or "unexpected end" in text.lower()),
    )  # fmt: skip
    code = next((code for code, holds in rules if holds()), "corrupt")
    said = {
        "too_large": "decoding this picture needs more memory than is allowed",
        "metadata_bomb": "its text or colour profile unpacks to far more than a picture needs",
        "truncated": "the file ends before the picture does",
        "corrupt": "the picture data is damaged",
    }[code]
    return PictureError(code, f"{said} ({text[:200]})")
