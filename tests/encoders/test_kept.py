"""KEPT: unit vectors that take seconds to make, from a file where it holds them."""

from __future__ import annotations

import numpy as np
import pytest

from mmsearch.encoders.background import BACKGROUND, background_of
from mmsearch.encoders.known_words import kept_vectors
from tests.conftest import random_units

UNITS = random_units(1024, 8)


@pytest.fixture(params=["words", "captions"])
def kept(request, tmp_path):
    """A file and what returns the vectors of it, made again where it does not hold them."""
    if request.param == "words":
        file, words = tmp_path / "words.npy", [str(place) for place in range(1024)]
        return file, lambda: kept_vectors(file, words, 8, lambda texts: UNITS[[int(text) for text in texts]])
    return tmp_path / BACKGROUND, lambda: background_of(tmp_path, UNITS[:64], lambda texts: UNITS)


def header(facts):
    return b"\x93NUMPY\x01\x00\x76\x00" + facts.ljust(117) + b"\n"


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"PK\x03\x04 as a zip begins",
        header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 1000), }"),
        header(b"(((((((((((("),
        header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (1024, 8), }") + bytes(4 * 1024 * 8 - 1),
        header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (1024, 8), }") + b"\xff" * 4 * 1024 * 8,
    ],
)
def test_whatever_a_file_holds_its_vectors_are_made_again(kept, damage):
    file, read = kept
    file.write_bytes(damage)
    np.testing.assert_array_equal(read(), UNITS)
    np.testing.assert_array_equal(np.load(file), UNITS)
    assert [path.name for path in file.parent.iterdir()] == [file.name]
