"""Stand-ins for tests that are about the store: an encoder of random vectors, plans for small graphs."""

from __future__ import annotations

import zlib
from dataclasses import replace

import numpy as np

from mmsearch.indexes.plans import Plan, choose_plan
from tests.conftest import random_units


def plan_for_the_graph(name, index, exact, queries, *, target):
    """Measure as always, but take the graph, with an effort that finds all of few rows; a scan is faster."""
    measured = replace(choose_plan(name, index, exact, queries, target=target).measured, effort=1000)
    return Plan(name, 1000, measured)


class TextVectors:
    """Gives every text a unit vector that depends on nothing but the text."""

    def __init__(self, dim: int) -> None:
        self.dim, self.fingerprint = dim, "f" * 64

    def encode_texts(self, texts):
        return np.concatenate([random_units(1, self.dim, seed=zlib.crc32(text.encode())) for text in texts])
