from __future__ import annotations

import json
import shutil

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from mmsearch.encoders.clip import build_clip
from mmsearch.encoders.clip_source import names_of_models
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.encoders.prepare import prepare_encoder
from mmsearch.errors import EncoderError, ModelNotFoundError, UnsupportedModelError
from mmsearch.images import decode
from mmsearch.samples import sample_folder
from tests.conftest import TINY, write_checkpoint

CAPTIONS = ["two dogs in the snow", "it's a CAT!", "", "Café, 12345 — ½ 雪", "a very long " * 60, "a"]


def open_clip_vectors(name, texts, files, **options):
    """What open_clip itself gives: its model, transform and tokenizer."""
    model, _, transform = open_clip.create_model_and_transforms(name, **options)
    model.eval()
    with torch.inference_mode():
        ids = open_clip.get_tokenizer(name)(texts)
        pixels = torch.stack([transform(Image.open(file).convert("RGB")) for file in files])
        return (
            model.encode_text(ids, normalize=True).numpy(),
            model.encode_image(pixels, normalize=True).numpy(),
        )


def our_vectors(encoder, texts, files):
    pictures = [decode(file.read_bytes(), encoder.preprocessing, use_draft=False).pixels for file in files]
    return encoder.encode_texts(texts), encoder.encode_images(np.stack(pictures))


def assert_same_directions(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        assert (one * other).sum(axis=1).min() > 0.9999


def test_vectors_equal_those_of_open_clip(tiny, checkpoint):
    files = sorted(sample_folder().glob("*.jpg"))
    theirs = open_clip_vectors(f"local-dir:{checkpoint}", CAPTIONS, files)
    assert_same_directions(our_vectors(tiny, CAPTIONS, files), theirs)
    assert not build_clip(str(checkpoint)).tokenizer.pad_to_context  # it is causal: captions are cut


def test_vectors_differ_between_pictures_and_between_texts(tiny):
    files = sorted(sample_folder().glob("*.jpg"))[:4]
    for vectors in our_vectors(tiny, CAPTIONS[:4], files):
        assert np.triu(vectors @ vectors.T, 1).max() < 0.9999


@pytest.mark.full  # the tiny models below are compared by default
def test_vectors_of_vit_b_32_equal_those_of_open_clip(tmp_path):
    name = "ViT-B-32"
    config = {"model_cfg": open_clip.get_model_config(name), "preprocess_cfg": TINY["preprocess_cfg"]}
    folder = write_checkpoint(tmp_path / "vit", config)
    encoder = OnnxEncoder.open(prepare_encoder(str(folder), cache=tmp_path))
    files = sorted(sample_folder().glob("*.jpg"))[:8]
    theirs = open_clip_vectors(f"local-dir:{folder}", CAPTIONS, files)
    assert_same_directions(our_vectors(encoder, CAPTIONS, files), theirs)


# An export takes seconds; the first test compares a model that is causal, too.
@pytest.mark.full
@pytest.mark.parametrize(
    ("change", "is_cut"),
    [
        ({}, True),
        ({"no_causal_mask": True, "pool_type": "last"}, False),
        ({"pool_type": "eos"}, None),
    ],
    ids=["causal", "bidirectional", "eos"],
)
def test_captions_are_cut_only_where_that_changes_nothing(tmp_path, change, is_cut):
    config = json.loads(json.dumps(TINY))
    config["model_cfg"]["custom_text"] = True
    config["model_cfg"]["text_cfg"] |= change | ({"eos_id": 49407} if is_cut is None else {})
    folder = write_checkpoint(tmp_path / "tiny", config)
    eager = build_clip(str(folder))
    if is_cut is not None:
        assert eager.tokenizer.pad_to_context is not is_cut
    encoder = OnnxEncoder.open(prepare_encoder(str(folder), cache=tmp_path))
    theirs = open_clip_vectors(f"local-dir:{folder}", CAPTIONS, [sample_folder() / "cat.jpg"])
    assert_same_directions(our_vectors(encoder, CAPTIONS, [sample_folder() / "cat.jpg"]), theirs)


def test_quickgelu_weights_in_a_gelu_model_are_refused():
    with pytest.raises(UnsupportedModelError, match=r"trained with QuickGELU.* use ViT-B-32-quickgelu/openai"):
        build_clip("ViT-B-32/openai")


def test_quickgelu_of_the_configuration_is_used(tmp_path):
    config = json.loads(json.dumps(TINY))
    plain = write_checkpoint(tmp_path / "plain", config)
    config["model_cfg"]["quick_gelu"] = True
    quick = write_checkpoint(tmp_path / "quick", config)
    pixels = torch.randint(0, 256, (1, 32, 32, 3), dtype=torch.uint8)
    with torch.inference_mode():
        one, other = (build_clip(str(folder)).image_tower(pixels) for folder in (plain, quick))
    assert float((one * other).sum()) < 0.99999


def test_checkpoint_without_configuration_is_refused(tmp_path, checkpoint):
    weights = tmp_path / "epoch_1.safetensors"
    shutil.copyfile(checkpoint / "open_clip_model.safetensors", weights)
    with pytest.raises(UnsupportedModelError, match=r"has no open_clip_config.json beside it"):
        build_clip(str(weights))


def test_checkpoint_that_does_not_say_how_pictures_are_prepared_is_refused(tmp_path):
    folder = write_checkpoint(tmp_path / "tiny", {"model_cfg": TINY["model_cfg"]})
    with pytest.raises(UnsupportedModelError, match="does not say `preprocess_cfg` mean, std"):
        build_clip(str(folder))


def test_weights_of_another_architecture_are_refused(tmp_path, checkpoint):
    config = json.loads(json.dumps(TINY))
    config["model_cfg"]["vision_cfg"]["layers"] = 3
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    shutil.copyfile(checkpoint / "open_clip_model.safetensors", tmp_path / "open_clip_model.safetensors")
    with pytest.raises(EncoderError, match=r"cannot be loaded: .*Missing key"):
        build_clip(str(tmp_path))


def test_pickled_program_is_never_loaded(tmp_path):
    class Payload:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    (tmp_path / "open_clip_config.json").write_text(json.dumps(TINY))
    torch.save({"state_dict": Payload(), "enough": torch.zeros(1_000_000)}, tmp_path / "weights.pt")
    with pytest.raises(EncoderError, match="never a pickled program"):
        build_clip(str(tmp_path))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("ViT-B-3", "did you mean .*ViT-B-32"),
        ("ViT-B-32", "needs the tag of its weights; open_clip offers ViT-B-32/openai"),
        ("ViT-B-32/nonsense", "has no weights 'nonsense'; open_clip offers"),
        ("/no/such/folder", "no such path"),
    ],
)
def test_unknown_model_is_named_with_what_there_is(name, sentence):
    with pytest.raises(ModelNotFoundError, match=sentence):
        build_clip(name)


def test_names_of_models_are_those_of_open_clip():
    assert names_of_models() == sorted(open_clip.list_models())


def test_export_is_checked_against_torch_and_recorded(tiny_folder):
    spec = json.loads((tiny_folder / "spec.json").read_text())
    assert min(spec["cosine_to_torch"].values()) > 0.9999
    assert len(spec["identity"]["weights"]) == 64


def test_half_a_character_in_a_text_is_no_error(tiny):
    assert tiny.encode_texts(["a cat \ud800", "caf\udce9"]).shape == (2, 32)
