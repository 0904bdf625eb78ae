"""Encoders that were taught: what they are made of, and what is refused."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from mmsearch.encoders.clip import build_clip
from mmsearch.encoders.export import fingerprint_of
from mmsearch.encoders.learned import CONFIG, build_learned, is_learned, read_learned, read_pictures
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.encoders.prepare import lasting_name, learned_folders, prepare_encoder, why_not_used
from mmsearch.encoders.probes import probe_texts
from mmsearch.errors import EncoderError, ModelNotFoundError
from mmsearch.images import decode
from mmsearch.samples import sample_folder
from mmsearch.traces import TRACE_BYTES, no_traces
from mmsearch.training.folder import TrainingFolder
from tests.conftest import random_units

DIM, HIDDEN = 32, 8
NO_PICTURES = no_traces()


def heads(seed=0):
    rng = np.random.default_rng(seed)
    shapes = {"inner.weight": (HIDDEN, DIM), "inner.bias": HIDDEN, "outer.weight": (DIM, HIDDEN), "outer.bias": DIM}
    return {
        f"{side}.{name}": rng.normal(0, 0.5, shape).astype(np.float32)
        for side in ("image", "text")
        for name, shape in shapes.items()
    }


def written(folder, checkpoint, fingerprint, arrays, *, kind="heads", keep=0.25, pictures=NO_PICTURES):
    target = TrainingFolder(folder)
    target.check(str(checkpoint))
    base = {"model": str(checkpoint), "fingerprint": fingerprint}
    target.write({"kind": kind, "base": base, "keep": keep, "logit_scale": 20.0}, arrays, pictures)
    return folder


@pytest.fixture(scope="module")
def eager(checkpoint):
    return build_clip(str(checkpoint))


@pytest.fixture
def folder(tmp_path, checkpoint, eager):
    return written(tmp_path / "taught", checkpoint, fingerprint_of(eager), heads())


@pytest.fixture
def pixels(eager):
    files = [sample_folder() / f"{name}.jpg" for name in ("cat", "coffee")]
    return np.stack([decode(file.read_bytes(), eager.preprocessing).pixels for file in files])


def gelu(x):
    return torch.nn.functional.gelu(torch.from_numpy(x)).numpy()


def test_a_head_adds_its_share_to_the_vector_of_the_base(folder, eager, pixels):
    taught = build_learned(folder, lambda model: eager)
    arrays = heads()
    with torch.inference_mode():
        base = eager.image_tower(torch.from_numpy(pixels)).numpy()
        vectors = taught.image_tower(torch.from_numpy(pixels)).numpy()
    hidden = gelu(base @ arrays["image.inner.weight"].T + arrays["image.inner.bias"])
    expected = base + 0.75 * (hidden @ arrays["image.outer.weight"].T + arrays["image.outer.bias"])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


def test_a_projection_turns_the_vectors_of_the_base(tmp_path, checkpoint, eager, pixels):
    mean, projection = random_units(1, DIM)[0] * 0.1, random_units(DIM, 5, seed=1)
    arrays, fingerprint = {"mean": mean, "projection": projection}, fingerprint_of(eager)
    with torch.inference_mode():
        base = eager.image_tower(torch.from_numpy(pixels)).numpy()
        towers = [
            build_learned(
                written(tmp_path / str(keep), checkpoint, fingerprint, arrays, kind="projection", keep=keep),
                lambda model: eager,
            )
            for keep in (0.0, 0.36)
        ]
        whole, mixed = (tower.image_tower(torch.from_numpy(pixels)).numpy() for tower in towers)
    expected = (base - mean) @ projection
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(whole, expected, atol=1e-5)
    np.testing.assert_allclose(mixed, np.concatenate([0.6 * base, 0.8 * expected], axis=1), atol=1e-5)
    assert [tower.dim for tower in towers] == [5, DIM + 5]
    assert [tower.text_tower for tower in towers] == [None, None]


@pytest.mark.full
def test_it_is_exported_and_kept_as_others_are_and_a_report_beside_it_changes_nothing(folder, cache, eager, pixels):
    exported = OnnxEncoder.open(prepare_encoder(str(folder), cache=cache))
    with torch.inference_mode():
        expected = build_learned(folder, lambda model: eager).image_tower(torch.from_numpy(pixels)).numpy()
    np.testing.assert_allclose(exported.encode_images(pixels), expected, atol=1e-4)
    assert exported.name == str(folder)
    assert exported.logit_scale == 20
    assert why_not_used(str(folder), exported.folder) is None
    (folder / "report.html").write_text("a page")
    assert prepare_encoder(str(folder), cache=cache) == exported.folder


def test_what_was_taught_is_in_the_fingerprint(tmp_path, folder, checkpoint, eager):
    fingerprint = fingerprint_of(eager)
    others = [
        written(tmp_path / "keep", checkpoint, fingerprint, heads(), keep=0.5),
        written(tmp_path / "weights", checkpoint, fingerprint, heads(seed=1)),
    ]
    taught = [fingerprint_of(build_learned(path, lambda model: eager)) for path in (folder, *others)]
    assert len({fingerprint, *taught}) == 4


def test_weights_of_another_training_are_refused(folder):
    weights = read_learned(folder).weights
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    with pytest.raises(EncoderError, match="it is damaged or of another training"):
        read_learned(folder)


def test_a_base_that_changed_is_refused(folder, other_checkpoint):
    with pytest.raises(EncoderError, match="its weights or settings have changed; train again"):
        build_learned(folder, lambda model: build_clip(str(other_checkpoint)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2}, "has format 2, expected 1"),
        ({"kind": "magic"}, "has kind 'magic'"),
        ({"keep": 1.5}, "keep 1.5"),
        ({"keep": "much"}, "is damaged"),
        ({"weights": None}, "is damaged"),
        ({"weights": {"file": "../elsewhere.safetensors", "sha256": "0"}}, "cannot be read"),
        (
            {"weights": {"folder": "..", "file": "elsewhere.safetensors", "sha256": "0"}},
            "'..' is no folder of weights",
        ),
    ],
)
def test_a_configuration_that_says_something_else_is_refused(folder, change, said):
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**config, **change}))
    with pytest.raises(EncoderError, match=said):
        read_learned(folder)


def test_the_base_is_found_from_any_working_directory(tmp_path, checkpoint, eager, monkeypatch):
    monkeypatch.chdir(checkpoint.parent)
    folder = written(tmp_path / "taught", checkpoint.name, fingerprint_of(eager), heads())
    assert read_learned(folder).base == str(checkpoint)


def test_a_base_that_is_gone_is_named(folder, tmp_path):
    def gone(model):
        raise ModelNotFoundError(f"no model {model!r}")

    with pytest.raises(ModelNotFoundError, match=r"taught was taught on .*tiny, which is not there: no model"):
        build_learned(folder, gone)


def test_an_encoder_that_replaced_its_base_is_refused(tmp_path, cache, eager):
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, base in ((first, second), (second, first)):
        written(folder, base, fingerprint_of(eager), heads())
    with pytest.raises(EncoderError, match="first was taught on an encoder that it has replaced; train it again"):
        prepare_encoder(str(first), cache=cache)


def test_a_built_in_model_is_no_folder_of_the_same_name(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    shutil.copytree(folder, "offline")
    assert lasting_name("offline") == "offline"
    assert learned_folders("offline") == []
    assert lasting_name("taught") == str(folder)
    assert learned_folders("taught") == [folder]


def test_heads_of_another_width_are_refused(tmp_path, checkpoint, eager):
    narrow = {name: array[:5] if ".outer." in name else array for name, array in heads().items()}
    folder = written(tmp_path / "narrow", checkpoint, fingerprint_of(eager), narrow)
    with pytest.raises(EncoderError, match="does not fit"):
        build_learned(folder, lambda model: eager)


def test_a_folder_without_its_configuration_was_not_taught(tmp_path, folder):
    assert is_learned(folder)
    (folder / CONFIG).unlink()
    assert not is_learned(folder)
    assert not is_learned(tmp_path / ("long" * 1000))


def test_what_an_earlier_training_left_is_forgotten(folder, checkpoint, eager):
    written(folder, checkpoint, fingerprint_of(eager), heads(seed=1), pictures=np.ones((2, TRACE_BYTES), np.uint8))
    learned = read_learned(folder)
    assert {*folder.glob("*.safetensors")} == {learned.weights, learned.pictures}
    assert read_pictures(learned).tolist() == np.ones((2, TRACE_BYTES)).tolist()


def test_a_killed_training_leaves_the_encoder_before(folder, checkpoint, eager, monkeypatch):
    from mmsearch.training import folder as module

    before = fingerprint_of(build_learned(folder, lambda model: eager))
    real = module.write_file

    def killed(path, data):
        if path.name == CONFIG:
            raise KeyboardInterrupt
        real(path, data)

    monkeypatch.setattr(module, "write_file", killed)
    with pytest.raises(KeyboardInterrupt):
        written(folder, checkpoint, fingerprint_of(eager), heads(seed=1))
    assert fingerprint_of(build_learned(folder, lambda model: eager)) == before


def test_the_encoder_is_the_same_wherever_its_folder_is(tmp_path, folder, eager):
    moved = tmp_path / "moved"
    shutil.move(folder, moved)
    assert is_learned(moved)
    assert len(probe_texts(3)) == 3
    assert build_learned(moved, lambda model: eager).dim == DIM


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "report.json",
            '{"training": "pairs", "base": "cnn:gem"}',
            "the base was kept; use cnn:gem, or train by",
        ),
        ("training.state", "a state", "holds a training that was interrupted, and no encoder yet; go on with it"),
        ("report.json", '{"benchmark": "classify"}', "has these weights: none"),
        ("report.json", "[]", "has these weights: none"),
    ],
)
def test_a_folder_of_a_training_that_wrote_no_encoder_says_so(tmp_path, cache, name, content, said):
    (tmp_path / name).write_text(content)
    with pytest.raises(ModelNotFoundError, match=said):
        prepare_encoder(str(tmp_path), cache=cache)
