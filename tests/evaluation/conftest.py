"""A caption set of real photographs, and a tiny real encoder for it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from mmsearch.encoders.clip import build_clip
from mmsearch.encoders.export import export_encoder
from mmsearch.evaluation.encode import SetEncoder

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


@pytest.fixture(scope="session")
def wordless_folder(checkpoint, tmp_path_factory):
    """The tiny encoder without its text tower, exported."""
    folder = tmp_path_factory.mktemp("wordless") / "pictures"
    export_encoder(replace(build_clip(str(checkpoint)), name="pictures", text_tower=None, tokenizer=None), folder)
    return folder


@pytest.fixture
def wordless_encoder(wordless_folder, bench_cache, monkeypatch):
    """The tiny encoder without its text tower."""
    from mmsearch.encoders import prepare

    monkeypatch.setattr(prepare, "_prepared", lambda *_: wordless_folder)
    return SetEncoder("pictures", cache=bench_cache)


@pytest.fixture
def calibrated_encoder(checkpoint, calibrated_cache):
    return SetEncoder(str(checkpoint), cache=calibrated_cache)


@pytest.fixture
def set_encoder(checkpoint, bench_cache):
    return SetEncoder(str(checkpoint), cache=bench_cache)
