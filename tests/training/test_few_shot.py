"""Classifiers of a few labelled pictures: they learn what prompts do not say, and are never worse than prompts."""

from __future__ import annotations

import numpy as np
import pytest

from mmsearch.encoders.classifier import Classifier
from mmsearch.errors import EncoderError, FingerprintError, TrainingError
from mmsearch.output import CLASSIFIER, OutputFile
from mmsearch.training.few_shot import _calibrated, _fitted, teach_classes
from mmsearch.vectors import l2_normalize
from tests.conftest import random_units

DIM, N_LABELS, SCALE = 16, 4, 20.0


def pictures(n, seed, centres):
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % len(centres)
    vectors = l2_normalize((centres[truth] + rng.normal(0, 0.15, (n, DIM))).astype(np.float32))
    return vectors, truth


@pytest.fixture(scope="module")
def centres():
    return random_units(N_LABELS, DIM)


def right(weights, vectors, truth):
    return float(((vectors @ weights.T).argmax(axis=1) == truth).mean())


def test_a_few_pictures_teach_what_wrong_prompts_do_not_say(centres):
    prompts = random_units(N_LABELS, DIM, seed=5)
    learned = teach_classes(*pictures(16, 0, centres), prompts, logit_scale=SCALE)
    asked = pictures(200, 1, centres)
    assert right(prompts, *asked) < 0.6
    assert right(learned.weights, *asked) > 0.9
    assert learned.penalty is not None
    assert learned.loss_after < learned.loss_before


@pytest.mark.parametrize("n", [4, 8, 40])
def test_where_prompts_say_all_nothing_is_lost(centres, n):
    asked = pictures(400, 1, centres)
    before = right(centres, *asked)
    for seed in range(2, 6):
        learned = teach_classes(*pictures(n, seed, centres), centres, logit_scale=SCALE)
        assert right(learned.weights, *asked) > before - 0.02


def test_if_nothing_pays_the_prompts_are_the_classifier(centres):
    learned = teach_classes(centres[[0, 1, 0, 1]], np.array([0, 1, 0, 1]), centres, logit_scale=200.0)
    assert learned.penalty is None
    assert learned.loss_after == learned.loss_before
    np.testing.assert_allclose(np.sum(l2_normalize(learned.weights) * centres, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_a_few_pictures_with_wrong_labels_do_not_spoil_what_prompts_say(centres, seed):
    vectors, truth = pictures(12, seed, centres)
    wrong = np.random.default_rng(seed).permutation(12)[:6]
    truth[wrong] = (truth[wrong] + 1) % N_LABELS
    learned = teach_classes(vectors, truth, centres, logit_scale=SCALE)
    assert learned.penalty is None
    assert not learned.gain.is_certain
    asked = pictures(200, 9, centres)
    assert right(learned.weights, *asked) == right(centres, *asked)


def test_what_is_learned_is_certain(centres):
    learned = teach_classes(*pictures(16, 0, centres), random_units(N_LABELS, DIM, seed=5), logit_scale=SCALE)
    assert learned.gain.low > 0
    assert learned.gain.value == pytest.approx(learned.loss_before - learned.loss_after)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_a_label_without_pictures_keeps_its_prompt(centres, n):
    vectors, truth = pictures(n, 0, centres[:2])
    learned = teach_classes(vectors, truth, centres, logit_scale=SCALE)
    assert learned.weights.shape == (N_LABELS, DIM)
    assert right(learned.weights, *pictures(100, 1, centres)) > 0.9


def test_the_same_seed_gives_the_same_weights(centres):
    first, again = (teach_classes(*pictures(12, 0, centres), centres, logit_scale=SCALE) for _ in range(2))
    assert np.array_equal(first.weights, again.weights)


def test_the_fit_is_where_the_slope_is_zero(centres):
    vectors, truth = pictures(20, 0, centres)
    start, penalty = SCALE * random_units(N_LABELS, DIM, seed=3).astype(np.float64), 0.01
    weights = _fitted(vectors.astype(np.float64), truth, start, penalty)

    def cost(changed):
        logits = vectors @ changed.T
        log_sums = np.log(np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1)) + logits.max(axis=1)
        cross_entropy = (log_sums - logits[np.arange(20), truth]).mean()
        return cross_entropy + penalty / 2 * ((changed - start) ** 2).sum()

    rng = np.random.default_rng(0)
    for _ in range(20):
        assert cost(weights) <= cost(weights + rng.normal(0, 1e-3, weights.shape)) + 1e-9


def test_a_large_penalty_leaves_the_prompts(centres):
    vectors, truth = pictures(20, 0, centres)
    start = SCALE * random_units(N_LABELS, DIM, seed=3).astype(np.float64)
    weights = _fitted(vectors.astype(np.float64), truth, start, 1e4)
    np.testing.assert_allclose(weights, start, atol=1e-3)


def test_logits_that_are_too_sure_are_made_less_so():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 4000)
    honest = np.stack([np.zeros(4000), np.where(truth == 1, 1.0, -1.0) * 2.0 + rng.normal(0, 2.0, 4000)], axis=1)
    _, scale = _calibrated(10 * honest, truth)
    assert scale == pytest.approx(0.1, rel=0.3)  # 2 * mean / variance is 1 for these


