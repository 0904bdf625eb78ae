"""Local features and visual words of a picture as bytes: how a worker hands them over, and how they are kept.

Descriptors of unit length are written as bytes of 1/512, as OpenCV does: a hundredth of the distances between
features of the same spot. Values above .498 are cut off; RootSIFT has none in practice. How wide descriptors are is
said by the extractor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

from mmsearch.bow.vocabulary import ImageWords
from mmsearch.records import LocalFeatures, Matrix, Pixels

_STEPS = 512
_WORD = 12  # bytes of word and signature


class PackedFacts(TypedDict):
    """What must be known to take the bytes of a `Packed` apart; `n_bytes` is how many there are."""

    kind: Literal["features", "words"]
    n: int
    n_bytes: int


@dataclass(frozen=True)
class Packed:
    """The `n` local features of one picture: `data` are the arrays one after the other.

    `kind` is `features` (descriptors uint8 first) or `words` (signatures and words first); then positions, scales
    and angles as float32.
    """

    kind: Literal["features", "words"]
    n: int
    data: bytes

    def facts(self) -> PackedFacts:
        """Return what must be known to take the bytes apart."""
        return {"kind": self.kind, "n": self.n, "n_bytes": len(self.data)}

    @classmethod
    def of(cls, facts: PackedFacts, data: bytes) -> Packed:
        """Return what has these facts; `data` are its bytes."""
        return cls(facts["kind"], facts["n"], data)

    def descriptors(self, dim: int) -> Pixels:
        """Return the descriptors uint8 (n, dim) of features."""
        return np.frombuffer(self.data, np.uint8, self.n * dim).reshape(self.n, dim)

    def features(self, dim: int) -> LocalFeatures:
        """Return features with descriptors (n, dim); the sizes of frame and original are not kept and are 1 x 1."""
        positions, scales, angles = _frames(self.data[self.n * dim :], self.n)
        return LocalFeatures(positions, scales, angles, plain_descriptors(self.descriptors(dim)), (1, 1), (1, 1))

    def words(self) -> ImageWords:
        """Return visual words."""
        n = self.n
        signatures = np.frombuffer(self.data, np.uint64, n)
        words = np.frombuffer(self.data, np.int32, n, offset=8 * n)
        return ImageWords(words, signatures, *_frames(self.data[_WORD * n :], n), np.arange(n))


def packed_features(features: LocalFeatures) -> Packed:
    """Return features as bytes."""
    rounded = np.rint(features.descriptors * np.float32(_STEPS)).clip(0, 255).astype(np.uint8)
    frames = (features.positions, features.scales, features.angles)
    return Packed("features", len(features), _joined(rounded, *frames))


def packed_words(words: ImageWords) -> Packed:
    """Return visual words, one a feature, as bytes."""
    frames = (words.positions, words.scales, words.angles)
    return Packed("words", len(words.words), _joined(words.signatures, words.words, *frames))


NOTHING = Packed("features", 0, b"")  # of a picture without features


def plain_descriptors(steps: Pixels) -> Matrix:
    """Return descriptors float32 (n, dim) of about unit length from their bytes."""
    return steps.astype(np.float32) / np.float32(_STEPS)


def _joined(*arrays: NDArray[Any]) -> bytes:
    return b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)


def _frames(data: bytes, n: int) -> tuple[Matrix, NDArray[np.float32], NDArray[np.float32]]:
    values = np.frombuffer(data, np.float32, 4 * n)
    return values[: 2 * n].reshape(n, 2), values[2 * n : 3 * n], values[3 * n :]
