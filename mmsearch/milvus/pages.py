"""Pages of the pictures that pass filters, each of which begins where the one before ended."""

from __future__ import annotations

import os
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmsearch.errors import QueryError
from mmsearch.milvus.collection import FACTS, record_of
from mmsearch.milvus.conditions import Resolved
from mmsearch.milvus.expression import both
from mmsearch.milvus.scan import ADDED, PATH, TAKEN, Key, Ordering, first_keys, scan
from mmsearch.predicates import FilterLike
from mmsearch.records import ImageRecord, Order, PicturePage

if TYPE_CHECKING:
    from mmsearch.milvus.engine import Row
    from mmsearch.milvus.store import MilvusStore

_ORDERS: dict[Order, Ordering] = {"added": ADDED, "path": PATH, "taken": TAKEN}
_MOST = (1 << 63) - 1
_DATE = re.compile(r"[\d:T-]*", re.ASCII)  # nothing that could be part of an expression


def page_of(
    store: MilvusStore, where: Sequence[FilterLike], *, order: Order, after: str | None, offset: int, limit: int
) -> PicturePage:
    """Return some of the pictures that pass all filters; see `Library.pictures`."""
    end = None if after is None else _end_of(after)
    with store.reading():
        resolved = store.resolved(store.condition(where))
        n = store.count_resolved(resolved)
        rows: list[Row] = []
        has_more = True
        while has_more and not rows:  # all of a page may leave while it is looked up
            rows, has_more = _rows(store, resolved, _ORDERS[order], end, min(offset, _MOST), limit)
    images = tuple(map(record_of, rows))
    following = _cursor(rows[-1], images[-1]) if has_more else None
    return PicturePage(images, n, following)


def _rows(
    store: MilvusStore, resolved: Resolved, order: Ordering, end: Row | None, offset: int, limit: int,
) -> tuple[list[Row], bool]:  # fmt: skip
    """Return the rows of a page in their order, and whether others follow."""
    expression = resolved.expression
    if end is not None:
        key = order.key(end)
        beyond = both(order.up_to(key), f"id != {end['id']}") if order.is_reversed else order.after(key)
        expression = both(expression, beyond)
    if resolved.is_exact:
        keys = first_keys(store.engine, store.collection, expression, order, offset=offset, limit=limit + 1)
    else:
        keys = _keys_among(store, resolved, expression, order)[offset : offset + limit + 1]
    keys, has_more = keys[:limit], len(keys) > limit
    if not keys:
        return [], False
    fields = (*FACTS, "added")
    if order is PATH:
        rows = store.rows_at([bytes.fromhex(key[0]) for key in keys], fields)
    else:
        rows = store.rows_among("id", [key[-1] for key in keys], fields)
    return sorted(rows, key=order.key, reverse=order.is_reversed)[:limit], has_more


def _keys_among(store: MilvusStore, resolved: Resolved, expression: str, order: Ordering) -> list[Key]:
    """Return the keys, in order, of all pictures that pass a filter which the engine cannot say."""
    ids = resolved.ids or frozenset()
    parts = scan(store.engine, store.collection, expression, ("id", *order.fields))
    keys = (order.key(row) for rows in parts for row in rows if row["id"] in ids)
    return sorted(keys, reverse=order.is_reversed)


def _cursor(row: Row, image: ImageRecord) -> str:
    """Return what says where a page ended, in each order."""
    said = f"{row['added']}.{row['id']}@{row['taken']}".encode()
    return urlsafe_b64encode(said + os.fsencode(image.path)).decode()


def _end_of(cursor: str) -> Row:
    """Return the fields of the row at which a page ended that orders ask for."""
    try:
        said, slash, path = urlsafe_b64decode(cursor).partition(b"/")
        numbers, _, taken = said.decode().partition("@")
        added, image_id = (min(int(number), _MOST) for number in numbers.split("."))
        if not _DATE.fullmatch(taken):
            raise ValueError
    except ValueError as error:
        shown = cursor if len(cursor) <= 60 else f"{cursor[:57]}..."
        raise QueryError(f"after is {shown!r}; expected the `next` of a page, as it was given") from error
    return {"added": added, "id": image_id, "taken": taken, "path": (slash + path).hex()}
