"""What every local extractor must do. A new one is one more in `EXTRACTORS`."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mmsearch.bow.vocabulary import N_BITS, Vocabulary
from mmsearch.local.extractors import DEFAULT, EXTRACTORS
from mmsearch.local.packing import packed_features
from mmsearch.samples import sample_folder


@pytest.fixture(params=EXTRACTORS)
def extractor(request):
    return EXTRACTORS[request.param]


def sample(size=None, name="astronaut", mode="RGB"):
    image = Image.open(sample_folder() / f"{name}.jpg").convert(mode)
    return np.asarray(image.resize(size) if size else image)


def values(features):
    return features.positions, features.scales, features.angles, features.descriptors


def test_an_extractor_is_found_by_its_own_name(extractor):
    assert EXTRACTORS[extractor.name] is extractor
    assert DEFAULT in EXTRACTORS.values()


def test_features_are_in_the_frame_with_descriptors_of_unit_length(extractor):
    features = extractor.extract(sample((960, 720)))
    assert len(features) >= 100
    assert (features.size, features.original_size) == (extractor.frame((960, 720)), (960, 720))
    assert {array.dtype for array in values(features)} == {np.dtype(np.float32)}
    assert features.positions.min() >= 0
    assert (features.positions < features.size).all()
    assert (features.scales > 0).all()
    assert features.angles.min() >= 0
    assert features.angles.max() < 360
    np.testing.assert_allclose(np.linalg.norm(features.descriptors, axis=1), 1, atol=1e-5)


def test_descriptors_are_as_wide_as_said_and_survive_being_packed(extractor):
    features = extractor.extract(sample())
    assert features.descriptors.shape[1] == extractor.dim >= N_BITS
    again = packed_features(features).features(extractor.dim)
    assert np.abs(again.descriptors - features.descriptors).max() <= 0.5 / 512 + 1e-7


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_the_same_pixels_have_the_same_features_and_are_left_alone(extractor, mode):
    pixels = sample(mode=mode)
    before = pixels.copy()
    for first, second in zip(values(extractor.extract(pixels)), values(extractor.extract(pixels)), strict=True):
        np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(pixels, before)


@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 3), (200, 300), (1, 32_768)], ids=str)
def test_a_picture_of_one_colour_has_features_of_the_right_width_or_none(extractor, shape):
    features = extractor.extract(np.full(shape, 128, np.uint8))
    assert features.descriptors.shape == (len(features), extractor.dim)
    assert features.size == extractor.frame(shape[1::-1])


def test_a_small_picture_is_looked_at_as_it_is_and_leads_back_to_its_original(extractor):
    features = extractor.extract(sample((200, 150)), original_size=(1600, 1200))
    assert (features.size, features.original_size) == ((200, 150), (1600, 1200))
    np.testing.assert_allclose(features.to_original(np.zeros((1, 2), np.float32)), [[3.5, 3.5]])


def test_the_frame_keeps_the_shape_of_a_picture_and_enlarges_none(extractor):
    side = extractor.longer_side
    assert extractor.frame((4 * side, 2 * side)) == (side, side // 2)
    assert extractor.frame((30, 20)) == (30, 20)
    assert extractor.frame((10 * side, 1)) == (side, 1)


def test_most_features_of_a_part_are_nearest_to_those_of_its_own_photograph(extractor):
    names = ("astronaut", "coffee", "moose")
    whole = [extractor.extract(sample(name=name)).descriptors for name in names]
    part = extractor.extract(np.ascontiguousarray(sample(name="coffee")[60:240, 80:320])).descriptors
    nearest = np.argmax([(part @ other.T).max(axis=1) for other in whole], axis=0)
    assert np.mean(nearest == 1) > 0.6


def test_words_of_an_extractor_are_learned_from_its_descriptors(extractor):
    features = extractor.extract(sample())
    vocabulary = Vocabulary.train(features.descriptors, 16, extractor=extractor.name, max_iterations=1)
    assert (vocabulary.extractor, vocabulary.dim) == (extractor.name, extractor.dim)
    assert len(vocabulary.quantise(features).words) == len(features)
