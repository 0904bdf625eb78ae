"""From captioned pictures to numbers beside an encoder, with a tiny CLIP."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from mmsearch import Library
from mmsearch.datasets.open_set import SetOptions, open_captions
from mmsearch.encoders.calibration import CALIBRATION, ViewsModel
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.errors import GroundTruthError
from mmsearch.evaluation.encode import SetEncoder
from mmsearch.samples import sample_folder
from mmsearch.training.calibrate import calibrate, calibrate_library, calibrate_model
from mmsearch.training.views import keep_worth_of_views
from tests.conftest import small_samples


def write_set(folder, n=25):
    """The samples with captions by their names."""
    small_samples(folder / "images", n, longer_side=64)
    names = sorted(path.name for path in (folder / "images").iterdir())
    rows = [
        {"image": f"images/{name}", "captions": [f"a photo of a {name.split('.')[0]}", f"{name[:-4]} outside"]}
        for name in names
    ]
    (folder / "captions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory, tiny_folder):
    cache = tmp_path_factory.mktemp("cache")
    (cache / "encoders").mkdir(parents=True, mode=0o700)
    shutil.copytree(tiny_folder, cache / "encoders" / tiny_folder.name)
    return cache


@pytest.fixture(scope="module")
def captioned(tmp_path_factory, own_cache):
    folder = write_set(tmp_path_factory.mktemp("set"))
    return open_captions(str(folder), SetOptions(own_cache), is_merging=True)


@pytest.fixture
def encoder(own_cache, checkpoint, tiny_folder):
    (own_cache / "encoders" / tiny_folder.name / CALIBRATION).unlink(missing_ok=True)
    return SetEncoder(str(checkpoint), cache=own_cache)


def test_a_calibration_is_kept_beside_the_encoder_and_fitted_the_same_every_time(captioned, encoder):
    fit = calibrate_model(captioned, encoder, is_forced=True)
    opened = OnnxEncoder.open(encoder.encoder.folder)
    assert opened.calibration == fit.calibration
    assert opened.fingerprint == encoder.encoder.fingerprint
    assert (fit.n_fitted, fit.n_checked) == (20, 5)
    assert list(fit.measures) == ["cosine", "after", "softmax"]
    assert fit.hits.counts.sum() == 10 * 5
    assert calibrate(captioned, encoder, None, is_forced=True).calibration == fit.calibration
    assert calibrate(captioned, encoder, None, seed=1, is_forced=True).calibration != fit.calibration


def test_what_was_there_is_measured_before(captioned, encoder):
    first = calibrate_model(captioned, encoder, is_forced=True)
    again = calibrate_model(captioned, SetEncoder(encoder.encoder.name, cache=encoder.cache), is_forced=True)
    assert again.measures["before"] == first.measures["after"]
    json.dumps(again.to_json(), allow_nan=False)


def test_a_damaged_calibration_is_replaced(captioned, encoder):
    (encoder.encoder.folder / CALIBRATION).write_text("{")
    fit = calibrate_model(captioned, encoder, is_forced=True)
    assert OnnxEncoder.open(encoder.encoder.folder).calibration == fit.calibration


def test_a_library_is_given_a_calibration_of_its_own(captioned, encoder, tmp_path):
    with Library.open(tmp_path / "library", cache=encoder.cache) as library:
        library.index([sample_folder() / "cat.jpg"], model=encoder.encoder.name, local=False)
        assert library.search("a cat").relevance is None
        calibrate_library(captioned, library, encoder, is_forced=True)
        assert library.search("a cat").relevance is not None
        assert encoder.encoder.calibration is None
        library.index([sample_folder() / "fig.jpg"])
        assert library.search("a cat").relevance is not None


def test_a_library_that_is_made_of_a_calibrated_encoder_has_its_calibration(captioned, encoder, tmp_path):
    fit = calibrate_model(captioned, encoder, is_forced=True)
    with Library.open(tmp_path / "library", cache=encoder.cache) as library:
        library.index([sample_folder() / "cat.jpg"], model=encoder.encoder.name, local=False)
        assert library.installed_encoder().calibration == fit.calibration


def test_what_five_views_are_worth_is_kept_beside_the_encoder_of_one(captioned, encoder):
    fit = calibrate_model(captioned, encoder, is_forced=True)
    again = SetEncoder(encoder.encoder.name, cache=encoder.cache)
    of_five = SetEncoder(encoder.encoder.name, cache=encoder.cache, views=5)
    hits = []
    for each in (again, of_five):
        scores = each.texts(captioned.texts) @ each.pictures(captioned.pictures)[1].T
        answers = scores[np.arange(len(scores)), [pictures[0] for pictures in captioned.pictures_of_text]]
        hits.append((scores > answers[:, None]).sum(axis=1) < 10)
    worth = keep_worth_of_views(captioned, again, of_five)
    assert worth.gain == pytest.approx(hits[1].mean() - hits[0].mean())
    assert worth.gain_low < worth.gain
    assert OnnxEncoder.open(encoder.encoder.folder).calibration == replace(fit.calibration, views=worth)


def test_the_same_views_are_worth_nothing(captioned, encoder):
    assert keep_worth_of_views(captioned, encoder, encoder) == ViewsModel(0, 0)
    assert OnnxEncoder.open(encoder.encoder.folder).calibration.best_views == 1


def test_too_few_pictures_are_refused(encoder, tmp_path):
    few = open_captions(str(write_set(tmp_path / "few", 19)), SetOptions(tmp_path), is_merging=True)
    with pytest.raises(
        GroundTruthError, match=r"19 of its pictures can be read; expected 100 or more .* \(--force"
    ):
        calibrate_model(few, encoder)
    with pytest.raises(GroundTruthError, match="19 of its pictures can be read; expected 20 or more"):
        calibrate_model(few, encoder, is_forced=True)
    assert not (encoder.encoder.folder / CALIBRATION).exists()
