"""Names of labels and tags for who only offers them.

A look into the catalog that waits for nobody and writes nothing.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from typing import Any
from urllib.parse import quote

_MOST = 10_000


def label_names(folder: str) -> Sequence[tuple[str, str]]:
    """Return up to 10,000 labels of a library as (set, label), by set; none where they cannot be read at once."""
    return _read(
        folder,
        "SELECT label_set.name, label.name FROM label JOIN label_set ON label_set.id = label.label_set "
        "ORDER BY label_set.name, label.id LIMIT ?",
    )


def texts_said(folder: str, kind: str, *, are_own: bool = False) -> Sequence[str]:
    """Return up to 10,000 tags, persons or places of a library, or of these the user's own; none as above."""
    said = f"SELECT text FROM typed WHERE kind = '{kind}' AND image IS NOT NULL"
    if not are_own:
        said += f" UNION SELECT text FROM annotation WHERE kind = '{kind}' AND kind IN ('tag', 'person', 'place')"
    return [text for (text,) in _read(folder, f"SELECT DISTINCT text FROM ({said}) ORDER BY text LIMIT ?")]


def _read(folder: str, sql: str) -> Sequence[tuple[Any, ...]]:
    """Return the first rows of an answer."""
    catalog = os.path.join(folder, "catalog.sqlite")
    has_log = all(os.path.exists(f"{catalog}{suffix}") for suffix in ("-wal", "-shm"))
    way = "readonly_shm=1" if has_log else "immutable=1"  # SQLite makes a missing log unless the file is immutable
    try:
        with closing(sqlite3.connect(f"file:{quote(catalog)}?mode=ro&{way}", uri=True, timeout=0)) as db:
            return db.execute(sql, (_MOST,)).fetchall()
    except sqlite3.Error:
        return []
