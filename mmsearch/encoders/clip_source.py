"""Where a `clip` model comes from: a checkpoint on this machine, a hub repository, or open_clip's own list.

And how one that was taught becomes a checkpoint again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmsearch.encoders.clip_config import CONFIG, allowed_model, allowed_preprocessing, read_config
from mmsearch.encoders.hub import fetch
from mmsearch.encoders.text_files import lay_out_tokenizer
from mmsearch.errors import ModelNotFoundError, UnsupportedModelError

if TYPE_CHECKING:
    import numpy as np

HUB_PREFIX = "hf-hub:"
_WEIGHTS = (
    "open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "model.safetensors",
    "open_clip_pytorch_model.bin", "pytorch_model.bin", "model.pth",
)  # fmt: skip
_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")


@dataclass(frozen=True)
class ModelSource:
    """Where a model comes from: its configuration, as allowed and as given, its weights and its tokenizer.

    `tokenizer` is a folder, a hub repository, or None for the byte-pair encoding that open_clip brings.
    """

    model: dict[str, Any]
    given: dict[str, Any]
    preprocessing: dict[str, Any]
    weights: Path
    tokenizer: Path | str | None


def config_digest(config: dict[str, Any]) -> str:
    """Return the hex sha256 that tells configurations of models apart."""
    return sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def find_source(model: str, notify: Callable[[str], None]) -> ModelSource:
    """Return where a model comes from, its weights on this machine; raises as `prepare_encoder`."""
    if model.startswith(HUB_PREFIX):
        repository = model.removeprefix(HUB_PREFIX)
        config = fetch(repository, [CONFIG], notify=notify)
        return _from_files(config, fetch(repository, _WEIGHTS, notify=notify), is_at_hub=True)
    if Path(model).exists():
        return _from_files(*files_of_checkpoint(Path(model).absolute()))
    return _from_tag(model, notify)


def save_checkpoint(
    source: ModelSource, arrays: Mapping[str, np.ndarray[Any, Any]], folder: Path, notify: Callable[[str], None]
) -> Path:
    """Write a model of the architecture of another, with weights of its own, as open_clip has it in a folder.

    Parameters
    ----------
    source : ModelSource
        Whose configuration and tokenizer it has.
    arrays : mapping of str to array
        Its weights, as in a state dict of open_clip.
    folder : Path
        Made here.
    notify : callable
        Given a sentence before a download.

    Returns
    -------
    Path
        The file of the weights.
    """
    from safetensors.numpy import save_file

    if source.tokenizer is None:
        folder.mkdir()
    else:
        lay_out_tokenizer(source.tokenizer, folder, notify)
    config = {"model_cfg": source.model, "preprocess_cfg": source.preprocessing}
    (folder / CONFIG).write_text(json.dumps(config, indent=1), encoding="utf-8")
    save_file(dict(arrays), folder / _WEIGHTS[0])
    return folder / _WEIGHTS[0]


def files_of_checkpoint(path: Path) -> tuple[Path, Path]:
    """Return where the configuration and the weights of a local model are, which is a folder or the weights."""
    return (path / CONFIG, _weights_in(path)) if path.is_dir() else (path.parent / CONFIG, path)


def _from_files(config: Path, weights: Path, *, is_at_hub: bool = False) -> ModelSource:
    """Return a source whose configuration file says everything that decides the vectors."""
    try:
        model, preprocessing, given = read_config(config)
    except FileNotFoundError as error:
        raise UnsupportedModelError(
            f"{weights} has no {CONFIG} beside it, so its architecture, activation and preprocessing are "
            "unknown; write one with `model_cfg` and `preprocess_cfg` as open_clip does"
        ) from error
    name = model["text_cfg"].get("hf_tokenizer_name")
    return ModelSource(model, given, preprocessing, weights, config.parent if name and not is_at_hub else name)


def _weights_in(folder: Path) -> Path:
    named = [folder / name for name in _WEIGHTS if (folder / name).is_file()]
    if named:
        return named[0]
    files = sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES)
    if len(files) != 1:
        names = ", ".join(path.name for path in files) or "none"
        raise ModelNotFoundError(
            f"{folder} has these weights: {names}; expected exactly one file of {', '.join(_SUFFIXES)}, "
            "or name the file itself"
        )
    return files[0]


def open_clip_folder() -> Path:
    """Return where open_clip is installed; the package is not imported, which takes torch and seconds."""
    package = find_spec("open_clip")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent


def names_of_models() -> list[str]:
    """Return the names of the models that open_clip has, without importing it."""
    return sorted(path.stem for path in (open_clip_folder() / "model_configs").glob("*.json"))


def _from_tag(model: str, notify: Callable[[str], None]) -> ModelSource:
    name, _, tag = model.rpartition("/")
    if not name:
        name, tag = tag, ""
    if name not in (names := names_of_models()):
        raise ModelNotFoundError(
            f"no model {model!r}: there is no such path, and open_clip has no model {name!r}" + _near(name, names)
        )
    import open_clip
    from open_clip.pretrained import list_pretrained_tags_by_model

    tags = list_pretrained_tags_by_model(name)
    if tag not in tags:
        asked = f"has no weights {tag!r}" if tag else "needs the tag of its weights"
        offers = ", ".join(f"{name}/{offered}" for offered in tags) or "none: give a local checkpoint"
        raise ModelNotFoundError(f"{name} {asked}; open_clip offers {offers}")
    entry, config = open_clip.get_pretrained_cfg(name, tag), open_clip.get_model_config(name)
    if activation_of(entry) != activation_of(config):
        raise UnsupportedModelError(
            f"the weights {tag!r} were trained with {activation_of(entry)}, the model {name} has "
            f"{activation_of(config)}: every vector would be wrong; use {_twin(name)}/{tag}"
        )
    repository, _, file_name = entry["hf_hub"].rpartition("/")
    safe = file_name.rpartition(".")[0] + ".safetensors"
    weights = fetch(repository, [safe, file_name] if file_name else _WEIGHTS, notify=notify)
    known = allowed_model(config, name)
    preprocessing = allowed_preprocessing(entry, model)
    return ModelSource(known, config, preprocessing, weights, known["text_cfg"].get("hf_tokenizer_name"))


def _near(name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name, known, n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else "; `--model offline` needs no download"


def activation_of(config: dict[str, Any]) -> str:
    """Return which activation a configuration of open_clip asks for."""
    return "QuickGELU" if config.get("quick_gelu", False) else "GELU"


def _twin(name: str) -> str:
    """Return the name of the same architecture with the other activation."""
    return name.removesuffix("-quickgelu") if name.endswith("-quickgelu") else f"{name}-quickgelu"
