"""The numbers beside an exported encoder: written and read, shipped, damaged, those of another."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace

import numpy as np
import pytest

from mmsearch.encoders.background import BACKGROUND
from mmsearch.encoders.calibration import (
    CALIBRATION,
    Calibration,
    JoinModel,
    RelevanceModel,
    answer_strength,
    read_calibration,
    strength,
)
from mmsearch.encoders.onnx import PROBES, OnnxEncoder, file_facts, read_spec
from mmsearch.encoders.probes import probe_texts
from mmsearch.encoders.whole import stamps, verify_encoder
from mmsearch.errors import EncoderError

MODEL = RelevanceModel(-4.0, 5.0, 8.0, 0.25, -1.0, 8.0, 16.0, 0.75)
FINGERPRINT = "f" * 64
NUMBERS = asdict(MODEL)


@pytest.fixture
def folder(tiny_folder, tmp_path):
    return shutil.copytree(tiny_folder, tmp_path / "encoder")


def write(folder, text):
    (folder / CALIBRATION).write_text(text)


def test_a_calibration_comes_back_as_it_was_written(tiny_folder, folder):
    fingerprint = OnnxEncoder.open(folder).fingerprint
    kept = Calibration(search=MODEL, join=JoinModel(0.5, 3.0, 0.6, 0.3))
    write(folder, json.dumps(kept.to_json(fingerprint)))
    opened = OnnxEncoder.open(folder)
    assert opened.calibration == kept
    assert opened.fingerprint == fingerprint
    assert OnnxEncoder.open(tiny_folder).calibration is None


def test_what_was_not_fitted_is_not_written():
    assert Calibration().to_json(FINGERPRINT) == {"format": 1, "fingerprint": FINGERPRINT}
    assert Calibration.from_json({"format": 1, "fingerprint": FINGERPRINT}, "here", FINGERPRINT) == Calibration()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cannot be read"),
        ("{", "cannot be read"),
        ("[" * 10_000, "cannot be read"),
        (" " * 70_000, "has more than 65536 bytes"),
        ("[]", "format None, expected 1"),
        ('{"format": 2}', "format 2, expected 1"),
        ('{"format": 1, "fingerprint": "' + "e" * 64 + '"}', "of another encoder"),
    ],
)
def test_a_file_that_is_no_calibration_of_the_encoder_is_a_sentence(folder, text, said):
    write(folder, text)
    with pytest.raises(EncoderError, match=f"{CALIBRATION}.*{said}.*calibrate` again"):
        _ = OnnxEncoder.open(folder).calibration


@pytest.mark.parametrize(
    ("search", "said"),
    [
        (7, "expected the numbers answer_constant, "),
        ({**NUMBERS, "more": 1}, "expected the numbers answer_constant, "),
        ({name: value for name, value in NUMBERS.items() if name != "hit_size"}, "expected the numbers"),
        (NUMBERS | {"hit_size": "0.7"}, "hit_size is '0.7', expected a finite number"),
        (NUMBERS | {"hit_size": True}, "hit_size is 'True', expected a finite number"),
        (NUMBERS | {"hit_size": float("nan")}, "hit_size is 'nan', expected a finite number"),
        (NUMBERS | {"hit_size": 10**400}, "hit_size is '1000.*', expected a finite number"),
        (NUMBERS | {"hit_behind": -1}, "hit_behind is -1, expected at least 0"),
    ],
)
def test_numbers_that_are_not_all_there_and_plain_are_a_sentence(search, said):
    given = {"format": 1, "fingerprint": FINGERPRINT, "search": search}
    with pytest.raises(EncoderError, match=f"the file, search: {said}"):
        Calibration.from_json(given, "the file", FINGERPRINT)


def test_a_calibration_that_cannot_be_opened_is_a_sentence(folder):
    (folder / CALIBRATION).mkdir()
    with pytest.raises(EncoderError, match="cannot be read"):
        _ = OnnxEncoder.open(folder).calibration


def test_offline_has_the_numbers_that_ship_whatever_package_versions_it_was_exported_with(offline_folder, tmp_path):
    spec = read_spec(offline_folder)
    shipped = read_calibration(offline_folder, spec)
    assert shipped.search is not None
    older = spec | {"identity": spec["identity"] | {"class_texts_of": "timm 0.9, open_clip 2.0"}}
    assert read_calibration(tmp_path, older) == shipped
    other = spec | {"identity": spec["identity"] | {"settings": [1]}}
    assert read_calibration(tmp_path, other) is None


def test_numbers_beside_an_encoder_win_over_those_that_ship(offline_folder, tmp_path):
    spec = read_spec(offline_folder)
    kept = Calibration(search=replace(MODEL, hit_size=0.5))
    write(tmp_path, json.dumps(kept.to_json(spec["fingerprint"])))
    assert read_calibration(tmp_path, spec) == kept


def test_an_encoder_without_words_has_no_calibration(gem_folder):
    assert OnnxEncoder.open(gem_folder).calibration is None


@pytest.mark.parametrize(
    ("relevance", "of_hit", "of_answer"),
    [(0.0, "weak", "weak"), (0.04, "weak", "weak"), (0.05, "fair", "weak"), (0.34, "fair", "fair"),
     (0.4, "strong", "fair"), (0.7, "strong", "strong"), (1.0, "strong", "strong")],
)  # fmt: skip
def test_a_probability_has_a_word(relevance, of_hit, of_answer):
    assert (strength(relevance), answer_strength(relevance)) == (of_hit, of_answer)


@pytest.fixture
def older(folder):
    """The tiny CLIP as an earlier version exported it, with the first 256 captions alone."""
    np.save(folder / PROBES, np.load(folder / PROBES)[:256])
    spec = read_spec(folder)
    spec["files"][PROBES] = file_facts(folder / PROBES)
    (folder / "spec.json").write_text(json.dumps(spec))
    return folder


def test_captions_that_an_earlier_version_did_not_export_are_encoded_once(older, tiny, monkeypatch):
    before = stamps(older)
    made = OnnxEncoder.open(older).background()
    np.testing.assert_allclose(made, tiny.encode_texts(probe_texts(1024)), atol=1e-5)
    monkeypatch.setattr(OnnxEncoder, "encode_texts", lambda *_: pytest.fail("they were to be encoded again"))
    np.testing.assert_array_equal(OnnxEncoder.open(older).background(), made)
    assert (older / BACKGROUND).stat().st_mode & 0o777 == 0o600
    assert (stamps(older), verify_encoder(older)) == (before, [])


@pytest.mark.parametrize("damage", [b"", b"no array", "others", "short"])
def test_captions_that_are_not_those_of_the_encoder_are_encoded_again(older, damage):
    expected = OnnxEncoder.open(older).background()
    if isinstance(damage, bytes):
        (older / BACKGROUND).write_bytes(damage)
    else:
        np.save(older / BACKGROUND, expected[::-1] if damage == "others" else expected[:-1])
    np.testing.assert_array_equal(OnnxEncoder.open(older).background(), expected)
    np.testing.assert_array_equal(np.load(older / BACKGROUND), expected)


def test_captions_that_cannot_be_kept_are_encoded_all_the_same(older):
    (older / BACKGROUND).mkdir()
    assert OnnxEncoder.open(older).background().shape == (1024, 32)
