from __future__ import annotations

import json

import numpy as np
import pytest

from mmsearch.datasets.captions import read_captions
from mmsearch.datasets.sets import ClassSet, classes_of_captions
from mmsearch.encoders.zeroshot import ZeroShotClassifier, class_embeddings, probabilities
from mmsearch.errors import GroundTruthError, QueryError
from mmsearch.evaluation.answers import ABSENT, GIBBERISH, HITS, MATCHES, TRANSLATED
from mmsearch.evaluation.calibration import run_calibration
from mmsearch.evaluation.encode import SetEncoder
from mmsearch.evaluation.judged import AT_LOSS, AUROC, CALIBRATION, ERROR, LOST, REJECTED
from mmsearch.evaluation.labels import CLOSED, OPEN, REMOVED
from mmsearch.evaluation.metrics.calibration import calibration_error
from mmsearch.evaluation.metrics.separation import auroc
from mmsearch.evaluation.page import page_of
from mmsearch.evaluation.report import finite
from mmsearch.query.relevance import Relevance
from mmsearch.vectors import inner_products
from tests.conftest import small_samples

ABSENT_NAMES = ["lighthouse", "cup", "grand piano"]


def value(result, measure):
    return result["measures"][measure]["value"]


def system(report, encoder, score):
    return report["results"][f"{encoder.encoder.name}: {score}"]


@pytest.fixture
def classes(photos):
    pictures = [photos / f"{name}.jpg" for name in ("cat", "fig", "dam", "creek", "coffee")]
    return ClassSet("photos", tuple(pictures), (0, 1, 4, 2, 3), ("cat", "fruit", "moon", "cat", "dam"))


def test_every_caption_is_asked_with_its_picture_and_without(captioned, set_encoder):
    known = read_captions(captioned, is_merging=True)
    result = system(run_calibration(known, [set_encoder]), set_encoder, "cosine")[MATCHES]
    cosines = inner_products(set_encoder.texts(known.texts), set_encoder.pictures(known.pictures)[1])
    own = np.array([pictures[0] for pictures in known.pictures_of_text])
    others = cosines.copy()
    others[np.arange(len(own)), own] = -1
    assert value(result, AUROC) == auroc(cosines.max(axis=1), others.max(axis=1))
    assert value(result, ERROR) == 1 - np.mean(cosines.argmax(axis=1) == own) / 2
    assert (result["n_true"], result["n_not_true"]) == (6, 6)


def test_relevance_is_that_of_the_hits_with_the_picture_and_without(captioned, calibrated_encoder):
    known = read_captions(captioned, is_merging=True)
    report = run_calibration(known, [calibrated_encoder])
    assert [name.split(": ")[-1] for name in report["results"]] == ["relevance", "cosine"]
    relevance, texts = Relevance.of(calibrated_encoder.encoder), calibrated_encoder.texts(known.texts)
    cosines = inner_products(texts, calibrated_encoder.pictures(known.pictures)[1])
    there, gone, hits = [], [], []
    for text, of_text, (own,) in zip(texts, cosines, known.pictures_of_text, strict=True):
        answer, of_hits = relevance.judge(text, of_text, 3)
        there.append(answer)
        hits += of_hits.tolist()
        gone.append(relevance.judge(text, np.delete(of_text, own), 2)[0])
    parts = system(report, calibrated_encoder, "relevance")
    assert value(parts[MATCHES], AUROC) == auroc(np.array(there), np.array(gone))
    truth = np.repeat([1.0, 0.0], len(there))
    assert value(parts[MATCHES], CALIBRATION) == pytest.approx(calibration_error(np.array(there + gone), truth))
    assert value(parts[MATCHES], REJECTED) == np.mean(np.array(gone) < 1 / 3)
    assert value(parts[MATCHES], LOST) == np.mean(np.array(there) < 1 / 3)
    assert sum(row["n"] * row["predicted"] for row in parts[HITS]["reliability"]) == pytest.approx(sum(hits))
    assert list(parts[GIBBERISH]["measures"]) == [AUROC, *AT_LOSS, REJECTED, LOST]


