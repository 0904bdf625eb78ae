"""RootSIFT: the strongest scale-space corners of a picture, described by gradient histograms.

D. Lowe, Distinctive image features from scale-invariant keypoints, IJCV 2004; the square root of the
L1-normalised histogram by R. Arandjelovic and A. Zisserman, Three things everyone should know, CVPR 2012.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from mmsearch.local.base import LocalExtractor
from mmsearch.records import LocalFeatures, Matrix, Pixels

DIM = 128
LONGER_SIDE = 640
MAX_FEATURES = 500


def extract_rootsift(pixels: Pixels, *, original_size: tuple[int, int] | None = None) -> LocalFeatures:
    """Return at most 500 RootSIFT features of a picture, looked at with a longer side of at most 640 px.

    Parameters
    ----------
    pixels : uint8 array, shape (height, width, 3) or (height, width)
        Upright RGB or grey. Not modified; reduced if larger, never enlarged.
    original_size : (width, height), optional
        Of the upright original, if `pixels` are a reduced copy of it.

    Returns
    -------
    LocalFeatures
        Strongest first; descriptors (n, 128) are non-negative with unit L2 length. Empty if the picture has no
        corners. The same for the same pixels.

    Raises
    ------
    ValueError
        If `pixels` have another shape or type.

    Notes
    -----
    OpenCV's thread count belongs to the whole process; it is set to one for the length of a call, because
    pictures are spread over worker processes. Calls from several threads give the same features, but may
    leave it at one.
    """
    import cv2

    if pixels.dtype != np.uint8 or pixels.shape[2:] not in ((), (3,)) or not pixels.size:
        raise ValueError(
            f"pixels are {pixels.dtype} {pixels.shape}, expected uint8 (height, width, 3) or (height, width)"
        )
    with _one_thread(cv2):
        frame = _frame(cv2, np.ascontiguousarray(pixels))
        sift = cv2.SIFT.create(nfeatures=MAX_FEATURES, enable_precise_upscale=True)
        keypoints, histograms = sift.detectAndCompute(frame, None)
    size = (frame.shape[1], frame.shape[0])
    own_size = original_size or (pixels.shape[1], pixels.shape[0])
    if not keypoints:
        none = np.zeros(0, np.float32)
        return LocalFeatures(
            np.zeros((0, 2), np.float32), none, none, np.zeros((0, DIM), np.float32), size, own_size
        )
    # OpenCV keeps ties with the weakest, and leaves the order open.
    rows = [(-key.response, key.pt[0], key.pt[1], key.size, key.angle) for key in keypoints]
    keys = np.array(rows, dtype=np.float32)
    keys[:, 4] %= 360
    order = np.lexsort(keys.T[::-1])[:MAX_FEATURES]
    keys = keys[order]
    return LocalFeatures(
        keys[:, 1:3].copy(),
        keys[:, 3].copy(),
        keys[:, 4].copy(),
        root(np.asarray(histograms, dtype=np.float32)[order]),
        size,
        own_size,
    )


def root(histograms: Matrix) -> Matrix:
    """Return the square root of L1-normalised histograms (n, dim) >= 0: inner products become Hellinger kernels."""
    sums = histograms.sum(axis=1, keepdims=True)
    rooted: Matrix = np.sqrt(histograms / np.where(sums > 0, sums, 1))
    return rooted


@contextmanager
def _one_thread(cv2: Any) -> Iterator[None]:
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _frame(cv2: Any, pixels: Pixels) -> Pixels:
    """Return grey pixels whose longer side is at most LONGER_SIDE."""
    grey: Pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) if pixels.ndim == 3 else pixels
    size = (grey.shape[1], grey.shape[0])
    frame = ROOTSIFT.frame(size)
    return grey if frame == size else cv2.resize(grey, frame, interpolation=cv2.INTER_AREA)


ROOTSIFT = LocalExtractor(
    name=f"rootsift-{LONGER_SIDE}-{MAX_FEATURES}-1",  # the last number changes with anything that changes features
    dim=DIM,
    longer_side=LONGER_SIDE,
    extract=extract_rootsift,
)
