"""Tokenizers and text models for `transformers`, in a folder of our own: data as it came, settings as allowed.

`transformers` imports Python files that a folder names in its settings (`auto_map`), and fetches what else it
names. Nothing of a stranger's folder is shown to it but vocabularies, and settings rewritten from known keys.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from mmsearch.encoders.allowed import (
    FLAG,
    Allowed,
    Kind,
    integer,
    matching,
    number,
    one_of,
    optional,
    read_settings,
    taken_over,
)
from mmsearch.encoders.hub import fetch, fetch_all
from mmsearch.errors import UnsupportedModelError

_VOCABULARIES = (
    "tokenizer.json", "vocab.txt", "vocab.json", "merges.txt", "spiece.model", "sentencepiece.bpe.model",
    "tokenizer.model",
)  # fmt: skip
_SETTINGS, _TOKENS, _MODEL = "tokenizer_config.json", "special_tokens_map.json", "config.json"
_CLASSES = (
    "Albert", "Bert", "CLIP", "Camembert", "DistilBert", "Electra", "GPT2", "Gemma", "MPNet", "MT5", "Nllb",
    "PreTrained", "Roberta", "T5", "XLMRoberta",
)  # fmt: skip
_CLASS = one_of(*(f"{name}Tokenizer{fast}" for name in _CLASSES for fast in ("", "Fast")), "TokenizersBackend")
_MODEL_TYPES = ("bert", "m2m_100", "mt5", "roberta", "xlm-roberta")  # those open_clip has a tower for
_WORD = matching(r"(?s).{0,256}", "a short string")
_ADDED = {"content": _WORD, "lstrip": FLAG, "rstrip": FLAG, "normalized": FLAG, "single_word": FLAG,
          "special": FLAG, "__type": one_of("AddedToken")}  # fmt: skip
_TOKEN = Kind("a token", lambda value: value is None or _WORD.accepts(value) or _is_added(value))
_SPECIAL: Allowed = {
    **{f"{name}_token": _TOKEN for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask")},
    **dict.fromkeys(
        ("additional_special_tokens", "extra_special_tokens"),
        Kind("a list of tokens", lambda value: isinstance(value, list) and all(map(_TOKEN.accepts, value))),
    ),
}
_KNOWN_SETTINGS: Allowed = {
    **_SPECIAL,
    "tokenizer_class": optional(_CLASS),
    "model_max_length": optional(number(0, 1e31)),
    "extra_ids": integer(0, 1_000),
    "added_tokens_decoder": Kind(
        "tokens by their numbers", lambda value: isinstance(value, dict) and all(map(_is_added, value.values()))
    ),
    "padding_side": one_of("left", "right"),
    "truncation_side": one_of("left", "right"),
    "src_lang": optional(_WORD),
    "tgt_lang": optional(_WORD),
    "errors": one_of("replace", "strict", "ignore"),
    **dict.fromkeys(
        (
            "do_lower_case", "do_basic_tokenize", "strip_accents", "tokenize_chinese_chars", "add_prefix_space",
            "add_bos_token", "add_eos_token", "trim_offsets", "clean_up_tokenization_spaces", "legacy",
            "keep_accents", "remove_space", "spaces_between_special_tokens", "legacy_behaviour",
        ),
        optional(FLAG),
    ),
}  # fmt: skip
_WITHOUT_EFFECT = (  # what libraries write down about themselves, or for other uses than ids of texts
    "name_or_path", "special_tokens_map_file", "tokenizer_file", "vocab_file", "processor_class", "chat_template",
    "use_fast", "backend", "is_local", "local_files_only", "model_input_names", "max_length", "stride",
    "never_split", "pad_to_multiple_of", "pad_token_type_id", "sp_model_kwargs", "truncation_strategy",
    "use_default_system_prompt", "tokenizer_version", "transformers_version", "full_tokenizer_file",
    "split_special_tokens",
)  # fmt: skip
_SIZE, _SHARE = integer(0, 2_000_000), number(0, 1)
_KNOWN_MODEL: Allowed = {
    **dict.fromkeys(
        ("vocab_size", "hidden_size", "intermediate_size", "max_position_embeddings", "type_vocab_size", "d_model",
         "d_ff", "d_kv", "encoder_ffn_dim", "decoder_ffn_dim", "bos_token_id", "eos_token_id", "pad_token_id",
         "decoder_start_token_id", "relative_attention_num_buckets", "relative_attention_max_distance"),
        optional(_SIZE),
    ),
    **dict.fromkeys(
        ("num_hidden_layers", "num_attention_heads", "num_layers", "num_decoder_layers", "num_heads",
         "encoder_layers", "decoder_layers", "encoder_attention_heads", "decoder_attention_heads"),
        integer(1, 512),
    ),
    **dict.fromkeys(
        ("hidden_dropout_prob", "attention_probs_dropout_prob", "layer_norm_eps", "layer_norm_epsilon",
         "dropout_rate", "dropout", "attention_dropout", "activation_dropout", "encoder_layerdrop",
         "decoder_layerdrop", "initializer_range", "init_std", "classifier_dropout"),
        optional(_SHARE),
    ),
    "initializer_factor": number(0, 100),
    **dict.fromkeys(("hidden_act", "activation_function", "dense_act_fn"),
                    one_of("gelu", "gelu_new", "relu", "silu", "gelu_pytorch_tanh")),
    "feed_forward_proj": one_of("relu", "gated-gelu", "gelu"),
    "position_embedding_type": one_of("absolute"),
    **dict.fromkeys(("is_encoder_decoder", "scale_embedding", "tie_word_embeddings", "is_gated_act"), FLAG),
}  # fmt: skip

Notify = Callable[[str], None]


def _is_added(value: Any) -> bool:
    return isinstance(value, dict) and all(key in _ADDED and _ADDED[key].accepts(value[key]) for key in value)


def lay_out_tokenizer(source: Path | str, target: Path, notify: Notify) -> Path:
    """Write the files of a tokenizer into a new folder, and return it.

    Parameters
    ----------
    source : Path or str
        The folder of a model, or a hub repository.
    target : Path
        Made here.
    notify : callable
        Given a sentence before a download.

    Raises
    ------
    UnsupportedModelError
        If the settings of the tokenizer say what is not allowed.
    HubUnreachableError
        If nothing of the repository is on this machine, and cannot be fetched.
    """
    names = (*_VOCABULARIES, _SETTINGS, _TOKENS, _MODEL)
    files = _files_in(source, names) if isinstance(source, Path) else fetch_all(source, names, notify=notify)
    if not any(name in files for name in _VOCABULARIES):
        raise UnsupportedModelError(
            f"{source} has no tokenizer, which its model asks for by `hf_tokenizer_name`; expected one of "
            f"{', '.join(_VOCABULARIES)}"
        )
    target.mkdir()
    settings = {}
    if _SETTINGS in files:
        settings = tokenizer_settings(read_settings(files[_SETTINGS]), str(files[_SETTINGS]))
    _write(target / _SETTINGS, settings)
    if _TOKENS in files:
        _write(target / _TOKENS, taken_over(read_settings(files[_TOKENS]), _SPECIAL, str(files[_TOKENS])))
    if _MODEL in files:  # may be of another program; it only helps to tell which tokenizer this is
        model = read_settings(files[_MODEL])
        kinds = {"model_type": one_of(*_MODEL_TYPES, "clip", "gemma", "t5"), "tokenizer_class": _CLASS}
        _write(target / _MODEL, {key: model[key] for key, kind in kinds.items() if kind.accepts(model.get(key))})
    for name in _VOCABULARIES:
        if name in files:
            shutil.copyfile(files[name], target / name)
    return target


def tokenizer_settings(given: dict[str, Any], where: str) -> dict[str, Any]:
    """Return a `tokenizer_config.json` of what is allowed in one, or raise UnsupportedModelError."""
    return taken_over(
        {key: value for key, value in given.items() if key not in _WITHOUT_EFFECT}, _KNOWN_SETTINGS, where
    )


def lay_out_text_model(repository: str, target: Path, notify: Notify) -> Path:
    """Write the settings of a text model at the hub, without weights, into a new folder, and return it.

    Raises
    ------
    UnsupportedModelError
        If the model is none that open_clip has a tower for.
    HubUnreachableError, ModelNotFoundError
        As in `fetch`.
    """
    file = fetch(repository, [_MODEL], notify=notify)
    given = read_settings(file)
    model_type = {"model_type": one_of(*_MODEL_TYPES)}
    kept = taken_over({"model_type": given.get("model_type")}, model_type, str(file))
    kept |= taken_over({key: given[key] for key in _KNOWN_MODEL if key in given}, _KNOWN_MODEL, str(file))
    target.mkdir()
    _write(target / _MODEL, kept)
    return target


def _files_in(folder: Path, names: Iterable[str]) -> dict[str, Path]:
    return {name: folder / name for name in names if (folder / name).is_file()}


def _write(path: Path, settings: dict[str, Any]) -> None:
    path.write_text(json.dumps(settings), encoding="utf-8")
