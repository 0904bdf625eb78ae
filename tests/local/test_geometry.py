import numpy as np
import pytest
from PIL import Image

from mmsearch.bow.inverted_file import InvertedFile
from mmsearch.bow.postings import build_postings
from mmsearch.bow.vocabulary import Vocabulary
from mmsearch.local.extractors import DEFAULT
from mmsearch.local.geometry import distinct, one_to_one, too_few, turn_and_zoom_alike, verify
from mmsearch.records import LocalFeatures, LocalMatches
from mmsearch.samples import sample_folder

SIZE = (640, 480)


def matches(query_features, features, positions, distances, scales=None, angles=None, n_features=None):
    n = len(features)
    return LocalMatches(
        1, np.asarray(query_features), np.asarray(features), np.asarray(positions, np.float32),
        np.ones(n, np.float32) if scales is None else np.asarray(scales, np.float32),
        np.zeros(n, np.float32) if angles is None else np.asarray(angles, np.float32),
        np.asarray(distances, np.uint8), n if n_features is None else n_features,
    )  # fmt: skip


def features(points, scales=None, angles=None, size=SIZE):
    n = len(points)
    scales = np.ones(n) if scales is None else scales
    angles = np.zeros(n) if angles is None else angles
    descriptors = np.zeros((n, 128), np.float32)
    return LocalFeatures(np.float32(points), np.float32(scales), np.float32(angles), descriptors, size, size)


def mapped(points, homography):
    raised = np.column_stack([points, np.ones(len(points))]) @ np.asarray(homography, float).T
    return raised[:, :2] / raised[:, 2:]


