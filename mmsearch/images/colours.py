"""Colours as a colour profile (ICC) means them, brought to sRGB by LittleCMS: what towers learnt and pages show."""

from __future__ import annotations

import io
import struct
from functools import cache, lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image
    from PIL.ImageCms import ImageCmsTransform

_MAX_PROFILE_BYTES = 4 << 20  # those of printing presses have up to 3 MB
_UNSEEN = 2  # of 255: as far as the sRGB of one maker is from that of another


def in_srgb(image: Image.Image, profile: bytes | None, *, longer_side: int | None = None) -> Image.Image:
    """Return a picture with the colours that its profile gives it, in RGB, or as it is if that changes nothing.

    Nothing is changed for a profile that is as good as sRGB, is damaged, belongs to another kind of colours than
    the picture has (RGB for a grey one) or has more than 4 MB, nor where Pillow was built without LittleCMS,
    which its wheels have.

    A picture at least twice as large as a `longer_side` that is enough is reduced first: LittleCMS takes 20 ms for
    a megapixel.

    Relative colorimetric with black point compensation: colours that sRGB has stay what they are, white is
    white and black is black. For profiles of screens and cameras all intents are the same.
    """
    if profile is None or len(profile) > _MAX_PROFILE_BYTES:
        return image
    image = image.convert("RGB") if image.mode == "YCbCr" else image
    transform = _transform(profile, image.mode)
    if transform is None:
        return image
    by = max(image.size) // longer_side if longer_side else 1
    return _applied(transform, image.reduce(by) if by > 1 else image)


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCmsTransform | None:
    """Return what brings samples of a mode to sRGB, or None if nothing is to be done or can be."""
    from PIL import ImageCms, features

    if not features.check("littlecms2"):
        return None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        intent, flags = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
        srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        transform = ImageCms.ImageCmsTransform(source, srgb, mode, "RGB", intent, flags=flags)
    except (OSError, ValueError, TypeError):  # damaged, or not made for such samples
        return None
    return None if mode != "CMYK" and _changes_nothing(transform, mode) else transform


def _changes_nothing(transform: ImageCmsTransform, mode: str) -> bool:
    """Return whether sample colours stay as they are; a profile's name proves nothing."""
    from PIL import Image

    levels = np.arange(0, 256, 15 if mode == "RGB" else 1, dtype=np.uint8)
    colours = np.stack(np.meshgrid(*[levels] * len(mode)), axis=-1).reshape(len(levels), -1, len(mode)).squeeze()
    image = Image.fromarray(np.atleast_2d(colours))
    pictures = image.convert("RGB"), _applied(transform, image)
    before, after = (np.asarray(picture, dtype=np.int16) for picture in pictures)
    return bool(np.abs(before - after).max() <= _UNSEEN)


def _applied(transform: ImageCmsTransform, image: Image.Image) -> Image.Image:
    converted = transform.apply(image)
    del converted.info["icc_profile"]  # what is saved as sRGB needs none
    return converted


@cache
def adobe_rgb() -> bytes:
    """Return a profile of Adobe RGB (1998), which cameras name in EXIF instead of writing it into every picture."""
    curve = struct.pack(">4s4xIH2x", b"curv", 1, round(2.19921875 * 256))
    primaries = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))  # by D50
    white = (0.9642, 1.0, 0.8249)
    points = [struct.pack(">4s4x3i", b"XYZ ", *(round(x * 65_536) for x in point)) for point in (*primaries, white)]
    tags = dict(zip((b"rXYZ", b"gXYZ", b"bXYZ", b"wtpt"), points, strict=True))
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    entries, body, start = b"", b"", 132 + 12 * len(tags)
    for name, content in tags.items():
        entries += struct.pack(">4sII", name, start + len(body), len(content))
        body += content
    head = struct.pack(">I4xI4s4s4s12x4s28x3i", start + len(body), 0x02100000, b"mntr", b"RGB ", b"XYZ ", b"acsp",
                       *(round(x * 65_536) for x in white)).ljust(128, b"\0")  # fmt: skip
    return head + struct.pack(">I", len(tags)) + entries + body
