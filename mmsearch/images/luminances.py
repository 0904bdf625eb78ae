"""An upright picture in, its light in a coarse square grid out: what all copies of a picture have in common.

Mean and contrast are taken off, so that a copy that was encoded anew, resized or re-toned has nearly the same grid,
and one that was turned or mirrored has it so. A picture in a plain frame has the grid of what is inside besides: a
copy without the frame, or in another, has that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmsearch.images.upright import Upright
from mmsearch.records import luminance_layout

if TYPE_CHECKING:
    from PIL import Image

LONGER_SIDE = 256
"""Of the small copy in which frames are looked for and that the cells are made of."""
_PLAIN = 12  # steps of 255 by which a plain frame may vary: in a JPEG of quality 30 by up to 10
_LEAST_CONTRAST = 2.0  # steps of 255, the standard deviation of the cells: below is one colour, and noise
_LEAST_LEFT = 3  # pixels of a side that a frame must leave


def luminances(upright: Upright, side: int) -> bytes:
    """Return the light of a picture in side x side cells, as `luminance_layout` has it; nothing for one colour.

    That of the whole comes first, and then that of what is inside of a frame, if there is one. Grids are square
    whatever the picture is.
    """
    small = _small(upright)
    colours = np.asarray(small, dtype=np.uint8)
    grey = np.asarray(small.convert("L"), dtype=np.uint8)
    whole = slice(0, grey.shape[0]), slice(0, grey.shape[1])
    inside = _inside(grey)
    parts = [whole] if inside == whole else [whole, inside]
    return b"".join(_packed(grey, colours, part, side) for part in parts)


def _packed(grey: NDArray[np.uint8], colours: NDArray[np.uint8], part: tuple[slice, slice], side: int) -> bytes:
    """Return the light of a part of a picture; nothing if it is of one colour."""
    from PIL import Image

    content = np.ascontiguousarray(grey[part]).astype(np.float32)
    shrunk = Image.fromarray(content).resize((side, side), Image.Resampling.BOX)
    cells = np.asarray(shrunk, dtype=np.float32) - content.mean()
    if cells.std() < _LEAST_CONTRAST:
        return b""
    packed = np.zeros((), luminance_layout(side))
    packed["grid"] = np.rint(cells * (127 / np.abs(cells).max()))
    (rows, columns), (height, width) = part, grey.shape
    shares = columns.start / width, rows.start / height, columns.stop / width, rows.stop / height
    packed["box"] = np.rint(np.multiply(shares, 65_535))
    colour = _colourfulness(colours[part]) if colours.ndim == 3 else 0.0
    packed["tone"] = np.rint((content.mean(), content.std(), colour))
    return packed.tobytes()


def _colourfulness(colours: NDArray[np.uint8]) -> float:
    """Return by how much the largest and the least of red, green and blue differ, on average."""
    red, green, blue = (colours[..., channel] for channel in range(3))
    most, least = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    return float((most - least).mean())  # 17 times as fast as `np.ptp` of so short an axis


def _small(upright: Upright) -> Image.Image:
    """Return a copy of a picture in RGB or grey, whose longer side has at most so many pixels as are looked at."""
    from PIL import Image

    image = upright.in_srgb(upright.image, longer_side=LONGER_SIDE)
    ratio = LONGER_SIDE / max(image.size)
    if ratio < 1:
        width, height = (max(1, round(length * ratio)) for length in image.size)
        image = image.resize((width, height), Image.Resampling.BOX)
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


def _inside(grey: NDArray[np.uint8]) -> tuple[slice, slice]:
    """Return the rows and columns inside of a plain frame, which may lie on two opposite sides alone."""
    values = grey.astype(np.int16)
    top, bottom = _plain_ends(values)
    left, right = _plain_ends(values[top:bottom].T)
    if top == 0:  # what lies left and right may go on above and below
        top, bottom = _plain_ends(values[:, left:right])
    return slice(top, bottom), slice(left, right)


def _plain_ends(rows: NDArray[np.int16]) -> tuple[int, int]:
    """Return where rows that are not of one colour, the same at both ends, begin and end.

    The next row, in which a frame may end, counts as one of it. There is none that would leave hardly anything.
    """
    n = len(rows)
    is_plain = np.abs(rows - np.median(rows[0])).max(axis=1) <= _PLAIN
    if is_plain.all():
        return 0, n
    first, last = int(np.argmin(is_plain)), int(np.argmin(is_plain[::-1]))
    is_frame = first and last and first + last + 2 + _LEAST_LEFT <= n
    return (first + 1, n - last - 1) if is_frame else (0, n)
