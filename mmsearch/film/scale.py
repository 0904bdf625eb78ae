"""SCALE: a decoded frame of a film becomes a picture as it is shown: upright, of square pixels, not too large."""

from __future__ import annotations

import struct
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.film import cuts

SIDE, LONGEST = 480, 4096
"""Pixels that the shorter and the longer side of a kept picture has at most."""
_HEAD_BYTES, _AT_SIZE = 54, 18  # of a BMP file, and where its width stands
_UNSPECIFIED, _HD_LINES = 2, 720  # colours of larger films that say nothing of them are those of HDTV
_MATRIX = struct.Struct("=9i")  # of FFmpeg: where a step across a frame leads to, and one down
_LEAST_ASPECT, _MOST_ASPECT = Fraction(1, 8), 8  # of a pixel; what is beyond that is a fault


class Scaler:
    """Scales the frames of one film; for one thread.

    Parameters
    ----------
    aspect : Fraction or None
        How wide a pixel is to its height, if the film says it.
    """

    def __init__(self, aspect: Fraction | None) -> None:
        from av.video.reformatter import VideoReformatter

        self._aspect = aspect if aspect is not None and _LEAST_ASPECT <= aspect <= _MOST_ASPECT else Fraction(1)
        # One for each size: a new one, or another size each time, takes as long as all the scaling.
        self._small, self._kept = VideoReformatter(), VideoReformatter()

    def shown_size(self, frame: Any) -> tuple[int, int]:
        """Return width and height of a frame as it is shown."""
        width, height = max(1, round(frame.width * self._aspect)), frame.height
        _, n_turns = _position(frame)
        return (height, width) if n_turns % 2 else (width, height)

    def small(self, frame: Any) -> NDArray[np.uint8]:
        """Return pixels (`cuts.HEIGHT`, `cuts.WIDTH`, 4), blue first, squeezed and as they are stored."""
        return _pixels(self._small, frame, (cuts.WIDTH, cuts.HEIGHT), "bgra", "FAST_BILINEAR")

    def picture(self, frame: Any) -> bytes:
        """Return the bytes of a BMP file of a frame as it is shown."""
        width, height = max(1, round(frame.width * self._aspect)), frame.height
        scale = min(1.0, SIDE / min(width, height), LONGEST / max(width, height))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        pixels = _pixels(self._kept, frame, size, "bgr24", "BILINEAR")
        is_mirrored, n_turns = _position(frame)
        return bmp(np.rot90(pixels[:, ::-1] if is_mirrored else pixels, n_turns))


def _position(frame: Any) -> tuple[bool, int]:
    """Return whether left and right of a frame must change places, and then by how many quarters it is turned.

    Counterclockwise. A front camera may write what it sees as in a mirror, and say so.
    """
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False, 0
    across, down = _MATRIX.unpack_from(matrix)[:2], _MATRIX.unpack_from(matrix)[3:5]
    is_mirrored = across[0] * down[1] < across[1] * down[0]
    rotation: float = frame.rotation  # of a mirrored frame that which makes it upright half a turn later
    return is_mirrored, round(rotation / 90 + 2 * is_mirrored) % 4


def _pixels(reformatter: Any, frame: Any, size: tuple[int, int], layout: str, how: str) -> NDArray[np.uint8]:
    colours = "ITU709" if frame.colorspace == _UNSPECIFIED and frame.height >= _HD_LINES else None
    scaled = reformatter.reformat(
        frame, width=size[0], height=size[1], format=layout, interpolation=how, src_colorspace=colours, threads=1
    )
    pixels: NDArray[np.uint8] = scaled.to_ndarray()
    return pixels


def bmp(pixels: NDArray[np.uint8]) -> bytes:
    """Return the bytes of a BMP file of pixels (height, width, 3), blue first."""
    height, width = pixels.shape[:2]
    rows = np.zeros((height, -(-3 * width // 4) * 4), np.uint8)
    rows[:, : 3 * width] = pixels[::-1].reshape(height, -1)
    file = struct.pack("<2sIII", b"BM", _HEAD_BYTES + rows.size, 0, _HEAD_BYTES)
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, rows.size, 0, 0, 0, 0)
    return file + info + rows.tobytes()


def bmp_size(data: bytes) -> tuple[int, int]:
    """Return width and height of the picture of a BMP file that `bmp` made."""
    width, height = struct.unpack_from("<ii", data, _AT_SIZE)
    return width, height
