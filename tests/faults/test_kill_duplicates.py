"""A kill while pictures are signed, or while what was compared is kept, loses nothing that was acknowledged."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from mmsearch.store.folder import Store
from tests import warm
from tests.faults.killed_duplicates import N_PICTURES, compared, hash_of, signature_of

PROGRAM = Path(__file__).parent / "killed_duplicates.py"
LONG_TIER = [
    ("sign:before", 1), ("sign:before", 4), ("publish:before", 2), ("publish:after", 1), ("manifest:before", 1),
    ("manifest:after", 1), ("manifest:before", 4), ("manifest:after", 4),
]  # fmt: skip
POINTS = [("sign:after", 3), *(pytest.param(*point, marks=pytest.mark.full) for point in LONG_TIER)]


def run(library, point="never", count=0):
    return warm.run([sys.executable, PROGRAM, library, point, str(count)], text=True)


def signed(store):
    return [light.tobytes() for _, light in sorted(store.signatures.load().items())]


@pytest.mark.parametrize(("point", "count"), POINTS)
def test_kill_while_signatures_and_comparisons_are_kept_loses_none_that_were(tmp_path, point, count):
    done = run(tmp_path / "library", point, count)
    assert done.returncode == -signal.SIGKILL, done.stderr
    acknowledged = [line.split() for line in done.stdout.splitlines()]
    store = Store.open(tmp_path / "library")
    n_signed = len(signed(store))
    assert signed(store) == [signature_of(n) for n in range(n_signed)]
    assert n_signed % 2 == 0  # those of a transaction, or none
    assert n_signed >= max([int(last) + 1 for what, *_, last in acknowledged if what == "signed"], default=0)
    assert [each.content_hash for each in store.signatures.unsigned()] == [
        hash_of(n) for n in range(n_signed, N_PICTURES)
    ]
    kept = store.comparisons.load()
    assert kept.is_as(compared(len(kept.contents)))
    assert len(kept.contents) >= max(
        [int(last) for what, *_, last in acknowledged if what == "compared"], default=0
    )
    assert store.verify().faults == ()
    store.close()
    again = run(tmp_path / "library")
    assert again.returncode == 0, again.stderr
    store = Store.open(tmp_path / "library")
    assert signed(store) == [signature_of(n) for n in range(N_PICTURES)]
    assert store.comparisons.load().is_as(compared(N_PICTURES))
    store.close()
