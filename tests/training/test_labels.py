from __future__ import annotations

import json
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.datasets.captions import read_captions
from mmsearch.datasets.sets import ClassSet
from mmsearch.encoders.zeroshot import LabelProbabilities, ZeroShotClassifier
from mmsearch.errors import GroundTruthError
from mmsearch.evaluation.encode import SetEncoder
from mmsearch.training.calibrate import LABELS as ERROR
from mmsearch.training.calibrate import calibrate
from mmsearch.training.labels import LabelledPictures, fit_labels, label_error
from tests.conftest import random_units

A, B = np.eye(2, dtype=np.float32)
LABELS = np.stack([A, B])
SHOW_A = np.array([[True, False]])


def of_two_labels(pictures):
    """Pictures that all show the first of two labels."""
    return LabelledPictures(np.stack(pictures), LABELS, np.repeat(SHOW_A, len(pictures), axis=0))


@pytest.fixture
def set_encoder(checkpoint, calibrated_cache):
    return SetEncoder(str(checkpoint), cache=calibrated_cache)


def test_the_factor_is_how_much_more_likely_a_cosine_is_where_the_label_is_shown():
    # Three of four pictures that show a label have a cosine of 1 to it, one of four that do not: 3 times as likely.
    model = fit_labels([of_two_labels([A, A, A, B])])
    assert np.exp(model.logit_scale + model.constant) == pytest.approx(3, rel=0.01)
    assert np.exp(model.constant) == pytest.approx(1 / 3, rel=0.01)


def test_every_set_weighs_the_same_however_large_it_is():
    few, many = of_two_labels([A, A, A, B]), of_two_labels([A, B] * 50)
    large, small = fit_labels([few, many]), fit_labels([few, of_two_labels([A, B])])
    assert (large.logit_scale, large.constant) == pytest.approx((small.logit_scale, small.constant))


def test_a_cosine_that_tells_the_opposite_tells_nothing():
    model = fit_labels([of_two_labels([A, B, B, B])])
    assert (model.logit_scale, model.constant) == (0, pytest.approx(0, abs=1e-6))


@given(seed=st.integers(0, 2**32 - 1))
def test_what_is_fitted_is_calibrated_on_average(seed):
    pictures, labels = random_units(60, 4, seed), random_units(3, 4, seed + 1)
    is_shown = pictures @ labels.T + np.random.default_rng(seed).normal(0, 0.3, (60, 3)) > 0.4
    model = fit_labels([LabelledPictures(pictures, labels, is_shown)])
    multi = ZeroShotClassifier(("a", "b", "c"), labels, model.logit_scale, model.constant, "multi")
    shares = multi.probabilities(pictures).labels
    assert 0.1 * shares[is_shown].mean() + 0.9 * shares[~is_shown].mean() == pytest.approx(0.1, abs=1e-3)


@pytest.mark.parametrize("shown", [True, False])
def test_labels_that_tell_pictures_not_apart_are_refused(shown):
    with pytest.raises(GroundTruthError, match="expected two different labels or more"):
        fit_labels([LabelledPictures(LABELS, LABELS, np.full((2, 2), shown))])


def test_the_first_caption_of_each_picture_is_a_label(photos, set_encoder):
    captions = {"cat": ["a cat", "an animal"], "fig": ["a fig"], "moose": ["an animal", "a moose"]}
    lines = [json.dumps({"image": f"{name}.jpg", "captions": texts}) for name, texts in captions.items()]
    (photos / "trip" / "moose.jpg").rename(photos / "moose.jpg")
    (photos / "captions.jsonl").write_text("\n".join(lines))
    benchmark = read_captions(photos, is_merging=True)
    labelled = LabelledPictures.by_captions(
        benchmark, [0, 2], random_units(2, set_encoder.encoder.dim), set_encoder
    )
    assert labelled.is_shown.tolist() == [[True, True], [False, True]]  # "a cat", "an animal"
    texts = ["a cat", "a photo of a a cat."]
    nearest = set_encoder.encoder.encode_texts(texts) @ labelled.labels.T
    assert (nearest[:, 0] > nearest[:, 1]).all()


def test_classes_of_the_same_name_are_one_label(photos, set_encoder):
    pictures = tuple(photos / f"{name}.jpg" for name in ("cat", "fig", "dam", "creek"))
    benchmark = ClassSet("photos", pictures, (0, 1, 2, 3), ("animal", "fruit", "water", "water"))
    readable, vectors, _ = set_encoder.pictures(pictures)
    labelled = LabelledPictures.by_classes(benchmark, readable, vectors, set_encoder)
    assert labelled.is_shown.tolist() == [
        [True, False, False], [False, True, False], [False, False, True], [False, False, True],
    ]  # fmt: skip
    assert fit_labels([labelled]).logit_scale >= 0


def test_the_error_of_labels_is_that_of_the_most_probable_one():
    said = LabelProbabilities(np.array([[0.6, 0.1], [0.2, 0.6]]), np.array([0.3, 0.2]))
    is_shown = np.array([[True, False], [False, False]])
    assert label_error(said, is_shown) == pytest.approx(0.1)  # 0.6 where one of two is right
    for first, second in product([True, False], repeat=2):
        assert 0 <= label_error(said, np.array([[first, False], [False, second]])) <= 1


@pytest.mark.full
def test_calibrating_fits_labels_to_captions_and_to_classes(squares, set_encoder, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"x")
    colours = [path.name.split("-")[0] for path in squares.pictures]
    names = (*dict.fromkeys(colours), "broken")
    pictures = (*squares.pictures, tmp_path / "broken.png")
    classes = ClassSet("colours", pictures, tuple(map(names.index, [*colours, "broken"])), names)
    by_captions = calibrate(squares, set_encoder, None, is_forced=True)
    by_both = calibrate(squares, set_encoder, by_captions.calibration, classes=classes, is_forced=True)
    assert by_captions.calibration.search == by_both.calibration.search
    assert by_captions.calibration.labels != by_both.calibration.labels
    assert 0 < by_both.measures["before"][ERROR] == by_captions.measures["after"][ERROR] <= 1
    assert set(by_both.measures["softmax"]) == {ERROR}
    assert by_both.to_json()["labels"] == vars(by_both.calibration.labels)
    assert [bad["path"] for bad in by_both.bad] == [str(tmp_path / "broken.png")]
