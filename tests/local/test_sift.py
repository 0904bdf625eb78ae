import cv2
import numpy as np
import pytest
from PIL import Image

from mmsearch.local.sift import extract_rootsift, root
from mmsearch.samples import sample_folder


def sample(name="astronaut", size=None):
    image = Image.open(sample_folder() / f"{name}.jpg").convert("RGB")
    return np.asarray(image.resize(size) if size else image)


def test_the_strongest_500_features_of_a_frame_of_640_pixels_are_kept():
    features = extract_rootsift(sample(size=(960, 960)))
    assert (len(features), features.size, features.original_size) == (500, (640, 640), (960, 960))


def test_root_descriptors_have_hellinger_kernels_as_inner_products():
    np.testing.assert_allclose(root(np.array([[1, 3], [0, 0]], np.float32)), [[0.5, 0.75**0.5], [0, 0]], atol=1e-6)


def test_grey_and_rgb_copies_give_the_same_features():
    grey = np.asarray(Image.fromarray(sample()).convert("L"))
    from_rgb = extract_rootsift(np.repeat(grey[..., None], 3, axis=2))
    np.testing.assert_array_equal(extract_rootsift(grey).descriptors, from_rgb.descriptors)


@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 3), (200, 300), (1, 32_768), (9000, 9000)], ids=str)
def test_pictures_without_corners_have_an_empty_record(shape):
    features = extract_rootsift(np.full(shape, 128, np.uint8))
    assert len(features) == 0
    assert features.descriptors.shape == (0, 128)
    assert max(features.size) <= 640
    assert min(features.size) >= 1


def test_ties_with_the_weakest_do_not_pass_the_limit():
    y, x = np.mgrid[:640, :640] % 20 - 10
    features = extract_rootsift((255 * np.exp(-(x**2 + y**2) / 18)).astype(np.uint8))
    assert len(features) == 500


def test_positions_map_to_the_original():
    # A blob in a copy of half the size: its centre is the one extremum of scale space.
    y, x = np.mgrid[:480, :640]
    pixels = (255 * np.exp(-((x - 300) ** 2 + (y - 150) ** 2) / (2 * 12**2))).astype(np.uint8)
    features = extract_rootsift(pixels, original_size=(1280, 960))
    blob = features.positions[0]
    np.testing.assert_allclose(blob, [300, 150], atol=0.5)
    np.testing.assert_allclose(features.to_original(blob), blob * 2 + 0.5, atol=1e-4)


def test_other_shapes_and_types_are_an_error():
    with pytest.raises(ValueError, match=r"pixels are float64 \(4, 4\), expected uint8"):
        extract_rootsift(np.zeros((4, 4)))
    with pytest.raises(ValueError, match=r"pixels are uint8 \(4, 4, 4\), expected uint8"):
        extract_rootsift(np.zeros((4, 4, 4), np.uint8))


def test_the_thread_count_of_opencv_is_left_as_it_was():
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(2)
        extract_rootsift(sample())
        assert cv2.getNumThreads() == 2
    finally:
        cv2.setNumThreads(before)
