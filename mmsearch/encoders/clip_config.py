"""What an `open_clip_config.json` may say: the parts of open_clip's models, with numbers that a machine can hold.

Some of open_clip's settings reach `transformers` and `timm` as they are, which fetch, unpickle and run what they
name. So a model is built from a configuration of our own, of what is allowed here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from mmsearch.encoders.allowed import (
    FLAG,
    Allowed,
    either,
    integer,
    matching,
    number,
    one_of,
    optional,
    read_settings,
    several,
    taken_over,
)
from mmsearch.errors import UnsupportedModelError
from mmsearch.records import Interpolation, ResizeMode

CONFIG = "open_clip_config.json"
IMAGE_SIZE = 224
"""What open_clip takes where a configuration does not say."""

_DECISIVE = ("mean", "std", "interpolation", "resize_mode")
_MAX_TOKENS = 10_000  # that a picture is cut into
_WIDTH, _LAYERS, _HEADS = integer(1, 16_384), integer(1, 256), integer(1, 512)
_SIDE = integer(1, 1_024)
_IMAGE_SIZE = either(_SIDE, several(_SIDE, 2))
_HUB_NAME = matching(r"[\w-][\w.-]{0,95}(/[\w-][\w.-]{0,95})?", "the name of a hub repository, as owner/name")
_BLOCK: Allowed = {
    "width": _WIDTH,
    "mlp_ratio": number(0.1, 64),
    "ls_init_value": optional(number(0, 10)),
    "final_ln_after_pool": FLAG,
    "output_tokens": FLAG,
    "act_kwargs": {"approximate": one_of("none", "tanh")},
    "norm_kwargs": {"eps": number(0, 0.1)},
    "block_type": optional(one_of("default", "custom")),
    **dict.fromkeys(
        ("qk_norm", "scaled_cosine_attn", "scale_heads", "scale_attn_inner", "scale_attn", "scale_fc"), FLAG
    ),
}
_VISION: Allowed = {
    **_BLOCK,
    "layers": either(_LAYERS, several(_LAYERS, 4)),
    "head_width": integer(1, 1_024),
    "patch_size": optional(integer(1, 1_024)),
    "image_size": _IMAGE_SIZE,
    "patch_dropout": number(0, 1),
    "attentional_pool": either(FLAG, one_of("parallel", "cascade")),
    "attn_pooler_queries": integer(1, 4_096),
    "attn_pooler_heads": _HEADS,
    "no_ln_pre": FLAG,
    "pos_embed_type": one_of("learnable", "sin_cos_2d"),
    "pool_type": one_of("tok", "avg", "none"),
    "timm_model_name": optional(matching(r"[a-z0-9_]+(\.[a-z0-9_]+)?", "the plain name of a model of timm")),
    "timm_model_pretrained": FLAG,
    "timm_pool": one_of("", "avg", "avgmax", "max", "map", "token", "abs_attn", "rot_attn"),
    "timm_proj": optional(one_of("", "linear", "mlp", "none")),
    "timm_proj_bias": FLAG,
    "timm_drop": number(0, 1),
    "timm_drop_path": optional(number(0, 1)),
}
_TEXT: Allowed = {
    **_BLOCK,
    "context_length": integer(4, 4_096),
    "vocab_size": integer(1, 2_000_000),
    "hf_tokenizer_name": optional(_HUB_NAME),
    "tokenizer_kwargs": {
        "clean": one_of("lower", "whitespace", "canonicalize"),
        "strip_sep_token": FLAG,
    },
    "heads": _HEADS,
    "layers": _LAYERS,
    "embed_cls": FLAG,
    "pad_id": integer(0, 2_000_000),
    "eos_id": integer(0, 2_000_000),
    "no_causal_mask": FLAG,
    "pool_type": one_of("first", "last", "argmax", "eos", "none"),
    "proj_bias": FLAG,
    "proj_type": one_of("linear", "none"),
    "hf_model_name": optional(_HUB_NAME),
    "hf_model_pretrained": FLAG,
    "hf_proj_type": optional(one_of("linear", "mlp")),
    "hf_pooler_type": optional(one_of("mean_pooler", "max_pooler", "cls_pooler", "cls_last_hidden_state_pooler")),
}
_MODEL: Allowed = {
    "embed_dim": _WIDTH,
    "vision_cfg": _VISION,
    "text_cfg": _TEXT,
    "multimodal_cfg": {**_TEXT, "dim_head": integer(1, 1_024), "n_queries": integer(1, 4_096),
                       "attn_pooler_heads": _HEADS},
    "custom_text": FLAG,
    "quick_gelu": FLAG,
    "init_logit_scale": number(-100, 100),
    "init_logit_bias": optional(number(-1_000, 1_000)),
    "nonscalar_logit_scale": FLAG,
    "pad_id": integer(0, 2_000_000),
}  # fmt: skip
_PREPROCESSING: Allowed = {
    "size": _IMAGE_SIZE,
    "mode": one_of("RGB"),
    "mean": several(number(-10, 10), 3),
    "std": several(number(1e-6, 10), 3),
    "interpolation": one_of(*get_args(Interpolation)),
    "resize_mode": one_of(*get_args(ResizeMode)),
    "fill_color": integer(0, 255),
}


def read_config(path: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return what a configuration file says of a model and its preprocessing, allowed and whole.

    Returns
    -------
    model, preprocessing : dict
        As open_clip names their parts.
    found : dict
        The model as the file has it: only to tell models apart, never to build one.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    UnsupportedModelError
        If it says what is not allowed, or not what decides the vectors.
    """
    settings = read_settings(path)
    if "model_cfg" not in settings:
        raise UnsupportedModelError(
            f"{path} is not a configuration of open_clip; expected `model_cfg` and `preprocess_cfg`"
        )
    # Further parts describe the file to people; nothing of them is used.
    model = allowed_model(settings["model_cfg"], f"{path} model_cfg")
    preprocessing = taken_over(settings.get("preprocess_cfg") or {}, _PREPROCESSING, f"{path} preprocess_cfg")
    if missing := [key for key in _DECISIVE if key not in preprocessing]:
        raise UnsupportedModelError(
            f"{path} does not say `preprocess_cfg` {', '.join(missing)}: pictures prepared in another way "
            "give wrong vectors silently; add what the model was trained with"
        )
    size, taken = preprocessing.pop("size", None), model["vision_cfg"].get("image_size", IMAGE_SIZE)
    if size is not None and _sides(size) != _sides(taken):
        raise UnsupportedModelError(
            f"{path} prepares pictures at `preprocess_cfg` size {size}, its model takes `vision_cfg` image_size "
            f"{taken}; make both what the model was trained with"
        )
    return model, preprocessing, settings["model_cfg"]


