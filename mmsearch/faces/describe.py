"""DESCRIBE: upright pixels and where faces are in, their vectors and how well each can be seen out.

A residual network of 29 layers that was taught to bring faces of one person nearer to each other than a margin, and
those of others farther apart (D. King, High quality face recognition with deep metric learning, 2017; after K. He,
Deep residual learning for image recognition, CVPR 2016). Vectors are compared by Euclidean distance, as it was
taught. The eyes and the nose bring each face to lie the same way before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmsearch.faces.detect import detect_faces
from mmsearch.faces.models import ALONE, DESCRIPTOR, LANDMARKS, model_file
from mmsearch.faces.packing import CHIP, DIM, quality
from mmsearch.records import Matrix, Pixels, RelativeBox

LEAST_SIDE = 16
_PADDING = 0.25  # the share round the face that the network was taught with
_SOFT = 0.01  # of the contrast: faces of 18, 43 and 86 pixels have a sharpness of about 0.2, 0.5 and 0.8
_TOGETHER = 8  # faces, which take no longer one by one, and more take memory
_AROUND = 0.75  # of the sides of a box, that is looked at on each side of it
_BOX = 100, 400  # pixels of its sides, to which smaller ones are enlarged and larger ones reduced


@dataclass(frozen=True)
class Face:
    """One face of a picture.

    Attributes
    ----------
    box : tuple of float
        Left, top, right and bottom in shares of the sides of the upright picture, from 0 to 1.
    vector : float32 array, shape (128,)
        Compared by Euclidean distance: mostly 0.3 to 0.5 to the same person, 0.6 to 0.8 to others.
    size : int
        Pixels of the original on the shorter side of the box, before it was cut at the border.
    sharpness, frontality : float
        From 0 to 1, higher is better: how much fine detail the face has for its contrast, and how little it is
        turned to a side.
    score : float
        Margin by which it was taken for a face, more is surer.
    """

    box: RelativeBox
    vector: Matrix
    size: int
    sharpness: float
    frontality: float
    score: float

    @property
    def quality(self) -> float:
        """How well the face can be seen, from 0 to 1: by it the best face of a person is chosen."""
        return float(quality(self.sharpness, self.frontality, self.size))


class FacesOfPicture(NamedTuple):
    """The faces of one picture, widest margin first, and how many more are too small to tell whose they are."""

    faces: tuple[Face, ...]
    n_too_small: int


def find_faces(
    pixels: Pixels, *, original_size: tuple[int, int] | None = None, n_pixels: int | None = None
) -> FacesOfPicture:
    """Return the faces in a picture, described.

    Parameters
    ----------
    pixels : uint8 array, shape (height, width, 3)
        Upright RGB, not smaller than its `frame_size` if the file has more. Not modified.
    original_size : (width, height), optional
        Of the upright original, if `pixels` are a reduced copy of it.
    n_pixels : int, optional
        As for `detect_faces`.

    Raises
    ------
    ModelNotFoundError, EncoderError
        If dlib or the networks are not installed, or are others.
    ValueError
        If `pixels` have another shape or type.

    Notes
    -----
    The same for the same pixels. A face takes about 0.13 s. Of several threads one works at a time.
    """
    width, height = original_size or (pixels.shape[1], pixels.shape[0])
    detections, n_too_small = [], 0
    for detection in detect_faces(pixels, n_pixels=n_pixels):
        if _size(detection.box, width, height) < LEAST_SIDE:
            n_too_small += 1
        else:
            detections.append(detection)
    views = [_view(pixels, detection.box) for detection in detections]
    faces = [
        Face(
            _inside(detection.box),
            vector,
            _size(detection.box, width, height),
            _sharpness(view.chip),
            view.frontality,
            detection.score,
        )
        for detection, view, vector in zip(
            detections, views, face_vectors([view.chip for view in views]), strict=True
        )
    ]
    return FacesOfPicture(tuple(faces), n_too_small)


def face_vectors(chips: Sequence[Pixels]) -> Matrix:
    """Return vectors float32 (n, 128) of faces uint8 (150, 150, 3) that lie as the network was taught."""
    vectors = np.zeros((len(chips), DIM), np.float32)
    for start in range(0, len(chips), _TOGETHER):
        part = slice(start, start + _TOGETHER)
        with ALONE:
            vectors[part] = _networks()[1].compute_face_descriptor(list(chips[part]))
    return vectors


class _View(NamedTuple):
    chip: Pixels
    frontality: float


def _view(pixels: Pixels, box: RelativeBox) -> _View:
    """Return a face brought to lie as the network was taught, from the pixels round it."""
    import dlib

    limits = pixels.shape[1], pixels.shape[0]
    corners = np.array(box).reshape(2, 2) * limits
    sides = corners[1] - corners[0]
    low = np.floor(corners[0] - _AROUND * sides).astype(int)
    high = np.ceil(corners[1] + _AROUND * sides).astype(int)
    first, last = low.clip(0, limits), high.clip(0, limits)
    part = Image.fromarray(pixels[first[1] : last[1], first[0] : last[0]])
    ratio = float(np.clip(min(sides), *_BOX) / min(sides))
    size = np.maximum(1, np.rint((last - first) * ratio)).astype(int).tolist()
    resized = np.asarray(part.resize(size, Image.Resampling.BICUBIC, reducing_gap=2))
    before, after = (np.rint(missing * ratio).astype(int).tolist() for missing in (first - low, high - last))
    # What lies outside is black for dlib: an edge that no face has.
    padded = np.pad(resized, ((before[1], after[1]), (before[0], after[0]), (0, 0)), "edge")
    rectangle = dlib.rectangle(*np.rint((corners - first) * ratio + before).astype(int).ravel().tolist())
    with ALONE:
        shape = _networks()[0](padded, rectangle)
    chip = dlib.get_face_chip(padded, shape, size=CHIP, padding=_PADDING)
    return _View(chip, _frontality(np.array([(point.x, point.y) for point in shape.parts()], dtype=np.float64)))


def _frontality(landmarks: NDArray[np.float64]) -> float:
    """Return how little a face is turned, by where its nose is between the eyes, each of which has two corners.

    >>> eyes_and_nose = [[9.0, 0.0], [7.0, 0.0], [1.0, 0.0], [3.0, 0.0], [5.0, 4.0]]
    >>> _frontality(np.array(eyes_and_nose)), _frontality(np.array([*eyes_and_nose[:4], [8.0, 4.0]]))
    (1.0, 0.0)
    """
    right, left, nose = landmarks[:2].mean(axis=0), landmarks[2:4].mean(axis=0), landmarks[4]
    line = right - left
    length = float(line @ line)
    offset = abs(float((nose - (right + left) / 2) @ line)) / length if length else 1.0
    return max(0.0, 1.0 - 2.0 * offset)


def _sharpness(chip: Pixels) -> float:
    """Return the energy of the Laplacian beside that of the light, as a share of 1.

    J. Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy, 2000.
    """
    grey = chip.mean(axis=2)
    laplacian = 4 * grey[1:-1, 1:-1] - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]
    contrast, detail = float(grey.var()), float(laplacian.var())
    return detail / (detail + _SOFT * contrast) if contrast else 0.0


def _size(box: RelativeBox, width: int, height: int) -> int:
    return round(min((box[2] - box[0]) * width, (box[3] - box[1]) * height))


def _inside(box: RelativeBox) -> RelativeBox:
    left, top, right, bottom = (min(1.0, max(0.0, side)) for side in box)
    return left, top, right, bottom


@cache
def _networks() -> tuple[Any, Any]:
    """Return what finds the landmarks and what describes; a process reads them once, in 0.2 s."""
    import dlib

    landmarks, descriptor = (str(model_file(name)) for name in (LANDMARKS, DESCRIPTOR))
    return dlib.shape_predictor(landmarks), dlib.face_recognition_model_v1(descriptor)
