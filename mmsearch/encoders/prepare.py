"""From the name of a model to an exported encoder on this machine: found in the cache, or built and exported.

Nothing heavy is imported when the encoder is in the cache already.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mmsearch.encoders.base import EMBEDDING_VERSION, EagerEncoder
from mmsearch.encoders.cnn import PREFIX as CNN
from mmsearch.encoders.cnn import build_cnn
from mmsearch.encoders.efficientnet import classifier_weights
from mmsearch.encoders.offline import NAME as OFFLINE
from mmsearch.encoders.offline import build_offline, offline_files
from mmsearch.encoders.onnx import FORMAT, SPEC
from mmsearch.encoders.runtime import forbid_telemetry
from mmsearch.errors import HubUnreachableError

AUTO = "auto"
DEFAULT_CLIP = "ViT-B-32-256/datacomp_s34b_b86k"

Notify = Callable[[str], None]


def prepare_encoder(model: str, *, cache: Path, notify: Notify = lambda sentence: None) -> Path:
    """Return the folder of an exported encoder.

    Parameters
    ----------
    model : str
        `auto` (the default CLIP model if its weights are here or can be fetched, else `offline`), `offline`,
        an image encoder such as `cnn:gem`, an open_clip model and tag such as
        `ViT-B-32-256/datacomp_s34b_b86k`, `hf-hub:owner/repository`, or the path of a checkpoint
        with its `open_clip_config.json`.
    cache : Path
        Where exported encoders are kept.
    notify : callable
        Given sentences worth showing.

    Raises
    ------
    ModelNotFoundError
        If there is no such model or checkpoint.
    UnsupportedModelError
        If the checkpoint does not say how pictures are prepared, or its activation is another.
    HubUnreachableError
        If weights would have to be downloaded and cannot.
    EncoderError
        If the model cannot be exported.
    """
    if model != AUTO:
        return _prepared(model, cache, notify)
    try:
        return _prepared(DEFAULT_CLIP, cache, notify)
    except HubUnreachableError:
        notify(
            f"the weights of {DEFAULT_CLIP} are not on this machine and cannot be fetched: using the "
            "`offline` encoder; to switch later, index into another --library with --model"
        )
    return _prepared(OFFLINE, cache, notify)


def _prepared(model: str, cache: Path, notify: Notify) -> Path:
    from mmsearch.encoders.export import export_encoder

    folder = cache / "encoders" / _key(model)
    if not (folder / SPEC).is_file():
        eager = _build(model, notify)
        notify(f"exporting {model} to ONNX, once")
        export_encoder(eager, folder)
    return folder


def _build(model: str, notify: Notify) -> EagerEncoder:
    forbid_telemetry()  # torch and its exporter load what they find
    if model == OFFLINE:
        notify("building the offline encoder, once (about a minute)")
        return build_offline()
    if model.startswith(CNN):
        return build_cnn(model)
    from mmsearch.encoders.clip import build_clip

    return build_clip(model, notify=notify)


def _key(model: str) -> str:
    """Return a folder name that changes when another encoder would come out for the same model name."""
    sources: list[Any] = [FORMAT, EMBEDDING_VERSION, model]
    if model == OFFLINE:
        sources += [_stamp(path) for path in vars(offline_files()).values()]
        sources += [version("timm"), version("open-clip-torch")]
    elif model.startswith(CNN):
        sources += [_stamp(classifier_weights()), version("timm")]
    elif (path := Path(model)).exists():
        folder = path if path.is_dir() else path.parent
        sources += [str(path.resolve()), *(_stamp(one) for one in sorted(folder.iterdir()) if one.is_file())]
    return sha256(json.dumps(sources).encode()).hexdigest()[:24]


def _stamp(path: Path) -> tuple[str, int, int]:
    status = path.stat()
    return path.name, status.st_size, status.st_mtime_ns
