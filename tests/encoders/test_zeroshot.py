from __future__ import annotations

import numpy as np

from mmsearch.encoders.zeroshot import ZeroShotClassifier
from mmsearch.records import Prediction
from tests.conftest import random_units

AXES = np.eye(3, dtype=np.float32)


def test_probabilities_are_the_softmax_of_scaled_cosines():
    classifier = ZeroShotClassifier(("a", "b"), AXES[:2], logit_scale=2.0)
    shares = classifier.probabilities(np.float32([[1, 0, 0], [0, 0, 1]]))
    np.testing.assert_allclose(shares.labels, [[np.e**2 / (np.e**2 + 1), 1 / (np.e**2 + 1)], [0.5, 0.5]])
    assert shares.none is None


def test_most_probable_labels_come_first_and_ties_stay_in_the_order_of_the_labels():
    classifier = ZeroShotClassifier(("a", "b", "c"), AXES, logit_scale=np.log(2))
    (predictions,) = classifier.predict(np.float32([[0, 0, 1]]), k=2)
    assert [(label.label, label.score) for label in predictions] == [("c", 1.0), ("a", 0.0)]
    np.testing.assert_allclose([label.probability for label in predictions], [0.5, 0.25])
    assert isinstance(predictions[0], Prediction)


def test_a_picture_is_judged_by_itself():
    classifier = ZeroShotClassifier(tuple("abcde"), random_units(5, 16, seed=1), logit_scale=20.0)
    pictures = random_units(9, 16)
    together = classifier.probabilities(pictures).labels
    alone = np.concatenate([classifier.probabilities(row[None]).labels for row in pictures])
    np.testing.assert_allclose(together, alone, atol=1e-5)
