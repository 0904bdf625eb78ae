"""Pictures that a model was taught by are named where it is measured."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from mmsearch.datasets.sets import ClassSet
from mmsearch.encoders.learned import CONFIG, read_learned
from mmsearch.errors import EncoderError
from mmsearch.evaluation.classify import run_classification
from mmsearch.evaluation.encode import SetEncoder
from mmsearch.evaluation.leakage import leakages, traces_behind
from mmsearch.evaluation.page import leakage_texts, page_of
from mmsearch.samples import sample_folder
from mmsearch.traces import no_traces
from mmsearch.training.folder import TrainingFolder
from tests.encoders.test_learned import heads

NAMES = ("astronaut", "cat", "coffee", "creek", "dam", "fig")


@pytest.fixture
def pictures(photos):
    """Six photographs: the first two are as they were, the third a copy."""
    copy = Image.open(photos / "coffee.jpg")
    copy.resize((copy.width * 3 // 4, copy.height * 3 // 4)).save(photos / "coffee.jpg", quality=70)
    return tuple(photos / f"{name}.jpg" for name in NAMES)


@pytest.fixture(scope="module")
def taught(checkpoint, cache, tmp_path_factory):
    """An encoder that was taught by the samples of three names and some others."""
    folder = tmp_path_factory.mktemp("taught") / "heads"
    others = ("panda", "louvre")
    traces = SetEncoder(str(checkpoint), cache=cache).traces(
        [sample_folder() / f"{name}.jpg" for name in (*NAMES[:3], *others)]
    )
    target = TrainingFolder(folder)
    target.check(str(checkpoint))
    base = {"model": str(checkpoint), "fingerprint": "0" * 64}
    target.write({"kind": "heads", "base": base, "keep": 0.5, "logit_scale": 20.0}, heads(), traces)
    return folder


def measured(pictures, encoder):
    return run_classification(ClassSet("six", pictures, (0, 1) * 3, ("a", "b")), [encoder], {"one": ("{}",)})


def test_pictures_that_it_was_taught_by_are_counted_and_named(pictures, taught, set_encoder):
    leakage = leakages({"heads": traces_behind(str(taught)), "base": []}, pictures, set_encoder.traces)
    named = [str(picture) for picture in pictures[:3]]
    assert leakage == {
        "heads": {"n_pictures": 6, "n_same_bytes": 2, "n_copies": 1, "pictures": named, "is_all_known": True}
    }
    report = measured(pictures, set_encoder)
    assert report["leakage"] == {}
    report["leakage"] = leakage
    (sentence,) = leakage_texts(report)
    assert sentence == (
        "3 of the 6 pictures of six are among those that heads was taught by (same bytes: 2, copies: 1), e.g. "
        f"{pictures[0]}; its figures are too good"
    )
    assert "(same bytes: 2, copies: 1)" in page_of(report)


def test_a_set_of_other_pictures_has_no_leak(photos, taught, set_encoder):
    others = sorted((photos / "trip").iterdir())
    (leakage,) = leakages({"heads": traces_behind(str(taught))}, others, set_encoder.traces).values()
    assert (leakage["n_pictures"], leakage["pictures"]) == (2, [])


def test_what_a_base_was_taught_by_is_named_too(pictures, taught, set_encoder, tmp_path):
    above = TrainingFolder(tmp_path / "above")
    above.check(str(taught))
    base = {"model": str(taught), "fingerprint": "0" * 64}
    above.write({"kind": "heads", "base": base, "keep": 0.5, "logit_scale": 20.0}, {}, no_traces())
    (leakage,) = leakages({"above": traces_behind(str(above.path))}, pictures, set_encoder.traces).values()
    assert (leakage["n_same_bytes"], leakage["n_copies"]) == (2, 1)


def test_of_a_folder_of_an_earlier_version_it_is_not_known(pictures, taught, set_encoder, tmp_path):
    older = tmp_path / "older"
    shutil.copytree(taught, older)
    config = json.loads((older / CONFIG).read_text())
    del config["pictures"]
    (older / CONFIG).write_text(json.dumps(config))
    assert read_learned(older).identity == read_learned(taught).identity
    report = measured(pictures, set_encoder)
    report["leakage"] = leakages({"older": traces_behind(str(older))}, pictures, set_encoder.traces)
    (sentence,) = leakage_texts(report)
    assert sentence == (
        "older was taught by an earlier version, which kept no traces of its pictures: whether those of six are "
        "among them is not known"
    )


def test_traces_of_another_training_are_refused(taught, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(taught, damaged)
    file = read_learned(damaged).pictures
    file.write_bytes(file.read_bytes()[:-1] + b"\1")
    with pytest.raises(EncoderError, match="is damaged or of another training; train it again"):
        traces_behind(str(damaged))


def test_a_model_that_nobody_taught_is_not_looked_into(pictures):
    assert traces_behind("offline") == []
    assert leakages({"offline": []}, pictures, lambda paths: pytest.fail("pictures were read")) == {}


def test_traces_of_pictures_are_kept_and_made_anew_if_damaged(photos, set_encoder):
    paths = [photos / "cat.jpg", photos / "no-such.jpg", photos / "fig.jpg"]
    first = set_encoder.traces(paths)
    assert not first[1].any()
    (kept,) = set_encoder.cache.glob("benchmarks/copies-*/*.npy")
    for damage in (b"", b"nothing"):
        kept.write_bytes(damage)
        assert np.array_equal(set_encoder.traces(paths), first)
    assert np.load(kept).shape[0] == 3
