from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.encoders.calibration import Calibration, LabelModel, RelevanceModel
from mmsearch.encoders.classifier import Classifier
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.encoders.zeroshot import ZeroShotClassifier, in_parts, mode_of
from mmsearch.errors import QueryError
from mmsearch.records import PictureParts, Prediction
from tests.conftest import random_units

AXES = np.eye(3, dtype=np.float32)
NINE = np.log(9)
seeds = st.integers(0, 2**32 - 1)


def classifier_of(seed, n_labels, mode):
    return ZeroShotClassifier(tuple(map(str, range(n_labels))), random_units(n_labels, 8, seed), 12.0, -2.0, mode)


@pytest.fixture(scope="session")
def calibrated(tiny_folder, tmp_path_factory):
    """The tiny encoder with a calibration of labels beside it."""
    folder = tmp_path_factory.mktemp("calibrated") / "encoder"
    shutil.copytree(tiny_folder, folder)
    encoder = OnnxEncoder.open(folder)
    calibration = Calibration(labels=LabelModel(logit_scale=12.0, constant=-2.0))
    (folder / "calibration.json").write_text(json.dumps(calibration.to_json(encoder.fingerprint)))
    return encoder


def test_probabilities_are_the_softmax_of_scaled_cosines():
    classifier = ZeroShotClassifier(("a", "b"), AXES[:2], logit_scale=2.0)
    shares = classifier.probabilities(np.float32([[1, 0, 0], [0, 0, 1]]))
    np.testing.assert_allclose(shares.labels, [[np.e**2 / (np.e**2 + 1), 1 / (np.e**2 + 1)], [0.5, 0.5]])
    assert shares.none is None


def test_open_labels_compete_with_none_of_them_by_bayes_rule():
    # A cosine of 1 is 18 times as likely where the label is shown, one of 0 twice; one picture in ten shows none.
    classifier = ZeroShotClassifier(("a", "b"), AXES[:2], logit_scale=NINE, constant=np.log(2), mode="open")
    said = classifier.probabilities(np.float32([[1, 0, 0], [0, 0, 1]]))
    np.testing.assert_allclose(said.labels, [[0.45 * 18 / 9.1, 0.45 * 2 / 9.1], [0.9 / 1.9, 0.9 / 1.9]])
    np.testing.assert_allclose(said.none, [0.1 / 9.1, 0.1 / 1.9])


def test_a_label_that_is_asked_by_itself_begins_as_one_in_ten():
    classifier = ZeroShotClassifier(("a", "b"), AXES[:2], logit_scale=NINE, mode="multi")
    said = classifier.probabilities(np.float32([[1, 0, 0]]))
    np.testing.assert_allclose(said.labels, [[0.5, 0.1]])
    assert said.none is None


def test_most_probable_labels_come_first_and_ties_stay_in_the_order_of_the_labels():
    classifier = ZeroShotClassifier(("a", "b", "c"), AXES, logit_scale=np.log(2))
    ((predictions, none),) = classifier.predict(np.float32([[0, 0, 1]]), k=2)
    assert [(label.label, label.score) for label in predictions] == [("c", 1.0), ("a", 0.0)]
    np.testing.assert_allclose([label.probability for label in predictions], [0.5, 0.25])
    assert isinstance(predictions[0], Prediction)
    assert none is None


BOXES = [(0.0, 0.0, 0.7, 0.7), (0.5, 0.5, 1.0, 1.0)]


def test_labels_are_ordered_by_where_they_are_most_probable_and_the_best_part_is_told():
    # A cosine of 1 is nine times as probable as one of 0, and one label in ten is shown beforehand.
    classifier = ZeroShotClassifier(("a", "b", "c"), AXES, logit_scale=NINE, mode="multi")
    parts = PictureParts(BOXES, np.float32([[0.5, 0, np.sqrt(0.75)], [0, 0, 1]]))
    ((predictions, none),) = in_parts(classifier.judge, classifier.labels, AXES[:1], [parts], k=2)
    assert [label.label for label in predictions] == ["a", "c"]  # ties in order
    a, c = predictions
    assert (a.part.box, c.part.box) == tuple(BOXES)
    assert (a.probability, a.part.probability, a.part.score) == pytest.approx((0.5, 0.25, 0.5))
    assert (c.probability, c.part.probability, c.part.score) == pytest.approx((0.1, 0.5, 1))
    assert [label.best for label in predictions] == pytest.approx([0.5, 0.5])
    assert none is None


