"""The `clip` encoder: any open_clip model, with the preprocessing and activation its checkpoint asks for.

Contrastive language-image pre-training: Radford et al., Learning transferable visual models from natural
language supervision, 2021. Two traps are refused rather than fallen into: weights trained with QuickGELU in
a model with GELU, and a checkpoint that does not say how its pictures were prepared.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from mmsearch.encoders.base import EagerEncoder, Tokenizer
from mmsearch.encoders.hub import fetch
from mmsearch.encoders.onnx import file_facts
from mmsearch.encoders.probes import probe_texts
from mmsearch.encoders.tokens import token_batch
from mmsearch.errors import EncoderError, ModelNotFoundError, UnsupportedModelError
from mmsearch.records import Interpolation, Preprocessing, ResizeMode

if TYPE_CHECKING:
    import torch

CONFIG = "open_clip_config.json"
HUB_PREFIX = "hf-hub:"
_WEIGHTS = (
    "open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "model.safetensors",
    "open_clip_pytorch_model.bin", "pytorch_model.bin", "model.pth",
)  # fmt: skip
_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
_DECISIVE_KEYS = ("mean", "std", "interpolation", "resize_mode")
_TRICKY = ["it's the dog's ball!", "Café À LA crème, 12345 — ½", "snow&amp;ice\t\n 雪 🐕", "", "word " * 200]
_SAME = 0.99999  # cosine above which cutting a caption to its length counts as exact


@dataclass(frozen=True)
class _Source:
    """Where a model comes from: what open_clip's factory is given, its configuration and its weights."""

    factory_name: str
    tokenizer_name: str
    config: dict[str, Any]
    preprocessing: dict[str, Any]
    weights: Path


def build_clip(model: str, *, notify: Callable[[str], None] = lambda sentence: None) -> EagerEncoder:
    """Return an open_clip model as an encoder.

    Parameters
    ----------
    model : str
        `NAME/TAG` of open_clip, `hf-hub:owner/repository`, a folder with `open_clip_config.json` and weights,
        or a weights file beside such a configuration.
    notify : callable
        Given sentences worth showing.

    Raises
    ------
    ModelNotFoundError, UnsupportedModelError, HubUnreachableError, EncoderError
        As in `prepare_encoder`.
    """
    with _quiet_open_clip():
        source = _find(model, notify)
        notify(f"loading {model}")
        clip, theirs = _load(model, source)
        tokenizer = _tokenizer(theirs, model)
        text_tower, is_cut = _text_tower(clip, tokenizer)
        preprocessing = _preprocessing(clip.visual.preprocess_cfg, model)
        return EagerEncoder(
            name=model,
            image_tower=_image_tower(clip, source.preprocessing),
            text_tower=text_tower,
            tokenizer=replace(tokenizer, pad_to_context=not is_cut),
            preprocessing=preprocessing,
            dim=_width(clip, preprocessing),
            logit_scale=float(clip.logit_scale.detach().exp()),
            identity={
                "weights": file_facts(source.weights)["sha256"],
                "model": sha256(json.dumps(source.config, sort_keys=True).encode()).hexdigest(),
                "mean": list(source.preprocessing["mean"]),
                "std": list(source.preprocessing["std"]),
                "activation": _activation(source.config),
            },
        )


def _load(model: str, source: _Source) -> tuple[Any, Any]:
    """Return open_clip's model with its weights, and its tokenizer."""
    import open_clip

    try:
        clip = open_clip.create_model(
            source.factory_name,
            force_preprocess_cfg=source.preprocessing,
            load_weights=False,
            pretrained_text=False,
        )
        open_clip.load_checkpoint(clip, str(source.weights), weights_only=True)
        return clip.eval(), open_clip.get_tokenizer(source.tokenizer_name)
    except Exception as error:  # the factory raises whatever torch, JSON and the tokenizers raise
        hint = ""
        if "TorchScript" in str(error) or "Weights only load failed" in str(error):
            hint = "; weights must be safetensors or a plain state dict, never a pickled program"
        raise EncoderError(f"{model} cannot be loaded: {_first_lines(error)}{hint}") from error


