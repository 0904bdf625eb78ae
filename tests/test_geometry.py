import numpy as np
import pytest
from PIL import Image

from mmsearch.bow.inverted_file import InvertedFile
from mmsearch.bow.postings import build_postings
from mmsearch.bow.vocabulary import Vocabulary
from mmsearch.geometry import degenerate, one_to_one, too_few, verify
from mmsearch.local.sift import extract_rootsift
from mmsearch.records import LocalMatches
from mmsearch.samples import sample_folder

SIZE = (640, 480)


def matches(query_features, features, positions, distances):
    n = len(features)
    return LocalMatches(
        1, np.asarray(query_features), np.asarray(features), np.asarray(positions, np.float32),
        np.ones(n, np.float32), np.zeros(n, np.float32), np.asarray(distances, np.uint8),
    )  # fmt: skip


def mapped(points, homography):
    raised = np.column_stack([points, np.ones(len(points))]) @ np.asarray(homography, float).T
    return raised[:, :2] / raised[:, 2:]


def scene(homography, n_true=60, n_false=60, seed=0):
    """Points of a query, and matches of which n_true follow a homography to half a pixel."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, 1, (n_true + n_false, 2)) * SIZE
    there = rng.uniform(0, 1, points.shape) * SIZE
    there[:n_true] = mapped(points[:n_true], homography) + rng.normal(0, 0.5, (n_true, 2))
    numbers = np.arange(len(points))
    return points.astype(np.float32), matches(numbers, numbers + 1000, there, rng.integers(0, 24, len(points)))


TURNED = [[0.5, -0.3, 200], [0.3, 0.5, 50], [0.0002, 0.0001, 1]]


def test_a_picture_seen_from_elsewhere_is_accepted_and_its_homography_found():
    points, found = scene(TURNED)
    result = verify(points, found)
    assert (result.is_accepted, result.reason) == (True, "")
    assert len(result.inliers) >= 58
    assert (result.inliers[:, 1] - result.inliers[:, 0] == 1000).all()
    np.testing.assert_allclose(mapped(points[:60], result.homography), mapped(points[:60], TURNED), atol=2)


def test_verification_is_the_same_from_call_to_call():
    points, found = scene(TURNED, n_true=25, n_false=90)
    first, second = verify(points, found), verify(points, found)
    np.testing.assert_array_equal(first.homography, second.homography)
    np.testing.assert_array_equal(first.inliers, second.inliers)


@pytest.mark.parametrize("seed", range(30))
def test_random_matches_are_not_accepted(seed):
    points, found = scene(TURNED, n_true=0, n_false=80, seed=seed)
    assert not verify(points, found).is_accepted


def test_what_lies_beside_the_thing_may_be_seen_from_behind_or_be_magnified_without_bound():
    # A plane seen at a slant in the left quarter of the query, whose horizon crosses the query farther right.
    slanted = [[0.6, 0, 0], [0, 0.6, 0], [-0.002, 0, 1]]
    points, found = scene(slanted, n_false=0)
    points[:, 0] *= 0.25
    found.positions[:] = mapped(points, slanted)
    result = verify(points, found)
    assert (result.is_accepted, result.reason) == (True, "")
    assert "through infinity" in degenerate(result.homography, np.array([[0, 0], SIZE]))


def test_a_mirrored_picture_is_not_accepted():
    points, found = scene([[-1, 0, 640], [0, 1, 0], [0, 0, 1]])
    assert not verify(points, found).is_accepted


def test_matches_to_one_small_spot_are_not_accepted():
    points, found = scene([[0.01, 0, 300], [0, 0.01, 200], [0, 0, 1]])
    assert not verify(points, found).is_accepted


def test_matches_on_a_line_are_not_accepted():
    points, found = scene(TURNED, n_false=0)
    found.positions[:, 1] = 100
    assert not verify(points, found).is_accepted


def test_fewer_than_ten_matches_are_not_tried():
    points, found = scene(TURNED, n_true=9, n_false=0)
    result = verify(points, found)
    assert result.homography is None
    assert result.reason == "9 one-to-one matches, at least 10 needed"
    assert verify(points, matches([], [], np.zeros((0, 2)), [])).reason.startswith("0 one-to-one")


def test_many_matches_of_one_feature_count_once():
    points, _ = scene(TURNED)
    crowd = matches(np.arange(100), np.zeros(100, int), np.full((100, 2), 50.0), np.zeros(100))
    assert verify(points, crowd).reason == "1 one-to-one matches, at least 10 needed"


def test_one_to_one_takes_the_nearest_signatures_first():
    #   query feature 0 likes 7 best, 1 likes 7 too but less, then 8
    found = matches([1, 0, 1, 0], [7, 7, 8, 8], np.zeros((4, 2)), [3, 1, 9, 2])
    assert one_to_one(found).tolist() == [1, 2]


def test_of_equal_distances_the_first_match_wins():
    assert one_to_one(matches([0, 1], [7, 7], np.zeros((2, 2)), [5, 5])).tolist() == [0]


@pytest.mark.parametrize(
    ("n_inliers", "n_matches", "is_enough"), [(9, 9, False), (10, 10, True), (14, 100, False), (15, 100, True)]
)
def test_ten_inliers_and_15_percent_are_needed(n_inliers, n_matches, is_enough):
    assert (too_few(n_inliers, n_matches) == "") == is_enough


@pytest.mark.parametrize(
    ("homography", "reason"),
    [
        (np.eye(3), ""),
        (-np.eye(3), ""),  # the sign of a homography means nothing
        (TURNED, ""),
        (np.diag([1, -1, 1]), "mirrors"),
        (np.diag([0.05, 0.05, 1]), "magnifies 0.05 to 0.05 times"),
        (np.diag([20, 20, 1]), "magnifies 20 to 20 times"),
        (np.diag([0.2, 4, 1]), "stretches the query 20 times"),
        ([[1, 0, 0], [0, 1, 0], [-0.005, 0, 1]], "through infinity"),
        ([[1, 0, 0], [0, 1, 0], [0.05, 0, 1]], "magnifies"),
    ],
)
def test_homographies_that_no_camera_makes_are_named(homography, reason):
    found = degenerate(np.array(homography, float), np.array([[0, 0], SIZE], float))
    assert reason in found
    assert bool(found) == bool(reason)


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
    results = [verify(query.positions, found) for found in index.matches(words, range(6))]
    assert [result.is_accepted for result in results] == [False, True, False, False, False, False]
