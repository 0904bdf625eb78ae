"""Towers of a tiny CLIP, taught themselves on drawn pictures, and the checkpoint that comes of it."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from mmsearch.encoders.clip import build_clip
from mmsearch.encoders.export import fingerprint_of
from mmsearch.encoders.learned import TOWERS, build_learned, read_learned
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.encoders.prepare import learned_folders, prepare_encoder, why_not_used
from mmsearch.encoders.tokens import token_batch
from mmsearch.errors import EncoderError, TrainingError
from mmsearch.images import decode
from mmsearch.traces import no_traces
from mmsearch.training.adapt import adapt_to_captions
from mmsearch.training.captions import CaptionFeatures, retrieval_hits
from mmsearch.training.folder import TrainingFolder
from mmsearch.training.setting import Setting
from mmsearch.training.towers import TowerOptions, require_open_clip, teach_towers
from mmsearch.training.trainer import RunState
from tests.tiers import tiered

OPTIONS = TowerOptions(epochs=25, batch=20, rate=3e-3, patience=25, validation=0.4, keep=0.0)
WEIGHTS = "open_clip_model.safetensors"


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def eager(checkpoint):
    return build_clip(str(checkpoint))


def pixels_of(pictures, eager):
    return np.stack([decode(path.read_bytes(), eager.preprocessing).pixels for path in pictures])


@pytest.fixture(scope="module")
def parts(squares, eager):
    """What a base makes of 40 pictures to learn from, and of 24 others."""
    with torch.inference_mode():
        images = eager.image_tower(torch.from_numpy(pixels_of(squares.pictures, eager))).numpy()
        texts = eager.text_tower(torch.from_numpy(token_batch(eager.tokenizer, squares.texts))).numpy()
    owners = np.array([pictures[0] for pictures in squares.pictures_of_text])
    features = CaptionFeatures.of_set(
        images, texts, owners, squares.texts, dim=eager.dim, pictures=squares.pictures
    )
    rows = np.random.default_rng(0).permutation(64)
    return features.of(np.sort(rows[:40])), features.of(np.sort(rows[40:]))


@pytest.fixture(scope="module")
def weights(checkpoint):
    return load_file(checkpoint / WEIGHTS)


@pytest.fixture(scope="module")
def adapted(squares, checkpoint, cache, tmp_path_factory):
    """A folder made by a training of both towers, and its report."""
    folder = TrainingFolder(tmp_path_factory.mktemp("towers") / "taught")
    report = adapt_to_captions(squares, str(checkpoint), folder, replace(OPTIONS, keep=0.2), Setting(cache))
    return folder, report


def taught(parts, checkpoint, **changed):
    return teach_towers(*parts, replace(OPTIONS, **changed), model=str(checkpoint))


def changed_weights(towers, weights):
    return {name for name, array in towers.clip.arrays().items() if not np.array_equal(array, weights[name])}


@pytest.mark.parametrize("unfreeze", ["both", pytest.param("text", marks=pytest.mark.full)])
def test_what_was_held_out_is_found_far_above_chance(parts, checkpoint, unfreeze):
    towers = taught(parts, checkpoint, unfreeze=unfreeze)
    hits = retrieval_hits(*towers.vectors(parts[1]), parts[1].picture_of_text)
    assert hits["text to image R@5"].mean() > 3 * 5 / 24  # by chance 5 of 24


@pytest.mark.parametrize("unfreeze", tiered(["image", "text", "both"], ["image", "text"]))
def test_the_weights_of_a_locked_tower_stay_bit_by_bit(parts, checkpoint, weights, unfreeze):
    changed = changed_weights(taught(parts, checkpoint, unfreeze=unfreeze, epochs=1), weights)
    images = {name for name in weights if name.startswith("visual.")}
    texts = set(weights) - images - {"logit_scale"}
    assert "logit_scale" in changed
    assert bool(changed & images) == (unfreeze in ("image", "both"))
    assert bool(changed & texts) == (unfreeze in ("text", "both"))


def test_vectors_of_a_locked_tower_are_those_of_the_base(parts, checkpoint):
    images, _ = taught(parts, checkpoint, unfreeze="text", epochs=1).vectors(parts[1])
    np.testing.assert_array_equal(images, parts[1].base_vectors()[0])


def test_kept_weights_lie_between_those_of_base_and_learned(parts, checkpoint, weights):
    towers = taught(parts, checkpoint, epochs=2)
    towers.vectors(parts[1])
    learned = {name: array.copy() for name, array in towers.clip.arrays().items()}
    towers.vectors(parts[1], keep=0.25)
    for name, mixed in towers.clip.arrays().items():
        np.testing.assert_allclose(mixed, 0.25 * weights[name] + 0.75 * learned[name], atol=1e-6)


@pytest.mark.full
def test_all_of_the_base_kept_is_the_base(parts, checkpoint):
    towers = taught(parts, checkpoint, epochs=1)
    for vectors, base in zip(towers.vectors(parts[1], keep=1.0), parts[1].base_vectors(), strict=True):
        np.testing.assert_allclose(vectors, base, atol=1e-5)


@pytest.mark.full
def test_the_same_seed_gives_the_same_weights_and_another_one_others(parts, checkpoint):
    first, again, other = (taught(parts, checkpoint, epochs=2, seed=seed) for seed in (0, 0, 1))
    assert all(torch.equal(first.learned[name], weight) for name, weight in again.learned.items())
    assert not all(torch.equal(first.learned[name], weight) for name, weight in other.learned.items())


@pytest.mark.full
def test_a_run_that_was_killed_and_resumed_ends_as_one_that_was_not(parts, checkpoint, tmp_path):
    def kill(done, total):
        if done == 2:
            raise Killed

    options, model = replace(OPTIONS, epochs=3), str(checkpoint)
    whole = teach_towers(*parts, options, model=model)
    state = RunState(tmp_path / "state", {}, is_resuming=False)
    with pytest.raises(Killed):
        teach_towers(*parts, options, model=model, state=state, on_epoch=kill)
    resumed = teach_towers(*parts, options, model=model, state=replace(state, is_resuming=True))
    assert resumed.history == whole.history
    assert all(torch.equal(whole.learned[name], weight) for name, weight in resumed.learned.items())


def test_a_rate_that_is_too_high_is_a_sentence(parts, checkpoint):
    with pytest.raises(TrainingError, match="the loss is nan in epoch 1; try a lower --rate"):
        taught(parts, checkpoint, rate=1e30)


@pytest.mark.full
def test_steps_are_told_and_an_early_end(parts, checkpoint):
    told = []
    options = replace(OPTIONS, epochs=9, patience=1, rate=1e-12)  # too slow for anything to become better
    teach_towers(*parts, options, model=str(checkpoint), on_step=lambda *step: told.append(step))
    assert told == [(1, 18), (2, 18), (3, 18), (4, 18), (4, 4)]


@pytest.mark.parametrize(
    ("unfreeze", "available", "said"),
    [("both", 42_000_000, "or teach one tower, --unfreeze text"), ("text", 39_000_000, "or take a smaller model")],
)
def test_a_step_that_would_not_fit_is_refused(parts, checkpoint, monkeypatch, unfreeze, available, said):
    monkeypatch.setattr("mmsearch.training.towers.memory_of", lambda device: available)  # of a small machine
    with pytest.raises(TrainingError, match=rf"a step with 20 pictures .*: --batch \d+ fits; {said}"):
        taught(parts, checkpoint, unfreeze=unfreeze)


def test_a_picture_that_is_gone_meanwhile_is_named(parts, checkpoint, tmp_path):
    train, validation = parts
    gone = tmp_path / "gone.png"
    with pytest.raises(TrainingError, match=r"gone.png could be read when the training began.*go on with --resume"):
        teach_towers(replace(train, pictures=(gone,) * len(train)), validation, OPTIONS, model=str(checkpoint))


@pytest.mark.parametrize("model", ["offline", "cnn:gem"])
def test_towers_that_are_no_clip_are_refused_at_once(squares, cache, tmp_path, model):
    with pytest.raises(TrainingError, match=f"the towers of {model} cannot be taught; expected a CLIP of"):
        adapt_to_captions(squares, model, TrainingFolder(tmp_path), OPTIONS, Setting(cache))


def test_towers_below_heads_are_refused(tmp_path, checkpoint, eager):
    folder = TrainingFolder(tmp_path)
    base = {"model": str(checkpoint), "fingerprint": fingerprint_of(eager)}
    folder.write({"kind": "heads", "base": base, "keep": 0.5, "logit_scale": 20.0}, {}, no_traces())
    with pytest.raises(TrainingError, match="without --unfreeze heads are taught"):
        require_open_clip(str(tmp_path))


@pytest.mark.full
def test_a_training_of_towers_helps_and_says_how_much(adapted):
    _, report = adapted
    assert report.improvement.low > 0
    assert report.settings["unfreeze"] == "both"
    assert report.forgetting is not None


@pytest.mark.full
def test_the_encoder_needs_no_base_and_is_the_model_in_torch(adapted, squares, cache):
    folder, report = adapted
    exported = OnnxEncoder.open(prepare_encoder(str(folder.path), cache=cache))
    built = []
    eager = build_learned(folder.path, lambda model: built.append(model) or build_clip(model))
    assert built == [str(read_learned(folder.path).weights)]
    pixels = pixels_of(squares.pictures[:16], eager)
    with torch.inference_mode():
        images = eager.image_tower(torch.from_numpy(pixels)).numpy()
        texts = eager.text_tower(torch.from_numpy(token_batch(eager.tokenizer, squares.texts))).numpy()
    assert (images * exported.encode_images(pixels)).sum(axis=1).min() > 0.99999
    assert (texts * exported.encode_texts(squares.texts)).sum(axis=1).min() > 0.99999
    assert exported.fingerprint == report.encoder == fingerprint_of(eager)
    assert why_not_used(str(folder.path), exported.folder) is None
    assert learned_folders(str(folder.path)) == [folder.path.resolve()]


@pytest.mark.full
def test_open_clip_itself_loads_the_checkpoint(adapted, squares):
    import open_clip

    checkpoint = read_learned(adapted[0].path).weights.parent
    clip, prepare = open_clip.create_model_from_pretrained(f"local-dir:{checkpoint}")
    eager = build_clip(str(checkpoint))
    pixels = torch.from_numpy(pixels_of(squares.pictures[:4], eager))
    from PIL import Image

    pictures = torch.stack([prepare(Image.open(path)) for path in squares.pictures[:4]])
    with torch.inference_mode():
        theirs = clip.encode_image(pictures, normalize=True)
        assert (theirs * eager.image_tower(pixels)).sum(dim=1).min() > 0.99999


@pytest.mark.full
def test_towers_that_were_taught_can_be_taught_again(adapted):
    folder = adapted[0].path
    assert require_open_clip(str(folder)) == str(read_learned(folder).weights)
    assert read_learned(folder).kind == TOWERS


@pytest.mark.full
@pytest.mark.parametrize("name", [WEIGHTS, "open_clip_config.json"])
def test_a_checkpoint_that_was_changed_is_refused(adapted, tmp_path, name):
    folder = tmp_path / "changed"
    shutil.copytree(adapted[0].path, folder)
    file = read_learned(folder).weights.with_name(name)
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(EncoderError, match=f"{name} has sha256 .* it is damaged or of another training"):
        read_learned(folder)


@pytest.mark.full
def test_another_training_into_the_folder_leaves_nothing_of_the_first(adapted, tmp_path, checkpoint):
    folder = tmp_path / "again"
    shutil.copytree(adapted[0].path, folder)
    before = read_learned(folder).weights.parent
    base = {"model": str(checkpoint), "fingerprint": "0"}
    TrainingFolder(folder).write({"kind": "heads", "base": base, "keep": 0.5, "logit_scale": 20.0}, {}, no_traces())
    assert not before.exists()
    assert read_learned(folder).kind == "heads"
