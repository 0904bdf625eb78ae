"""Index a folder and kill this process at a named point; what was acknowledged goes to standard output.

Arguments: library, folder (`-`: embed the library anew), model, cache, point, count. The point is
`module.name:before` or `:after`; the process dies at the count-th time it is passed.
"""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module

from mmsearch import GraphSettings, Library
from mmsearch.ingest import run as ingest

POINTS = {
    "append": ("mmsearch.store.rows", "append_rows"),
    "sync": ("mmsearch.store.matrix", "sync"),
    "transaction": ("mmsearch.store.changes", "store_image"),
    "learn": ("mmsearch.indexes.cells", "learned"),
    "cells": ("mmsearch.indexes.cells", "write_cells"),
    "publish": ("mmsearch.store.folder", "publish"),
    "write_file": ("mmsearch.store.publish", "write_file"),
    "sha256": ("mmsearch.store.publish", "file_sha256"),
    "sync_folder": ("mmsearch.store.publish", "sync_folder"),
    "create": ("mmsearch.store.folder", "locked"),
    "install": ("mmsearch.encoders.whole", "copy_encoder"),
    "history": ("mmsearch.store.catalog", "write_note"),
    "move": ("mmsearch.encoders.replace", "_move"),
    "compact": ("mmsearch.store.folder", "sync_folder"),
    "copy": ("mmsearch.store.adopt", "append_rows"),
    "beside": ("mmsearch.store.adopt", "install_beside"),
    "take": ("mmsearch.store.adopt", "_take_rows"),
    "adopt": ("mmsearch.ingest.reembed", "adopt"),
    "tidy": ("mmsearch.ingest.reembed", "give_up"),
}
SETTINGS = GraphSettings(graph_from=60, recall_target=0.5)


def arm(point: str, count: int, points: dict[str, tuple[str, str]] = POINTS) -> None:
    name, when = point.split(":")
    module_name, attribute = points[name]
    module = import_module(module_name)
    real = getattr(module, attribute)
    passed = 0

    def trap(*arguments, **options):
        nonlocal passed
        passed += 1
        if when == "before" and passed == count:
            os.kill(os.getpid(), signal.SIGKILL)
        answer = real(*arguments, **options)
        if when == "after" and passed == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    setattr(module, attribute, trap)


def main() -> None:
    library, folder, model, cache, point, count = sys.argv[1:]
    ingest.COMMIT_PICTURES = 16
    if point != "never":
        arm(point, int(count))

    def on_progress(stage: str, done: int, _total: int) -> None:
        if stage == "embed":
            sys.stdout.write(f"{done}\n")
            sys.stdout.flush()

    is_anew = folder == "-"
    Library.open(library, cache=cache).index(
        [] if is_anew else [folder],
        model=model,
        settings=SETTINGS,
        re_embed=is_anew or None,
        on_progress=on_progress,
    )
    sys.stdout.write("done\n")


if __name__ == "__main__":
    main()