@pytest.mark.full
def test_smaller_libraries_are_parts_of_the_whole(tmp_path, set_encoder):
    pictures = small_samples(tmp_path / "set", 21)
    lines = [
        {"image": path.name, "captions": [f"{name} and {name}", f"a {name}"]}
        for path in pictures.iterdir()
        if (name := path.stem)
    ]
    (pictures / "captions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    known = read_captions(pictures, is_merging=True)
    parts = system(run_calibration(known, [set_encoder]), set_encoder, "cosine")
    assert [part for part in parts if MATCHES in part] == [MATCHES, f"{MATCHES} among 10"]
    whole, small = parts[MATCHES], parts[f"{MATCHES} among 10"]
    assert (small["n_true"], small["n_not_true"]) == (whole["n_true"], whole["n_not_true"]) == (42, 42)


def test_hits_are_true_where_they_are_the_picture_of_the_caption(captioned, set_encoder):
    known = read_captions(captioned, is_merging=True)
    result = system(run_calibration(known, [set_encoder]), set_encoder, "cosine")[HITS]
    assert (result["n_true"], result["n_not_true"]) == (6, 12)  # three pictures, so all of them are hits
    assert CALIBRATION not in result["measures"]


def test_a_text_that_nothing_answers_is_compared_with_captions_that_have_their_pictures(captioned, set_encoder):
    lines = [json.loads(line) for line in (captioned / "captions.jsonl").read_text().splitlines()]
    lines[1]["translations"] = {"fr": "un chat", "de": " "}
    (captioned / "captions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    known = read_captions(captioned, is_merging=True)
    parts = system(run_calibration(known, [set_encoder], absent_names=ABSENT_NAMES), set_encoder, "cosine")
    assert list(parts) == [MATCHES, HITS, GIBBERISH, TRANSLATED, ABSENT]
    assert [parts[part]["n_not_true"] for part in (GIBBERISH, TRANSLATED, ABSENT)] == [3, 1, 2]
    pictures = set_encoder.pictures(known.pictures)[1]
    there = inner_products(set_encoder.texts(known.texts), pictures).max(axis=1)
    french = inner_products(set_encoder.texts(["un chat"]), pictures[[0, 2]]).max(axis=1)
    assert value(parts[TRANSLATED], AUROC) == auroc(there, french)


def test_a_caption_of_all_pictures_has_nothing_to_be_told_from(photos, set_encoder):
    line = {"image": "cat.jpg", "captions": ["a picture"]}
    (photos / "captions.jsonl").write_text(json.dumps(line))
    with pytest.raises(GroundTruthError, match="expected captions that tell pictures apart"):
        run_calibration(read_captions(photos, is_merging=True), [set_encoder])


@pytest.mark.full
def test_every_picture_is_asked_with_its_label_and_without(classes, set_encoder):
    parts = system(run_calibration(classes, [set_encoder]), set_encoder, "closed")
    names, truth = ["cat", "fruit", "moon", "dam"], np.array([0, 1, 3, 2, 0])  # two classes have one name
    scale = set_encoder.encoder.logit_scale
    vectors, pictures = class_embeddings(set_encoder.texts, names), set_encoder.pictures(classes.pictures)[1]
    there = probabilities(scale * inner_products(pictures, vectors))
    gone = np.array([
        probabilities(scale * inner_products(picture[None], np.delete(vectors, label, axis=0))).max()
        for picture, label in zip(pictures, truth, strict=True)
    ])  # fmt: skip
    is_right = there.argmax(axis=1) == truth
    assert value(parts[REMOVED], AUROC) == auroc(there.max(axis=1), gone)
    assert value(parts[CLOSED], ERROR) == 1 - is_right.mean()
    assert value(parts[OPEN], ERROR) == 1 - is_right.mean() / 2  # what names no "none of these" is wrong without it
    assert value(parts[OPEN], CALIBRATION) > 0
    assert CALIBRATION not in parts[REMOVED]["measures"]


@pytest.mark.full
def test_where_an_encoder_is_calibrated_none_of_the_labels_is_an_answer(classes, calibrated_encoder):
    report = run_calibration(classes, [calibrated_encoder])
    assert [name.split(": ")[-1] for name in report["results"]] == ["open", "closed", "cosine"]
    parts = system(report, calibrated_encoder, "open")
    names, truth = ["cat", "fruit", "moon", "dam"], np.array([0, 1, 3, 2, 0])
    vectors = class_embeddings(calibrated_encoder.texts, names)
    pictures = calibrated_encoder.pictures(classes.pictures)[1]
    there = ZeroShotClassifier.of(calibrated_encoder.encoder, names, vectors, "open").probabilities(pictures)
    gone = [
        ZeroShotClassifier.of(
            calibrated_encoder.encoder, names[:own] + names[own + 1 :], np.delete(vectors, own, axis=0), "open"
        ).probabilities(picture[None])
        for picture, own in zip(pictures, truth, strict=True)
    ]
    none_of_gone = np.array([float(said.none[0]) for said in gone])
    assert value(parts[REMOVED], AUROC) == pytest.approx(auroc(1 - there.none, 1 - none_of_gone))
    is_none = there.none > there.labels.max(axis=1)
    is_none_of_gone = np.array([said.none[0] > said.labels.max() for said in gone])
    assert value(parts[REMOVED], LOST) == is_none.mean()
    assert value(parts[REMOVED], REJECTED) == is_none_of_gone.mean()
    is_right = np.concatenate([~is_none & (there.labels.argmax(axis=1) == truth), is_none_of_gone])
    assert value(parts[OPEN], ERROR) == 1 - is_right.mean()
    assert CALIBRATION in parts[REMOVED]["measures"]


@pytest.mark.full
def test_the_cosine_stays_beside_probabilities(classes, set_encoder):
    result = system(run_calibration(classes, [set_encoder]), set_encoder, "cosine")[CLOSED]
    assert result.keys() == {"n_true", "n_not_true", "measures", "risk_at_coverage"}
    assert list(result["measures"])[:3] == [AUROC, *AT_LOSS]


def test_captions_of_one_picture_each_can_be_labels(captioned, set_encoder):
    known = read_captions(captioned, is_merging=True)
    with pytest.raises(GroundTruthError, match=r"astronaut.jpg has 2 captions; expected one"):
        classes_of_captions(known)
    lines = [{"image": image, "captions": [text]} for image, text in (("cat.jpg", "a cat"), ("fig.jpg", "a fig"))]
    (captioned / "captions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    labelled = classes_of_captions(read_captions(captioned, is_merging=True))
    assert (labelled.class_names, labelled.truth) == (("a cat", "a fig"), (0, 1))


@pytest.mark.full
def test_models_stand_beside_one_another(classes, set_encoder, bench_cache, other_checkpoint, other_folder):
    encoders = [set_encoder, SetEncoder(str(other_checkpoint), cache=bench_cache)]
    results = run_calibration(classes, encoders)["results"]
    names = [encoder.encoder.name for encoder in encoders]
    assert list(results) == [f"{name}: {score}" for name in names for score in ("closed", "cosine")]


def test_an_encoder_without_words_is_refused(classes, wordless_encoder):
    with pytest.raises(QueryError, match="it knows no words"):
        run_calibration(classes, [wordless_encoder])


@pytest.mark.full
def test_the_page_shows_the_diagram_the_curve_and_what_was_asked(classes, set_encoder):
    classes.pictures[1].write_bytes(b"")
    report = run_calibration(classes, [set_encoder])
    assert json.loads(json.dumps(finite(report)))["benchmark"] == "calibration"
    page = page_of(report)
    for shown in (
        "Calibration: photos",
        "Reliability:",
        "Risk-coverage:",
        "label removed: every picture",
        "fig.jpg",
    ):
        assert shown in page
    assert page.count('<img src="data:image/svg') == 4
    assert report["definitions"].keys() == report["scales"].keys()
