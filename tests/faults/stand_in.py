"""Stand-ins for tests that are about the store: an encoder of random vectors, a calibration for small graphs."""

from __future__ import annotations

import zlib
from dataclasses import replace

import numpy as np

from mmsearch.indexes.calibrate import calibrate
from tests.conftest import random_units


def calibrate_for_the_graph(graph, exact, queries, *, target):
    """Calibrate as always, but take the graph although a scan of so few vectors is faster."""
    return replace(calibrate(graph, exact, queries, target=target), route="graph", ef=200)


class TextVectors:
    """Gives every text a unit vector that depends on nothing but the text."""

    def __init__(self, dim: int) -> None:
        self.dim = dim

    def encode_texts(self, texts):
        return np.concatenate([random_units(1, self.dim, seed=zlib.crc32(text.encode())) for text in texts])