def _first_lines(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


# -- where the model comes from ------------------------------------------------------------------------


def _find(model: str, notify: Callable[[str], None]) -> _Source:
    if model.startswith(HUB_PREFIX):
        repository = model.removeprefix(HUB_PREFIX)
        config = fetch(repository, [CONFIG], notify=notify)
        weights = fetch(repository, _WEIGHTS, notify=notify)
        return _from_files(config, weights, tokenizer_name=model)
    path = Path(model).absolute()
    if path.is_dir():
        return _from_files(path / CONFIG, _weights_in(path))
    if path.exists():
        return _from_files(path.parent / CONFIG, path)
    return _from_tag(model, notify)


def _from_files(config: Path, weights: Path, *, tokenizer_name: str = "") -> _Source:
    """Return a source whose configuration file says everything that decides the vectors."""
    try:
        found = json.loads(config.read_bytes())
        model_config, preprocessing = found["model_cfg"], dict(found.get("preprocess_cfg") or {})
    except FileNotFoundError as error:
        raise UnsupportedModelError(
            f"{weights} has no {CONFIG} beside it, so its architecture, activation and preprocessing are "
            "unknown; write one with `model_cfg` and `preprocess_cfg` as open_clip does"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnsupportedModelError(
            f"{config} is not a configuration of open_clip ({error!r}); expected `model_cfg` and `preprocess_cfg`"
        ) from error
    missing = [key for key in _DECISIVE_KEYS if key not in preprocessing]
    if missing:
        raise UnsupportedModelError(
            f"{config} does not say `preprocess_cfg` {', '.join(missing)}: pictures prepared in another way "
            "give wrong vectors silently; add what the model was trained with"
        )
    name = f"local-dir:{config.parent}"
    return _Source(name, tokenizer_name or name, model_config, preprocessing, weights)


def _weights_in(folder: Path) -> Path:
    named = [folder / name for name in _WEIGHTS if (folder / name).is_file()]
    if named:
        return named[0]
    found = sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES)
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise ModelNotFoundError(
            f"{folder} has these weights: {names}; expected exactly one file of {', '.join(_SUFFIXES)}, "
            "or name the file itself"
        )
    return found[0]


def _from_tag(model: str, notify: Callable[[str], None]) -> _Source:
    import open_clip
    from open_clip.pretrained import list_pretrained_tags_by_model

    name, _, tag = model.rpartition("/")
    if not name:
        name, tag = tag, ""
    if name not in open_clip.list_models():
        raise ModelNotFoundError(
            f"no model {model!r}: there is no such path, and open_clip has no model {name!r}"
            + _near(name, open_clip.list_models())
        )
    tags = list_pretrained_tags_by_model(name)
    if tag not in tags:
        asked = f"has no weights {tag!r}" if tag else "needs the tag of its weights"
        offers = ", ".join(f"{name}/{one}" for one in tags) or "none: give a local checkpoint"
        raise ModelNotFoundError(f"{name} {asked}; open_clip offers {offers}")
    entry, config = open_clip.get_pretrained_cfg(name, tag), open_clip.get_model_config(name)
    if _activation(entry) != _activation(config):
        raise UnsupportedModelError(
            f"the weights {tag!r} were trained with {_activation(entry)}, the model {name} has "
            f"{_activation(config)}: every vector would be wrong; use {_twin(name)}/{tag}"
        )
    repository, _, file_name = entry["hf_hub"].rpartition("/")
    safe = file_name.rpartition(".")[0] + ".safetensors"
    weights = fetch(repository, [safe, file_name] if file_name else _WEIGHTS, notify=notify)
    preprocessing = {key: entry[key] for key in (*_DECISIVE_KEYS, "fill_color") if key in entry}
    return _Source(name, name, config, preprocessing, weights)


def _near(name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name, known, n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else "; `--model offline` needs no download"


def _activation(config: dict[str, Any]) -> str:
    return "QuickGELU" if config.get("quick_gelu", False) else "GELU"


def _twin(name: str) -> str:
    """Return the name of the same architecture with the other activation."""
    return name.removesuffix("-quickgelu") if name.endswith("-quickgelu") else f"{name}-quickgelu"


# -- preprocessing and image tower ---------------------------------------------------------------------


def _preprocessing(found: dict[str, Any], model: str) -> Preprocessing:
    size = found["size"]
    height, width = (size, size) if isinstance(size, int) else size
    mode, interpolation = found["resize_mode"], found["interpolation"]
    if mode not in get_args(ResizeMode) or interpolation not in get_args(Interpolation):
        raise UnsupportedModelError(
            f"{model} prepares pictures with resize {mode!r} and interpolation {interpolation!r}; known are "
            f"{', '.join(get_args(ResizeMode))} and {', '.join(get_args(Interpolation))}"
        )
    if mode == "shortest" and height != width:
        raise UnsupportedModelError(f"{model} cuts pictures to {height} x {width}; only squares are supported")
    return Preprocessing((height, width), height, mode, interpolation, int(found.get("fill_color", 0)))


def _image_tower(clip: Any, preprocessing: dict[str, Any]) -> torch.nn.Module:
    import torch

    class ImageTower(torch.nn.Module):
        mean: torch.Tensor
        std: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.clip = clip
            for name in ("mean", "std"):
                values = torch.tensor(preprocessing[name], dtype=torch.float32)
                self.register_buffer(name, values.reshape(1, 3, 1, 1))

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            scaled = pixels.permute(0, 3, 1, 2).float() / 255
            vectors: torch.Tensor = self.clip.encode_image((scaled - self.mean) / self.std, normalize=True)
            return vectors

    return ImageTower().eval()


def _width(clip: Any, preprocessing: Preprocessing) -> int:
    import torch

    height, width = preprocessing.size
    with torch.inference_mode():
        return int(clip.encode_image(torch.zeros(1, 3, height, width)).shape[-1])


# -- tokenizer and text tower --------------------------------------------------------------------------


def _tokenizer(theirs: Any, model: str) -> Tokenizer:
    """Return open_clip's tokenizer for the `tokenizers` library, after comparing the two on tricky texts."""
    from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

    if isinstance(theirs, SimpleTokenizer) and theirs.reduction_fn is None:
        ours = Tokenizer(_bpe_json(theirs), int(theirs.context_length or 77), 0, True, _manner(theirs.clean_fn))
    elif isinstance(theirs, HFTokenizer) and not theirs.tokenizer_mode and not theirs.strip_sep_token:
        backend = theirs.tokenizer.backend_tokenizer.to_str()
        pad_id = int(theirs.tokenizer.pad_token_id or 0)
        ours = Tokenizer(backend, int(theirs.context_length or 77), pad_id, True, _manner(theirs.clean_fn))
    else:
        raise UnsupportedModelError(f"{model} splits texts with {type(theirs).__name__} in a way not supported")
    texts = _TRICKY + probe_texts(32)
    if not np.array_equal(token_batch(ours, texts), theirs(texts).numpy()):
        raise UnsupportedModelError(f"the tokenizer of {model} gives other ids outside open_clip than within")
    return ours


def _manner(clean: Callable[[str], str]) -> str:
    """Return the name of one of open_clip's cleaning functions."""
    from open_clip.tokenizer import get_clean_fn

    return next(name for name in ("lower", "whitespace", "canonicalize") if get_clean_fn(name) is clean)


def _bpe_json(theirs: Any) -> str:
    """Return CLIP's byte-pair encoding as the `tokenizers` library writes it."""
    from tokenizers import Regex, models, pre_tokenizers, processors
    from tokenizers import Tokenizer as Fast

    merges = sorted(theirs.bpe_ranks, key=theirs.bpe_ranks.get)
    fast = Fast(models.BPE(vocab=dict(theirs.encoder), merges=merges, end_of_word_suffix="</w>"))
    words = r"(?i)'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
    fast.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(words), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    start, end = (next(t for t, i in theirs.encoder.items() if i == n) for n in theirs.all_special_ids[:2])
    fast.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}",
        special_tokens=[(start, theirs.sot_token_id), (end, theirs.eot_token_id)],
    )
    return str(fast.to_str())


