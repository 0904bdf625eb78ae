"""What listens to files apart: it notices a change meanwhile, and says how far it is."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest

from mmsearch.processes import sound_worker
from mmsearch.sound.spectrogram import RATE
from tests.sound.recordings import encoded, music


def asked(path):
    answers = io.BytesIO()
    facts, payload = sound_worker._answer({"path": str(path), "excerpt": None}, answers)
    return facts, payload, [json.loads(line) for line in answers.getvalue().splitlines()]


def test_a_file_that_changes_while_it_is_heard_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.flac"
    path.write_bytes(encoded(music(1)))
    real = sound_worker.samples_of

    def samples_of(*arguments, **options):
        yield from real(*arguments, **options)
        with path.open("ab") as file:
            file.write(b"more")

    assert asked(path)[0]["n_frames"] == 622
    monkeypatch.setattr(sound_worker, "samples_of", samples_of)
    assert asked(path)[0]["code"] == "changed"


def test_minutes_are_counted_so_that_one_of_them_can_take_too_long(tmp_path, monkeypatch):
    path = tmp_path / "a.flac"
    path.write_bytes(encoded(music(1)))

    def samples_of(_handle, hearing, **_options):
        for _ in range(16):
            hearing.n_samples += 10 * RATE
            yield np.random.default_rng(0).normal(size=10 * RATE).astype(np.float32)

    monkeypatch.setattr(sound_worker, "samples_of", samples_of)
    assert [message["at"] for message in asked(path)[2]] == [1, 2, 2]  # the last again while it is hashed


def test_a_file_that_is_long_to_read_is_given_time_for_that(tmp_path):
    path = tmp_path / "a.flac"
    path.write_bytes(encoded(music(1)))
    with path.open("r+b") as file:
        file.truncate(5 << 20)
    facts, _, messages = asked(path)
    assert (facts["n_frames"], messages) == (622, 5 * [{"at": 0}])


def test_an_excerpt_of_few_features_is_no_error_of_an_attempt(tmp_path):
    path = tmp_path / "tone.flac"
    path.write_bytes(encoded(np.sin(np.arange(10 * RATE) / 3)))
    excerpt = {"start": 0.0, "seconds": 4.0, "speed": 1.03, "per_second": 20, "fan": 5}
    facts, _ = sound_worker._answer({"path": str(path), "excerpt": excerpt}, io.BytesIO())
    assert facts["seconds"] == pytest.approx(4.0)


@pytest.mark.parametrize("name", ["folder", "nothing"])
def test_what_is_no_file_is_refused_with_the_reason_of_pictures(tmp_path, name):
    (tmp_path / "folder").mkdir()
    assert asked(tmp_path / name)[0]["code"] in ("not_a_file", "vanished")
