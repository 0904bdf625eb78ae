"""Spatial verification: whether two pictures show one plane seen twice, or no more than a mark printed on both.

Matches enter, made one-to-one; a homography and its inliers leave, or why there is none. MAGSAC++: D. Barath et
al., CVPR 2020, as OpenCV has it; that features must also be turned and magnified as the plane is: H. Jegou,
M. Douze and C. Schmid, Hamming embedding and weak geometric consistency, ECCV 2008.

A caption, a date, a watermark or the frame of a screen agrees perfectly wherever it is copied, mostly at the same
place of every picture. It is told by what lies beside it: where a whole picture was copied, the rest agrees too.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmsearch.records import LocalFeatures, LocalMatches, Verification

THRESHOLD_PX = 5.0  # of a frame whose longer side is 640 px
MAX_TURN = 30.0  # degrees between the angle of a feature and what the homography makes of its partner's
MAX_OCTAVES = 0.6  # likewise between the scales: a factor of 1.5
COPIED_OCTAVES = 0.05  # median deviation of the ratios of scales: those of photographs of a thing vary more
STRETCHED_OCTAVES = (
    0.1  # median error of the scales where they were copied: bars of two widths, with letters of one
)
MIN_INLIERS = 6
MIN_SHARE = 0.2  # of the one-to-one matches
# Chosen on covers 001-050 of SMVS and on crops that are not among the reported ones.
SAME_PLACE_PX = 2.0  # features nearer than this on either picture, such as those of several angles, count once
MIN_SPREAD = 0.05  # of the area over which the example's features spread that the picture would show too
SPREAD_BESIDE = 0.3  # of that of all features beside a mark, for a scene there: pieces of a mark spread less
COPIED_PX = 1.0  # median distance from a copy's places: those of photographs of one thing lie farther
SAME_PLACE = 0.02  # of the longer side of a picture: how far a mark may lie from its place on another
MAX_ALONE = 0.3  # of the cells of what a copy would share that may lie far from all inliers, and by so much more
# as the inliers are a share of the features there. Chosen on covers 001-050, and on marks and copies of photographs
# of Flickr8k's training part.
_SMALLEST_PX = 2.0  # scale of the smallest features that are found
_CELL = 0.05  # of the longer side of what is shared
_REACH = (0.03, 0.12)  # of an inlier, likewise
_STEPS = 10
_MAX_ITERATIONS = 2000
_CONFIDENCE = 0.999
_NOTHING = np.zeros((0, 2), dtype=np.int64)
Rows: TypeAlias = NDArray[np.int64]
Points: TypeAlias = NDArray[np.complex128]


def one_to_one(matches: LocalMatches) -> Rows:
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


def verify(query: LocalFeatures, matches: LocalMatches, size: tuple[int, int]) -> Verification:
    """Fit a homography to the matches of a query and a picture, and judge it.

    Parameters
    ----------
    query : LocalFeatures
        Of the query picture. Not modified.
    matches : LocalMatches
        Of the query's features, also many-to-many.
    size : (width, height)
        Of the picture's frame.

    Returns
    -------
    Verification
        Accepted if at least 6 one-to-one matches at distinct places and a fifth of them follow a homography: within
        5 px, turned by no more than 30 degrees and magnified by no more than 1.5 from how it turns and magnifies at
        their place; if they spread over what the pictures share; and if they are not a mark. Where a mark is all
        that the strongest homography has, one of the other matches may be accepted. The same for the same matches.
    """
    rows = one_to_one(matches)
    seen, followers = _judged(query, matches, size, rows, np.ones(len(query), dtype=bool))
    is_stretched = len(followers) >= 2 * MIN_INLIERS and not len(seen.inliers)
    if seen.is_mark or is_stretched:  # the scene may agree too, at another place than the mark
        mark = query.positions[matches.query_features[followers]]
        places = _points(query.positions)
        is_beside = _nearest(places, _points(mark)) > _CELL * max(query.size)
        beside, _ = _judged(query, matches, size, rows[~np.isin(rows, followers)], is_beside)
        if beside.is_accepted and _area(places[beside.inliers[:, 0]]) >= SPREAD_BESIDE * _area(places[is_beside]):
            return beside
    return seen


def _judged(
    query: LocalFeatures, matches: LocalMatches, size: tuple[int, int], rows: Rows, is_asked: NDArray[np.bool_]
) -> tuple[Verification, Rows]:
    """Return what the strongest homography of some one-to-one matches says, and the rows that are near it.

    `is_asked` says which features of the query are expected in the picture.
    """
    import cv2

    nothing = rows[:0]
    if len(rows) < MIN_INLIERS:
        reason = f"{len(rows)} one-to-one matches, at least {MIN_INLIERS} needed"
        return Verification(_NOTHING, None, False, reason), nothing
    there, here = matches.positions[rows], query.positions[matches.query_features[rows]]
    fitted, mask = cv2.findHomography(
        here, there, cv2.USAC_MAGSAC, THRESHOLD_PX, None, _MAX_ITERATIONS, _CONFIDENCE
    )
    if fitted is None or not np.isfinite(fitted).all():
        return Verification(_NOTHING, None, False, "no homography fits the matches"), nothing
    homography = np.asarray(fitted, dtype=np.float64)
    near = rows[np.asarray(mask).ravel() > 0]
    alike = near[turn_and_zoom_alike(homography, query, matches, near)]
    kept = alike[distinct(query.positions[matches.query_features[alike]], matches.positions[alike])]
    inliers = np.column_stack([matches.query_features[kept], matches.features[kept]])
    n_matches = int(distinct(here, there).sum()) if len(kept) >= MIN_INLIERS else len(rows)
    reason, is_mark = too_few(len(kept), n_matches), False
    if not reason:
        reason, is_mark = distrusted(query, matches, size, kept, is_asked)
    return Verification(inliers, homography, not reason, reason, is_mark), near


def distinct(here: NDArray[np.float32], there: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which of n pairs of positions (n, 2) are the first at their place in both pictures.

    A corner of several angles is several features at one place, which agree or not together.
    """
    beside = np.zeros((len(here), len(here)), dtype=bool)
    for positions in (here, there):
        x, y = positions.T
        across, down = x[:, None] - x, y[:, None] - y
        beside |= across * across + down * down <= SAME_PLACE_PX**2
    is_first = np.ones(len(here), dtype=bool)
    for row in range(len(here)):
        if is_first[row]:
            is_first[row + 1 :] &= ~beside[row, row + 1 :]
    return is_first


