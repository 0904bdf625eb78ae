import numpy as np

from mmsearch.bow.weighting import inverse_document_frequency, sqrt_term_frequency, stop_words, term_frequency


def test_term_frequency_is_the_count_and_its_root():
    counts = np.array([0, 1, 4])
    assert term_frequency(counts).tolist() == [0, 1, 4]
    assert sqrt_term_frequency(counts).tolist() == [0, 1, 2]


def test_idf_is_the_logarithm_of_one_over_the_share_of_pictures():
    np.testing.assert_allclose(inverse_document_frequency(np.array([1, 2, 8, 0]), 8), [np.log(8), np.log(4), 0, 0])


def test_idf_of_an_empty_gallery_is_zero():
    assert inverse_document_frequency(np.zeros(3, np.int64), 0).tolist() == [0, 0, 0]


def test_stop_words_are_those_in_the_most_pictures():
    assert stop_words(np.array([5, 9, 0, 9]), 0.5).tolist() == [False, True, False, True]
    assert not stop_words(np.array([5, 9]), 0).any()


def test_words_in_no_picture_are_never_stop_words():
    assert stop_words(np.array([0, 3]), 1).tolist() == [False, True]
