"""Load shards, or embed pictures into them, and kill this process at a named point, as `killed_index` does.

Arguments: `load` or `embed`, library or folder of shards, source (for `load` also what clip-retrieval wrote),
model, cache, point, count. What is acknowledged goes to standard output.
"""

from __future__ import annotations

import sys

from mmsearch import Library
from mmsearch.ingest.embed import EmbedOptions, embed_pictures
from mmsearch.shards import clip_retrieval, read
from mmsearch.shards import folder as shard_folder
from tests.faults.killed_index import arm

ROWS = 16
POINTS = {
    "append": ("mmsearch.store.rows", "append_rows"),
    "transaction": ("mmsearch.store.changes", "store_image"),
    "table": ("mmsearch.shards.folder", "_table_of"),
    "write": ("mmsearch.shards.folder", "write_table"),
    "rename": ("mmsearch.store.publish", "sync"),
    "sync_folder": ("mmsearch.store.publish", "sync_folder"),
}


def on_progress(stage: str, done: int, _total: int) -> None:
    if stage in ("load", "shards"):
        sys.stdout.write(f"{done}\n")
        sys.stdout.flush()


def main() -> None:
    command, target, source, model, cache, point, count = sys.argv[1:]
    shard_folder.ROWS = read._BATCH = clip_retrieval._BATCH = ROWS
    if point != "never":
        arm(point, int(count), POINTS)
    if command == "load":
        Library.open(target, cache=cache).load(source, model=model, on_progress=on_progress)
    else:
        options = EmbedOptions(model, n_workers=1, cache=cache)
        embed_pictures([source], target, options, on_progress=on_progress)
    sys.stdout.write("done\n")


if __name__ == "__main__":
    main()
