"""Floors a little below what the offline encoder was measured to reach, on public research sets."""

from __future__ import annotations

import os
from pathlib import Path

import public_sets
import pytest

from mmsearch.datasets.open_set import SetOptions, open_captions
from mmsearch.encoders.templates import imagenet_class_names
from mmsearch.evaluation.calibration import run_calibration
from mmsearch.evaluation.encode import SetEncoder

DATA = Path(os.environ.get("MMSEARCH_TEST_DATA", "/nonexistent"))
pytestmark = [
    pytest.mark.full,
    pytest.mark.data,
    pytest.mark.skipif(not (DATA / "flickr8k-test").is_dir(), reason="MMSEARCH_TEST_DATA names no picture sets"),
]


@pytest.fixture(scope="module")
def found(cache, offline_folder, tmp_path_factory):
    """Every measure of the offline encoder on flickr8k-test and imagenet-sample, and of `cnn:gem` on smvs-dvd."""
    data = tmp_path_factory.mktemp("data")
    for name in ("flickr8k-test", "imagenet-sample", "smvs-dvd"):
        (data / name).symlink_to(DATA / name)
    encoders = [SetEncoder(name, cache=cache) for name in ("offline", "cnn:gem")]
    return public_sets.figures(public_sets.measure(data, encoders[:1], encoders[1:]))


def value(found, job, part, measure, model="offline"):
    return found[job][model][part][measure]["value"]


def test_offline_finds_flickr8k_pictures_by_their_captions(found):
    job = "flickr8k-test, captions"
    assert value(found, job, "text to image", "R@1 (any)") >= 0.085
    assert value(found, job, "text to image", "R@10 (any)") >= 0.350
    assert value(found, job, "image to text", "R@1 (any)") >= 0.100


def test_offline_classifies_and_finds_imagenet_pictures_by_class_name(found):
    assert value(found, "imagenet-sample, zero-shot", "templates", "top-1") >= 0.85
    assert value(found, "imagenet-sample, zero-shot", "templates", "calibration error") <= 0.06
    assert value(found, "imagenet-sample, class names", "text to image", "R@1 (any)") >= 0.90


def test_relevance_of_offline_comes_true_and_tells_that_nothing_matches(cache, offline_folder):
    known = open_captions(str(DATA / "flickr8k-test"), SetOptions(cache), is_merging=True)
    measured = run_calibration(known, [SetEncoder("offline", cache=cache)], absent_names=imagenet_class_names())
    of_parts = measured["results"]["offline: relevance"]
    measures = {part: result["measures"] for part, result in of_parts.items()}
    assert measures["hits"]["calibration error"]["value"] <= 0.03
    assert measures["gibberish"]["AUROC"]["value"] >= 0.97
    assert measures["absent names"]["AUROC"]["value"] >= 0.90


def test_pooled_maps_find_photographed_covers(found):
    assert value(found, "smvs-dvd, by example", "all", "R@1 (any)", "cnn:gem") >= 0.19
    assert value(found, "smvs-dvd, by example", "all", "mAP", "cnn:gem") >= 0.255
