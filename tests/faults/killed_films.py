"""Bring films of a library up to date, or remove some, and be killed at a named point.

Arguments: library, folder, cache, what to do (`index` or `rm`), point, count, as for `killed_index`. Each frame is
committed by itself; what was acknowledged goes to standard output.
"""

from __future__ import annotations

import sys

from mmsearch import Library
from mmsearch.ingest import pool
from mmsearch.ingest import run as ingest
from mmsearch.store.folder import Store
from tests.faults.killed_index import arm

POINTS = {
    "film": ("mmsearch.store.changes", "_keep_film"),
    "frame": ("mmsearch.store.changes", "store_image"),
    "append": ("mmsearch.store.rows", "append_rows"),
    "rejected": ("mmsearch.store.films", "note_rejected"),
    "history": ("mmsearch.store.catalog", "write_note"),
}


def main() -> None:
    library, folder, cache, task, point, count = sys.argv[1:]
    ingest.COMMIT_PICTURES = pool.BATCH = 1
    commit = Store.commit

    def acknowledged(store, changes):
        commit(store, changes)
        for film in changes.films:
            sys.stdout.write(f"{film.path.rpartition(b'/')[2].decode()} {film.read_to}\n")
            sys.stdout.flush()

    Store.commit = acknowledged
    arm(point, int(count), POINTS)
    with Library.open(library, cache=cache) as opened:
        if task == "rm":
            opened.remove([folder])
        else:
            opened.index([folder], local=False)


if __name__ == "__main__":
    main()