def allowed_model(given: Any, where: str) -> dict[str, Any]:
    """Return a `model_cfg` of what is allowed in one, or raise UnsupportedModelError."""
    model = taken_over(given, _MODEL, where)
    if missing := [key for key in ("embed_dim", "vision_cfg", "text_cfg") if key not in model]:
        raise UnsupportedModelError(f"{where} has no {', '.join(missing)}; expected all parts of a model")
    vision = model["vision_cfg"]
    if name := vision.get("timm_model_name"):
        _require_timm_model(name, f"{where} vision_cfg timm_model_name")
    elif (n_tokens := _n_tokens(vision)) > _MAX_TOKENS:
        raise UnsupportedModelError(
            f"{where} vision_cfg cuts pictures into {n_tokens:,} patches, expected at most {_MAX_TOKENS:,}"
        )
    return model


def allowed_preprocessing(given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the preprocessing of a published model, of what is allowed in one."""
    known = {key: list(value) if isinstance(value, tuple) else value for key, value in given.items()}
    return taken_over(
        {key: known[key] for key in (*_DECISIVE, "fill_color") if key in known}, _PREPROCESSING, where
    )


def _sides(size: int | list[int]) -> list[int]:
    return [size, size] if isinstance(size, int) else size


def _n_tokens(vision: Mapping[str, Any]) -> int:
    height, width = _sides(vision.get("image_size", IMAGE_SIZE))
    patch = vision.get("patch_size") or 16
    return (height // patch) * (width // patch)


def _require_timm_model(name: str, where: str) -> None:
    import timm

    if not timm.is_model(name.partition(".")[0]):
        raise UnsupportedModelError(f"{where} is {name!r}, which the installed timm does not have")
