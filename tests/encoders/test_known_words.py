from __future__ import annotations

import numpy as np
import pytest

from mmsearch.encoders.known_words import are_hardly_known, kept_vectors, known_words, warning_of
from mmsearch.encoders.onnx import OnnxEncoder
from tests.conftest import random_units

WORDS = [f"word {i}" for i in range(300)]


def counting(asked):
    def encode_texts(texts):
        asked.extend(texts)
        return random_units(len(texts), 16, seed=len(texts))

    return encode_texts


def test_a_text_far_from_all_known_words_is_hardly_known():
    words = np.float32([[1, 0], [0, 1]])
    texts = np.float32([[0.6, 0.8], [-0.96, 0.28], [-0.6, -0.8]])
    assert are_hardly_known(texts, words).tolist() == [False, True, True]


def test_vectors_of_words_are_made_once(tmp_path):
    asked = []
    file = tmp_path / "folder" / "words.npy"
    made = kept_vectors(file, WORDS, 16, counting(asked))
    assert asked == WORDS
    assert kept_vectors(file, WORDS, 16, counting(asked)).tobytes() == made.tobytes()
    assert asked == WORDS
    assert [path.name for path in file.parent.iterdir()] == ["words.npy"]
    assert (file.stat().st_mode | file.parent.stat().st_mode) & 0o077 == 0


@pytest.mark.parametrize("damage", [b"", b"nonsense", None])
def test_a_damaged_file_of_words_is_made_again(tmp_path, damage):
    file = tmp_path / "words.npy"
    made = kept_vectors(file, WORDS, 16, counting([]))
    if damage is None:
        np.save(file, made * 2)
    else:
        file.write_bytes(damage)
    assert kept_vectors(file, WORDS, 16, counting(asked := [])).tobytes() == made.tobytes()
    assert asked == WORDS
    assert np.load(file).tobytes() == made.tobytes()


def test_words_that_cannot_be_kept_are_given_all_the_same(tmp_path):
    (tmp_path / "taken").write_bytes(b"")
    vectors = kept_vectors(tmp_path / "taken" / "words.npy", WORDS, 16, counting([]))
    assert vectors.shape == (300, 16)
    (tmp_path / "words.npy").mkdir()  # which no file can replace
    kept_vectors(tmp_path / "words.npy", WORDS, 16, counting([]))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["taken", "words.npy"]


def test_only_offline_has_a_list_of_words_that_it_was_taught(tiny, offline_folder):
    words = known_words(OnnxEncoder.open(offline_folder))
    assert len(words) == len(set(words)) == 998
    assert {"tench", "planetarium", "tabby cat"} <= set(words)
    assert known_words(tiny) == ()


def test_offline_has_hardly_seen_a_euphonium(offline_folder):
    encoder = OnnxEncoder.open(offline_folder)
    words = encoder.encode_texts(["tabby cat", "axolotl", "trombone", "planetarium", "race car"])
    texts = encoder.encode_texts(["euphonium", "quokka", "cat", "an axolotl", "sports car"])
    assert are_hardly_known(texts, words).tolist() == [True, True, False, False, False]


def test_many_labels_that_are_hardly_known_are_counted(tiny):
    said = warning_of(tiny, [f"label {i}" for i in range(13)])
    assert "has hardly seen 'label 0', 'label 1'," in said
    assert "'label 9' and 3 others: what it says of such labels" in said
    assert "has hardly seen 'x': what it says of such a label" in warning_of(tiny, ["x"])
