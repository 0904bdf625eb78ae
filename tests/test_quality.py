"""Floors a little below what the offline encoder was measured to reach, on public research sets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from quality_offline import classes, flickr

from mmsearch.encoders.onnx import OnnxEncoder

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
