"""From the name of a model to an exported encoder on this machine: found in the cache, or built and exported.

Nothing heavy is imported when the encoder is in the cache already.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mmsearch.arguments import FP32, USUAL, Precision, Variant, Views
from mmsearch.encoders.allowed import read_settings
from mmsearch.encoders.base import EMBEDDING_VERSION, EagerEncoder
from mmsearch.encoders.clip_source import config_digest, files_of_checkpoint
from mmsearch.encoders.cnn import PREFIX as CNN
from mmsearch.encoders.cnn import build_cnn
from mmsearch.encoders.efficientnet import WEIGHTS_SHA256, classifier_weights
from mmsearch.encoders.learned import build_learned, is_learned, read_learned, why_no_encoder
from mmsearch.encoders.offline import FEATURES as OFFLINE_FEATURES
from mmsearch.encoders.offline import NAME as OFFLINE
from mmsearch.encoders.offline import TEXT_WEIGHTS_SHA256, build_offline, build_offline_features, offline_files
from mmsearch.encoders.onnx import FORMAT, IMAGE_OF, SPEC, OnnxEncoder, file_facts, read_spec
from mmsearch.encoders.runtime import forbid_telemetry
from mmsearch.encoders.whole import spec_digest, verify_encoder, write_with_views
from mmsearch.errors import EncoderError, HubUnreachableError, ModelNotFoundError, StorageError, advice, reason
from mmsearch.system import how_others_may_write

AUTO = "auto"
DEFAULT_CLIP = "ViT-B-32-256/datacomp_s34b_b86k"

Notify = Callable[[str], None]

_OFFLINE = {OFFLINE: build_offline, OFFLINE_FEATURES: build_offline_features}


def prepare_encoder(
    model: str,
    *,
    cache: Path,
    notify: Notify = lambda sentence: None,
    spec: str | None = None,
    variant: Variant = USUAL,
) -> Path:
    """Return the folder of an exported encoder.

    Parameters
    ----------
    model : str
        `auto` (the default CLIP model if its weights are here or can be fetched, else `offline`), `offline`,
        an image encoder such as `cnn:gem`, an open_clip model and tag such as
        `ViT-B-32-256/datacomp_s34b_b86k`, `hf-hub:owner/repository`, the path of a checkpoint
        with its `open_clip_config.json`, or the folder that `mmsearch train` made.
    cache : Path
        Where exported encoders are kept.
    notify : callable
        Given sentences worth showing.
    spec : str or None
        Digest of the specification that a kept encoder must have, where a library knows it; else it is made anew.
    variant : Variant
        In what the image tower computes where pictures are indexed, usually fp32; whether another precision agrees
        with that is not looked at here. How often it looks at a picture, usually once; `auto` is five times where
        the calibration of the encoder says that pictures are found better by it.

    Raises
    ------
    ModelNotFoundError
        If there is no such model or checkpoint.
    UnsupportedModelError
        If the checkpoint does not say how pictures are prepared, its activation is another, or it cannot be
        computed in that precision.
    HubUnreachableError
        If weights would have to be downloaded and cannot.
    EncoderError
        If the model cannot be exported, or others may write to the cache.
    """
    precision, views = variant.precision or FP32, variant.views or 1
    of_one_view = _of_one_view(model, precision, cache, notify, spec if views == 1 else None)
    if views == "auto":
        views = _best_views(_prepared(read_spec(of_one_view)["name"], FP32, cache, notify))
    return of_one_view if views == 1 else _of_views(of_one_view, views, notify, spec)


def _best_views(folder: Path) -> Views:
    """Return how often the encoder in a folder, of one view and fp32, had best look at pictures."""
    calibration = OnnxEncoder.open(folder).calibration
    return 1 if calibration is None else calibration.best_views


def _of_one_view(model: str, precision: Precision, cache: Path, notify: Notify, spec: str | None) -> Path:
    if model != AUTO:
        return _prepared(model, precision, cache, notify, spec)
    try:
        return _prepared(DEFAULT_CLIP, precision, cache, notify)
    except HubUnreachableError:
        notify(
            f"the weights of {DEFAULT_CLIP} are not on this machine and cannot be fetched: using the "
            "`offline` encoder; `mmsearch index --re-embed --model` switches later"
        )
    return _prepared(OFFLINE, precision, cache, notify)


def is_built_in(model: str) -> bool:
    """Return whether a model is one of mmsearch's own, which no other name stands for."""
    return model in _OFFLINE or model.startswith(CNN)


