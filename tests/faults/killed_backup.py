"""Back a library up or restore it, and kill this process at a named point.

Arguments: `backup` or `restore`, library, backup, point, count; see `killed_index`.
"""

from __future__ import annotations

import sys

from mmsearch import Library
from tests.faults.killed_index import arm

POINTS = {
    "copy": ("mmsearch.store.backup", "_check_copy"),
    "member": ("mmsearch.store.backup", "Member"),
    "report": ("mmsearch.store.backup", "BackupReport"),
    "link": ("os", "link"),
    "sync": ("mmsearch.store.restore", "sync"),
    "catalog": ("mmsearch.store.restore", "_check_catalog"),
    "move": ("mmsearch.store.restore", "move_paths"),
    "note": ("mmsearch.store.catalog", "write_note"),
    "replace": ("os", "replace"),
    "folder": ("mmsearch.store.restore", "sync_folder"),
}


def main() -> None:
    verb, library, backup, point, count = sys.argv[1:]
    arm(point, int(count), POINTS)
    with Library.open(library) as opened:
        if verb == "backup":
            opened.backup(backup)
        else:
            opened.restore(backup, move={"/photos": "/moved"})


if __name__ == "__main__":
    main()
