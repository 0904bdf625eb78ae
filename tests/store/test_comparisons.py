"""What was compared for duplicates, as the library keeps it."""

from __future__ import annotations

import numpy as np
import pytest

from mmsearch.store import comparisons
from mmsearch.store.comparisons import PAIR, Comparisons
from mmsearch.store.folder import Store

ENCODER = {"dim": 4, "fingerprint": "f" * 64, "model": "any"}


@pytest.fixture
def store(tmp_path):
    with Store.writer(tmp_path / "library", create=ENCODER) as writer:
        yield writer


@pytest.fixture
def made():
    contents = np.array([b"%032d" % n for n in range(3)], dtype="V32")
    pairs = np.array([(0, 2, 2, 5, (0, 1), 0.95, (1, 0.9))], PAIR)
    return Comparisons(contents, np.array([0, 0, 2], np.int32), pairs)


def test_nothing_is_known_at_first(store):
    assert store.comparisons.load().is_as(Comparisons())
    assert store.comparisons.problems() == {}


def test_what_was_kept_last_is_what_is_known(store, made):
    store.comparisons.keep(made)
    assert Store.open(store.folder).comparisons.load().is_as(made)
    store.comparisons.keep(Comparisons())
    assert store.comparisons.load().is_as(Comparisons())
    assert [path.name for path in store.folder.glob("comparisons-*.bin")] == ["comparisons-2.bin"]


def test_comparisons_by_another_version_or_encoder_do_not_count(store, made, monkeypatch):
    store.comparisons.keep(made)
    monkeypatch.setattr(comparisons, "_VERSION", 0)
    assert store.comparisons.load().is_as(Comparisons())
    monkeypatch.undo()
    store.keep({"fingerprint": "e" * 64})
    assert store.comparisons.load().is_as(Comparisons())
    assert store.verify().faults == ()


def test_comparisons_that_are_damaged_do_not_count_and_are_named_and_dropped(store, made):
    store.comparisons.keep(made)
    path = store.folder / "comparisons-1.bin"
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    assert store.comparisons.load().is_as(Comparisons())
    (fault,) = store.verify().faults
    assert fault.code == "damaged_comparisons"
    assert "comparisons-1.bin differs from its checksum" in fault.what
    store.verify(is_repair=True)
    assert store.verify().faults == ()
    assert not path.exists()
