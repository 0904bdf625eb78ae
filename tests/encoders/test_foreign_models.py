"""Models that strangers made: nothing of theirs is run, and what they may set is known beforehand."""

from __future__ import annotations

import json
import shutil
import warnings
from collections import OrderedDict

import open_clip
import pytest
import torch
from safetensors.numpy import load_file

from mmsearch.encoders.clip import build_clip
from mmsearch.encoders.clip_config import allowed_model, allowed_preprocessing, read_config
from mmsearch.encoders.clip_source import find_source, save_checkpoint
from mmsearch.encoders.text_files import lay_out_text_model, lay_out_tokenizer
from mmsearch.encoders.tokens import token_batch
from mmsearch.errors import EncoderError, UnsupportedModelError
from tests.conftest import TINY, write_checkpoint
from tests.encoders.test_hub import hub_cache

RUNS = {"hf_tokenizer_name": "me/tiny", "tokenizer_kwargs": {"trust_remote_code": True}}
WORDS = ["[PAD]", "[UNK]", "a", "cat", "dog", "snow", "in", "the", "of", "photo", "two"]


def changed(**sections):
    """The tiny configuration with some keys of its sections set; `top` is `model_cfg` itself."""
    config = json.loads(json.dumps(TINY))
    model = config["model_cfg"]
    places = {
        "top": model,
        "vision": model["vision_cfg"],
        "text": model["text_cfg"],
        "pre": config["preprocess_cfg"],
    }
    for name, keys in sections.items():
        places[name].update(keys)
    return config


