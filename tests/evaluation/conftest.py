"""A caption set of real photographs, and a tiny real encoder for it."""

from __future__ import annotations

import json

import pytest

from mmsearch.evaluation.encode import SetEncoder
from tests.golden.make_library import GOLDEN

CAPTIONS = {
    "astronaut.jpg": ["a woman in a space suit", "an astronaut smiles"],
    "cat.jpg": ["a cat looks up"],
    "coffee.jpg": ["a cup of coffee", "a spoon on a saucer", "breakfast"],
}


@pytest.fixture
def captioned(photos):
    """The folder of photographs with captions for three of them."""
    lines = [json.dumps({"image": image, "captions": captions}) for image, captions in CAPTIONS.items()]
    (photos / "captions.jsonl").write_text("\n".join(lines))
    return photos


@pytest.fixture
def bench_cache(tmp_path, cache, tiny_folder):
    """A cache folder of this test's own that holds the exported tiny encoder."""
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / "encoders").symlink_to(cache / "encoders")
    return folder


@pytest.fixture
def wordless_encoder(bench_cache, monkeypatch):
    """An encoder without a text tower: that of a golden library, which need not be exported."""
    from mmsearch.encoders import prepare

    monkeypatch.setattr(prepare, "_prepared", lambda *_: GOLDEN / "library-v3" / "encoder")
    return SetEncoder("golden", cache=bench_cache)


@pytest.fixture
def calibrated_encoder(checkpoint, calibrated_cache):
    return SetEncoder(str(checkpoint), cache=calibrated_cache)


@pytest.fixture
def set_encoder(checkpoint, bench_cache):
    return SetEncoder(str(checkpoint), cache=bench_cache)
