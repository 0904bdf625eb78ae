"""From pictures of the same things to an image encoder that every command takes, over a tiny CLIP."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmsearch import Library, Query
from mmsearch.cli.options import Format
from mmsearch.cli.trained import show
from mmsearch.datasets.classes import read_classes
from mmsearch.datasets.instances import read_instances
from mmsearch.encoders.classifier import Classifier
from mmsearch.encoders.learned import is_learned
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.encoders.prepare import prepare_encoder
from mmsearch.errors import FingerprintError, TrainingError
from mmsearch.evaluation.encode import SetEncoder
from mmsearch.evaluation.report import origin_of
from mmsearch.samples import sample_folder
from mmsearch.traces import no_traces
from mmsearch.training.classes import classifier_of_set
from mmsearch.training.folder import TrainingFolder
from mmsearch.training.page import pair_page
from mmsearch.training.pairs import PairOptions
from mmsearch.training.project import adapt_to_pairs
from mmsearch.training.setting import Setting
from mmsearch.training.things import Shown, WarpedPictures, features_of_instances, pictures_of_library
from tests.conftest import copied_samples
from tests.forms import check_form
from tests.training.test_pairs import disturbed


@pytest.fixture(scope="module")
def pictures():
    return sorted(sample_folder().glob("*.jpg"))


@pytest.fixture(scope="module")
def trained(checkpoint, cache, tmp_path_factory):
    """Taught by descriptors of the width of the tiny CLIP, whose pairs differ along half of the axes."""
    folder = TrainingFolder(tmp_path_factory.mktemp("trained") / "projection")
    options = PairOptions(epochs=3, n_components=16, shrinkage=0.01, validation=0.4)
    features = disturbed(dim=32)
    report = adapt_to_pairs(
        "known", lambda encoder: Shown(features, no_traces(), {}), str(checkpoint), folder, options, Setting(cache)
    )
    return folder, report


@pytest.mark.full
def test_what_is_printed_of_it_follows_its_schema(trained, capfdbinary):
    for wanted in (Format.json, Format.jsonl):
        show(trained[1], "", wanted)
        check_form("train pairs", capfdbinary.readouterr().out, is_lines=wanted is Format.jsonl)


@pytest.mark.full
def test_things_that_were_held_out_are_found_better(trained):
    _, report = trained
    assert (report.n_pictures, report.n_things, report.n_validation) == (240, 60, 12)
    assert report.measures["mAP"]["learned"].value > report.measures["mAP"]["base"].value
    assert report.distances["learned"].auroc > report.distances["base"].auroc
    assert report.improvement.is_certain


@pytest.mark.full
def test_the_report_shows_distances_and_curves(trained):
    page = pair_page(trained[1], origin_of("mmsearch train pairs"))
    assert "Training by pairs: known" in page
    assert page.count("data:image/svg+xml") == 2


@pytest.mark.full
def test_what_is_learned_is_an_image_encoder_for_a_library(trained, pictures, cache, tmp_path):
    folder, report = trained
    exported = OnnxEncoder.open(prepare_encoder(str(folder.path), cache=cache))
    assert (exported.fingerprint, exported.dim, exported.has_words) == (report.encoder, 16, False)
    with Library.open(tmp_path / "library", cache=cache) as library:
        library.index([copied_samples(tmp_path / "photos")], model=str(folder.path), local=False)
        example = tmp_path / "photos" / "cat.jpg"
        assert library.search(Query(images=[example]), k=3).hits[0].path == str(example)
        assert {path.name for path in pictures_of_library(library)} == {path.name for path in pictures}


def test_films_are_no_pictures_to_learn_from(filmed):
    with Library.open(filmed / "library") as library:
        assert [path.name for path in pictures_of_library(library)] == ["fig.png"]
        library.remove(filmed / "films" / "fig.png")
        with pytest.raises(TrainingError, match="no pictures to learn from"):
            pictures_of_library(library)


def test_what_does_not_help_is_not_written(pictures, checkpoint, cache, tmp_path):
    folder = TrainingFolder(tmp_path / "nothing")

    def features(encoder):
        return WarpedPictures(encoder, 2).features("samples", pictures)

    options = PairOptions(epochs=1, n_components=24)  # random weights know nothing that copies have in common
    report = adapt_to_pairs("samples", features, str(checkpoint), folder, options, Setting(cache))
    assert report.encoder is None
    assert not is_learned(folder.path)


def test_copies_are_described_once(pictures, checkpoint, cache):
    encoder = SetEncoder(str(checkpoint), cache=cache)
    first, again = (WarpedPictures(encoder, 2).features("samples", pictures[:12]).features for _ in range(2))
    assert np.array_equal(first.descriptors, again.descriptors)
    assert first.is_gallery.sum() == 12
    assert first.things.tolist() == [*range(12), *np.repeat(np.arange(12), 2)]


def test_a_few_pictures_are_not_enough(pictures, checkpoint, cache):
    encoder = SetEncoder(str(checkpoint), cache=cache)
    with pytest.raises(TrainingError, match="there are 3 things with two pictures or more; expected at least 10"):
        WarpedPictures(encoder, 2).features("samples", pictures[:3])


@pytest.fixture
def labelled(tmp_path):
    """A folder a class: animals and buildings."""
    for name, members in {"animal": ("cat", "moose", "panda"), "building": ("louvre", "great-wall")}.items():
        (tmp_path / "labelled" / name).mkdir(parents=True)
        for member in members:
            shutil.copy(sample_folder() / f"{member}.jpg", tmp_path / "labelled" / name)
    return tmp_path / "labelled"


def test_pictures_of_a_class_are_one_thing(labelled, checkpoint, cache, monkeypatch):
    monkeypatch.setattr("mmsearch.training.pairs.MIN_THINGS", 2)
    shown = features_of_instances(read_instances(labelled), SetEncoder(str(checkpoint), cache=cache))
    features = shown.features
    assert not shown.bad
    assert np.bincount(features.things).tolist() == [3, 2]
    assert features.is_asked.all()
    assert features.is_gallery.all()


@pytest.mark.full
def test_a_classifier_of_labelled_pictures_classifies_those_of_a_library(
    labelled, checkpoint, cache, indexed, photos
):
    taught = classifier_of_set(read_classes(labelled), str(checkpoint), Setting(cache), more_labels=["drink"])
    assert taught.classifier.labels == ("animal", "building", "drink")
    assert taught.n_pictures == 5
    classifier = Classifier.load(written(labelled / "file", taught.classifier))
    (result,) = indexed.classify(photos / "cat.jpg", classifier, k=3)
    assert sum(prediction.probability for prediction in result.predictions) == pytest.approx(1, abs=1e-6)
    assert {prediction.label for prediction in result.predictions} == {"animal", "building", "drink"}


def test_a_classifier_of_another_encoder_says_so(labelled, other_checkpoint, other_folder, cache, indexed, photos):
    taught = classifier_of_set(read_classes(labelled), str(other_checkpoint), Setting(cache))
    with pytest.raises(FingerprintError, match="the classifier was taught on vectors of"):
        indexed.classify(photos / "cat.jpg", taught.classifier)


def written(path, classifier):
    path.write_bytes(classifier.to_bytes())
    return path


def test_a_picture_under_two_labels_is_named_and_left_out(labelled, checkpoint, cache):
    shutil.copy(labelled / "animal" / "cat.jpg", labelled / "building" / "house.jpg")
    moose = Image.open(labelled / "animal" / "moose.jpg")
    moose.resize((moose.width // 2, moose.height // 2)).save(labelled / "building" / "moose.jpg", quality=90)
    taught = classifier_of_set(read_classes(labelled), str(checkpoint), Setting(cache))
    assert taught.n_pictures == 3
    assert sorted(Path(bad["path"]).name for bad in taught.bad) == [
        "cat.jpg",
        "house.jpg",
        "moose.jpg",
        "moose.jpg",
    ]
    cat, house = labelled / "animal" / "cat.jpg", labelled / "building" / "house.jpg"
    assert {bad["path"]: bad["message"] for bad in taught.bad}[str(cat)] == (
        f"{cat}: is under 'animal', and as {house} under 'building'; leave it under the right one"
    )


def test_a_base_without_words_is_no_base_of_a_classifier(labelled, cache):
    with pytest.raises(TrainingError, match="cnn:gem knows no words, and so has no label prompts to begin with"):
        classifier_of_set(read_classes(labelled), "cnn:gem", Setting(cache))
