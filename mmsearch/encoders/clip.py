"""The `clip` encoder: any open_clip model, with the preprocessing and activation its checkpoint asks for.

Contrastive language-image pre-training: Radford et al., Learning transferable visual models from natural
language supervision, 2021. Two traps are refused rather than fallen into: weights trained with QuickGELU in
a model with GELU, and a checkpoint that does not say how its pictures were prepared.
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.encoders.base import EagerEncoder, Tokenizer
from mmsearch.encoders.clip_config import CONFIG
from mmsearch.encoders.clip_source import ModelSource, activation_of, config_digest, find_source
from mmsearch.encoders.onnx import file_facts
from mmsearch.encoders.probes import probe_texts
from mmsearch.encoders.text_files import lay_out_text_model, lay_out_tokenizer
from mmsearch.encoders.tokens import token_batch
from mmsearch.errors import EncoderError, MmsearchError, UnsupportedModelError
from mmsearch.records import Preprocessing

if TYPE_CHECKING:
    import torch

_TRICKY = ["it's the dog's ball!", "Café À LA crème, 12345 — ½", "snow&amp;ice\t\n 雪 🐕", "", "word " * 200]
_SAME = 0.99999  # cosine above which cutting a caption to its length counts as exact


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
        source = find_source(model, notify)
        notify(f"loading {model}")
        with _failure_as_sentence(model):
            return _built(model, source, notify)


def _built(model: str, source: ModelSource, notify: Callable[[str], None]) -> EagerEncoder:
    clip, theirs = _load(model, source, notify)
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
            "model": config_digest(source.given),
            "mean": list(source.preprocessing["mean"]),
            "std": list(source.preprocessing["std"]),
            "activation": activation_of(source.given),
        },
    )


def _load(model: str, source: ModelSource, notify: Callable[[str], None]) -> tuple[Any, Any]:
    """Return open_clip's model with its weights, and its tokenizer, from a configuration that is ours."""
    import open_clip

    # Where it is set, torch runs the code in pickled weights wherever it is not told otherwise.
    os.environ.pop("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", None)
    with TemporaryDirectory(prefix="mmsearch-") as temporary:
        folder = Path(temporary)
        config = deepcopy(source.model)
        if name := config["text_cfg"].get("hf_model_name"):
            config["text_cfg"]["hf_model_name"] = str(lay_out_text_model(name, folder / "text", notify))
        (folder / CONFIG).write_text(json.dumps({"model_cfg": config, "preprocess_cfg": source.preprocessing}))
        clip = _model_that_fits(model, f"local-dir:{folder}", source)
        open_clip.load_checkpoint(clip, str(source.weights), weights_only=True)
        return clip.eval(), _their_tokenizer(source, folder, notify)


def _model_that_fits(model: str, name: str, source: ModelSource) -> Any:
    """Return open_clip's model without weights, after a look at how large it would be."""
    import open_clip
    import torch

    create = partial(
        open_clip.create_model,
        name,
        force_preprocess_cfg=source.preprocessing,
        load_weights=False,
        pretrained_text=False,
    )
    with torch.device("meta"):  # where numbers take no memory
        n_numbers = sum(parameter.numel() for parameter in create(device="meta").parameters())
    n_bytes = source.weights.stat().st_size
    if n_numbers > n_bytes:
        raise UnsupportedModelError(
            f"{model} would have {n_numbers:,} weights by its configuration, and {source.weights} has {n_bytes:,} "
            "bytes; expected the weights of this configuration"
        )
    return create()


def _their_tokenizer(source: ModelSource, folder: Path, notify: Callable[[str], None]) -> Any:
    from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

    text = source.model["text_cfg"]
    settings = {"context_length": text.get("context_length", 77), **text.get("tokenizer_kwargs", {})}
    if source.tokenizer is None:
        settings.pop("strip_sep_token", None)  # this one has none
        return SimpleTokenizer(**settings)
    laid_out = lay_out_tokenizer(source.tokenizer, folder / "tokenizer", notify)
    return HFTokenizer(str(laid_out), **settings, trust_remote_code=False, local_files_only=True)


@contextmanager
def _failure_as_sentence(model: str) -> Iterator[None]:
    """Turn whatever torch, JSON, the tokenizers or the towers raise about a model into a sentence."""
    try:
        yield
    except MmsearchError:
        raise
    except Exception as error:
        hint = ""
        if "TorchScript" in str(error) or "Weights only load failed" in str(error):
            hint = "; weights must be safetensors or a plain state dict, never a pickled program"
        raise EncoderError(f"{model} cannot be loaded: {_first_lines(error)}{hint}") from error


def _first_lines(error: Exception) -> str:
    return " ".join((str(error) or type(error).__name__).split())[:300]


# -- preprocessing and image tower ---------------------------------------------------------------------


def _preprocessing(settings: dict[str, Any], model: str) -> Preprocessing:
    size = settings["size"]
    height, width = (size, size) if isinstance(size, int) else size
    mode, interpolation = settings["resize_mode"], settings["interpolation"]
    if mode == "shortest" and height != width:
        raise UnsupportedModelError(f"{model} cuts pictures to {height} x {width}; only squares are supported")
    return Preprocessing((height, width), height, mode, interpolation, int(settings.get("fill_color", 0)))


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

    if isinstance(theirs, SimpleTokenizer):
        ours = Tokenizer(_bpe_json(theirs), int(theirs.context_length or 77), 0, True, _manner(theirs.clean_fn))
    elif isinstance(theirs, HFTokenizer) and not theirs.strip_sep_token:
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
