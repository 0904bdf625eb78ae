"""DETECT: upright pixels in, the boxes of faces out.

Histograms of oriented gradients and five linear filters: from the front, turned to either side, tilted to either
side (N. Dalal and B. Triggs, Histograms of oriented gradients for human detection, 2005; P. Felzenszwalb et al.,
Object detection with discriminatively trained part based models, 2010; D. King, Max-margin object detection, 2015).
A face is found from 80 pixels of the frame on. The network for detection that lies beside the others takes 2.2 s
for a frame, 70 times as long, so it is no second try where nothing is found.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import sqrt
from typing import Any

import numpy as np
from PIL import Image

from mmsearch.faces.models import ALONE, require_faces
from mmsearch.records import Pixels, RelativeBox

LEAST_PIXELS, MOST_PIXELS = 200_000, 1_050_000
"""Of a frame, at least and at most, which take 24 ms and 110 ms."""
_SHARE = 0.2  # of the pixels of a picture, in between
_ENLARGEMENT = 5.0  # at most
_BORDER = 0.15  # of each side, at most
# Of 200 faces of the ORL set, in pictures of 23 x 28 pixels, 70, 96 and 96 % are found enlarged 3, 4 and 5 times,
# and with a border 75, 100 and 99 %.
_THRESHOLD = 0.0  # in 800 photographs of Flickr8k and ImageNet, 2 things and a dog pass beside 54 faces
_LEAST_SIDE = 64  # of a frame; in less no face is looked for


@dataclass(frozen=True)
class Detection:
    """One face: its box in shares of the sides of the picture, past these where it is cut off, and its margin."""

    box: RelativeBox
    score: float


def frame_size(size: tuple[int, int], n_pixels: int | None = None) -> tuple[int, int]:
    """Return the (width, height) at which faces are looked for in a picture of this (width, height).

    >>> frame_size((1155, 866)), frame_size((4000, 3000)), frame_size((92, 112))
    ((517, 387), (1183, 887), (405, 493))
    """
    width, height = size
    n_wanted = n_pixels or min(max(LEAST_PIXELS, _SHARE * width * height), MOST_PIXELS)
    ratio = min(_ENLARGEMENT, sqrt(n_wanted / (width * height)))
    return max(1, round(width * ratio)), max(1, round(height * ratio))


def detect_faces(pixels: Pixels, *, n_pixels: int | None = None) -> list[Detection]:
    """Return the faces in a picture, those with the widest margin first.

    Parameters
    ----------
    pixels : uint8 array, shape (height, width, 3)
        Upright RGB, not smaller than its `frame_size` if the file has more. Not modified.
    n_pixels : int, optional
        Of the frame, in place of what suits most pictures: with 4 times as many, which take 4 times as long, faces
        of half the size are found.

    Raises
    ------
    ModelNotFoundError
        If dlib is not installed.
    ValueError
        If `pixels` have another shape or type.
    """
    require_faces()
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise ValueError(f"pixels are {pixels.dtype} {pixels.shape}, expected uint8 (height, width, 3)")
    width, height = frame_size((pixels.shape[1], pixels.shape[0]), n_pixels)
    if min(width, height) < _LEAST_SIDE:
        return []
    image = Image.fromarray(pixels).convert("L")
    frame = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=1))
    border = _border(width * height)
    down, right = round(border * height), round(border * width)
    framed = np.pad(frame, ((down, down), (right, right)), "edge")
    with ALONE:
        rectangles, scores, _ = _detector().run(framed, 0, _THRESHOLD)
    detections = [
        Detection(
            (
                (rectangle.left() - right) / width,
                (rectangle.top() - down) / height,
                (rectangle.right() + 1 - right) / width,
                (rectangle.bottom() + 1 - down) / height,
            ),
            score,
        )
        for rectangle, score in zip(rectangles, scores, strict=True)
    ]
    return sorted(detections, key=lambda detection: (-detection.score, detection.box))


def _border(n_pixels: int) -> float:
    """Return the share of the sides by which a small frame is continued, so that a cut face has surroundings."""
    return min(_BORDER, max(0.0, (sqrt(LEAST_PIXELS / n_pixels) - 1) / 2))


@cache
def _detector() -> Any:
    import dlib

    return dlib.get_frontal_face_detector()
