import numpy as np
import pytest
from PIL import Image

from mmsearch.bow.inverted_file import InvertedFile
from mmsearch.bow.postings import build_postings
from mmsearch.bow.vocabulary import Vocabulary
from mmsearch.geometry import one_to_one, too_few, turn_and_zoom_alike, verify
from mmsearch.local.sift import extract_rootsift
from mmsearch.records import LocalFeatures, LocalMatches
from mmsearch.samples import sample_folder

SIZE = (640, 480)


def matches(query_features, features, positions, distances, scales=None, angles=None):
    n = len(features)
    return LocalMatches(
        1, np.asarray(query_features), np.asarray(features), np.asarray(positions, np.float32),
        np.ones(n, np.float32) if scales is None else np.asarray(scales, np.float32),
        np.zeros(n, np.float32) if angles is None else np.asarray(angles, np.float32),
        np.asarray(distances, np.uint8),
    )  # fmt: skip


def features(points, scales=None, angles=None):
    n = len(points)
    scales = np.ones(n) if scales is None else scales
    angles = np.zeros(n) if angles is None else angles
    descriptors = np.zeros((n, 128), np.float32)
    return LocalFeatures(np.float32(points), np.float32(scales), np.float32(angles), descriptors, SIZE, SIZE)


def mapped(points, homography):
    raised = np.column_stack([points, np.ones(len(points))]) @ np.asarray(homography, float).T
    return raised[:, :2] / raised[:, 2:]


def seen_by(homography, points, scales, angles):
    """Scales and angles of features seen through a homography, by moving their points a little."""
    own = np.radians(angles)
    step = 1e-4
    along = mapped(points + step * np.column_stack([np.cos(own), np.sin(own)]), homography) - mapped(
        points, homography
    )
    right, down = (mapped(points + step * np.eye(2)[i], homography) - mapped(points, homography) for i in (0, 1))
    area = np.abs(right[:, 0] * down[:, 1] - right[:, 1] * down[:, 0]) / step**2
    return scales * np.sqrt(area), np.degrees(np.arctan2(along[:, 1], along[:, 0])) % 360


def scene(homography, n_true=60, n_false=60, seed=0, size=SIZE):
    """Features of a query, and matches of which the first n_true are those of a plane seen through a homography."""
    rng = np.random.default_rng(seed)
    n = n_true + n_false
    points, scales, angles = rng.uniform(0, 1, (n, 2)) * size, rng.uniform(2, 20, n), rng.uniform(0, 360, n)
    there, there_scales, there_angles = (
        rng.uniform(0, 1, (n, 2)) * SIZE,
        rng.uniform(2, 20, n),
        rng.uniform(0, 360, n),
    )
    true = slice(0, n_true)
    there[true] = mapped(points[true], homography) + rng.normal(0, 0.5, (n_true, 2))
    there_scales[true], there_angles[true] = seen_by(homography, points[true], scales[true], angles[true])
    numbers = np.arange(n)
    found = matches(numbers, numbers + 1000, there, rng.integers(0, 24, n), there_scales, there_angles)
    return features(points, scales, angles), found


TURNED = [[0.5, -0.3, 200], [0.3, 0.5, 50], [0.0002, 0.0001, 1]]


def test_a_picture_seen_from_elsewhere_is_accepted_and_its_homography_found():
    query, found = scene(TURNED)
    result = verify(query, found)
    assert (result.is_accepted, result.reason) == (True, "")
    assert len(result.inliers) >= 58
    assert (result.inliers[:, 1] - result.inliers[:, 0] == 1000).all()
    np.testing.assert_allclose(
        mapped(query.positions[:60], result.homography), mapped(query.positions[:60], TURNED), atol=2
    )


def test_verification_is_the_same_from_call_to_call():
    query, found = scene(TURNED, n_true=25, n_false=90)
    first, second = verify(query, found), verify(query, found)
    np.testing.assert_array_equal(first.homography, second.homography)
    np.testing.assert_array_equal(first.inliers, second.inliers)


@pytest.mark.parametrize("seed", range(30))
def test_random_matches_are_not_accepted(seed):
    query, found = scene(TURNED, n_true=0, n_false=80, seed=seed)
    assert not verify(query, found).is_accepted


def test_what_lies_beside_the_thing_may_be_seen_from_behind_or_be_magnified_without_bound():
    # A plane seen at a slant in the left quarter of the query, whose horizon crosses the query farther right.
    query, found = scene([[0.6, 0, 0], [0, 0.6, 0], [-0.002, 0, 1]], n_false=0, size=(160, 480))
    result = verify(query, found)
    assert (result.is_accepted, result.reason) == (True, "")


@pytest.mark.parametrize("change", ["angles", "scales"])
def test_features_turned_or_magnified_otherwise_than_the_plane_are_no_inliers(change):
    query, found = scene(TURNED, n_false=0)
    if change == "angles":
        found.angles[:20] = (found.angles[:20] + 90) % 360
    else:
        found.scales[:20] *= 3
    result = verify(query, found)
    assert set(result.inliers[:, 0].tolist()) >= set(range(22, 58))
    assert not set(result.inliers[:, 0].tolist()) & set(range(20))


