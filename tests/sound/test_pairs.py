"""Fingerprints of a constellation: whether they tell a sound from others."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from mmsearch.errors import SoundError
from mmsearch.sound.pairs import Prints, require_features


def test_fingerprints_of_a_day_are_counted_in_little_memory():
    hashes = np.arange(1 << 18, dtype=np.uint32)
    tracemalloc.start()
    require_features(Prints(hashes, hashes))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * hashes.nbytes


def test_a_few_hashes_that_come_again_and_again_tell_nothing():
    with pytest.raises(SoundError, match="nothing in it could be told from other sounds"):
        require_features(Prints(np.tile(np.arange(39, dtype=np.uint32), 100), np.arange(3900, dtype=np.uint32)))