def add_tokenizer(folder, **settings):
    """Write a tokenizer of whole words beside a model, and settings of it."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.save(str(folder / "tokenizer.json"))
    common = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]", "unk_token": "[UNK]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(common | settings))
    return folder


@pytest.fixture
def hostile(tmp_path, checkpoint):
    """A checkpoint whose configuration, and that of its tokenizer, ask for the Python beside it to be run."""
    folder = shutil.copytree(checkpoint, tmp_path / "hostile")
    add_tokenizer(folder, auto_map={"AutoTokenizer": [None, "theirs.Theirs"]})
    (folder / "theirs.py").write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w').close()\n"
        "from transformers import PreTrainedTokenizerFast\nclass Theirs(PreTrainedTokenizerFast): pass\n"
    )
    (folder / "open_clip_config.json").write_text(json.dumps(changed(text=RUNS)))
    return folder


@pytest.mark.parametrize("form", ["folder", "weights", "hub"])
@pytest.mark.parametrize("asks", [True, False], ids=["trust asked for", "trust not asked for"])
def test_python_beside_the_weights_is_never_run(tmp_path, monkeypatch, hostile, form, asks):
    if not asks:
        text = {"hf_tokenizer_name": "me/tiny"}
        (hostile / "open_clip_config.json").write_text(json.dumps(changed(text=text)))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    hub_cache(tmp_path / "hub", hostile)
    names = {"folder": hostile, "weights": hostile / "open_clip_model.safetensors", "hub": "hf-hub:me/tiny"}
    with pytest.raises(UnsupportedModelError) as raised:
        build_clip(str(names[form]))
    assert ('"trust_remote_code"' if asks else '"auto_map"') in str(raised.value)
    assert not (tmp_path / "ran").exists()


def test_tokenizer_of_a_folder_is_used_as_data_and_its_code_left_alone(tmp_path, hostile):
    add_tokenizer(hostile)
    text = {"hf_tokenizer_name": "me/tiny", "tokenizer_kwargs": {"clean": "lower"}}
    (hostile / "open_clip_config.json").write_text(json.dumps(changed(text=text)))
    eager = build_clip(str(hostile))
    theirs = open_clip.create_model(f"local-dir:{hostile}").eval()
    texts = ["a photo of the CAT", "two  dogs in the snow"]
    ids = open_clip.get_tokenizer(f"local-dir:{hostile}")(texts)
    with torch.inference_mode():
        ours = eager.text_tower(torch.from_numpy(token_batch(eager.tokenizer, texts)))
        cosines = (ours * theirs.encode_text(ids, normalize=True)).sum(dim=1)
    assert cosines.min() > 0.9999
    assert not (tmp_path / "ran").exists()


def test_a_checkpoint_that_is_written_again_has_the_tokenizer_and_no_code(tmp_path, hostile):
    add_tokenizer(hostile)
    (hostile / "open_clip_config.json").write_text(json.dumps(changed(text={"hf_tokenizer_name": "me/tiny"})))
    arrays = load_file(hostile / "open_clip_model.safetensors")
    source = find_source(str(hostile), lambda sentence: None)
    again = save_checkpoint(source, arrays, tmp_path / "again", lambda sentence: None).parent
    texts = ["a photo of a cat", "two dogs in the snow"]
    first, second = (open_clip.get_tokenizer(f"local-dir:{folder}")(texts) for folder in (hostile, again))
    assert first.equal(second)
    assert build_clip(str(again)).tokenizer == build_clip(str(hostile)).tokenizer
    assert not list(again.glob("*.py"))


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (changed(text={"tokenizer_mode": "clips"}), 'text_cfg has the key "tokenizer_mode" .*does not pass on'),
        (changed(text={"hf_model_name": "/home/me/model"}), "text_cfg hf_model_name .*owner/name"),
        (changed(text={"hf_tokenizer_name": "../x"}), "text_cfg hf_tokenizer_name .*owner/name"),
        (changed(vision={"timm_model_name": "hf-hub:me/net"}), "timm_model_name .*plain name of a model of timm"),
        (changed(vision={"timm_model_name": "local-dir:/x"}), "timm_model_name .*plain name of a model of timm"),
        (changed(vision={"timm_model_name": "no_net_at_all"}), "which the installed timm does not have"),
        (
            changed(vision={"image_size": 10**9}),
            "image_size is 1000000000, expected a whole number from",
        ),
        (changed(vision={"image_size": 1024, "patch_size": 1}), r"1,048,576 patches, expected at most 10,000"),
        (changed(vision={"width": -32}), "width is -32, expected a whole number from 1"),
        (changed(vision={"width": True}), "width is true, expected a whole number"),
        (changed(text={"layers": 10**6}), "layers is 1000000, expected a whole number from 1 to 256"),
        (changed(text={"norm_kwargs": {"eps": float("nan")}}), "eps is NaN, expected a number"),
        (changed(top={"vision_cfg": []}), r"vision_cfg is \[\], expected an object"),
        (changed(pre={"std": [0, 1, 1]}), r"preprocess_cfg std is \[0, 1, 1\], expected a list of 3"),
        (changed(pre={"interpolation": "lanczos"}), "interpolation is \"lanczos\", expected one of 'bicubic'"),
        (changed(pre={"size": 64}), r"`preprocess_cfg` size 64, its model takes `vision_cfg` image_size 32; make"),
        (changed(pre={"resize_to": 64}), 'preprocess_cfg has the key "resize_to"'),
    ],
)
def test_configuration_with_what_is_not_allowed_is_a_sentence(tmp_path, config, sentence):
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(UnsupportedModelError, match=sentence):
        read_config(tmp_path / "open_clip_config.json")


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff", b"[" * 100_000, b'{"a": 1'])
def test_configuration_that_is_no_json_object_is_a_sentence(tmp_path, content):
    (tmp_path / "open_clip_config.json").write_bytes(content)
    with pytest.raises(UnsupportedModelError, match=r"cannot be read as JSON|holds no JSON object"):
        read_config(tmp_path / "open_clip_config.json")


def test_picture_size_that_is_that_of_the_model_is_no_error(tmp_path):
    (tmp_path / "open_clip_config.json").write_text(json.dumps(changed(pre={"size": [32, 32]})))
    assert read_config(tmp_path / "open_clip_config.json")[0] == TINY["model_cfg"]


def test_every_model_that_open_clip_brings_is_allowed():
    for name in open_clip.list_models():
        assert allowed_model(config := open_clip.get_model_config(name), name) == config
        for tag in open_clip.list_pretrained_tags_by_model(name):
            allowed_preprocessing(open_clip.get_pretrained_cfg(name, tag), name)


def test_model_larger_than_its_weights_is_refused_before_it_takes_memory(tmp_path, checkpoint):
    config = changed(text={"width": 16_384, "layers": 256, "vocab_size": 2_000_000})
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    shutil.copyfile(checkpoint / "open_clip_model.safetensors", tmp_path / "model.safetensors")
    with pytest.raises(UnsupportedModelError, match=r"would have 8\d\d,\d+,\d+,\d+ weights .* bytes; expected"):
        build_clip(str(tmp_path))


def test_model_that_fails_at_its_first_text_is_a_sentence(tmp_path):
    folder = write_checkpoint(tmp_path / "model", changed(text={"vocab_size": 100}))
    with pytest.raises(EncoderError, match=r"cannot be loaded: .*index out of range"):
        build_clip(str(folder))


def test_pickled_program_is_not_loaded_where_the_environment_asks_for_it(tmp_path, monkeypatch):
    tensor = torch.zeros(1_000_000)

    class OldTensor:  # torch takes it, unless it is told to load weights alone: then open_clip asks without
        def __reduce__(self):
            arguments = (tensor.storage(), 0, (1_000_000,), (1,), False, OrderedDict())
            return torch._utils._rebuild_tensor_v2, arguments, (tensor, 0, OrderedDict(), False, OrderedDict())

    class Program:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save({"state_dict": [OldTensor(), Program()]}, tmp_path / "weights.pt")
    (tmp_path / "open_clip_config.json").write_text(json.dumps(TINY))
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(EncoderError, match="cannot be loaded"):
        build_clip(str(tmp_path))
    assert not (tmp_path / "ran").exists()


def test_settings_of_a_tokenizer_are_rewritten_from_what_is_known(tmp_path, hostile):
    add_tokenizer(hostile, chat_template="{{ x }}", name_or_path="/home/me", model_max_length=77)
    (hostile / "config.json").write_text(json.dumps({"model_type": "bert", "auto_map": {"AutoConfig": "theirs.C"}}))
    laid_out = lay_out_tokenizer(hostile, tmp_path / "ours", lambda _: None)
    assert sorted(path.name for path in laid_out.iterdir()) == [
        "config.json", "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    assert json.loads((laid_out / "config.json").read_text()) == {"model_type": "bert"}
    settings = json.loads((laid_out / "tokenizer_config.json").read_text())
    assert settings.keys() == {"tokenizer_class", "pad_token", "unk_token", "model_max_length"}


def test_settings_of_a_text_model_are_rewritten_from_what_is_known(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    known = {"model_type": "bert", "hidden_size": 32, "num_hidden_layers": 1, "vocab_size": 11}
    runs = {"auto_map": {"AutoConfig": "theirs.C"}, "attn_implementation": "me/kernel", "quantization_config": {}}
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "config.json").write_text(json.dumps(known | runs))
    hub_cache(tmp_path / "hub", tmp_path / "text", "me/text")
    laid_out = lay_out_text_model("me/text", tmp_path / "ours", lambda _: None)
    assert json.loads((laid_out / "config.json").read_text()) == known