def test_a_mirrored_picture_is_not_accepted():
    query, found = scene([[-1, 0, 640], [0, 1, 0], [0, 0, 1]])
    assert not verify(query, found).is_accepted


def test_matches_to_one_small_spot_are_not_accepted():
    query, found = scene([[0.01, 0, 300], [0, 0.01, 200], [0, 0, 1]])
    found.scales[:] = query.scales  # as large as features are
    assert not verify(query, found).is_accepted


def test_matches_on_a_line_are_not_accepted():
    query, found = scene(TURNED, n_false=0)
    found.positions[:, 1] = 100
    assert not verify(query, found).is_accepted


def test_fewer_than_six_matches_are_not_tried():
    query, found = scene(TURNED, n_true=5, n_false=0)
    result = verify(query, found)
    assert result.homography is None
    assert result.reason == "5 one-to-one matches, at least 6 needed"
    assert verify(query, matches([], [], np.zeros((0, 2)), [])).reason.startswith("0 one-to-one")


def test_many_matches_of_one_feature_count_once():
    query, _ = scene(TURNED)
    crowd = matches(np.arange(100), np.zeros(100, int), np.full((100, 2), 50.0), np.zeros(100))
    assert verify(query, crowd).reason == "1 one-to-one matches, at least 6 needed"


def test_one_to_one_takes_the_nearest_signatures_first():
    #   query feature 0 likes 7 best, 1 likes 7 too but less, then 8
    found = matches([1, 0, 1, 0], [7, 7, 8, 8], np.zeros((4, 2)), [3, 1, 9, 2])
    assert one_to_one(found).tolist() == [1, 2]


def test_of_equal_distances_the_first_match_wins():
    assert one_to_one(matches([0, 1], [7, 7], np.zeros((2, 2)), [5, 5])).tolist() == [0]


@pytest.mark.parametrize(
    ("n_inliers", "n_matches", "is_enough"), [(5, 5, False), (6, 6, True), (19, 100, False), (20, 100, True)]
)
def test_six_inliers_and_a_fifth_are_needed(n_inliers, n_matches, is_enough):
    assert (too_few(n_inliers, n_matches) == "") == is_enough


QUARTER = [[0, -1, 300], [1, 0, 0], [0, 0, 1]]  # x to the right becomes y downwards: 90 degrees


@pytest.mark.parametrize(
    ("homography", "scale", "angle", "is_alike"),
    [
        (np.eye(3), 4, 10, True),
        (-np.eye(3), 4, 10, True),  # the sign of a homography means nothing
        (QUARTER, 4, 100, True),
        (QUARTER, 4, 10, False),
        (np.eye(3), 4, 39, True),
        (np.eye(3), 4, 41, False),
        (np.eye(3), 4, 341, True),
        (np.eye(3), 4, 339, False),
        (np.diag([2, 2, 1]), 8, 10, True),
        (np.diag([2, 2, 1]), 4, 10, False),
        (np.diag([2, 2, 1]), 8 * 1.5, 10, True),
        (np.diag([2, 2, 1]), 8 * 1.53, 10, False),
        (np.diag([2, 2, 1]), 8 / 1.53, 10, False),
        (np.diag([1, -1, 1]), 4, 350, False),  # a mirror
    ],
)
def test_features_are_alike_within_30_degrees_and_a_factor_of_one_and_a_half(homography, scale, angle, is_alike):
    query = features([[100, 50]], [4], [10])
    found = matches([0], [0], [[0, 0]], [0], [scale], [angle])
    assert turn_and_zoom_alike(np.array(homography, float), query, found, np.array([0])).tolist() == [is_alike]


def test_what_lies_behind_the_camera_is_not_alike():
    query = features([[0, 0], [10, 0], [20, 0], [400, 0]], [4] * 4)
    behind = np.array([[1, 0, 0], [0, 1, 0], [-0.005, 0, 1]])  # its horizon is at x = 200
    scales, angles = seen_by(behind, query.positions.astype(float), query.scales, query.angles)
    found = matches(range(4), range(4), np.zeros((4, 2)), [0] * 4, scales, angles)
    assert turn_and_zoom_alike(behind, query, found, np.arange(4)).tolist() == [True, True, True, False]


def test_a_crop_turned_by_30_degrees_is_verified_against_its_photograph_and_no_other():
    names = ("astronaut", "louvre", "coffee", "cat", "great-wall", "bucket")
    images = [Image.open(sample_folder() / f"{name}.jpg").convert("RGB") for name in names]
    features = [extract_rootsift(np.asarray(image)) for image in images]
    vocabulary = Vocabulary.train(np.concatenate([one.descriptors for one in features]), 128, extractor="sift")
    index = InvertedFile([build_postings([(i, vocabulary.quantise(f)) for i, f in enumerate(features)], 128)])
    width, height = images[1].size
    crop = (
        images[1]
        .rotate(30, resample=Image.Resampling.BICUBIC)
        .crop((width // 4, height // 4, 3 * width // 4, 3 * height // 4))
    )
    query = extract_rootsift(np.asarray(crop))
    words = vocabulary.quantise(query)
    assert index.search(words, 1)[1].tolist() == [1]
    results = [verify(query, found) for found in index.matches(words, range(6))]
    assert [result.is_accepted for result in results] == [False, True, False, False, False, False]