def too_few(n_inliers: int, n_matches: int) -> str:
    """Return why inliers at distinct places prove nothing, or an empty text."""
    needed = max(MIN_INLIERS, int(np.ceil(MIN_SHARE * n_matches)))
    if n_inliers >= needed:
        return ""
    return f"{n_inliers} inliers at distinct places of {n_matches} matches, at least {needed} needed"


def distrusted(
    query: LocalFeatures, matches: LocalMatches, size: tuple[int, int], rows: Rows, is_asked: NDArray[np.bool_]
) -> tuple[str, bool]:
    """Return why inliers (rows of matches at distinct places) are not believed, or "", and whether it is a mark.

    All is judged by similarities near to the inliers: a homography of inliers in a strip is wild outside it.
    """
    here, there = _points(query.positions[matches.query_features[rows]]), _points(matches.positions[rows])
    copy, lies_as_copied = _Similarity.of_copy(here, there)
    is_in_place = bool(lies_as_copied.any()) and copy.keeps_place(query.size, size)
    similarity = copy if is_in_place else _Similarity.fitted(here, there)
    if is_in_place:
        here = here[lies_as_copied]
    zoom = abs(similarity.factor)
    places = similarity.of(_points(query.positions))
    is_shared = (places.real > 0) & (places.real < size[0]) & (places.imag > 0) & (places.imag < size[1])
    is_shared &= is_asked & (query.scales * zoom >= _SMALLEST_PX)
    shared = _points(query.positions[is_shared])
    if _area(here) < MIN_SPREAD * _area(shared):
        return f"the {len(here)} places that agree lie in one spot or strip of what both pictures show", is_in_place
    n_in_picture = matches.n_features * _covered(similarity, query.size, size) * min(1.0, 1 / zoom**2)
    share = len(here) / max(len(shared), n_in_picture, len(here))
    if not is_in_place or _alone(here, shared) <= MAX_ALONE + share:
        return "", False
    return (
        f"the {len(here)} places that agree lie alike in both pictures, but most of what is around them does not "
        "agree: a mark or a frame that both bear"
    ), True


