"""Give the pictures of a library labels and kill this process at a named point.

Arguments: library, cache, command (`set`, `index`, `rm` or `anew`), point, count, as for `killed_index`, and the
model of vectors made anew. What was acknowledged goes to standard output.
"""

from __future__ import annotations

import sys

from mmsearch import Library
from mmsearch.store import labels
from tests.faults.killed_index import arm

POINTS = {
    "define": ("mmsearch.store.labels", "_with_bytes"),
    "look": ("mmsearch.store.labels", "row_checksum"),
    "give": ("mmsearch.store.labels", "_probable"),
    "note": ("mmsearch.store.catalog", "write_note"),
    "adopt": ("mmsearch.ingest.reembed", "adopt"),
    "sets": ("mmsearch.store.labels", "label_sets"),
}
NAMES = ("a cat", "a fig", "a rocket", "snow", "water")
LEAST = 0.21


def main() -> None:
    library, cache, command, point, count, model = sys.argv[1:]
    labels._CHUNK = 8
    if point != "never":
        arm(point, int(count), POINTS)

    def on_progress(stage: str, done: int, _total: int) -> None:
        if stage == "labels":
            sys.stdout.write(f"{done}\n")
            sys.stdout.flush()

    with Library.open(library, cache=cache) as opened:
        if command == "set":
            opened.set_labels("things", NAMES, min_probability=LEAST, on_progress=on_progress)
        elif command == "rm":
            opened.remove_labels("things")
        elif command == "anew":
            opened.index([], model=model, re_embed=True, on_progress=on_progress)
        else:
            opened.index([opened.reader().roots()[0]], on_progress=on_progress)


if __name__ == "__main__":
    main()