def test_none_of_the_labels_is_as_probable_as_where_it_is_least():
    classifier = ZeroShotClassifier(("a", "b"), AXES[:2], logit_scale=NINE, constant=np.log(2), mode="open")
    parts = PictureParts(BOXES, AXES[[0, 2]])
    ((_, none), (_, alone)) = in_parts(
        classifier.judge, classifier.labels, AXES[[2, 2]], [parts, PictureParts([], AXES[:0])], k=2
    )
    assert (none, alone) == pytest.approx((0.1 / 9.1, 0.1 / 1.9))


def test_a_classifier_that_was_taught_looks_at_parts_too():
    classifier = Classifier(("a", "b"), np.log(3) * AXES[:2], "model", "fingerprint")
    parts = PictureParts(BOXES, AXES[[2, 1]])
    (((b, a), none),) = in_parts(classifier.judge, classifier.labels, AXES[[2]], [parts], k=2)
    assert [label.label for label in (b, a)] == ["b", "a"]
    assert (b.probability, b.part.probability, b.part.score, b.part.box) == (
        pytest.approx(0.5), pytest.approx(0.75), 1, BOXES[1],
    )  # fmt: skip
    assert (a.part.probability, a.part.box, none) == (pytest.approx(0.5), BOXES[0], None)


@given(seed=seeds, n_labels=st.integers(1, 9))
def test_a_picture_without_parts_has_the_answer_of_the_whole(seed, n_labels):
    classifier, wholes = classifier_of(seed, n_labels, "open"), random_units(3, 8, seed + 1)
    answers = in_parts(classifier.judge, classifier.labels, wholes, [PictureParts([], wholes[:0])] * 3, k=4)
    for (labels, none), (expected, of_whole) in zip(answers, classifier.predict(wholes, k=4), strict=True):
        assert [(one.label, one.part) for one in labels] == [(one.label, None) for one in expected]
        assert [one.probability for one in labels] == pytest.approx([one.probability for one in expected], abs=1e-6)
        assert none == pytest.approx(of_whole, abs=1e-6)


@given(seed=seeds, n_labels=st.integers(1, 9))
def test_open_probabilities_and_that_of_none_sum_to_one(seed, n_labels):
    said = classifier_of(seed, n_labels, "open").probabilities(random_units(4, 8, seed + 1))
    np.testing.assert_allclose(said.labels.sum(axis=1) + said.none, 1)
    assert ((said.labels >= 0) & (said.labels <= 1)).all()


@given(seed=seeds, n_labels=st.integers(2, 9))
def test_a_further_label_never_raises_the_probability_of_another(seed, n_labels):
    pictures, all_labels = random_units(4, 8, seed + 1), classifier_of(seed, n_labels, "open")
    fewer = ZeroShotClassifier(all_labels.labels[:-1], all_labels.vectors[:-1], 12.0, -2.0, "open")
    more = all_labels.probabilities(pictures).labels[:, :-1]
    assert (more <= fewer.probabilities(pictures).labels + 1e-7).all()


@given(seed=seeds, n_labels=st.integers(2, 9))
def test_a_label_by_itself_does_not_depend_on_the_others(seed, n_labels):
    pictures, together = random_units(4, 8, seed + 1), classifier_of(seed, n_labels, "multi")
    alone = ZeroShotClassifier(("last",), together.vectors[-1:], 12.0, -2.0, "multi")
    expected = together.probabilities(pictures).labels[:, -1:]
    np.testing.assert_allclose(alone.probabilities(pictures).labels, expected, atol=1e-5)


