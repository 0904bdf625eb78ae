"""Store pictures with parts, make those of others later, change their number, and be killed at a named point.

Arguments: library, point, count, as for `killed_index`. What was acknowledged goes to output.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from mmsearch.records import parts_layout
from mmsearch.store import parts as store_parts
from mmsearch.store.changes import Changes
from mmsearch.store.folder import Store
from mmsearch.store.indexes import GraphSettings
from tests.conftest import random_units
from tests.faults.killed_index import arm
from tests.store.test_parts import packed, picture
from tests.store.test_store import DIM, META

N_PICTURES, AT_FIRST, LATER, AT_LAST = 6, 4, 13, 4
POINTS = {
    "store": ("mmsearch.store.changes", "keep_parts"),
    "keep": ("mmsearch.store.parts", "keep_parts"),
    "forget": ("mmsearch.store.parts", "forget_parts"),
    "append": ("mmsearch.store.parts", "append_rows"),
    "rows": ("mmsearch.store.parts", "write_arrays"),
    "cells": ("mmsearch.indexes.cells", "write_cells"),
    "hash": ("mmsearch.store.publish", "file_sha256"),
    "manifest": ("mmsearch.store.publish", "write_file"),
    "note": ("mmsearch.store.catalog", "write_note"),
}


def parts_of(n: int, most: int) -> bytes:
    """Return the parts of the n-th picture, fewer of which are the first of more; the second has none."""
    return b"" if n == 2 else packed(n + 2, seed=n)[: most * parts_layout(DIM).itemsize]


def main() -> None:
    library, point, count = sys.argv[1:]
    store_parts._LEAST = 0
    if point != "never":
        arm(point, int(count), POINTS)
    with Store.writer(Path(library), create=META) as store:
        store.indexes.keep(GraphSettings(graph_from=8, recall_target=0.5))
        for most in (AT_FIRST, LATER, AT_LAST) if point != "never" else (AT_LAST,):
            store.parts.keep_most(most)
            say(f"up to {most}")
            for n in range(1, N_PICTURES + 1):
                if store.image_at(b"/photos/%d.jpg" % n) is None:
                    parts = parts_of(n, most) if n % 2 else None  # the others are as they were before parts
                    store.commit(Changes(stored=[replace(picture(n), parts=parts)]))
                    say(f"stored {n} {most}")
            for missing in store.parts.missing():
                n = int(missing.content_hash)
                store.parts.keep({missing.content_hash: parts_of(n, most)})
                say(f"kept {n} {most}")
            if most == LATER:  # so much less is left that the file is rewritten
                store.remove_images([store.image_at(b"/photos/6.jpg").image_id])
            store.settle(random_units(8, DIM, seed=1), on_progress=lambda *_: None)
            say("settled")


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
