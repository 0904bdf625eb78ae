"""Refuse filters that no picture could pass, which an empty answer would leave in the dark.

A filter that passes no picture today is none of them: the answer is empty then. Here are filters that no picture
passes whatever is taken tomorrow, and those that name a folder or picture of which the library holds nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import combinations
from typing import Any

from mmsearch.errors import QueryError
from mmsearch.store.catalog import Catalog
from mmsearch.store.where import NUMBERS, Condition, Filter, place_bounds

_MOST_NAMED = 3
_LEAST = 1  # pixels of a side, and bytes of a file


def require_possible(catalog: Catalog, condition: Condition) -> None:
    """Raise QueryError if no picture could pass the filters of a condition; inside `reading()`.

    A library without pictures is not asked: nothing passes there, and that is not the fault of a filter.
    """
    if not condition.filters or not _holds(catalog, "1"):
        return
    for part in condition.filters:
        _require_fit(part)
    for first, second in combinations(condition.filters, 2):
        _require_overlap(first, second)
    for part in condition.filters:
        if part.operator == "=" and part.field in ("folder", "path"):
            _require_known(catalog, part)


def _require_fit(part: Filter) -> None:
    value = str(part.value)
    if part.field == "format" and part.operator == "=":
        _require_format(part)
    if part.field == "taken" and part.operator == "=" and not _is_date(value):
        raise QueryError(
            f"filter {part.expression!r}: there is no such date, so this passes no picture; correct it"
        )
    if part.field in NUMBERS and part.operator != "!=" and part.high is not None and part.high <= _LEAST:
        raise QueryError(f"filter {part.expression!r}: no picture is so small; raise the number")
    if part.field == "name" and part.operator in "=~" and "/" in value and "[" not in value:
        raise QueryError(
            f"filter {part.expression!r}: a name holds no /, so this passes no picture; ask for the path"
        )
    if part.field in ("folder", "path") and part.operator == "~" and value[0] not in "/*?[":
        raise QueryError(
            f"filter {part.expression!r}: a {part.field} begins with /, so this passes no picture; "
            f"put */ in front, as in '{part.field} ~ */{value}'"
        )


def _is_date(value: str) -> bool:
    """Return whether a date, or the beginning of one, is in the calendar."""
    try:
        datetime.fromisoformat(value + "0001-01-01T00:00:00"[len(value) :])
    except ValueError:
        return False
    return True


def _require_format(part: Filter) -> None:
    from mmsearch.images.kinds import FORMATS  # which loads Pillow

    if part.value not in FORMATS:
        raise QueryError(
            f"filter {part.expression!r}: no picture has this format; expected one of {', '.join(FORMATS)}"
        )


def _require_overlap(first: Filter, second: Filter) -> None:
    bounds = [part for part in (first, second) if part.low is not None or part.high is not None]
    if len({_axis(part) for part in bounds}) != 1 or len(bounds) < 2:
        return
    excluded = [part for part in bounds if part.operator == "!="]
    low = max((part.low for part in bounds if part not in excluded and part.low is not None), default=None)
    high = min((part.high for part in bounds if part not in excluded and part.high is not None), default=None)
    if low is None or high is None:
        return
    if low >= high or any(part.low <= low and high <= part.high for part in excluded):
        raise QueryError(
            f"no picture passes both {first.expression!r} and {second.expression!r}; "
            "filters must all hold: leave one of them out"
        )


def _axis(part: Filter) -> str:
    return "path" if part.field == "folder" and part.operator in ("=", "!=") else part.field


def _require_known(catalog: Catalog, part: Filter) -> None:
    if _holds(catalog, part.sql, part.parameters):
        return
    place = os.fsencode(str(part.value))
    if part.field == "path" and _holds_below(catalog, place):
        raise QueryError(f"filter {part.expression!r}: this is a folder; ask for all below it by 'folder = ...'")
    roots = [root for root in catalog.roots() if _holds_below(catalog, root)]
    other = next((name for name in _other_names(place, roots) if _holds_below(catalog, name)), None)
    if other is not None:
        advice = f"links lead from it to {os.fsdecode(other)}, which is how it was indexed: ask for that"
    else:
        advice = f"correct it, or index it first; there are pictures in {_named(roots)}"
    what = "picture" if part.field == "path" else "picture below"
    raise QueryError(f"filter {part.expression!r}: the library holds no {what} {os.fsdecode(place)}; {advice}")


def _holds(catalog: Catalog, condition: str, parameters: Sequence[Any] = ()) -> bool:
    sql = f"SELECT 1 FROM image WHERE {condition} LIMIT 1"
    return catalog.db.execute(sql, tuple(parameters)).fetchone() is not None


def _holds_below(catalog: Catalog, place: bytes) -> bool:
    """Return whether there is a picture at or below a path."""
    parameters = (place, *place_bounds("folder", place))
    return _holds(catalog, "path = ? OR path >= ? AND path < ?", parameters)


def _other_names(place: bytes, roots: Iterable[bytes]) -> Iterable[bytes]:
    """Yield what a path is called where the links in it, or in the folders that were indexed, are followed."""
    if b"\0" in place:
        return
    real = os.path.realpath(place)
    yield real
    for root in roots:
        real_root = os.path.realpath(root)
        if real == real_root or real.startswith(real_root.rstrip(b"/") + b"/"):
            yield os.path.join(root, os.path.relpath(real, real_root)) if real != real_root else root


def _named(roots: list[bytes]) -> str:
    names = [os.fsdecode(root) for root in roots[:_MOST_NAMED]]
    n_more = len(roots) - len(names)
    return ", ".join(names) + (f" and {n_more} more" if n_more else "") if names else "other folders"
