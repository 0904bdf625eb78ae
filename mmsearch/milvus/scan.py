"""All rows that pass an expression, and a few of them in an order: what an engine without ORDER BY can give.

Ids are hashes, so a range of ids holds as large a share of the rows as of all ids, and the rows of a range are a
fair sample of all; so are the places that stand for paths. An order is followed by counting: what lies before a
value that a sample suggests is never fetched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from mmsearch.milvus.collection import ID_BITS, PLACE_BITS
from mmsearch.milvus.engine import Engine, Row
from mmsearch.milvus.expression import both

MOST_ROWS = 16_384
"""Of one answer of the engine."""
_PART = 4_000  # rows asked for at a time
_VECTORS = 1_000  # of them with their vectors
_FEW = 1_000  # rows that are sorted here
_SAMPLE = 400
_BITS = {"id": ID_BITS, "place": PLACE_BITS}
_END = 1 << ID_BITS

Key = tuple[Any, ...]


def scan(
    engine: Engine,
    collection: str,
    expression: str,
    fields: Sequence[str],
    *,
    after: int = -1,
    part: int = _PART,
    along: str = "id",
) -> Iterator[list[Row]]:
    """Yield the rows that pass an expression, about `part` at a time, by ranges of ids, or of places.

    They have ids after `after`, or places. Rows with one number `along` come together.
    """
    n = engine.count(collection, expression)
    part = min(part, _VECTORS if "vector" in fields else _PART)
    n_parts = max(1, -(-n // part))
    bounds = [(1 << _BITS[along]) * place // n_parts for place in range(n_parts + 1)]
    for low, high in pairwise(bounds):
        if high > after + 1:
            yield from _in_range(engine, collection, expression, fields, (along, max(low, after + 1), high))


def _in_range(
    engine: Engine, collection: str, expression: str, fields: Sequence[str], numbers: tuple[str, int, int]
) -> Iterator[list[Row]]:
    along, low, high = numbers
    within = both(f"{along} >= {low} and {along} <= {high - 1}", expression)
    rows = engine.query(collection, within, fields, limit=MOST_ROWS)
    if len(rows) < MOST_ROWS or high - low < 2:
        if rows:
            yield rows
        return
    middle = (low + high) // 2
    yield from _in_range(engine, collection, expression, fields, (along, low, middle))
    yield from _in_range(engine, collection, expression, fields, (along, middle, high))


def rows_passing(
    engine: Engine, collection: str, expression: str, fields: Sequence[str], *, level: str | None = None
) -> list[Row]:
    """Return all rows that pass an expression: of one answer, as far behind as a level says, or of a scan."""
    rows = engine.query(collection, expression, fields, limit=MOST_ROWS, level=level)
    if len(rows) < MOST_ROWS:
        return rows
    return [row for part in scan(engine, collection, expression, fields) for row in part]


@dataclass(frozen=True)
class Ordering:
    """An order of rows: the fields of a key, the key of a row, and the expressions of what is beyond or before.

    Where it `is_reversed`, keys are followed from the greatest down.
    """

    fields: tuple[str, ...]
    key: Callable[[Row], Key]
    after: Callable[[Key], str]
    up_to: Callable[[Key], str]
    is_reversed: bool = False


ADDED = Ordering(
    ("added", "id"),
    lambda row: (row["added"], row["id"]),
    lambda key: f"added > {key[0]} or (added == {key[0]} and id > {key[1]})",
    lambda key: f"added < {key[0]} or (added == {key[0]} and id <= {key[1]})",
)
"""As pictures came."""
PATH = Ordering(
    ("path",),
    lambda row: (row["path"],),
    lambda key: f'path > "{key[0]}"',
    lambda key: f'path <= "{key[0]}"',
)
"""By the bytes of their paths."""
TAKEN = Ordering(
    ("taken", "added", "id"),
    lambda row: (row["taken"], row["added"], row["id"]),
    lambda key: f'taken > "{key[0]}" or (taken == "{key[0]}" and ({ADDED.after(key[1:])}))',
    lambda key: f'taken < "{key[0]}" or (taken == "{key[0]}" and ({ADDED.up_to(key[1:])}))',
    is_reversed=True,
)
"""The newest first; the empty text of what has no date is the least."""


def first_keys(
    engine: Engine, collection: str, expression: str, order: Ordering, *, offset: int, limit: int
) -> list[Key]:
    """Return the keys of the rows from `offset` to `offset + limit` in an order that pass an expression."""
    if order.is_reversed:
        n = engine.count(collection, expression)
        limit = max(0, min(limit, n - offset))
        forwards = replace(order, is_reversed=False)
        return first_keys(engine, collection, expression, forwards, offset=n - offset - limit, limit=limit)[::-1]
    bounds, n_before, first = [expression], _END, offset
    while True:
        n = engine.count(collection, both(*bounds))
        if limit < 1 or (n <= offset and len(bounds) == 1):
            return []
        if n <= _FEW or n > 0.9 * n_before:  # the part that is wanted is itself large, or samples say nothing
            break
        n_before = n
        keys = _sample(engine, collection, both(*bounds), order)
        bounds, offset = _narrowed(engine, collection, bounds, order, keys, (offset, limit, n))
    parts = scan(engine, collection, both(*bounds), ["id", *order.fields])
    keys = sorted(order.key(row) for part in parts for row in part)[offset : offset + limit]
    if len(keys) < limit and engine.count(collection, expression) > first + len(keys):  # some left meanwhile
        return first_keys(engine, collection, expression, order, offset=first, limit=limit)
    return keys


def _sample(engine: Engine, collection: str, expression: str, order: Ordering) -> list[Key]:
    rows = engine.query(collection, expression, ["id", *order.fields], limit=_SAMPLE)
    return sorted(order.key(row) for row in rows)


def _narrowed(
    engine: Engine, collection: str, bounds: list[str], order: Ordering, keys: list[Key],
    wanted: tuple[int, int, int],
) -> tuple[list[str], int]:  # fmt: skip
    """Return bounds that leave less and still all that is wanted, and how many rows come before that in them."""
    offset, limit, n = wanted
    margin = max(8, len(keys) // 12)
    low, high = len(keys) * offset // n - margin, len(keys) * (offset + limit) // n + margin
    narrowed = list(bounds)
    if high < len(keys):
        up_to = order.up_to(keys[high])
        if engine.count(collection, both(*bounds, up_to)) >= offset + limit:
            narrowed.append(up_to)
    if low > 0:
        n_before = engine.count(collection, both(*bounds, order.up_to(keys[low])))
        if n_before <= offset:
            narrowed.append(order.after(keys[low]))
            offset -= n_before
    return narrowed, offset
