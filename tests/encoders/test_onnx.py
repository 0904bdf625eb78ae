from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.errors import EncoderError

TEXTS = ["two dogs in the snow", "a boat"]


def test_weights_that_are_cut_do_not_end_a_process_that_keeps_them_in_memory(tmp_path, tiny_folder, tiny):
    folder = shutil.copytree(tiny_folder, tmp_path / "encoder")
    encoder, pixels = OnnxEncoder.open(folder), np.zeros((1, *tiny.preprocessing.size, 3), np.uint8)
    encoder.keep_in_memory()
    vectors = encoder.encode_texts(TEXTS), encoder.encode_images(pixels)
    assert str(folder) not in Path("/proc/self/maps").read_text()
    for path in folder.glob("*.data"):
        os.truncate(path, 0)
    np.testing.assert_array_equal(encoder.encode_texts(TEXTS), vectors[0])
    np.testing.assert_array_equal(encoder.encode_images(pixels), vectors[1])
    np.testing.assert_allclose(vectors[0], tiny.encode_texts(TEXTS), atol=1e-6)


def test_weights_of_another_length_than_was_noted_are_an_error(tmp_path, tiny_folder):
    folder = shutil.copytree(tiny_folder, tmp_path / "encoder")
    encoder = OnnxEncoder.open(folder)
    encoder.keep_in_memory()
    os.truncate(folder / "text.onnx.data", 100)
    with pytest.raises(EncoderError, match=r"text.onnx.data has 100 bytes, another length than was noted"):
        encoder.encode_texts(TEXTS)


def test_a_file_of_probes_that_is_empty_is_an_error(tmp_path, tiny_folder):
    folder = shutil.copytree(tiny_folder, tmp_path / "encoder")
    os.truncate(folder / "probes.npy", 0)
    with pytest.raises(EncoderError, match=r"probes.npy cannot be read \(it is empty\); delete the folder"):
        OnnxEncoder.open(folder).text_probes()