def seen_by(homography, points, scales, angles):
    """Scales and angles of features seen through a homography, by moving their points a little."""
    radians = np.radians(angles)
    step = 1e-4
    along = mapped(points + step * np.column_stack([np.cos(radians), np.sin(radians)]), homography) - mapped(
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
    matched = matches(numbers, numbers + 1000, there, rng.integers(0, 24, n), there_scales, there_angles)
    return features(points, scales, angles), matched


TURNED = [[0.5, -0.3, 200], [0.3, 0.5, 50], [0.0002, 0.0001, 1]]


def test_a_picture_seen_from_elsewhere_is_accepted_and_its_homography_found():
    query, matched = scene(TURNED)
    result = verify(query, matched, SIZE)
    assert (result.is_accepted, result.reason) == (True, "")
    assert len(result.inliers) >= 58
    assert (result.inliers[:, 1] - result.inliers[:, 0] == 1000).all()
    np.testing.assert_allclose(
        mapped(query.positions[:60], result.homography), mapped(query.positions[:60], TURNED), atol=2
    )


def test_verification_is_the_same_from_call_to_call():
    query, matched = scene(TURNED, n_true=25, n_false=90)
    first, second = verify(query, matched, SIZE), verify(query, matched, SIZE)
    np.testing.assert_array_equal(first.homography, second.homography)
    np.testing.assert_array_equal(first.inliers, second.inliers)


@pytest.mark.parametrize("seed", range(30))
def test_random_matches_are_not_accepted(seed):
    query, matched = scene(TURNED, n_true=0, n_false=80, seed=seed)
    assert not verify(query, matched, SIZE).is_accepted


def test_what_lies_beside_the_thing_may_be_seen_from_behind_or_be_magnified_without_bound():
    # A plane seen at a slant in the left quarter of the query, whose horizon crosses the query farther right.
    query, matched = scene([[0.6, 0, 0], [0, 0.6, 0], [-0.002, 0, 1]], n_false=0, size=(160, 480))
    result = verify(query, matched, SIZE)
    assert (result.is_accepted, result.reason) == (True, "")


@pytest.mark.parametrize("change", ["angles", "scales"])
def test_features_turned_or_magnified_otherwise_than_the_plane_are_no_inliers(change):
    query, matched = scene(TURNED, n_false=0)
    if change == "angles":
        matched.angles[:20] = (matched.angles[:20] + 90) % 360
    else:
        matched.scales[:20] *= 3
    result = verify(query, matched, SIZE)
    assert set(result.inliers[:, 0].tolist()) >= set(range(22, 58))
    assert not set(result.inliers[:, 0].tolist()) & set(range(20))


def test_a_mirrored_picture_is_not_accepted():
    query, matched = scene([[-1, 0, 640], [0, 1, 0], [0, 0, 1]])
    assert not verify(query, matched, SIZE).is_accepted


def test_matches_to_one_small_spot_are_not_accepted():
    query, matched = scene([[0.01, 0, 300], [0, 0.01, 200], [0, 0, 1]])
    matched.scales[:] = query.scales  # as large as features are
    assert not verify(query, matched, SIZE).is_accepted


def test_matches_on_a_line_are_not_accepted():
    query, matched = scene(TURNED, n_false=0)
    matched.positions[:, 1] = 100
    assert not verify(query, matched, SIZE).is_accepted


def test_fewer_than_six_matches_are_not_tried():
    query, matched = scene(TURNED, n_true=5, n_false=0)
    result = verify(query, matched, SIZE)
    assert result.homography is None
    assert result.reason == "5 one-to-one matches, at least 6 needed"
    assert verify(query, matches([], [], np.zeros((0, 2)), []), SIZE).reason.startswith("0 one-to-one")


def test_many_matches_of_one_feature_count_once():
    query, _ = scene(TURNED)
    crowd = matches(np.arange(100), np.zeros(100, int), np.full((100, 2), 50.0), np.zeros(100))
    assert verify(query, crowd, SIZE).reason == "1 one-to-one matches, at least 6 needed"


def test_one_to_one_takes_the_nearest_signatures_first():
    #   query feature 0 likes 7 best, 1 likes 7 too but less, then 8
    matched = matches([1, 0, 1, 0], [7, 7, 8, 8], np.zeros((4, 2)), [3, 1, 9, 2])
    assert one_to_one(matched).tolist() == [1, 2]


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
    matched = matches([0], [0], [[0, 0]], [0], [scale], [angle])
    assert turn_and_zoom_alike(np.array(homography, float), query, matched, np.array([0])).tolist() == [is_alike]


def test_what_lies_behind_the_camera_is_not_alike():
    query = features([[0, 0], [10, 0], [20, 0], [400, 0]], [4] * 4)
    behind = np.array([[1, 0, 0], [0, 1, 0], [-0.005, 0, 1]])  # its horizon is at x = 200
    scales, angles = seen_by(behind, query.positions.astype(float), query.scales, query.angles)
    matched = matches(range(4), range(4), np.zeros((4, 2)), [0] * 4, scales, angles)
    assert turn_and_zoom_alike(behind, query, matched, np.arange(4)).tolist() == [True, True, True, False]


def test_a_crop_turned_by_30_degrees_is_verified_against_its_photograph_and_no_other():
    names = ("astronaut", "louvre", "coffee", "cat", "great-wall", "bucket")
    images = [Image.open(sample_folder() / f"{name}.jpg").convert("RGB") for name in names]
    features = [DEFAULT.extract(np.asarray(image)) for image in images]
    descriptors = np.concatenate([of_image.descriptors for of_image in features])
    vocabulary = Vocabulary.train(descriptors, 128, extractor="sift")
    index = InvertedFile([build_postings([(i, vocabulary.quantise(f)) for i, f in enumerate(features)], 128)])
    width, height = images[1].size
    crop = (
        images[1]
        .rotate(30, resample=Image.Resampling.BICUBIC)
        .crop((width // 4, height // 4, 3 * width // 4, 3 * height // 4))
    )
    query = DEFAULT.extract(np.asarray(crop))
    words = vocabulary.quantise(query)
    assert index.image_ids[index.scores(words).argmax()] == 1
    sizes = [of_image.size for of_image in features]
    results = [verify(query, *pair) for pair in zip(index.matches(words, range(6)), sizes, strict=True)]
    assert [result.is_accepted for result in results] == [False, True, False, False, False, False]


EXAMPLE = np.random.default_rng(7).uniform(0, 1, (300, 2)) * SIZE  # where the features of an example lie
STRIP = np.column_stack([np.linspace(20, 620, 31), 445 + 8 * (np.arange(31) % 3)])  # a line of text at the bottom
FRAME = np.array(
    [(x, y) for x in range(10, 640, 30) for y in (8, 472)] + [(x, y) for x in (8, 632) for y in range(40, 450, 30)]
)


def copied(agreeing, alone=(), *, n_alone_there=0, mapping=lambda points: points, scale=4.0, size=SIZE):
    """An example whose first places are found where a copy has them, and others nowhere; and the matches."""
    points = np.concatenate([agreeing, np.reshape(alone, (-1, 2))])
    n, there = len(agreeing), mapping(np.asarray(agreeing, float))
    first, beside = mapping(np.array([[0.0, 0.0], [1.0, 0.0]]))
    right = (beside - first) @ [1, 1j]
    zoom, turn = abs(right), np.degrees(np.angle(right)) % 360
    matched = matches(
        range(n), range(n), there, [0] * n, [scale * zoom] * n, [turn] * n, n_features=n + n_alone_there
    )
    return features(points, [scale] * len(points), size=size), matched


def test_a_place_with_eight_orientations_counts_once():
    query, matched = copied(np.repeat(EXAMPLE[:5], 8, axis=0))
    query.angles[:] = matched.angles[:] = np.tile(np.arange(8) * 45, 5)
    assert len(one_to_one(matched)) == 40
    result = verify(query, matched, SIZE)
    assert not result.is_accepted
    assert result.reason == "5 inliers at distinct places of 40 matches, at least 8 needed"
    assert len(result.inliers) == 5


def test_places_within_two_pixels_in_either_picture_count_once():
    here = np.float32([[0, 0], [0, 1.9], [50, 0], [90, 0], [90, 2.1]])
    there = np.float32([[0, 0], [30, 0], [0, 1], [60, 0], [90, 0]])
    assert distinct(here, there).tolist() == [True, False, False, True, True]


@pytest.mark.parametrize("agreeing", [STRIP, FRAME], ids=["strip", "frame"])
def test_a_mark_on_two_other_pictures_is_not_accepted_and_said_to_be_one(agreeing):
    query, matched = copied(
        agreeing, EXAMPLE[(EXAMPLE > 40).all(axis=1) & (EXAMPLE[:, 1] < 420)], n_alone_there=250
    )
    matched.positions[:] += np.random.default_rng(0).normal(0, 0.3, matched.positions.shape)
    result = verify(query, matched, SIZE)
    assert (result.is_accepted, result.is_mark) == (False, True)
    assert "places that agree lie" in result.reason


@pytest.mark.parametrize(
    ("mapping", "size"),
    [
        (lambda points: points - [0, 100], (640, 380)),  # as far from the lower left corner of a flatter picture
        (lambda points: 0.5 * points, (320, 240)),
        (lambda points: np.column_stack([480 - points[:, 1], points[:, 0]]), (480, 640)),  # both turned
    ],
    ids=["another shape", "another size", "turned"],
)
def test_a_mark_is_told_whatever_the_size_and_the_turn_of_the_pictures(mapping, size):
    query, matched = copied(STRIP, EXAMPLE[EXAMPLE[:, 1] < 420], n_alone_there=250, mapping=mapping, scale=8.0)
    result = verify(query, matched, size)
    assert (result.is_accepted, result.is_mark) == (False, True)


def test_a_mark_is_told_where_some_other_matches_fit_its_homography_by_chance():
    chance = EXAMPLE[EXAMPLE[:, 1] < 400][:14]
    query, matched = copied(np.concatenate([STRIP, chance]), EXAMPLE[:200], n_alone_there=250)
    matched.positions[31:, 1] += 4
    assert verify(query, matched, SIZE).is_mark


def test_a_copy_of_which_few_features_are_left_everywhere_is_accepted():
    query, matched = copied(EXAMPLE[::6], np.delete(EXAMPLE, np.s_[::6], axis=0), n_alone_there=250)
    assert verify(query, matched, SIZE).is_accepted


def test_a_copy_with_the_same_mark_is_accepted():
    query, matched = copied(np.concatenate([STRIP, EXAMPLE[:150]]), EXAMPLE[150:], n_alone_there=150)
    assert verify(query, matched, SIZE).is_accepted


def test_a_copy_of_a_picture_with_nothing_outside_a_strip_is_accepted():
    query, matched = copied(STRIP, STRIP[:10] + np.array([0, 12]), n_alone_there=10)
    assert verify(query, matched, SIZE).is_accepted


@pytest.mark.parametrize("n_alone_there", [0, 470])
def test_a_small_crop_is_accepted(n_alone_there):
    points = EXAMPLE[:30] * 0.2
    query, matched = copied(
        points, mapping=lambda p: p + np.array([300, 200]), n_alone_there=n_alone_there, size=(128, 96)
    )
    assert verify(query, matched, SIZE).is_accepted


def test_a_picture_whose_middle_was_replaced_is_accepted():
    is_middle = (np.abs(EXAMPLE - np.divide(SIZE, 2)) < np.multiply(SIZE, 0.25)).all(axis=1)
    query, matched = copied(EXAMPLE[~is_middle], EXAMPLE[is_middle], n_alone_there=100)
    assert verify(query, matched, SIZE).is_accepted


@pytest.mark.parametrize("shift", [[0, 0], [-120, -70]], ids=["in place", "elsewhere"])
def test_few_matches_of_a_part_are_believed_unless_they_lie_in_the_place_of_a_mark(shift):
    part = EXAMPLE[(EXAMPLE > 200).all(axis=1) & (EXAMPLE < 420).all(axis=1)][:14]
    query, matched = copied(part + 0.0, EXAMPLE[::2], mapping=lambda points: points + shift, n_alone_there=150)
    assert verify(query, matched, SIZE).is_accepted == bool(np.any(shift))


def test_bars_of_two_widths_with_the_same_letters_do_not_agree():
    bars = np.concatenate([STRIP, STRIP - [0, 420]])
    query, matched = copied(bars, EXAMPLE[(EXAMPLE[:, 1] > 60) & (EXAMPLE[:, 1] < 420)], n_alone_there=200)
    matched.positions[:, 0] *= 0.55  # set narrower, but as large and as high as before
    assert not verify(query, matched, (352, 480)).is_accepted


def test_the_scene_is_found_beside_a_mark_that_stayed_in_its_place():
    scene = EXAMPLE[(EXAMPLE[:, 1] < 400) & (EXAMPLE[:, 0] < 560)]
    query, matched = copied(np.concatenate([STRIP, scene[:25]]), n_alone_there=20)
    matched.positions[31:] += [60, 15]
    result = verify(query, matched, SIZE)
    assert (result.is_accepted, result.reason) == (True, "")
    assert result.inliers[:, 0].min() >= 31


def test_what_agrees_in_one_spot_is_not_accepted_however_it_is_turned():
    spot = 300 + EXAMPLE[:20] * 0.05
    query, matched = copied(spot, EXAMPLE[20:], n_alone_there=200)
    cosine, sine = np.cos(np.radians(20)), np.sin(np.radians(20))
    matched.positions[:] = (spot - 300) @ np.array([[cosine, sine], [-sine, cosine]]) + 200
    matched.angles[:] = 20
    result = verify(query, matched, SIZE)
    assert (result.is_accepted, result.is_mark) == (False, False)
    assert result.reason == "the 20 places that agree lie in one spot or strip of what both pictures show"
