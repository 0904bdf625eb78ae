from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from mmsearch.datasets.sets import ClassSet
from mmsearch.encoders.calibration import Calibration, LabelModel
from mmsearch.encoders.classifier import Classifier
from mmsearch.encoders.zeroshot import ZeroShotClassifier, class_embeddings
from mmsearch.errors import FingerprintError, GroundTruthError, QueryError
from mmsearch.evaluation.classify import Taught, run_classification
from mmsearch.evaluation.encode import SetEncoder
from mmsearch.evaluation.metrics.calibration import calibration_error
from mmsearch.vectors import inner_products

NAMES = ("cat", "fruit", "moon", "cat", "dam", "horse")
TEMPLATES = ("{}", "a photo of a {}")


@pytest.fixture
def benchmark(photos):
    pictures = [photos / f"{name}.jpg" for name in ("cat", "fig", "dam", "creek")]
    return ClassSet("photos", tuple(pictures), (0, 1, 4, 4), NAMES)


def measured(benchmark, encoder):
    return run_classification(benchmark, [encoder], {"two": TEMPLATES})["results"][encoder.encoder.name]["two"]


def test_accuracy_and_confusions_are_those_of_the_cosines(benchmark, set_encoder):
    result = measured(benchmark, set_encoder)
    classes = np.stack([class_embeddings(set_encoder.texts, [name], TEMPLATES)[0] for name in NAMES])
    scores = inner_products(set_encoder.pictures(benchmark.pictures)[1], classes)
    order = np.argsort(-scores, axis=1, kind="stable")
    truth = np.array(benchmark.truth)
    assert result["measures"]["top-1"]["value"] == np.mean(order[:, 0] == truth)
    assert result["measures"]["top-5"]["value"] == np.mean((order[:, :5] == truth[:, None]).any(axis=1))
    recalls = [np.mean(order[truth == c, 0] == c) for c in (0, 1, 4)]
    np.testing.assert_allclose(result["measures"]["mean per-class recall"]["value"], np.mean(recalls))
    pairs = sorted(zip(truth.tolist(), order[:, 0].tolist(), strict=True))
    assert sorted((t, p) for t, p, n in result["confusion"] for _ in range(n)) == pairs


def test_top_5_is_absent_below_five_classes(benchmark, set_encoder):
    few = ClassSet("few", benchmark.pictures[:2], (0, 1), NAMES[:2])
    assert list(measured(few, set_encoder)["measures"]) == ["top-1", "mean per-class recall", "calibration error"]


def test_a_picture_that_cannot_be_read_is_named_and_not_counted(benchmark, set_encoder):
    benchmark.pictures[0].write_bytes(b"")
    report = run_classification(benchmark, [set_encoder], {"one": ("{}",)})
    assert [bad["path"] for bad in report["set"]["bad"]] == [str(benchmark.pictures[0])]
    assert report["results"][set_encoder.encoder.name]["one"]["n_pictures"] == 3


def test_a_set_without_a_readable_picture_is_refused(benchmark, set_encoder):
    for picture in benchmark.pictures:
        picture.write_bytes(b"")
    with pytest.raises(GroundTruthError, match=r"none of its 4 pictures can be read; the first: .*cat"):
        measured(benchmark, set_encoder)


def test_an_encoder_without_words_is_refused_before_any_picture_is_read(benchmark, wordless_encoder, monkeypatch):
    monkeypatch.setattr(SetEncoder, "pictures", lambda self, paths: pytest.fail("pictures were read"))
    with pytest.raises(QueryError, match="golden is an image encoder: it knows no words"):
        run_classification(benchmark, [wordless_encoder], {"one": ("{}",)})


def test_models_are_compared_by_the_same_pictures(
    benchmark, set_encoder, bench_cache, other_checkpoint, other_folder
):
    encoders = [set_encoder, SetEncoder(str(other_checkpoint), cache=bench_cache)]
    report = run_classification(benchmark, encoders, {"one": ("{}",)})
    names = [encoder.encoder.name for encoder in encoders]
    top_1 = [report["results"][name]["one"]["measures"]["top-1"]["value"] for name in names]
    line = next(comparison for comparison in report["comparisons"]["one"] if comparison["measure"] == "top-1")
    assert (line["first"], line["second"]) == tuple(names)
    assert line["difference"] == top_1[0] - top_1[1]
    assert 0 < line["p"] <= 1


