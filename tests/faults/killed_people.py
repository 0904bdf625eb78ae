"""Look for the faces of a library and group them, or erase them, and kill this process at a named point.

Arguments: library, cache, command (`index` or `forget`), point, count, as for `killed_index`.
"""

from __future__ import annotations

import sys

from mmsearch import Library
from mmsearch.ingest import faces
from tests.faults.killed_index import arm

POINTS = {
    "keep": ("mmsearch.store.faces", "keep_faces"),
    "place": ("mmsearch.store.people", "place_faces"),
    "note": ("mmsearch.store.catalog", "write_note"),
    "erase": ("mmsearch.store.faces", "withdraw"),
}


def main() -> None:
    library, cache, command, point, count = sys.argv[1:]
    faces._TOGETHER = 1
    arm(point, int(count), POINTS)
    with Library.open(library, cache=cache) as opened:
        if command == "index":
            opened.index([], faces=True)
        else:
            opened.people.forget()


if __name__ == "__main__":
    main()
