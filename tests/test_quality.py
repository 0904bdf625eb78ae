"""Floors a little below what the encoders were measured to reach, on public research sets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from descriptors import found
from quality_offline import classes, flickr

from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.encoders.prepare import prepare_encoder

DATA = Path(os.environ.get("MMSEARCH_TEST_DATA", "/nonexistent"))
pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not (DATA / "flickr8k-test").is_dir(), reason="MMSEARCH_TEST_DATA names no picture sets"),
]


def test_offline_finds_flickr8k_pictures_by_their_captions(offline_folder):
    found = flickr(OnnxEncoder.open(offline_folder, threads=2), DATA / "flickr8k-test")
    assert found["text to image"]["R@1 (any)"] >= 8.5
    assert found["text to image"]["R@10 (any)"] >= 35.0
    assert found["image to text"]["R@1 (any)"] >= 10.0


def test_offline_classifies_and_finds_imagenet_pictures_by_class_name(offline_folder):
    found = classes(OnnxEncoder.open(offline_folder, threads=2), DATA / "imagenet-sample")
    assert found["top-1 from templates"] >= 0.85
    assert found["class name to image"]["R@1 (any)"] >= 90.0


@pytest.mark.slow
def test_pooled_maps_find_photographed_covers(cache):
    encoder = OnnxEncoder.open(prepare_encoder("cnn:gem", cache=cache), threads=2)
    covers = found(encoder, DATA / "smvs-dvd")(lambda vectors: vectors)
    assert covers["R@1"] >= 0.19
    assert covers["mAP"] >= 0.255