def is_found_anywhere(model: str) -> bool:
    """Return whether a model can be had on any machine: one of mmsearch's own, or of a hub, but no files.

    >>> is_found_anywhere("ViT-B-32/openai"), is_found_anywhere("/models/mine"), is_found_anywhere("mine")
    (True, False, False)
    """
    is_path = Path(model).is_absolute() or Path(model).exists()
    return is_built_in(model) or (not is_path and "/" in model)


def lasting_name(model: str) -> str:
    """Return a name that means the same model in any working directory: of files the whole path."""
    is_path = not is_built_in(model) and Path(model).exists()
    return str(Path(model).absolute()) if is_path else model


def learned_folders(model: str) -> list[Path]:
    """Return the folder of a learned encoder and those of bases that it needs and that were learned too.

    None of other models.

    Raises
    ------
    EncoderError
        If one of them cannot be read, or was taught on itself.
    """
    folders: list[Path] = []
    while not is_built_in(model) and is_learned(Path(model)):
        folder = Path(model).resolve()
        if folder in folders:
            raise EncoderError(f"{folder} was taught on an encoder that it has replaced; train it again")
        folders.append(folder)
        learned = read_learned(folder)
        if not learned.needs_base:
            break
        model = learned.base
    return folders


def features_model(model: str) -> str:
    """Return the model whose image vectors are what a head on this one sees.

    The last numbers of such a vector, as many as the model has dimensions, have the direction of the model's own.
    """
    return OFFLINE_FEATURES if model == OFFLINE else model


def _prepared(model: str, precision: Precision, cache: Path, notify: Notify, spec: str | None = None) -> Path:
    folder = cache / "encoders" / _key(model, precision)
    _require_private(cache, folder.parent, folder)
    if _is_kept(model, folder, notify, spec):
        return folder
    if precision == FP32:
        _export(model, folder, notify)
    else:
        _write_in_precision(model, _prepared(model, FP32, cache, notify), folder, precision, notify)
    return folder


def _of_views(source: Path, views: int, notify: Notify, spec: str | None) -> Path:
    """Return the folder beside that of an encoder of one view in which it has several."""
    model, folder = read_spec(source)["name"], source.with_name(_digest(f"{source.name} views {views}"))
    _require_private(source.parent, folder)
    if not _is_kept(model, folder, notify, spec):
        write_with_views(source, folder, views)
    return folder


def _is_kept(model: str, folder: Path, notify: Notify, spec: str | None) -> bool:
    """Return whether a folder of the cache holds an encoder that can be used; `spec` as of `prepare_encoder`."""
    if not (folder / SPEC).is_file():
        return False
    problem = why_not_used(model, folder)
    if problem is None and spec not in (None, spec_digest(folder)):
        problem = "the library had another one"
    if problem is not None:
        notify(f"the encoder kept for {model} is not used, it is made anew: {problem}")
    return problem is None


def _export(model: str, folder: Path, notify: Notify) -> None:
    from mmsearch.encoders.export import export_encoder

    eager = _build(model, notify)
    notify(f"exporting {model} to ONNX, once")
    export_encoder(eager, folder)


def _write_in_precision(model: str, source: Path, folder: Path, precision: Precision, notify: Notify) -> None:
    from mmsearch.encoders.precision import write_in_precision

    notify(f"making the image tower in {precision}, once")
    write_in_precision(source, folder, precision, lambda: _build(model, notify))


