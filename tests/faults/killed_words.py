"""Index pictures with visual words and kill this process while they are published.

Arguments: library, folder, model, cache, number of pictures, point. The first pictures of the folder are indexed;
the point is `kind:step`, or `never`. What was acknowledged goes to standard output.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from mmsearch import Library
from mmsearch.ingest import words as gather
from mmsearch.store import folder as folder_module
from mmsearch.store import publish as publish_module
from mmsearch.store import vocabulary
from mmsearch.store.publish import MANIFEST

SIDECARS = ("-1.json", "-2.json")
# The process dies before it calls that function with a file of such an ending.
CALLS = {
    "hash": (publish_module, "file_sha256", ".bin.tmp"),
    "rename": (os, "replace", ".bin"),
    "sidecar": (publish_module, "write_file", SIDECARS),
    "sidecar-rename": (os, "replace", SIDECARS),
    "manifest": (publish_module, "write_file", MANIFEST),
    "manifest-rename": (os, "replace", MANIFEST),
    "clean-up": (publish_module, "remove_unnamed", ""),
}
STEPS = ["half-written", *CALLS, "published"]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def set_trap(owner, name, endings):
    real = getattr(owner, name)

    def trap(*arguments):
        files = [str(argument) for argument in arguments if isinstance(argument, os.PathLike)]
        if files[-1].endswith(endings):
            die()
        return real(*arguments)

    setattr(owner, name, trap)


def arm(kind: str, step: str) -> None:
    real = publish_module.publish

    def publish(folder, own_kind, name, save, facts, **options):
        if own_kind != kind:
            return real(folder, own_kind, name, save, facts, **options)
        if step in CALLS:
            set_trap(*CALLS[step])

        def save_half(path):
            save(path)
            os.truncate(path, path.stat().st_size // 2)
            die()

        real(folder, own_kind, name, save_half if step == "half-written" else save, facts, **options)
        return die()

    folder_module.publish = publish


def main() -> None:
    library, folder, model, cache, n, point = sys.argv[1:]
    # One worker: the order in which pictures come decides which of their features teach the words.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    gather.MIN_DESCRIPTORS, vocabulary.MAX_EXACT = 1000, 255  # words of few pictures, and a graph over them
    if point != "never":
        arm(*point.split(":"))

    def on_progress(stage: str, done: int, _total: int) -> None:
        if stage == "embed":
            sys.stdout.write(f"{done}\n")
            sys.stdout.flush()

    pictures = sorted(Path(folder).iterdir())[: int(n)]
    Library.open(library, cache=cache).index(pictures, model=model, local=True, on_progress=on_progress)


if __name__ == "__main__":
    main()
