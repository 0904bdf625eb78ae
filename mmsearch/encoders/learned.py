"""Encoders that were taught: a base whose towers stay as they are, and what was learned on top of them.

A folder that `mmsearch train` writes, with a configuration and the weights. Two kinds:

- `heads`: to the unit vector b of each tower a small network adds what it makes of the tower's features f,
  normalize(b + (1 - keep) * outer(gelu(inner(f)))). With nothing learned it adds nothing (He et al., 2016).
- `projection`: an image encoder; normalize((b - mean) @ projection), with the base's own vector beside it where
  some of the base is kept.

`keep`, from 0 to 1, is how much of the base is kept (between zero-shot and fine-tuned models: Wortsman et al.,
Robust fine-tuning of zero-shot models, 2022; here of what is added, not of weights).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.encoders.base import EagerEncoder
from mmsearch.errors import EncoderError, ModelNotFoundError, reason
from mmsearch.records import Matrix
from mmsearch.traces import Traces

if TYPE_CHECKING:
    import torch

CONFIG, REPORT, STATE = "mmsearch_encoder.json", "report.json", "training.state"
PICTURES = "pictures"
GENERATOR = "mmsearch train"
FORMAT = 1
HEADS, PROJECTION = "heads", "projection"
_KINDS = (HEADS, PROJECTION)

Arrays = Mapping[str, Matrix]


@dataclass(frozen=True)
class Learned:
    """What a folder says of the encoder in it.

    Attributes
    ----------
    kind : str
        `heads` or `projection`.
    base : str
        Model that it was taught on, as for `prepare_encoder`.
    base_fingerprint : str
        Of the base as it was then.
    keep : float in [0, 1]
        Share of the base that is kept.
    logit_scale : float
        As of a `DualEncoder`.
    weights : Path
        The file with what was learned, safetensors.
    weights_sha256 : str
        Of that file.
    pictures : Path or None
        The file with traces of the pictures that it was taught by, safetensors; None where none was written.
    pictures_sha256 : str
        Of that file.
    """

    kind: str
    base: str
    base_fingerprint: str
    keep: float
    logit_scale: float
    weights: Path
    weights_sha256: str
    pictures: Path | None = None
    pictures_sha256: str = ""

    @property
    def identity(self) -> dict[str, Any]:
        """All that decides the vectors besides the base's own preprocessing and tokenizer."""
        return {
            "kind": self.kind, "base": self.base_fingerprint, "keep": self.keep, "weights": self.weights_sha256,
        }  # fmt: skip


def is_learned(folder: Path) -> bool:
    """Return whether a folder was written by `mmsearch train`."""
    try:
        return (folder / CONFIG).is_file()
    except (OSError, ValueError):  # no name that a folder can have
        return False