def _require_private(cache: Path, *below: Path) -> None:
    """Make the folders of encoders for this user alone; refuse them if others could plant an encoder there.

    Raises
    ------
    EncoderError
        If somebody else may write to a folder, or to a file of an encoder.
    StorageError
        If the disk refuses.
    """
    try:
        for folder in (cache, below[0]):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        encoder = below[-1]
        for path in (cache, *below, *(encoder.iterdir() if encoder.is_dir() else ())):
            if path.exists() and (problem := how_others_may_write(path)):
                raise EncoderError(
                    f"{path} {problem}, who could so decide what your pictures are found by; run "
                    f"`chmod -R go-w {shlex.quote(str(cache))}`, or take another folder with MMSEARCH_CACHE"
                )
    except OSError as error:
        raise StorageError(f"{cache}: encoders cannot be kept there ({reason(error)}); {advice(error)}") from error


def why_not_used(model: str, folder: Path) -> str | None:
    """Return why an encoder in the cache is not that of a model, or None if it is."""
    if problems := verify_encoder(folder):
        return problems[0]
    spec = read_spec(folder)
    if spec["name"] != model:
        return f"{folder} holds {spec['name']}"
    differing = [key for key, value in _identity(model).items() if spec["identity"].get(key) != value]
    return f"{folder} was made with other {' and '.join(differing)}" if differing else None


def _identity(model: str) -> dict[str, str]:
    """Return what can be told of the weights of a model without building it."""
    if model in _OFFLINE:
        return {"image_weights": WEIGHTS_SHA256, "text_weights": TEXT_WEIGHTS_SHA256}
    if model.startswith(CNN):
        return {"weights": WEIGHTS_SHA256}
    if not Path(model).exists():
        return {}
    if is_learned(Path(model)):
        return read_learned(Path(model)).identity
    config, weights = files_of_checkpoint(Path(model).absolute())
    return {
        "weights": str(file_facts(weights)["sha256"]),
        "model": config_digest(read_settings(config).get("model_cfg", {})),
    }


def _build(model: str, notify: Notify) -> EagerEncoder:
    forbid_telemetry()  # torch and its exporter load what they find
    if model in _OFFLINE:
        notify("building the offline encoder, once (about a minute)")
        return _OFFLINE[model]()
    if model.startswith(CNN):
        return build_cnn(model)
    if is_learned(Path(model)):
        return build_learned(Path(model), lambda base: _build(base, notify))
    if missing := why_no_encoder(Path(model)):
        raise ModelNotFoundError(missing)
    from mmsearch.encoders.clip import build_clip

    return build_clip(model, notify=notify)


def _key(model: str, precision: Precision = FP32) -> str:
    """Return a folder name that changes when another encoder would come out for the same model name."""
    if precision != FP32:
        return _digest(f"{_key(model)} {IMAGE_OF[precision]}")
    sources: list[Any] = [FORMAT, EMBEDDING_VERSION, model]
    if model in _OFFLINE:
        sources += [_stamp(path) for path in vars(offline_files()).values()]
        sources += [version("timm"), version("open-clip-torch")]
    elif model.startswith(CNN):
        sources += [_stamp(classifier_weights()), version("timm")]
    elif is_learned(Path(model)):
        folders = learned_folders(model)  # reports may lie beside what was learned
        all_learned = [read_learned(folder) for folder in folders]
        sources += [[str(folder), known.identity] for folder, known in zip(folders, all_learned, strict=True)]
        sources += [_key(all_learned[-1].base)] if all_learned[-1].needs_base else [version("open-clip-torch")]
    elif (path := Path(model)).exists():
        folder = path if path.is_dir() else path.parent
        sources += [str(path.resolve()), *(_stamp(file) for file in sorted(folder.iterdir()) if file.is_file())]
    return _digest(json.dumps(sources))


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:24]


def _stamp(path: Path) -> tuple[str, int, int]:
    status = path.stat()
    return path.name, status.st_size, status.st_mtime_ns
