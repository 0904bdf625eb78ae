"""Stand-ins for tests that are about the store: an encoder of random vectors, indexes that find all at once."""

from __future__ import annotations

import zlib

import numpy as np

from mmsearch.indexes.plans import Ladder, Recall
from tests.conftest import random_units


def finds_all_at_once(index, probes, target):
    """Say that an effort of 1000, with which any index finds all of few rows, takes no time; a scan is faster."""
    return Ladder(((1000, Recall(1.0, 1.0, 1.0, 0.0, 0.0), 0.0001),), exact_ms=1.0, n_queries=len(probes.queries))


class TextVectors:
    """Gives every text a unit vector that depends on nothing but the text. Nobody has measured its scores."""

    calibration = None

    def __init__(self, dim: int) -> None:
        self.dim, self.fingerprint = dim, "f" * 64

    def encode_texts(self, texts):
        return np.concatenate([random_units(1, self.dim, seed=zlib.crc32(text.encode())) for text in texts])