class _Similarity(NamedTuple):
    """A turn, a zoom and a shift of points given as complex numbers: `factor * point + shift`."""

    factor: complex
    shift: complex

    @classmethod
    def fitted(cls, here: Points, there: Points) -> _Similarity:
        """Return that of the least squares."""
        from_middle = here - here.mean()
        factor = complex(np.vdot(from_middle, there) / max(np.vdot(from_middle, from_middle).real, 1e-9))
        return cls(factor, complex(there.mean() - factor * here.mean()))

    @classmethod
    def of_copy(cls, here: Points, there: Points) -> tuple[_Similarity, NDArray[np.bool_]]:
        """Return that of most of the pairs, turned by 0, 90, 180 or 270 degrees, and which lie as if copied by it.

        None does where less than half lie so. Least trimmed squares by concentration steps: P. Rousseeuw and
        K. Van Driessen, Computing LTS regression for large data sets, 2006.
        """
        half, fitted = np.arange(len(here)), cls.fitted(here, there)
        for _ in range(_STEPS):
            half = np.argsort(np.abs(fitted.of(here) - there), kind="stable")[: len(here) // 2 + 1]
            fitted = cls.fitted(here[half], there[half])
        turn = 1j ** round(float(np.angle(fitted.factor)) / (np.pi / 2))
        factor = (fitted.factor / turn).real * turn
        copy = cls(factor, complex(there[half].mean() - factor * here[half].mean()))
        apart = np.abs(copy.of(here) - there) / max(1.0, abs(factor))
        return copy, (apart <= 2 * COPIED_PX) & (np.median(apart) <= COPIED_PX)

    def keeps_place(self, frame: tuple[int, int], size: tuple[int, int]) -> bool:
        """Return whether a copy lies in a picture as in its example: seen from a corner, an edge or the middle."""
        turn = self.factor / abs(self.factor)
        steps = np.array([x + 1j * y for x in (-1, 0, 1) for y in (-1, 0, 1)])
        here, there = _within(frame, steps), _within(size, steps * turn)
        return bool(np.abs(self.of(here) - there).min() <= SAME_PLACE * max(size))

    def of(self, points: Points) -> Points:
        """Return where points come to lie."""
        moved: Points = self.factor * points + self.shift
        return moved


def _points(positions: NDArray[np.float32]) -> Points:
    """Return positions (n, 2) as complex numbers."""
    return positions[:, 0] + 1j * positions[:, 1].astype(np.float64)


def _within(size: tuple[int, int], steps: Points) -> Points:
    """Return places in a picture given in half sides from its middle: -1 is left, or up, and 1 right, or down."""
    x, y = size[0] * (1 + steps.real) / 2, size[1] * (1 + steps.imag) / 2
    return np.asarray(x + 1j * y, dtype=np.complex128)


def _nearest(points: Points, others: Points) -> NDArray[np.float64]:
    """Return how far the nearest of others is from every point."""
    across, down = points.real[:, None] - others.real, points.imag[:, None] - others.imag
    apart: NDArray[np.float64] = np.sqrt((across * across + down * down).min(axis=1))
    return apart


def _area(points: Points) -> float:
    """Return over what area points spread: the root of the determinant of their covariance."""
    if len(points) < 2:
        return 0.0
    return float(np.sqrt(max(np.linalg.det(np.cov(points.real, points.imag)), 0.0)))


def _covered(similarity: _Similarity, frame: tuple[int, int], size: tuple[int, int]) -> float:
    """Return the share of a picture that the box round the query's frame covers."""
    width, height = frame
    corners = similarity.of(np.array([0, width, height * 1j, width + height * 1j]))
    across = np.clip([corners.real.min(), corners.real.max()], 0, size[0])
    down = np.clip([corners.imag.min(), corners.imag.max()], 0, size[1])
    return float(np.diff(across)[0] * np.diff(down)[0] / (size[0] * size[1]))


def _alone(inliers: Points, shared: Points) -> float:
    """Return the share of the cells with features in which these lie beyond the reach of every inlier.

    Cells, not features, because a mark on a plain photograph, or a face before a plain wall, may have most of the
    features. An inlier reaches half the mean spacing of so many.
    """
    if not len(shared):
        return 0.0
    side = max(float(np.ptp(shared.real)), float(np.ptp(shared.imag)), 1.0)
    reach = side * float(np.clip(0.5 / np.sqrt(len(inliers)), *_REACH))
    is_near = _nearest(shared, inliers) <= reach
    columns, lines = (np.floor(values / (_CELL * side)) for values in (shared.real, shared.imag))
    _, cells = np.unique(columns + 1e4 * lines, return_inverse=True)
    return float(1 - (np.bincount(cells, is_near) / np.bincount(cells)).mean())


def turn_and_zoom_alike(
    homography: NDArray[np.float64], query: LocalFeatures, matches: LocalMatches, rows: Rows
) -> NDArray[np.bool_]:
    """Return which of some rows (n,) of matches have the angles and scales that a homography gives them.

    Where it mirrors, or lies behind the camera, none has; nor have copied letters where it stretches their bar.
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
        angles = np.radians(query.angles[features])
        turned = np.einsum("nij,jn->in", slopes, np.stack([np.cos(angles), np.sin(angles)]))
        turns = np.degrees(np.arctan2(turned[1], turned[0])) - matches.angles[rows]
        apart = np.abs((turns + 180) % 360 - 180)
        is_before = depth * np.median(depth) > 0 if len(rows) else depth > 0
        alike: NDArray[np.bool_] = is_before & (np.abs(octaves) <= MAX_OCTAVES) & (apart <= MAX_TURN)
    if alike.sum() >= MIN_INLIERS and abs(np.median(octaves[alike])) > STRETCHED_OCTAVES:
        ratios = np.log2(query.scales[features[alike]] / matches.scales[rows[alike]])
        alike &= np.median(np.abs(ratios - np.median(ratios))) > COPIED_OCTAVES
    return alike
