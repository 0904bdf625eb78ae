"""Keep recordings, publish their fingerprints, forget one, and be killed at a named point.

Arguments: library, point, count, as for `killed_index`. What was acknowledged goes to output.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from mmsearch.records import FileLook
from mmsearch.sound.peaks import Peaks
from mmsearch.store.encoder import NONE
from mmsearch.store.folder import Store
from mmsearch.store.sounds import NewSound
from tests.faults.killed_index import arm

N_SOUNDS, N_FRAMES, FORGOTTEN = 6, 625, 2
POINTS = {
    "pairs": ("mmsearch.store.sounds", "pair_up"),
    "merge": ("mmsearch.store.sounds", "merge_segments"),
    "hash": ("mmsearch.store.publish", "file_sha256"),
    "manifest": ("mmsearch.store.publish", "write_file"),
    "note": ("mmsearch.store.catalog", "write_note"),
    "clean-up": ("mmsearch.store.publish", "remove_unnamed"),
}


def path_of(number: int) -> bytes:
    return b"/music/%d.flac" % number


def peaks_of(number: int) -> Peaks:
    """Return the constellation of the n-th recording: 20 peaks a second for 20 seconds."""
    rng = np.random.default_rng(number)
    frames = np.sort(rng.integers(0, N_FRAMES, 400))
    return Peaks(frames, rng.integers(0, 425, 400), N_FRAMES)


def recording(number: int) -> NewSound:
    look = FileLook(100 + number, number, number)
    return NewSound(path_of(number), look, b"%032d" % number, 20.0, "", N_FRAMES, peaks_of(number).packed())


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    library, point, count = sys.argv[1:]
    if point != "never":
        arm(point, int(count), POINTS)
    create = {"fingerprint": NONE, "dim": 0, "model": NONE}
    with Store.writer(Path(library), create=create) as store:
        known = {file.path: file.sound_id for file in store.sounds.known(b"/")}
        for number in range(1, N_SOUNDS + 1):
            if path_of(number) not in known:
                store.sounds.commit([recording(number)])
                say(f"kept {number}")
            store.sounds.settle()
        gone = [file.sound_id for file in store.sounds.known(path_of(FORGOTTEN))]
        store.sounds.commit(gone=gone)
        say(f"forgot {FORGOTTEN}")
        store.sounds.settle()


if __name__ == "__main__":
    main()
