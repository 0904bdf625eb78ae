"""Spatial verification: whether the matching features of two pictures lie as one plane seen twice has them.

Matches enter, made one-to-one; a homography and its inliers leave, or why there is none. MAGSAC++: D. Barath et
al., CVPR 2020, as OpenCV has it; that features must also be turned and magnified as the plane is: H. Jegou,
M. Douze and C. Schmid, Hamming embedding and weak geometric consistency, ECCV 2008.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mmsearch.records import LocalFeatures, LocalMatches, Verification

THRESHOLD_PX = 5.0  # of a frame whose longer side is 640 px
MAX_TURN = 30.0  # degrees between the angle of a feature and what the homography makes of its partner's
MAX_OCTAVES = 0.6  # likewise between the scales: a factor of 1.5
MIN_INLIERS = 6
MIN_SHARE = 0.2  # of the one-to-one matches
# Chosen on covers 001-050 of SMVS and on crops that are not among the reported ones.
_MAX_ITERATIONS = 2000
_CONFIDENCE = 0.999
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


def verify(query: LocalFeatures, matches: LocalMatches) -> Verification:
    """Fit a homography to the matches of a query and a picture, and judge it.

    Parameters
    ----------
    query : LocalFeatures
        Of the query picture. Not modified.
    matches : LocalMatches
        Of the query's features, also many-to-many.

    Returns
    -------
    Verification
        Accepted if at least 6 one-to-one matches and a fifth of them follow a homography: within 5 px, turned by no
        more than 30 degrees and magnified by no more than 1.5 from how it turns and magnifies at their place. The
        same for the same matches.
    """
    import cv2

    rows = one_to_one(matches)
    if len(rows) < MIN_INLIERS:
        return Verification(_NOTHING, None, False, f"{len(rows)} one-to-one matches, at least {MIN_INLIERS} needed")
    there, here = matches.positions[rows], query.positions[matches.query_features[rows]]
    found, mask = cv2.findHomography(here, there, cv2.USAC_MAGSAC, THRESHOLD_PX, None, _MAX_ITERATIONS, _CONFIDENCE)
    if found is None or not np.isfinite(found).all():
        return Verification(_NOTHING, None, False, "no homography fits the matches")
    homography = np.asarray(found, dtype=np.float64)
    near = rows[np.asarray(mask).ravel() > 0]
    kept = near[turn_and_zoom_alike(homography, query, matches, near)]
    inliers = np.column_stack([matches.query_features[kept], matches.features[kept]])
    reason = too_few(len(kept), len(rows))
    return Verification(inliers, homography, not reason, reason)


def too_few(n_inliers: int, n_matches: int) -> str:
    """Return why the inliers prove nothing, or an empty text."""
    needed = max(MIN_INLIERS, int(np.ceil(MIN_SHARE * n_matches)))
    return f"{n_inliers} inliers of {n_matches} matches, at least {needed} needed" if n_inliers < needed else ""


def turn_and_zoom_alike(
    homography: NDArray[np.float64], query: LocalFeatures, matches: LocalMatches, rows: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return which of some rows (n,) of matches have the angles and scales that a homography gives them.

    Where it mirrors, or lies behind the camera, none has.
    """
    features = matches.query_features[rows]
    raised = np.column_stack([query.positions[features], np.ones(len(rows))]) @ homography.T
    depth = raised[:, 2]
    # Derivative of the mapping: d(x/w) = (dx - (x/w) dw) / w. Overflow at the horizon is not alike either.
    with np.errstate(all="ignore"):
        places = raised[:, :2] / depth[:, None]
        slopes = (homography[None, :2, :2] - places[:, :, None] * homography[None, 2:, :2]) / depth[:, None, None]
        zooms = np.sqrt(np.linalg.det(slopes))  # NaN where mirrored
        octaves = np.log2(zooms * query.scales[features] / matches.scales[rows])
        own = np.radians(query.angles[features])
        turned = np.einsum("nij,jn->in", slopes, np.stack([np.cos(own), np.sin(own)]))
        turns = np.degrees(np.arctan2(turned[1], turned[0])) - matches.angles[rows]
        apart = np.abs((turns + 180) % 360 - 180)
        is_before = depth * np.median(depth) > 0 if len(rows) else depth > 0
        alike: NDArray[np.bool_] = is_before & (np.abs(octaves) <= MAX_OCTAVES) & (apart <= MAX_TURN)
    return alike
