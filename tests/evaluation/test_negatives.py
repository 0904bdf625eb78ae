from __future__ import annotations

from dataclasses import replace

import pytest

from mmsearch.datasets.sets import caption_set
from mmsearch.evaluation.negatives import absent, gibberish, translations


@pytest.fixture
def benchmark(tmp_path):
    captions = {"a.jpg": ["Two dogs, running.", "a dog"], "b.jpg": ["A glass of beer"], "c.jpg": ["a dog"]}
    for name in captions:
        (tmp_path / name).touch()
    entries = [(tmp_path / name, texts) for name, texts in captions.items()]
    return caption_set("small", entries, is_merging=True)


def test_gibberish_has_as_many_words_of_as_many_letters_as_first_captions(benchmark):
    texts = gibberish(benchmark).texts
    assert [[len(word) for word in text.split()] for text in texts] == [[3, 4, 7], [1, 5, 2, 4], [1, 3]]
    assert all(text.islower() and text.isascii() for text in texts)
    assert gibberish(benchmark).texts == texts
    assert gibberish(benchmark, seed=1).texts != texts


def test_names_are_absent_if_no_caption_has_their_last_word_in_any_number(benchmark):
    names = ["sheep dog", "dogs", "beer glass", "beer bottles", "glasses", "crane (bird)", "run", "Dog", ""]
    assert absent(benchmark, names).texts == ("beer bottles", "glasses", "crane", "run")


def test_a_text_in_another_language_is_asked_once_and_without_its_pictures(benchmark):
    translated = replace(
        benchmark,
        translations=({"fr": "un chien", "nl": "a dog"}, {"fr": "une bière"}, {"fr": "un chien", "es": "un perro"}),
    )
    asked = translations(translated)
    assert asked.texts == ("un chien", "une bière", "un perro")
    assert asked.left_out == ((0, 2), (1,), (2,))


def test_a_set_without_translations_has_no_such_texts(benchmark):
    assert translations(benchmark).texts == ()
