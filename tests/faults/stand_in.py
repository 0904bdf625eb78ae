"""An encoder for tests that are about the store: a text's vector is random, and the same every time."""

from __future__ import annotations

import zlib

import numpy as np

from tests.conftest import random_units


class TextVectors:
    """Gives every text a unit vector that depends on nothing but the text."""

    def __init__(self, dim: int) -> None:
        self.dim = dim

    def encode_texts(self, texts):
        return np.concatenate([random_units(1, self.dim, seed=zlib.crc32(text.encode())) for text in texts])