def why_no_encoder(folder: Path) -> str | None:
    """Return why a folder of `mmsearch train` holds no encoder, if it is one and holds none."""
    if is_learned(folder):
        return None
    if (folder / STATE).is_file():
        return f"{folder} holds a training that was interrupted, and no encoder yet; go on with it by --resume"
    try:
        report = json.loads((folder / REPORT).read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(report, dict) or "training" not in report:
        return None
    return (
        f"{folder} holds the report of a training and no encoder: nothing certain was gained, so the base was "
        f"kept; use {report.get('base') or 'the base'}, or train by more"
    )


def read_learned(folder: Path) -> Learned:
    """Return what a folder says of its encoder, once its weights are those it names.

    Raises
    ------
    EncoderError
        If it cannot be read, is of another format, or its weights are others.
    """
    path = folder / CONFIG
    try:
        config = json.loads(path.read_bytes())
        if config.get("format") != FORMAT:
            raise EncoderError(f"{path} has format {config.get('format')!r}, expected {FORMAT}; train it again")
        learned = Learned(
            str(config["kind"]), str(config["base"]["model"]), str(config["base"]["fingerprint"]),
            float(config["keep"]), float(config["logit_scale"]),
            folder / Path(config["weights"]["file"]).name, str(config["weights"]["sha256"]),
            *_named_pictures(folder, config),
        )  # fmt: skip
        digest = sha256(learned.weights.read_bytes()).hexdigest()
    except OSError as error:
        raise EncoderError(f"{error.filename or path} cannot be read ({reason(error)}); train it again") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise EncoderError(f"{path} is damaged ({error!r}); train it again") from error
    if learned.kind not in _KINDS or not 0 <= learned.keep <= 1:
        raise EncoderError(f"{path} has kind {learned.kind!r} and keep {learned.keep}; train it again")
    if digest != learned.weights_sha256:
        raise EncoderError(
            f"{learned.weights} has sha256 {digest[:12]}, its configuration names {learned.weights_sha256[:12]}: "
            "it is damaged or of another training; train it again"
        )
    return learned


def _named_pictures(folder: Path, config: Mapping[str, Any]) -> tuple[Path | None, str]:
    if PICTURES not in config:  # of an earlier version
        return None, ""
    return folder / Path(config[PICTURES]["file"]).name, str(config[PICTURES]["sha256"])


def read_pictures(learned: Learned) -> Traces | None:
    """Return traces of the pictures that an encoder was taught by; None if its folder does not say.

    Raises
    ------
    EncoderError
        If the file is not the one that the folder names.
    """
    if learned.pictures is None:
        return None
    try:
        data = learned.pictures.read_bytes()
    except OSError as error:
        raise EncoderError(f"{learned.pictures} cannot be read ({reason(error)}); train it again") from error
    if sha256(data).hexdigest() != learned.pictures_sha256:
        raise EncoderError(f"{learned.pictures} is damaged or of another training; train it again")
    from safetensors.numpy import load

    traces: Traces = load(data)[PICTURES]
    return traces


def build_learned(folder: Path, build: Callable[[str], EagerEncoder]) -> EagerEncoder:
    """Return the encoder of a folder as torch modules.

    Parameters
    ----------
    folder : Path
        Written by `mmsearch train`.
    build : callable
        Returns the base by its name.

    Raises
    ------
    EncoderError
        If the folder is damaged, or the base is not the one it was taught on any more.
    ModelNotFoundError
        If there is no base any more.
    """
    from mmsearch.encoders.export import fingerprint_of

    learned = read_learned(folder)
    try:
        base = build(learned.base)
    except ModelNotFoundError as error:
        raise ModelNotFoundError(f"{folder} was taught on {learned.base}, which is not there: {error}") from error
    fingerprint = fingerprint_of(base)
    if fingerprint != learned.base_fingerprint:
        raise EncoderError(
            f"{folder} was taught on {learned.base} with fingerprint {learned.base_fingerprint[:12]}, which has "
            f"{fingerprint[:12]} now: its weights or settings have changed; train again"
        )
    arrays = _read_weights(learned.weights)
    make = _with_heads if learned.kind == HEADS else _with_projection
    try:
        taught = make(base, arrays, learned.keep)
    except (KeyError, ValueError, RuntimeError) as error:
        raise EncoderError(f"{learned.weights} does not fit {learned.base} ({error}); train it again") from error
    return replace(taught, name=str(folder), logit_scale=learned.logit_scale, identity=learned.identity)


def _read_weights(path: Path) -> dict[str, Matrix]:
    from safetensors.numpy import load

    try:
        return dict(load(path.read_bytes()))
    except Exception as error:  # safetensors has errors of its own
        raise EncoderError(f"{path} is no file of weights ({error}); train it again") from error


def taught_vectors(features: torch.Tensor, added: torch.Tensor, keep: float) -> torch.Tensor:
    """Return unit vectors (n, dim) of features (n, n_features) and of what a head adds to them (n, dim).

    The last dim numbers of features have the direction of the base's vector.
    """
    from torch.nn.functional import normalize

    base = normalize(features[:, -added.shape[1] :], dim=-1)
    return normalize(base + (1 - keep) * added, dim=-1)


def _with_heads(base: EagerEncoder, arrays: Arrays, keep: float) -> EagerEncoder:
    import torch

    if base.text_tower is None:
        raise ValueError("a base that knows no words has one tower, there are heads for two")
    if any(len(arrays[f"{side}.outer.weight"]) != base.dim for side in ("image", "text")):
        raise ValueError(f"its heads are not of {base.dim} dimensions")

    class Tower(torch.nn.Module):
        def __init__(self, tower: torch.nn.Module, side: str) -> None:
            super().__init__()
            self.tower, self.head = tower, head_of(arrays, side)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            features = getattr(self.tower, "features", self.tower)(inputs)  # (n, n_features)
            return taught_vectors(features, self.head(features), keep)

    image, text = Tower(base.image_tower, "image"), Tower(base.text_tower, "text")
    return replace(base, image_tower=image.eval(), text_tower=text.eval())


def head_of(arrays: Arrays, side: str) -> torch.nn.Module:
    """Return the network of one tower: features float32 (n, n_features) in, what is added (n, dim) out.

    Parameters
    ----------
    arrays : mapping of str to float32 array
        `SIDE.inner.weight` (n_hidden, n_features) and `.bias`, `SIDE.outer.weight` (dim, n_hidden) and `.bias`.
    side : str
        `image` or `text`.
    """
    import torch

    n_hidden, n_features = arrays[f"{side}.inner.weight"].shape
    dim = len(arrays[f"{side}.outer.weight"])
    head = torch.nn.Sequential(
        torch.nn.Linear(n_features, n_hidden), torch.nn.GELU(), torch.nn.Linear(n_hidden, dim)
    )
    names = {"0": "inner", "2": "outer"}
    head.load_state_dict(
        {
            f"{place}.{what}": torch.from_numpy(np.ascontiguousarray(arrays[f"{side}.{name}.{what}"]))
            for place, name in names.items()
            for what in ("weight", "bias")
        }
    )
    return head


def _with_projection(base: EagerEncoder, arrays: Arrays, keep: float) -> EagerEncoder:
    import torch
    from torch.nn.functional import normalize

    n_components = arrays["projection"].shape[1]

    class Tower(torch.nn.Module):
        mean: torch.Tensor
        projection: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.tower = base.image_tower
            for name in ("mean", "projection"):
                self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(arrays[name])))

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            vectors = self.tower(pixels)
            projected = normalize((vectors - self.mean) @ self.projection, dim=-1)
            if keep == 0:
                return projected
            return torch.cat([keep**0.5 * vectors, (1 - keep) ** 0.5 * projected], dim=-1)

    dim = n_components if keep == 0 else base.dim + n_components
    return replace(base, image_tower=Tower().eval(), text_tower=None, tokenizer=None, dim=dim)
