from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as oracle

from mmsearch.evaluation.metrics.classification import (
    confusions,
    recall_per_class,
    top_k_accuracy,
)
from mmsearch.evaluation.metrics.ranks import Qrels, rank_relevant


def test_mean_per_class_recall_weighs_every_class_alike():
    recalls = recall_per_class(np.array([0, 0, 0, 0, 0]), np.array([0, 0, 0, 0, 1]), 3)
    assert recalls[:2].tolist() == [1, 0]
    assert np.isnan(recalls[2])  # no picture of this class


@given(seed=st.integers(0, 2**32 - 1))
def test_measures_equal_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    scores, truth = rng.random((50, 6)), rng.permutation(np.repeat(np.arange(6), [15, 10, 10, 5, 5, 5]))
    ranks, predicted = rank_relevant(scores, Qrels.from_lists(truth[:, None])).ranks, scores.argmax(axis=1)
    for k in (1, 3):
        expected = oracle.top_k_accuracy_score(truth, scores, k=k)
        np.testing.assert_allclose(top_k_accuracy(ranks, k).mean(), expected)
    matrix = np.zeros((6, 6), dtype=int)
    true_class, given_class, pictures = confusions(predicted, truth, 6).T
    matrix[true_class, given_class] = pictures
    np.testing.assert_array_equal(matrix, oracle.confusion_matrix(truth, predicted))
    assert (pictures > 0).all()
    recall = recall_per_class(predicted, truth, 6).mean()
    np.testing.assert_allclose(recall, oracle.balanced_accuracy_score(truth, predicted))