def test_few_pictures_do_not_make_it_sure_of_itself():
    logits = np.array([[5.0, 0.0], [0.0, 5.0]])
    assert _calibrated(logits, np.array([0, 1]))[1] < 1.5


@pytest.mark.parametrize(
    ("vectors", "said"),
    [
        (np.array([[np.nan, 0.0], [1.0, 0.0]], dtype=np.float32), "not finite, the first at 0"),
        (np.ones((1, 2), dtype=np.float32), "there are 1 different labelled pictures; expected at least two"),
    ],
)
def test_what_nothing_can_be_learned_from_is_refused(vectors, said):
    with pytest.raises(TrainingError, match=said):
        teach_classes(vectors, np.zeros(len(vectors), dtype=int), np.eye(2, dtype=np.float32), logit_scale=SCALE)


@pytest.fixture
def classifier(centres):
    return Classifier(("cat", "dog", "fish", "bird"), SCALE * centres, "tiny", "f" * 64)


def test_a_classifier_is_read_as_it_was_written(tmp_path, classifier, centres):
    (tmp_path / "pets").write_bytes(classifier.to_bytes())
    read = Classifier.load(tmp_path / "pets")
    assert (read.labels, read.model, read.fingerprint) == (classifier.labels, "tiny", "f" * 64)
    ((best, *_),) = read.predict(centres[2:3], k=2)
    assert best.label == "fish"
    assert best.probability == pytest.approx(
        float(np.exp(SCALE) / np.exp(SCALE * centres @ centres[2]).sum()), rel=1e-3
    )
    assert best.score == pytest.approx(1)


def test_a_classifier_of_many_labels_is_told_from_other_files(tmp_path):
    labels = tuple(f"label of some length, number {number}" for number in range(400))
    many = Classifier(labels, np.eye(400, 8, dtype=np.float32), "tiny", "f" * 64)
    assert len({many.to_bytes() for _ in range(10)}) == 1
    (tmp_path / "many").write_bytes(many.to_bytes())
    OutputFile(tmp_path / "many", CLASSIFIER).check()


@pytest.mark.parametrize("data", [b"", b"nothing of the kind", b"\x08" + b"\0" * 7 + b"{}      "])
def test_what_is_no_classifier_is_refused(tmp_path, data):
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(EncoderError, match="expected a file of `mmsearch train classes`"):
        Classifier.load(tmp_path / "file")


def test_a_classifier_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(EncoderError, match="cannot be read"):
        Classifier.load(tmp_path / "missing")


def test_a_cut_classifier_is_refused(tmp_path, classifier):
    (tmp_path / "cut").write_bytes(classifier.to_bytes()[:-8])
    with pytest.raises(EncoderError, match="or a damaged one"):
        Classifier.load(tmp_path / "cut")


def test_a_classifier_of_another_encoder_is_refused(classifier):
    with pytest.raises(FingerprintError, match=r"vectors of tiny \(ffff.*train it again with --base offline"):
        classifier.check("offline", "0" * 64)