def _text_tower(clip: Any, tokenizer: Tokenizer) -> tuple[torch.nn.Module, bool]:
    """Return the text tower, and whether captions may be cut to their real length without changing it.

    Exact for causal towers and for those that mask padding, wrong for the others: compared, not assumed.
    """
    import torch

    class TextTower(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.clip = clip

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            vectors: torch.Tensor = self.clip.encode_text(ids, normalize=True)
            return vectors

    whole = TextTower().eval()
    texts = probe_texts(32)
    full = torch.from_numpy(token_batch(tokenizer, texts))
    short = torch.from_numpy(token_batch(replace(tokenizer, pad_to_context=False), texts))
    with torch.inference_mode():
        expected = whole(full)
        for tower in (_causal_text_tower(clip), whole):
            try:
                cosines = (tower(short) * expected).sum(dim=-1)
            except (AttributeError, RuntimeError, TypeError):  # this tower has no such parts or lengths
                continue
            if cosines.min() > _SAME:
                return tower, True
    return whole, False


def _causal_text_tower(clip: Any) -> torch.nn.Module:
    """Return open_clip's text transformer with its positions and mask cut to the length of the input."""
    import torch
    from open_clip.transformer import text_global_pool

    text = getattr(clip, "text", clip)  # a part of its own, or spread over the model

    class CausalTextTower(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.text = text

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            length = ids.shape[1]
            states = text.token_embedding(ids) + text.positional_embedding[:length]  # (n, length, width)
            states = text.ln_final(text.transformer(states, attn_mask=text.attn_mask[:length, :length]))
            pool = getattr(text, "text_pool_type", None) or text.pool_type
            eos = getattr(text, "text_eos_id", None) or getattr(text, "eos_id", None)
            pooled = text_global_pool(states, ids, pool, eos_token_id=eos)
            projection = text.text_projection
            if isinstance(projection, torch.nn.Module):
                pooled = projection(pooled)
            elif projection is not None:
                pooled = pooled @ projection
            return torch.nn.functional.normalize(pooled, dim=-1)

    return CausalTextTower().eval()


@contextmanager
def _quiet_open_clip() -> Iterator[None]:
    """Keep open_clip's and its helpers' warnings off the terminal."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # open_clip logs to the root logger
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(level)
