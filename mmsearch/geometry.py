"""Spatial verification: whether the matching features of two pictures lie as one plane seen twice has them.

Matches enter, made one-to-one; a homography and its inliers leave, or why there is none. MAGSAC++: D. Barath et
al., CVPR 2020, as OpenCV has it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mmsearch.records import LocalMatches, Matrix, Verification

THRESHOLD_PX = 5.0  # of a frame whose longer side is 640 px
MIN_INLIERS = 10
MIN_SHARE = 0.15  # of the one-to-one matches
_MAX_ITERATIONS = 2000
_CONFIDENCE = 0.999
_MAX_STRETCH = 10.0  # between the directions of the most and the least magnification
_MAX_ZOOM = 10.0  # in length, in the middle and at every corner
_NOTHING = np.zeros((0, 2), dtype=np.int64)


def one_to_one(matches: LocalMatches) -> NDArray[np.int64]:
    """Return rows of matches in which no feature of either picture is twice, those of small distance first.

    Of equal distances the first match wins. Without this one feature that matches everything makes a
    homography that maps a whole picture to a point.
    """
    query_features, features = set[int](), set[int]()
    rows = []
    for row in np.argsort(matches.distances, kind="stable"):
        query_feature, feature = int(matches.query_features[row]), int(matches.features[row])
        if query_feature not in query_features and feature not in features:
            query_features.add(query_feature)
            features.add(feature)
            rows.append(row)
    return np.array(rows, dtype=np.int64)


def verify(query_positions: Matrix, matches: LocalMatches) -> Verification:
    """Fit a homography to the matches of a query and a picture, and judge it.

    Parameters
    ----------
    query_positions : float32 array, shape (n_query_features, 2)
        x, y in pixels of the query's frame. Not modified.
    matches : LocalMatches
        Of the query's features, also many-to-many.

    Returns
    -------
    Verification
        Accepted if at least 10 one-to-one matches and 15 % of them follow a homography within 5 px that, where
        they lie, does not mirror, keeps a convex quadrilateral and magnifies within bounds. The same for the same
        matches.
    """
    import cv2

    rows = one_to_one(matches)
    if len(rows) < MIN_INLIERS:
        return Verification(_NOTHING, None, False, f"{len(rows)} one-to-one matches, at least {MIN_INLIERS} needed")
    there, here = matches.positions[rows], query_positions[matches.query_features[rows]]
    found, mask = cv2.findHomography(here, there, cv2.USAC_MAGSAC, THRESHOLD_PX, None, _MAX_ITERATIONS, _CONFIDENCE)
    if found is None or not np.isfinite(found).all():
        return Verification(_NOTHING, None, False, "no homography fits the matches")
    homography = np.asarray(found, dtype=np.float64)
    kept = rows[np.asarray(mask).ravel() > 0]
    inliers = np.column_stack([matches.query_features[kept], matches.features[kept]])
    reason = too_few(len(kept), len(rows)) or degenerate(homography, query_positions[inliers[:, 0]])
    return Verification(inliers, homography, not reason, reason)


def too_few(n_inliers: int, n_matches: int) -> str:
    """Return why the inliers prove nothing, or an empty text."""
    needed = max(MIN_INLIERS, int(np.ceil(MIN_SHARE * n_matches)))
    return f"{n_inliers} inliers of {n_matches} matches, at least {needed} needed" if n_inliers < needed else ""


def degenerate(homography: NDArray[np.float64], places: Matrix) -> str:
    """Return why no camera sees a flat thing so that has places (n, 2) in the query, or an empty text.

    Checked in the middle and at the corners of the box around the places, as what lies beside the thing is not on
    its plane: all in front of the camera, none mirrored, and the magnification within 1/10 to 10 in every
    direction, its directions within a factor of 10 of each other.
    """
    (left, top), (right, bottom) = places.min(axis=0), places.max(axis=0)
    middle = [(left + right) / 2, (top + bottom) / 2]
    box = np.array([[left, top], [right, top], [right, bottom], [left, bottom], middle], dtype=np.float64)
    mapped = np.column_stack([box, np.ones(5)]) @ homography.T
    depth = mapped[:, 2]
    if not (np.all(depth > 0) or np.all(depth < 0)):
        return "the homography takes a part of the query through infinity"
    seen = mapped[:, :2] / depth[:, None]
    # Derivative of the mapping: d(x/w) = (dx - (x/w) dw) / w.
    slopes = (homography[None, :2, :2] - seen[:, :, None] * homography[None, 2:, :2]) / depth[:, None, None]
    if np.any(np.linalg.det(slopes) <= 0):
        return "the homography mirrors the query"
    zooms = np.linalg.svd(slopes, compute_uv=False)
    if zooms.max() > _MAX_ZOOM or zooms.min() < 1 / _MAX_ZOOM:
        return f"the homography magnifies {zooms.min():.2g} to {zooms.max():.2g} times"
    stretch = float((zooms[:, 0] / zooms[:, 1]).max())
    return f"the homography stretches the query {stretch:.2g} times" if stretch > _MAX_STRETCH else ""
