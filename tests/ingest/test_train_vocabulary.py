"""Visual words learned from pictures: which are looked at, which are named as bad, and what is told meanwhile."""

from __future__ import annotations

import pytest

from mmsearch.errors import VocabularyError
from mmsearch.ingest.train_vocabulary import train_vocabulary
from tests.conftest import copied_samples


@pytest.fixture
def folder(tmp_path):
    """Twelve photographs and a file that is none."""
    copied_samples(tmp_path / "photos", 12)
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"<html></html>")
    return tmp_path / "photos"


def test_every_picture_is_told_of_and_a_bad_one_is_named_and_left_out(folder):
    told = []
    vocabulary, bad = train_vocabulary([folder], n_words=16, on_progress=lambda *step: told.append(step))
    assert vocabulary.n_words == 16
    assert [(picture.path, picture.code) for picture in bad] == [(str(folder / "broken.jpg"), "not_an_image")]
    assert told[:13] == [("words", done, 13) for done in range(1, 14)]
    assert {stage for stage, _, _ in told[13:]} == {"vocabulary"}
    assert [done for _, done, _ in told[13:]] == list(range(1, len(told) - 12))


def test_of_very_many_pictures_some_are_looked_at_from_the_first_to_the_last(folder, monkeypatch):
    monkeypatch.setattr("mmsearch.ingest.train_vocabulary.MAX_GATHERED_PICTURES", 4)
    told = []
    with pytest.raises(VocabularyError, match=r"^4 pictures have"):  # which is too few to learn from
        train_vocabulary([folder], n_words=100_000, on_progress=lambda *step: told.append(step))
    assert told == [("words", done, 4) for done in range(1, 5)]


def test_more_words_than_features_are_refused(folder):
    with pytest.raises(VocabularyError, match=r"have \d+ local features, expected at least 100000; name more"):
        train_vocabulary([folder], n_words=100_000)
