"""Bytes in, upright RGB pixels at the tower's size out; or a `PictureError` with a reason code."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from mmsearch.images.fit import fit, resized
from mmsearch.images.luminances import luminances
from mmsearch.images.upright import Upright, named_errors, open_upright
from mmsearch.images.windows import CORNERS, PART_WINDOWS, in_pixels, smallest_share
from mmsearch.records import LEAST_WINDOWED, MAX_MEGAPIXELS, Picture, Pixels, Preprocessing, RelativeBox

if TYPE_CHECKING:
    from PIL import Image

Size: TypeAlias = tuple[int, int]
CopySize: TypeAlias = Callable[[Size], Size]
"""Given the (width, height) of an upright picture, the least that a further copy has, if the picture does."""


def decode(
    data: bytes,
    preprocessing: Preprocessing,
    *,
    use_draft: bool = True,
    max_megapixels: float = MAX_MEGAPIXELS,
    luminance_side: int = 0,
    with_parts: bool = False,
    copy_size: CopySize | None = None,
) -> Picture:
    """Decode one picture for an image tower.

    Frame 0, turned by its EXIF orientation, hidden colours composited on white, deeper samples scaled to 8 bits,
    then resized, brought from the colours of its profile to sRGB, cut or padded as `preprocessing` says. Without
    draft the pixels of an sRGB picture equal those of open_clip's own transform. Of five views the whole is the
    first, and four windows in the corners follow; a picture of fewer than 10 pixels on a side (`LEAST_WINDOWED`) is
    seen whole in all.

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
        What would be decoded to more pixels is refused before, as are sides above 32,768 pixels. A JPEG may be
        larger, as far as it is decoded at a smaller scale.
    luminance_side : int
        So many cells of light a side are given besides, unless it is 0.
    with_parts : bool
        Give all windows of which parts are chosen behind the whole, whatever the number of views.
    copy_size : callable, optional
        Give a copy in the colours of sRGB besides, of this size at least, and mostly less than twice that.

    Returns
    -------
    Picture
        `pixels` uint8 of `preprocessing.shape`, or (1 + windows, height, width, 3) with parts.

    Raises
    ------
    PictureError
        `not_an_image`, `unsupported`, `truncated`, `corrupt`, `too_large`, `metadata_bomb` or `out_of_memory`.
    """

    def at_least(size: Size) -> Size | None:
        return _larger(_twice(size, preprocessing, windows), _of_copy(size, copy_size)) if use_draft else None

    windows = _windows(preprocessing, with_parts=with_parts)
    with named_errors():
        upright = open_upright(data, at_least=at_least, max_megapixels=max_megapixels)
        return _picture(upright, _fitted(upright, preprocessing, windows), luminance_side, copy_size)


def decode_for_both(
    data: bytes,
    preprocessing: Preprocessing,
    *,
    longer_side: int,
    max_megapixels: float = MAX_MEGAPIXELS,
    luminance_side: int = 0,
    with_parts: bool = False,
    copy_size: CopySize | None = None,
) -> tuple[Picture, Pixels]:
    """Decode one picture once, for an image tower and for local features.

    libjpeg decodes at the smallest scale that suits both, so the tower's pixels may differ a little from those of
    `decode`.

    Parameters
    ----------
    data, preprocessing, max_megapixels, luminance_side, with_parts, copy_size
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

    def at_least(size: Size) -> Size:
        both = _larger(_twice(size, preprocessing, windows), _at_longer_side(size, longer_side))
        return _larger(both, _of_copy(size, copy_size))

    windows = _windows(preprocessing, with_parts=with_parts)
    with named_errors():
        upright = open_upright(data, at_least=at_least, max_megapixels=max_megapixels)
        picture = _picture(upright, _fitted(upright, preprocessing, windows), luminance_side, copy_size)
        return picture, _grey(upright, longer_side)


