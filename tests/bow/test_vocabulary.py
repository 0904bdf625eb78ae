from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsearch.bow.vocabulary import ImageWords, Vocabulary, lifted, suggested_n_words
from mmsearch.errors import DimensionError, VectorError, VocabularyError
from mmsearch.indexes.exact import ExactIndex
from mmsearch.records import LocalFeatures


def descriptors(seed, n, dim=128):
    """Non-negative unit vectors in clusters, as RootSIFT is."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).gamma(0.3, size=(400, dim))
    values = centres[rng.integers(0, 400, n)] * rng.gamma(2, size=(n, dim))
    return np.sqrt(values / values.sum(axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def vocabulary():
    return Vocabulary.train(descriptors(0, 8000), 300, extractor="test-1")


def squared_distances(points, centroids):
    return np.square(points[:, None].astype(np.float64) - centroids[None]).sum(axis=2)


@pytest.mark.parametrize(
    ("n", "expected"), [(0, 256), (4096, 256), (16 * 512, 512), (16 * 600, 512), (16 * 800, 1024), (10**8, 65_536)]
)
def test_suggested_size_is_a_power_of_two_near_a_sixteenth(n, expected):
    assert suggested_n_words(n) == expected


def test_assignment_is_the_nearest_centroid(vocabulary):
    points = descriptors(1, 200)
    words = vocabulary.assign(points)
    assert words.dtype == np.int32
    np.testing.assert_array_equal(words, squared_distances(points, vocabulary.centroids).argmin(axis=1))


def test_several_words_are_the_nearest_in_order(vocabulary):
    points = descriptors(2, 100)
    expected = squared_distances(points, vocabulary.centroids).argsort(axis=1)
    np.testing.assert_array_equal(vocabulary.assign_several(points, 5), expected[:, :5])
    assert vocabulary.assign_several(points, 1000).shape == (100, 300)


def test_a_search_among_lifted_centroids_gives_the_same_words(vocabulary):
    points = descriptors(3, 500)
    exact = ExactIndex(vocabulary.lifted_centroids().astype(np.float16))
    agreement = replace(vocabulary, nearest=exact.search).assign(points) == vocabulary.assign(points)
    assert agreement.mean() >= 0.98  # half precision


def test_lifted_inner_products_rank_as_distances_do(vocabulary):
    points = descriptors(4, 50)
    lifted_centroids = vocabulary.lifted_centroids()
    np.testing.assert_allclose(np.linalg.norm(lifted_centroids, axis=1), 1, atol=1e-5)
    products = lifted(points) @ lifted_centroids.T
    distances = squared_distances(points, vocabulary.centroids)
    slopes = np.diff(products, axis=1) / np.diff(distances, axis=1)
    assert slopes.std() <= 1e-2 * abs(slopes.mean())


def test_words_are_exact_when_a_graph_reaches_too_few(vocabulary):
    points = descriptors(7, 10)

    def nothing(queries, k):
        return np.zeros((len(queries), 0), np.float32), np.zeros((len(queries), 0), np.int64)

    np.testing.assert_array_equal(replace(vocabulary, nearest=nothing).assign(points), vocabulary.assign(points))


def test_a_bit_is_whether_the_projection_is_above_the_median_of_the_word(vocabulary):
    points = descriptors(9, 30)
    words = vocabulary.assign(points)
    signatures = vocabulary.signatures(points, words)
    for point, word, signature in zip(points, words, signatures, strict=True):
        bits = vocabulary.projection @ point > vocabulary.medians[word]
        expected = sum(1 << bit for bit in range(64) if bits[bit])
        assert bin(int(signature) ^ expected).count("1") <= 1  # a projection may equal its median to rounding


def test_bits_of_the_training_descriptors_are_set_half_the_time(vocabulary):
    points = descriptors(0, 8000)
    signatures = vocabulary.signatures(points, vocabulary.assign(points))
    assert np.bitwise_count(signatures).mean() == pytest.approx(32, abs=1)


def test_signatures_are_nearer_for_copies_with_noise_than_for_others_of_the_word(vocabulary):
    points = descriptors(10, 2000)
    noisy = points + 0.01 * np.random.default_rng(0).standard_normal(points.shape).astype(np.float32)
    words = vocabulary.assign(points)
    own, near = vocabulary.signatures(points, words), vocabulary.signatures(noisy, words)
    order = np.argsort(words, kind="stable")
    same_word = words[order][1:] == words[order][:-1]
    others = np.bitwise_count(own[order][1:] ^ own[order][:-1])[same_word]
    assert np.bitwise_count(own ^ near).mean() + 10 < others.mean()


def test_projection_rows_are_orthonormal(vocabulary):
    np.testing.assert_allclose(vocabulary.projection @ vocabulary.projection.T, np.eye(64), atol=1e-5)


def test_the_same_seed_gives_the_same_vocabulary(vocabulary):
    again = Vocabulary.train(descriptors(0, 8000), 300, extractor="test-1")
    np.testing.assert_array_equal(again.centroids, vocabulary.centroids)
    np.testing.assert_array_equal(again.medians, vocabulary.medians)


@pytest.mark.parametrize("n_words", [256, 5000])
def test_copies_of_few_descriptors_make_a_word_of_each_and_no_equal_ones(n_words):
    few = descriptors(9, 100)
    found = Vocabulary.train(np.tile(few, (60, 1)), n_words, extractor="test-1")
    assert found.n_words == len(found.medians) == 100
    words = found.assign(few)
    assert len(set(words.tolist())) == 100
    np.testing.assert_allclose(found.centroids[words], few, atol=1e-6)
    np.testing.assert_allclose(found.medians[words], few @ found.projection.T, atol=1e-5)


def test_quantised_features_keep_their_number(vocabulary):
    points = descriptors(11, 3)
    ones = np.ones(3, np.float32)
    features = LocalFeatures(np.arange(6, dtype=np.float32).reshape(3, 2), ones, ones, points, (9, 9), (9, 9))
    words = vocabulary.quantise(features, 2)
    assert words.features.tolist() == [0, 0, 1, 1, 2, 2]
    assert words.words.tolist() == vocabulary.assign_several(points, 2).ravel().tolist()
    assert words.positions[:, 0].tolist() == [0, 0, 2, 2, 4, 4]
    assert words.n_features == 3


def test_a_picture_without_features_has_no_words(vocabulary):
    none = np.zeros(0, np.float32)
    features = LocalFeatures(
        np.zeros((0, 2), np.float32), none, none, np.zeros((0, 128), np.float32), (9, 9), (9, 9)
    )
    words = vocabulary.quantise(features)
    assert isinstance(words, ImageWords)
    assert len(words.words) == len(words.signatures) == words.n_features == 0


def test_a_saved_vocabulary_gives_the_same_words_and_signatures(vocabulary, tmp_path):
    vocabulary.save(tmp_path / "v")
    loaded = Vocabulary.load(tmp_path / "v", extractor="test-1")
    points = descriptors(12, 100)
    words = loaded.assign(points)
    np.testing.assert_array_equal(words, vocabulary.assign(points))
    np.testing.assert_array_equal(loaded.signatures(points, words), vocabulary.signatures(points, words))


def test_a_vocabulary_of_another_extractor_is_refused(vocabulary, tmp_path):
    vocabulary.save(tmp_path / "v")
    with pytest.raises(VocabularyError, match="holds words for test-1, expected other-2; train a vocabulary"):
        Vocabulary.load(tmp_path / "v", extractor="other-2")


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_damaged_file_is_refused_with_a_sentence(vocabulary, tmp_path_factory, data):
    path = tmp_path_factory.mktemp("damaged") / "v"
    vocabulary.save(path)
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, 400) | st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content = content[:place]
    else:
        content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    with pytest.raises(VocabularyError):
        Vocabulary.load(path, extractor="test-1")


def test_another_kind_of_file_is_refused(tmp_path):
    (tmp_path / "v").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(VocabularyError, match="expected 'mmsearch vocabulary 1'"):
        Vocabulary.load(tmp_path / "v", extractor="test-1")


def test_descriptors_of_another_width_are_an_error(vocabulary):
    with pytest.raises(DimensionError, match="descriptors have 64 dimensions, the vocabulary has 128"):
        vocabulary.assign(np.ones((1, 64), np.float32))


def test_too_few_or_too_narrow_descriptors_are_an_error():
    with pytest.raises(VectorError, match="found 10 points for 256 clusters"):
        Vocabulary.train(descriptors(0, 10), extractor="test-1")
    with pytest.raises(VocabularyError, match="descriptors have 32 dimensions"):
        Vocabulary.train(descriptors(0, 300, dim=32), extractor="test-1")
