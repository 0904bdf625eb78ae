"""A kill while recordings are kept, published or forgotten loses none that was acknowledged."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mmsearch.sound.pairs import pair_up
from mmsearch.sound.vote import vote
from mmsearch.store.folder import Store
from tests.faults.killed_sounds import FORGOTTEN, N_SOUNDS, path_of, peaks_of
from tests.tiers import tiered

PROGRAM = Path(__file__).parent / "killed_sounds.py"
POINTS = [
    *((f"merge:{when}", count) for when in ("before", "after") for count in (1, 2, 5)),
    *((f"hash:{when}", count) for when in ("before", "after") for count in (1, 2, 5)),
    *((f"manifest:{when}", count) for when in ("before", "after") for count in (1, 2, 3, 4, 9, 10)),
    *((f"note:{when}", count) for when in ("before", "after") for count in (2, 3, 8)),
    ("pairs:before", 1), ("pairs:before", 4), ("clean-up:before", 2), ("clean-up:after", 4),
]  # fmt: skip


def run(library, point="never", count=0):
    return subprocess.run([sys.executable, PROGRAM, library, point, str(count)], capture_output=True, text=True)


def found_in(store):
    """The numbers of the recordings that a search for each of them finds, first and with all its fingerprints."""
    paths = {file.sound_id: file.path for file in store.sounds.known(b"/")}
    found = set()
    for number in range(1, N_SOUNDS + 1):
        prints = pair_up(peaks_of(number))
        votes = [each for part in store.sounds.searchable().segments
                 for each in vote(part.segment, prints, k=1, alive=part.alive)]  # fmt: skip
        best = max(votes, key=lambda each: each.votes, default=None)
        if best is not None and best.votes >= len(prints.hashes):
            assert (paths[best.track_id], best.frame) == (path_of(number), 0)
            found.add(number)
    return found


@pytest.mark.parametrize(("point", "count"), tiered(POINTS, [("manifest:before", 4)]))
def test_kill_while_recordings_are_written_loses_none_that_was_acknowledged(tmp_path, point, count):
    library = tmp_path / "library"
    done = run(library, point, count)
    assert done.returncode == -signal.SIGKILL, done.stderr
    kept = {int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("kept")}
    everything = set(range(1, N_SOUNDS + 1))
    with_out = {FORGOTTEN} if f"forgot {FORGOTTEN}" in done.stdout else set()
    store = Store.open(library)
    there = found_in(store)
    assert (kept - {FORGOTTEN}) <= there <= everything - with_out
    assert FORGOTTEN in there or FORGOTTEN not in kept or kept == everything
    assert store.verify().faults == ()
    store.close()
    again = run(library)
    assert again.returncode == 0, again.stderr
    store = Store.open(library)
    assert found_in(store) == everything - {FORGOTTEN}
    assert store.verify().faults == ()
    assert store.sounds.facts().n_indexed == N_SOUNDS - 1
    assert not [*library.glob("*.tmp")]
