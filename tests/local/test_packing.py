from __future__ import annotations

import numpy as np

from mmsearch.bow.vocabulary import ImageWords
from mmsearch.local.packing import NOTHING, Packed, packed_features, packed_words
from mmsearch.records import LocalFeatures
from tests.conftest import random_units


def some_features(n, seed=0):
    """n features with random descriptors of unit length, non-negative as RootSIFT's are."""
    rng = np.random.default_rng(seed)
    positions = rng.uniform(0, 640, (n, 2)).astype(np.float32)
    scales, angles = rng.uniform(1, 90, n).astype(np.float32), rng.uniform(0, 360, n).astype(np.float32)
    return LocalFeatures(positions, scales, angles, np.abs(random_units(n, 128, seed)), (640, 480), (640, 480))


def test_features_come_back_with_descriptors_within_half_a_step():
    features = some_features(7)
    packed = packed_features(features)
    assert len(packed.data) == 7 * 144
    again = Packed.of(packed.facts(), packed.data).features(128)
    for name in ("positions", "scales", "angles"):
        np.testing.assert_array_equal(getattr(again, name), getattr(features, name))
    assert np.abs(again.descriptors - features.descriptors).max() <= 0.5 / 512 + 1e-7


def test_words_come_back_as_they_were():
    features = some_features(5)
    rng = np.random.default_rng(1)
    signatures = rng.integers(0, 2**64, 5, dtype=np.uint64)
    words = ImageWords(
        rng.integers(0, 99, 5, dtype=np.int32), signatures, features.positions, features.scales, features.angles,
        np.arange(5),
    )  # fmt: skip
    packed = packed_words(words)
    assert len(packed.data) == 5 * 28
    again = Packed.of(packed.facts(), packed.data).words()
    for name in ("words", "signatures", "positions", "scales", "angles", "features"):
        np.testing.assert_array_equal(getattr(again, name), getattr(words, name))


def test_picture_without_features_is_no_bytes():
    assert len(NOTHING.features(128)) == 0
    assert packed_features(some_features(0)) == NOTHING
