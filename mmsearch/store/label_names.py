"""Names of labels for who only offers them: a look into the catalog that waits for nobody and writes nothing."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from urllib.parse import quote

_MOST = 10_000


def label_names(folder: str) -> Sequence[tuple[str, str]]:
    """Return up to 10,000 labels of a library as (set, label), by set; none where they cannot be read at once."""
    catalog = os.path.join(folder, "catalog.sqlite")
    has_log = all(os.path.exists(f"{catalog}{suffix}") for suffix in ("-wal", "-shm"))
    way = "readonly_shm=1" if has_log else "immutable=1"  # SQLite makes a missing log unless the file is immutable
    try:
        with closing(sqlite3.connect(f"file:{quote(catalog)}?mode=ro&{way}", uri=True, timeout=0)) as db:
            return db.execute(
                "SELECT label_set.name, label.name FROM label JOIN label_set ON label_set.id = label.label_set "
                "ORDER BY label_set.name, label.id LIMIT ?",
                (_MOST,),
            ).fetchall()
    except sqlite3.Error:
        return []