@given(seed=seeds)
def test_a_label_alone_is_as_probable_as_it_is_not_none(seed):
    said = classifier_of(seed, 1, "open").probabilities(random_units(3, 8, seed + 1))
    np.testing.assert_allclose(said.labels[:, 0], 1 - said.none)


@pytest.mark.parametrize("mode", ["closed", "open", "multi"])
def test_a_picture_is_judged_by_itself(mode):
    classifier, pictures = classifier_of(1, 5, mode), random_units(9, 8)
    together = classifier.probabilities(pictures).labels
    alone = np.concatenate([classifier.probabilities(row[None]).labels for row in pictures])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert classifier.probabilities(pictures[:0]).labels.shape == (0, 5)


@pytest.mark.parametrize("mode", ["open", "multi"])
def test_numbers_as_large_as_a_calibration_may_hold_give_probabilities(mode):
    for constant in (-1e9, 1e9):
        classifier = ZeroShotClassifier(("a", "b"), AXES[:2], 1e9, constant, mode)
        said = classifier.probabilities(np.float32([[1, 0, 0], [-1, 0, 0]])).labels
        assert ((said >= 0) & (said <= 1)).all()


def test_closed_labels_are_those_of_the_encoder_as_it_came_bit_for_bit(calibrated, tiny):
    labels, vectors = ("a cat", "a dog"), tiny.encode_texts(["a cat", "a dog"])
    pictures = random_units(5, tiny.dim)
    as_it_came = ZeroShotClassifier(labels, vectors, tiny.logit_scale).probabilities(pictures)
    for encoder in (calibrated, tiny):
        closed = ZeroShotClassifier.of(encoder, labels, vectors, "closed").probabilities(pictures)
        assert closed.labels.tobytes() == as_it_came.labels.tobytes()
        assert closed.none is None


def test_a_calibrated_encoder_gives_its_numbers_to_open_labels(calibrated):
    classifier = ZeroShotClassifier.of(calibrated, ["a"], random_units(1, calibrated.dim), "open")
    assert (classifier.logit_scale, classifier.constant, classifier.mode) == (12.0, -2.0, "open")


def test_labels_are_open_where_the_encoder_is_calibrated(calibrated, tiny):
    assert mode_of(calibrated, ["a"], closed=False, multi=False) == "open"
    assert mode_of(calibrated, ["a"], closed=False, multi=True) == "multi"
    assert mode_of(calibrated, ["a"], closed=True, multi=False) == "closed"
    assert mode_of(tiny, ["a"], closed=False, multi=False) == "closed"
    assert ZeroShotClassifier.of(tiny, ["a"], random_units(1, tiny.dim), "open").mode == "closed"


def test_a_calibration_of_searches_alone_says_nothing_of_labels(calibrated, tiny_folder, tmp_path):
    shutil.copytree(tiny_folder, tmp_path / "encoder")
    searches = Calibration(search=RelevanceModel(0, 2, 1, 0.5, -2, 3, 5, 0))
    (tmp_path / "encoder" / "calibration.json").write_text(json.dumps(searches.to_json(calibrated.fingerprint)))
    encoder = OnnxEncoder.open(tmp_path / "encoder")
    assert mode_of(encoder, ["a"], closed=False, multi=False) == "closed"
    with pytest.raises(QueryError, match="is not calibrated, so its cosines do not say how probable a label is"):
        mode_of(encoder, ["a"], closed=False, multi=True)


def test_modes_that_mean_nothing_are_refused(calibrated, tiny):
    with pytest.raises(QueryError, match=r"closed, or each is judged by itself \(multi\), not both"):
        mode_of(calibrated, ["a"], closed=True, multi=True)
    with pytest.raises(QueryError, match=r"not calibrated.*mmsearch calibrate.*leave multi out"):
        mode_of(tiny, ["a"], closed=False, multi=True)
    with pytest.raises(QueryError, match="label 'none of these' is what pictures are called that show none"):
        mode_of(calibrated, ["a", " none of these "], closed=False, multi=False)
    assert mode_of(calibrated, ["none of these"], closed=True, multi=False) == "closed"
    assert mode_of(tiny, ["none of these"], closed=False, multi=False) == "closed"