def test_mean_per_class_recall_is_as_sure_as_top_1_where_classes_are_of_one_size(benchmark, set_encoder):
    measures = measured(ClassSet("photos", benchmark.pictures, (0, 0, 4, 4), NAMES), set_encoder)["measures"]
    assert measures["mean per-class recall"] == pytest.approx(measures["top-1"])
    assert measures["top-1"]["low"] < measures["top-1"]["value"] <= measures["top-1"]["high"]


def classifier_of(encoder, labels, templates=TEMPLATES):
    """A classifier that has learned nothing beside the prompts."""
    weights = encoder.encoder.logit_scale * class_embeddings(encoder.texts, labels, templates)
    return Classifier(tuple(labels), weights, encoder.encoder.name, encoder.encoder.fingerprint)


def test_a_classifier_that_learned_nothing_is_as_good_as_the_prompts(benchmark, set_encoder):
    labels = list(dict.fromkeys(NAMES))[::-1]
    taught = Taught.of("file", classifier_of(set_encoder, labels), [set_encoder])
    report = run_classification(benchmark, [set_encoder], {"two": TEMPLATES}, classifiers=[taught])
    prompts, learned = (report["results"][name]["two"] for name in (set_encoder.encoder.name, "file"))
    assert learned["confusion"] == prompts["confusion"]
    assert learned["measures"]["top-5"] == prompts["measures"]["top-5"]
    calibration = [result["measures"]["calibration error"]["value"] for result in (prompts, learned)]
    assert calibration[1] == pytest.approx(calibration[0], abs=1e-4)
    assert report["notes"] == []
    assert {row["p"] for row in report["comparisons"]["two"]} == {1.0}


def test_a_class_that_a_classifier_does_not_know_is_never_its_answer(benchmark, set_encoder):
    taught = Taught.of("file", classifier_of(set_encoder, ["cat", "fruit", "moon", "snow"]), [set_encoder])
    report = run_classification(benchmark, [set_encoder], {"two": TEMPLATES}, classifiers=[taught])
    result = report["results"]["file"]["two"]
    assert {NAMES[predicted] for _, predicted, _ in result["confusion"]} <= {"cat", "fruit", "moon"}
    assert result["recall_per_class"][4] == 0
    assert report["notes"] == [
        "file does not know 2 of the 5 classes of photos (dam, horse): their pictures count as wrong",
        "file knows labels that photos does not have, 1 (snow): they do not compete",
    ]


def test_a_classifier_of_none_of_the_classes_is_refused(benchmark, set_encoder):
    taught = Taught.of("file", classifier_of(set_encoder, ["snow", "ice"]), [set_encoder])
    with pytest.raises(GroundTruthError, match="file knows none of the classes of photos: its labels are snow"):
        run_classification(benchmark, [set_encoder], {"two": TEMPLATES}, classifiers=[taught])


def test_a_classifier_whose_base_has_changed_is_refused(set_encoder):
    classifier = replace(classifier_of(set_encoder, ["snow", "ice"]), fingerprint="f" * 64)
    with pytest.raises(FingerprintError, match="the classifier was taught on vectors of"):
        Taught.of("file", classifier, [set_encoder])


def test_the_calibration_error_is_that_of_the_probabilities_that_people_are_told(
    benchmark, checkpoint, tiny_folder, tmp_path
):
    folder = tmp_path / "cache" / "encoders" / tiny_folder.name
    shutil.copytree(tiny_folder, folder)
    closed = measured(benchmark, SetEncoder(str(checkpoint), cache=tmp_path / "cache"))
    model = Calibration(labels=LabelModel(logit_scale=5.0, constant=-1.0))
    fingerprint = json.loads((folder / "spec.json").read_text())["fingerprint"]
    (folder / "calibration.json").write_text(json.dumps(model.to_json(fingerprint)))
    encoder = SetEncoder(str(checkpoint), cache=tmp_path / "cache")
    is_open = measured(benchmark, encoder)
    classes = np.stack([class_embeddings(encoder.texts, [name], TEMPLATES)[0] for name in NAMES])
    shares = ZeroShotClassifier(NAMES, classes, 5.0, -1.0, "open").probabilities(
        encoder.pictures(benchmark.pictures)[1]
    )
    is_right = (shares.labels.argmax(axis=1) == np.array(benchmark.truth)).astype(float)
    expected = calibration_error(shares.labels.max(axis=1), is_right)
    assert is_open["measures"]["calibration error"]["value"] == pytest.approx(expected, abs=1e-6)
    assert closed["measures"]["calibration error"] != is_open["measures"]["calibration error"]
    assert closed["measures"]["top-1"] == is_open["measures"]["top-1"]
