"""Facts of pictures that another engine found, checked by the conditions of the local catalog.

So a filter means the same wherever a library stands, also where its engine cannot say all of it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing

from mmsearch.predicates import Predicate
from mmsearch.store.where import condition_of, register_functions

Facts = tuple[int, bytes, int, int, int, str, str | None]
"""Of a picture: id, path, bytes of its file, width, height, format and when it was taken."""


def passing(predicate: Predicate, facts: Iterable[Facts]) -> list[int]:
    """Return the ids of the pictures that pass a filter, in the order given.

    Examples
    --------
    >>> from mmsearch.predicates import parse
    >>> pictures = [(7, b"/a.jpg", 1, 2, 3, "JPEG", None), (8, b"/b.png", 1, 2, 3, "PNG", None)]
    >>> passing(parse("name ~ *.JPG"), pictures)
    [7]
    """
    condition = condition_of(predicate)
    with closing(sqlite3.connect(":memory:")) as db:
        register_functions(db)
        db.execute(
            "CREATE TABLE image (place INTEGER PRIMARY KEY, id INTEGER, path BLOB, size INTEGER, width INTEGER, "
            "height INTEGER, format TEXT, taken TEXT)"
        )
        db.executemany(
            "INSERT INTO image (id, path, size, width, height, format, taken) VALUES (?, ?, ?, ?, ?, ?, ?)", facts
        )
        sql = f"SELECT id FROM image WHERE {condition.sql or '1'} ORDER BY place"
        return [image_id for (image_id,) in db.execute(sql, condition.parameters)]
