"""Encoders that were taught: what was learned on top of a base whose towers stay as they are, or towers themselves.

A folder that `mmsearch train` writes, with a configuration and the weights. Three kinds:

- `heads`: to the unit vector b of each tower a small network adds what it makes of the tower's features f,
  normalize(b + (1 - keep) * outer(gelu(inner(f)))). With nothing learned it adds nothing (He et al., 2016).
- `projection`: an image encoder; normalize((b - mean) @ projection), with the base's own vector beside it where
  some of the base is kept.
- `towers`: a CLIP whose own weights were taught, whole, as a checkpoint of open_clip in a folder below; it needs no
  base any more.

`keep`, from 0 to 1, is how much of the base is kept (between zero-shot and fine-tuned models: Wortsman et al.,
Robust fine-tuning of zero-shot models, 2022): of weights in towers, as there, of what is added in heads.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import file_digest, sha256
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
HEADS, PROJECTION, TOWERS = "heads", "projection", "towers"
_KINDS = (HEADS, PROJECTION, TOWERS)

_FOLDER = re.compile(r"learned-[0-9a-f]{12}-\d+")  # below, where weights are whole

Arrays = Mapping[str, Matrix]


@dataclass(frozen=True)
class Learned:
    """What a folder says of the encoder in it.

    Attributes
    ----------
    kind : str
        `heads`, `projection` or `towers`.
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
    def needs_base(self) -> bool:
        """Whether it rests on its base, which must stay as it was then."""
        return self.kind != TOWERS

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
        weights = config["weights"]
        place = folder / weights["folder"] if _is_folder_of_weights(weights.get("folder")) else folder
        learned = Learned(
            str(config["kind"]), str(config["base"]["model"]), str(config["base"]["fingerprint"]),
            float(config["keep"]), float(config["logit_scale"]),
            place / Path(weights["file"]).name, str(weights["sha256"]), *_named_pictures(folder, config),
        )  # fmt: skip
        expected = {learned.weights: learned.weights_sha256}
        expected |= {place / Path(name).name: str(digest) for name, digest in weights.get("beside", {}).items()}
        digests = {file: _sha256(file) for file in expected}
        if learned.kind == TOWERS and len(expected) < 2:
            raise ValueError("it names no file beside the weights")
    except OSError as error:
        raise EncoderError(f"{error.filename or path} cannot be read ({reason(error)}); train it again") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise EncoderError(f"{path} is damaged ({error!r}); train it again") from error
    if learned.kind not in _KINDS or not 0 <= learned.keep <= 1 or not math.isfinite(learned.logit_scale):
        raise EncoderError(
            f"{path} has kind {learned.kind!r}, keep {learned.keep} and logit scale {learned.logit_scale}; train "
            "it again"
        )
    for file, digest in digests.items():
        if digest != expected[file]:
            raise EncoderError(
                f"{file} has sha256 {digest[:12]}, its configuration names {expected[file][:12]}: it is damaged or "
                "of another training; train it again"
            )
    return learned


def _is_folder_of_weights(name: object) -> bool:
    """Return whether weights are in a folder below; raise ValueError if its name is none that a training gives."""
    if name is None:
        return False
    if not (isinstance(name, str) and _FOLDER.fullmatch(name)):
        raise ValueError(f"{name!r} is no folder of weights")
    return True


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


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
        Returns the base, or a checkpoint with whole weights, by its name.

    Raises
    ------
    EncoderError
        If the folder is damaged, or the base is not the one it was taught on any more.
    ModelNotFoundError
        If there is no base any more.
    """
    learned = read_learned(folder)
    taught = _on_base(folder, learned, build) if learned.needs_base else build(str(learned.weights))
    return replace(taught, name=str(folder), logit_scale=learned.logit_scale, identity=learned.identity)


def _on_base(folder: Path, learned: Learned, build: Callable[[str], EagerEncoder]) -> EagerEncoder:
    """Return the base with what was learned on top of it."""
    from mmsearch.encoders.export import fingerprint_of

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
        return make(base, arrays, learned.keep)
    except (KeyError, ValueError, RuntimeError) as error:
        raise EncoderError(f"{learned.weights} does not fit {learned.base} ({error}); train it again") from error


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


def taught_image_vectors(learned: Learned, features: Matrix) -> Matrix:
    """Return the vectors float32 (n, dim) that an encoder gives pictures whose features are known.

    Parameters
    ----------
    learned : Learned
        Heads or a projection.
    features : float32 array, shape (n, n_features)
        Unit vectors of the pictures by the base, or by `mmsearch.encoders.prepare.features_model` of it for heads.

    Raises
    ------
    EncoderError
        If the weights cannot be read, or do not fit.
    """
    import torch

    arrays = _read_weights(learned.weights)
    given = torch.from_numpy(np.ascontiguousarray(features))
    try:
        with torch.inference_mode():
            if learned.kind == HEADS:
                vectors = taught_vectors(given, head_of(arrays, "image")(given), learned.keep)
            else:
                mean, projection = (torch.from_numpy(arrays[name].copy()) for name in ("mean", "projection"))
                vectors = projected_vectors(given, mean, projection, learned.keep)
    except (KeyError, ValueError, RuntimeError) as error:
        raise EncoderError(f"{learned.weights} does not fit {learned.base} ({error}); train it again") from error
    taught: Matrix = vectors.numpy()
    return taught


def projected_vectors(
    vectors: torch.Tensor, mean: torch.Tensor, projection: torch.Tensor, keep: float
) -> torch.Tensor:
    """Return unit vectors (n, dim) of the base's (n, n_features), with those beside them where some is kept."""
    import torch
    from torch.nn.functional import normalize

    projected = normalize((vectors - mean) @ projection, dim=-1)
    if keep == 0:
        return projected
    return torch.cat([keep**0.5 * vectors, (1 - keep) ** 0.5 * projected], dim=-1)


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
            return projected_vectors(self.tower(pixels), self.mean, self.projection, keep)

    dim = n_components if keep == 0 else base.dim + n_components
    return replace(base, image_tower=Tower().eval(), text_tower=None, tokenizer=None, dim=dim)