def decode_grey(
    data: bytes, *, longer_side: int, max_megapixels: float = MAX_MEGAPIXELS, luminance_side: int = 0,
    copy_size: CopySize | None = None,
) -> Picture:  # fmt: skip
    """Decode one picture for local features, its light or a copy alone; see `decode_for_both`.

    Returns
    -------
    Picture
        `pixels` uint8 (height, width) grey, the longer side at least `longer_side` if the picture's is.
    """

    def at_least(size: Size) -> Size:
        return _larger(_at_longer_side(size, longer_side), _of_copy(size, copy_size))

    with named_errors():
        upright = open_upright(data, at_least=at_least, max_megapixels=max_megapixels)
        return _picture(upright, _grey(upright, longer_side), luminance_side, copy_size)


def _windows(preprocessing: Preprocessing, *, with_parts: bool) -> tuple[RelativeBox, ...]:
    """Return what is looked at beside the whole."""
    if with_parts:
        return PART_WINDOWS
    return () if preprocessing.views == 1 else CORNERS


def _twice(size: tuple[int, int], wanted: Preprocessing, windows: tuple[RelativeBox, ...]) -> tuple[int, int]:
    """Return the smallest size that is reduced to a tower's without harm, windows of it too."""
    share = smallest_share(windows)
    width, height = resized(size, wanted)
    return math.ceil(2 * width / share), math.ceil(2 * height / share)


def _at_longer_side(size: tuple[int, int], longer_side: int) -> tuple[int, int]:
    ratio = min(1.0, longer_side / max(size))
    return max(1, round(size[0] * ratio)), max(1, round(size[1] * ratio))


def _larger(size: Size, other: Size) -> Size:
    return max(size[0], other[0]), max(size[1], other[1])


def _of_copy(size: Size, copy_size: CopySize | None) -> Size:
    """Return the size of a copy, which is not above that of the picture; nothing where none is wanted."""
    if copy_size is None:
        return 0, 0
    width, height = copy_size(size)
    return min(width, size[0]), min(height, size[1])


def _picture(upright: Upright, pixels: Pixels, luminance_side: int, copy_size: CopySize | None) -> Picture:
    light = luminances(upright, luminance_side) if luminance_side else b""
    copy = None if copy_size is None else _copy(upright, copy_size)
    return Picture(
        pixels, upright.width, upright.height, upright.format, upright.taken_at, upright.exif, light, copy
    )


def _copy(upright: Upright, copy_size: CopySize) -> Pixels:
    """Return a copy in RGB that is as large as asked for, at least, and less than twice that."""
    width, height = _of_copy((upright.width, upright.height), copy_size)
    image = upright.image
    by = max(1, min(image.width // max(1, width), image.height // max(1, height)))
    return np.asarray(upright.in_srgb(image.reduce(by) if by > 1 else image).convert("RGB"), dtype=np.uint8)


def _fitted(upright: Upright, preprocessing: Preprocessing, windows: tuple[RelativeBox, ...]) -> Pixels:
    image = upright.image
    whole = _as_taken(image, upright, preprocessing)
    if not windows:
        return whole
    if min(upright.width, upright.height) < LEAST_WINDOWED:
        return np.stack([whole] * (1 + len(windows)))
    parts = [image.crop(in_pixels(window, image.size)) for window in windows]
    return np.stack([whole, *(_as_taken(part, upright, preprocessing) for part in parts)])


def _as_taken(image: Image.Image, upright: Upright, preprocessing: Preprocessing) -> Pixels:
    """Return the whole or a part of a picture as an image tower takes it: uint8 (height, width, 3)."""
    return np.asarray(fit(image, preprocessing, upright.in_srgb).convert("RGB"), dtype=np.uint8)


def _grey(upright: Upright, longer_side: int) -> Pixels:
    image = upright.in_srgb(upright.image, longer_side=2 * longer_side)  # the extractor reduces the rest with care
    coloured = image if image.mode in ("L", "RGB") else image.convert("RGB")
    return np.asarray(coloured.convert("L"), dtype=np.uint8)
