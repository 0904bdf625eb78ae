from __future__ import annotations

import threading

import numpy as np
import pytest

from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.evaluation.encode import SetEncoder
from mmsearch.images import decode
from mmsearch.store.folder import Store

TEXTS = ["a cat", "a dog in the snow", "a cat"]


@pytest.fixture
def counted(monkeypatch):
    """Counts the texts that are really encoded."""
    encoded = []
    original = OnnxEncoder.encode_texts
    monkeypatch.setattr(
        OnnxEncoder, "encode_texts", lambda self, texts: encoded.extend(texts) or original(self, texts)
    )
    return encoded


def test_vectors_of_pictures_are_those_of_the_encoder(set_encoder, photos, tiny):
    paths = sorted(photos.glob("*.jpg"))
    readable, vectors, bad = set_encoder.pictures(paths)
    expected = tiny.encode_images(
        np.stack([decode(path.read_bytes(), tiny.preprocessing).pixels for path in paths])
    )
    assert (readable, bad) == (list(range(len(paths))), {})
    np.testing.assert_allclose(vectors, expected, atol=2e-3)  # stored as float16


def test_a_second_run_encodes_nothing(set_encoder, checkpoint, bench_cache, photos, counted):
    first = set_encoder.pictures([photos / "cat.jpg"])[1], set_encoder.texts(TEXTS)
    stages = []
    again = SetEncoder(
        str(checkpoint), cache=bench_cache, on_progress=lambda stage, done, total: stages.append(stage)
    )
    np.testing.assert_array_equal(again.pictures([photos / "cat.jpg"])[1], first[0])
    np.testing.assert_array_equal(again.texts(TEXTS), first[1])
    assert counted == TEXTS
    assert "embed" not in stages


def test_a_run_that_does_not_resume_encodes_its_own_set_again_and_no_other(
    set_encoder, checkpoint, bench_cache, photos, counted
):
    set_encoder.texts(TEXTS)
    set_encoder.texts(["of another set"])
    set_encoder.pictures([photos / "cat.jpg", photos / "fig.jpg"])
    embedded = []
    again = SetEncoder(
        str(checkpoint), cache=bench_cache, is_resuming=False,
        on_progress=lambda stage, done, total: embedded.append(total) if stage == "embed" else None,
    )  # fmt: skip
    again.texts(TEXTS)
    again.pictures([photos / "cat.jpg"])
    assert counted == [*TEXTS, "of another set", *TEXTS]
    assert embedded[-1] == 1
    set_encoder.texts(["of another set"])
    assert len(counted) == 2 * len(TEXTS) + 1


@pytest.mark.full
def test_a_run_waits_for_another_that_is_encoding_and_says_so(checkpoint, bench_cache, photos):
    told = []
    encoder = SetEncoder(str(checkpoint), cache=bench_cache, notify=told.append)
    encoder.pictures([photos / "cat.jpg"])
    told.clear()
    with Store.writer(encoder.folder / "library"):
        waiting = threading.Thread(target=lambda: told.append(encoder.pictures([photos / "fig.jpg"])[0]))
        waiting.start()
        while not told:
            waiting.join(0.05)
        assert told == [f"another benchmark is encoding with {encoder.encoder.name}; waiting for it"]
    waiting.join()
    assert told[1:] == [[0]]


@pytest.mark.parametrize(
    "damage",
    [lambda data: b"", lambda data: data[:-40], lambda data: b"x" + data[1:], lambda data: data[:-4] + b"\x7f" * 4],
    ids=["empty", "cut short", "foreign", "changed"],
)
def test_kept_vectors_that_are_damaged_are_made_anew(set_encoder, bench_cache, damage):
    whole = set_encoder.texts(TEXTS)
    (kept,) = bench_cache.glob("benchmarks/*/texts/*.npy")
    kept.write_bytes(damage(kept.read_bytes()))
    np.testing.assert_array_equal(set_encoder.texts(TEXTS), whole)


def test_a_picture_that_cannot_be_read_is_named(set_encoder, photos):
    (photos / "broken.jpg").write_bytes(b"<html></html>")
    readable, vectors, bad = set_encoder.pictures([photos / "broken.jpg", photos / "cat.jpg"])
    assert readable == [1]
    assert vectors.shape == (1, 32)
    assert "broken.jpg" in bad[0]


def test_no_texts_have_no_vectors(set_encoder):
    assert set_encoder.texts([]).shape == (0, 32)
