"""Export an encoder from torch to a folder of ONNX towers, checked against torch before it is used."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.encoders.base import EagerEncoder, Tokenizer, fingerprint_over
from mmsearch.encoders.check_pictures import check_pictures
from mmsearch.encoders.onnx import (
    FORMAT,
    IMAGE,
    PROBES,
    SPEC,
    TEXT,
    TOKENIZER,
    OnnxEncoder,
    file_facts,
)
from mmsearch.encoders.probes import N_PROBES, probe_texts
from mmsearch.encoders.tokens import token_batch
from mmsearch.encoders.whole import written_whole
from mmsearch.errors import EncoderError
from mmsearch.vectors import l2_normalize

if TYPE_CHECKING:
    import torch

MIN_COSINE = 0.9999
_N_CHECKED = 32  # texts compared with torch


def fingerprint_of(eager: EagerEncoder) -> str:
    """Return the hex sha256 over all that decides an encoder's vectors."""
    return fingerprint_over(
        identity=eager.identity,
        preprocessing=eager.preprocessing.to_json(),
        tokenizer=_tokenizer_facts(eager.tokenizer),
        dim=eager.dim,
    )


def _tokenizer_facts(tokenizer: Tokenizer | None) -> dict[str, Any] | None:
    if tokenizer is None:
        return None
    return {**asdict(tokenizer), "json": sha256(tokenizer.json.encode()).hexdigest()}


def export_encoder(eager: EagerEncoder, folder: Path) -> None:
    """Write an encoder as a self-contained folder: whole, checked against torch, or not at all.

    Parameters
    ----------
    eager : EagerEncoder
        The encoder as torch modules.
    folder : Path
        Replaced if it exists.

    Raises
    ------
    EncoderError
        If a tower cannot be exported, or its vectors differ from torch's by a cosine below 0.9999.
    StorageError
        If the disk refuses.
    """
    with written_whole(folder) as temporary:
        _write(eager, temporary)


def _write(eager: EagerEncoder, folder: Path) -> None:
    height, width = eager.preprocessing.size
    with quietly(f"{eager.name} cannot be exported to ONNX"):
        import torch

        pixels = torch.zeros((2, height, width, 3), dtype=torch.uint8)
        _export_tower(eager.image_tower, pixels, folder / IMAGE, {0: "n"})
        if eager.text_tower is not None and eager.tokenizer is not None:
            _export_text(eager.text_tower, eager.tokenizer, folder)
    spec = {
        "format": FORMAT,
        "name": eager.name,
        "fingerprint": fingerprint_of(eager),
        "dim": eager.dim,
        "logit_scale": eager.logit_scale,
        "preprocessing": eager.preprocessing.to_json(),
        "identity": eager.identity,
    }
    if eager.tokenizer is not None:
        spec["text"] = {key: value for key, value in asdict(eager.tokenizer).items() if key != "json"}
    _write_spec(folder, spec)
    exported = OnnxEncoder.open(folder)
    if exported.has_words:
        np.save(folder / PROBES, exported.encode_texts(probe_texts(N_PROBES)), allow_pickle=False)
    spec["cosine_to_torch"] = _check_parity(eager, exported)
    spec["files"] = {path.name: file_facts(path) for path in folder.iterdir() if path.name != SPEC}
    _write_spec(folder, spec)


def _write_spec(folder: Path, spec: dict[str, Any]) -> None:
    (folder / SPEC).write_text(json.dumps(spec, indent=1), encoding="utf-8")


def _export_text(tower: torch.nn.Module, tokenizer: Tokenizer, folder: Path) -> None:
    import torch

    ids = token_batch(tokenizer, ["a photo of a cat", "two dogs in the snow"])
    lengths = {0: "n"} if tokenizer.pad_to_context else {0: "n", 1: "length"}
    _export_tower(tower, torch.from_numpy(ids), folder / TEXT, lengths)
    (folder / TOKENIZER).write_text(tokenizer.json, encoding="utf-8")


def _export_tower(tower: torch.nn.Module, example: torch.Tensor, path: Path, shape: dict[int, str]) -> None:
    import torch

    names = list(tower.forward.__annotations__)
    torch.onnx.export(
        tower.eval(), (example,), str(path), input_names=["input"], output_names=["vectors"],
        dynamo=True, dynamic_shapes={names[0]: shape}, external_data=True, verbose=False,
    )  # fmt: skip


@contextmanager
def quietly(failure: str) -> Iterator[None]:
    """Silence the chatter of what makes towers, and say of a failure what could not be done."""
    names = (None, "torch.onnx", "onnxscript", "torch.export", "onnx_ir")  # the quantiser logs to the root logger
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (EncoderError, OSError):
        raise
    except Exception as error:
        raise EncoderError(
            f"{failure} ({type(error).__name__}: {str(error)[:300]}); choose another model"
        ) from error
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _check_parity(eager: EagerEncoder, exported: OnnxEncoder) -> dict[str, float]:
    """Return the smallest cosine between torch's vectors and the exported ones, of pictures and of texts."""
    import torch

    pixels = check_pictures(eager.preprocessing.size)
    with torch.inference_mode():
        images = eager.image_tower(torch.from_numpy(pixels)).numpy()
        pairs = {"image": (images, exported.encode_images(pixels))}
        if eager.text_tower is not None and eager.tokenizer is not None:
            ids = token_batch(eager.tokenizer, probe_texts()[:_N_CHECKED])
            texts = eager.text_tower(torch.from_numpy(ids)).numpy()
            pairs["text"] = (texts, exported.text_probes()[:_N_CHECKED])
    cosines = {}
    for kind, (expected, got) in pairs.items():
        cosines[kind] = float((l2_normalize(expected) * got).sum(axis=1).min())
        if not cosines[kind] > MIN_COSINE:
            raise EncoderError(
                f"the exported {kind} tower of {eager.name} differs from torch (cosine {cosines[kind]:.6f}, "
                f"expected above {MIN_COSINE}); another version of torch may export it right"
            )
    return cosines
