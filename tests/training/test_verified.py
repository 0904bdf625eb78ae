"""VERIFIED: local features say which pictures of a library show the same thing."""

from __future__ import annotations

import pytest
from PIL import Image

from mmsearch import Library
from mmsearch.errors import TrainingError
from mmsearch.training.verified import verified_links
from tests.conftest import small_samples


@pytest.mark.full
def test_a_turned_copy_is_linked_to_its_picture_and_others_are_not(tmp_path, cache):
    folder = small_samples(tmp_path / "photos")
    with Image.open(folder / "cat.jpg") as image:
        image.rotate(15, expand=True, fillcolor="gray").save(folder / "turned.jpg")
    pictures = sorted(folder.iterdir())
    with Library.open(tmp_path / "library", cache=cache) as library:
        library.index([folder], model="none")
        told = []
        links = verified_links(library, pictures, on_progress=lambda *what: told.append(what))
    assert [(pictures[a].name, pictures[b].name) for a, b in links] == [("cat.jpg", "turned.jpg")]
    assert told[-1] == ("verify", 30, 30)


def test_a_library_without_words_is_refused(indexed):
    with pytest.raises(TrainingError, match="leave --verified out"):
        verified_links(indexed, [])
