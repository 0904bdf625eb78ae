"""Sign pictures, keep what was compared, and kill this process at a named point; what was acknowledged is printed.

Arguments: library, point, count, as for `killed_index`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from mmsearch.records import READING, SIGNATURE_SIDE, FileLook, luminance_layout
from mmsearch.store.changes import Changes, StoredFile
from mmsearch.store.comparisons import Comparisons
from mmsearch.store.folder import Store
from tests.faults.killed_index import arm

N_PICTURES = 6
POINTS = {
    "sign": ("mmsearch.store.signatures", "sign_image"),
    "publish": ("mmsearch.store.publish", "file_sha256"),
    "manifest": ("mmsearch.store.publish", "write_file"),
}


def hash_of(n: int) -> bytes:
    return b"%032d" % n


def signature_of(n: int) -> bytes:
    packed = np.zeros((), luminance_layout(SIGNATURE_SIDE))
    packed["grid"] = np.random.default_rng(n).integers(-127, 128, (SIGNATURE_SIDE, SIGNATURE_SIDE))
    return packed.tobytes()


def compared(n: int) -> Comparisons:
    """The first n contents, each equal to none."""
    contents = np.array([hash_of(number) for number in range(n)], dtype="V32")
    return Comparisons(contents, np.arange(n, dtype=np.int32))


def main() -> None:
    library, point, count = sys.argv[1:]
    with Store.writer(Path(library), create={"dim": 0, "fingerprint": "f" * 64, "model": "any"}) as store:
        files = [
            StoredFile(b"/%d.jpg" % n, FileLook(1, 2, 3), hash_of(n), 1, 1, "JPEG", None, READING)
            for n in range(N_PICTURES)
        ]
        if not store.catalog.count("image"):
            store.commit(Changes(stored=files))
        if point != "never":
            arm(point, int(count), POINTS)
        for n in range(0, N_PICTURES, 2):
            store.signatures.keep({hash_of(number): signature_of(number) for number in (n, n + 1)})
            say(f"signed {n} {n + 1}")
            store.comparisons.keep(compared(n + 2))
            say(f"compared {n + 2}")


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
