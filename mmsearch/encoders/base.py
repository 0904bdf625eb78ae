"""What an encoder is: pictures in, unit vectors out; or pictures and texts in, those of one joint space out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Protocol

from mmsearch.arguments import Precision
from mmsearch.records import Matrix, Pixels, Preprocessing

if TYPE_CHECKING:
    import torch

    from mmsearch.encoders.calibration import Calibration

EMBEDDING_VERSION = 1
"""Raised when the same weights would give other vectors than before; part of every fingerprint."""


class ImageEncoder(Protocol):
    """Turns pictures into unit vectors."""

    @property
    def name(self) -> str:
        """Name the user knows the model by."""

    @property
    def fingerprint(self) -> str:
        """Hex sha256 over everything that decides the vectors; vectors of two fingerprints never meet."""

    @property
    def dim(self) -> int:
        """Width of the vectors."""

    @property
    def precision(self) -> Precision:
        """In what numbers the image tower computes where pictures are indexed."""

    @property
    def preprocessing(self) -> Preprocessing:
        """How pictures must be decoded for `encode_images`."""

    def load_images(self) -> None:
        """Load the image tower now; `encode_images` does so by itself."""

    def encode_images(self, pixels: Pixels) -> Matrix:
        """Return unit vectors float32 (n, dim) of upright RGB pixels uint8 (n, *preprocessing.shape)."""

    def encode_windows(self, pixels: Pixels) -> tuple[Matrix, Matrix]:
        """Return those of pixels (n, 1 + windows, height, width, 3), and vectors (n, 1 + windows, dim) of each."""


class DualEncoder(ImageEncoder, Protocol):
    """An image tower and a text tower that share one joint space."""

    @property
    def logit_scale(self) -> float:
        """Multiplier of cosines before the softmax of a zero-shot classifier (1 / temperature)."""

    @property
    def calibration(self) -> Calibration | None:
        """What its scores mean, None if nobody has measured it; raises EncoderError if that cannot be used."""

    def encode_texts(self, texts: str | Iterable[str]) -> Matrix:
        """Return unit vectors float32 (n, dim) of n texts, or one."""

    def background(self) -> Matrix:
        """Return unit vectors float32 (1024, dim) of the captions of `mmsearch.encoders.probes`."""


@dataclass(frozen=True)
class Tokenizer:
    """A tokenizer as the `tokenizers` library writes it, and what the text tower expects of its ids.

    `pad_to_context` is True for towers that must see `context_length` ids (captions cannot be cut to
    their real length); otherwise a batch is padded to its longest caption.
    """

    json: str
    context_length: int
    pad_id: int
    pad_to_context: bool
    clean: str = "none"


@dataclass(frozen=True)
class EagerEncoder:
    """An encoder as torch modules, before export: the reference its ONNX towers are checked against.

    `image_tower` maps uint8 (n, height, width, 3) to unit float32 (n, dim) and does the normalisation of
    pixels itself; `text_tower` maps int64 ids (n, length) to unit float32 (n, dim). `identity` holds all
    that decides the vectors besides the preprocessing and tokenizer: weights sha256, activation, settings.
    An image encoder has neither text tower nor tokenizer, and its logit scale means nothing.
    """

    name: str
    image_tower: torch.nn.Module
    text_tower: torch.nn.Module | None
    tokenizer: Tokenizer | None
    preprocessing: Preprocessing
    dim: int
    logit_scale: float
    identity: dict[str, Any]


def fingerprint_over(
    *,
    identity: Mapping[str, Any],
    preprocessing: Mapping[str, Any],
    tokenizer: Mapping[str, Any] | None,
    dim: int,
) -> str:
    """Return the hex sha256 over all that decides an encoder's vectors.

    Parameters
    ----------
    identity : mapping
        As of `EagerEncoder`.
    preprocessing : mapping
        The fields of `Preprocessing`.
    tokenizer : mapping or None
        The fields of `Tokenizer`, with the sha256 of its JSON in place of that.
    dim : int
        Width of the vectors.
    """
    decisive = {
        "identity": identity,
        "preprocessing": preprocessing,
        "tokenizer": tokenizer,
        "dim": dim,
        "embedding_version": EMBEDDING_VERSION,
    }
    return sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
