"""Filters as SQL conditions over the catalog.

The trees of `mmsearch.predicates` are compiled here; another engine compiles its own. Values are parameters, never
part of the SQL. Paths, folders and names are compared in one normal form, and globs run over characters.
"""

from __future__ import annotations

import dataclasses
import glob
import json
import math
import os
import re
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache
from typing import Any

from mmsearch.annotations.tokens import folded, levels_of
from mmsearch.errors import QueryError
from mmsearch.frames import file_of
from mmsearch.predicates import (
    ANNOTATED,
    FILMED,
    TIMES,
    And,
    Comparison,
    FilterLike,
    Not,
    Predicate,
    all_of,
    filters_of,
    written,
)
from mmsearch.predicates.values import circle_of
from mmsearch.store.normal_form import common_lead, composed, composed_text, has_one_form

_BRACKETS = re.compile(r"\[\^(\]?[^\]]*\])")  # shells take ^ for ! there, Python does not
_TEXTS = {  # in the composed form, and as bytes: the format is kept as text
    "path": "composed(file_of(path))",
    "folder": "composed(folder_of(path))",
    "name": "name_of(path)",
    "format": "CAST(format AS BLOB)",
}
_GLOBS = {  # which compose by themselves
    "path": "glob_match(?, file_of(path))",
    "folder": "glob_match(?, folder_of(path))",
    "name": "glob_match_any_case(?, name_of(path))",
    "format": "glob_match(?, CAST(format AS BLOB))",
}


_LABELLED = """id IN (SELECT image FROM given WHERE label IN (
    SELECT label.id FROM label JOIN label_set ON label_set.id = label.label_set
    WHERE is_called(?, ?, label_set.name, label.name, (SELECT json_group_array(name) FROM label_set))))"""


_MEANT = "(SELECT text FROM (SELECT DISTINCT text FROM {said} LIMIT -1) WHERE is_said(?, ?, ?, text))"
NAMED = ("tag", "person", "place")
"""What of what is said has an index, and levels."""
_HAS = {
    "position": "latitude IS NOT NULL",
    "words": "id IN (SELECT image FROM document)",
}
_INDEXED = "('tag', 'person', 'place')"
_ROUNDING = 1e-6  # degrees
_EARTH_KM = 6371.009  # mean radius


_TIMES = {"at": "at", "duration": "(SELECT film.seconds FROM film WHERE film.id = image.film)"}
_KINDS = {"picture": "film IS NULL", "film": "film IS NOT NULL"}


KIND = "CASE WHEN film IS NULL THEN 'picture' ELSE 'film' END"
ORIENTATION = "CASE WHEN width > height THEN 'landscape' WHEN width < height THEN 'portrait' ELSE 'square' END"


@dataclass(frozen=True)
class Filter:
    """One comparison: as it was given, with what it compares, as SQL, and the values of its field that it leaves.

    `value` is a number, the beginning of a date, or a text or glob in the composed form; a path or folder that is
    compared for equality is absolute, and spelled as it was given. Only values pass that are at least `low` and
    below `high`, and for `!=` none of them; None is no bound. What lies below a folder is bounded as a path is.
    """

    comparison: Comparison
    value: int | str
    sql: str
    parameters: tuple[Any, ...]
    low: Any = None
    high: Any = None

    @property
    def field(self) -> str:
        """What is compared."""
        return self.comparison.field

    @property
    def operator(self) -> str:
        """How it is compared."""
        return self.comparison.operator


@dataclass(frozen=True)
class SqlCondition:
    """An SQL condition over the table `image` with its parameters; empty means every picture."""

    sql: str = ""
    parameters: tuple[Any, ...] = ()
    predicate: Predicate | None = dataclasses.field(default=None, repr=False)

    @classmethod
    def of(cls, predicate: Predicate | None, compiled: Callable[[Comparison], Filter]) -> SqlCondition:
        """Return the condition of a tree, whose comparisons are compiled by a function."""
        if predicate is None:
            return cls()
        parameters: list[Any] = []
        sql = _sql(predicate, compiled, parameters)
        return cls(sql, tuple(parameters), predicate)

    def without(self, image_ids: Sequence[int]) -> SqlCondition:
        """Return the condition that a picture passes and is none of these."""
        if not image_ids:
            return self
        others = "id NOT IN (SELECT value FROM json_each(?))"
        sql = f"{self.sql} AND {others}" if self.sql else others
        return SqlCondition(sql, (*self.parameters, json.dumps(list(image_ids))))


def condition_of(where: FilterLike | Sequence[FilterLike]) -> SqlCondition:
    """Return the condition that one filter holds, or all of several.

    Sizes take k, M, G (1000s). `~` at the start of a folder or path is the home folder of the user whom this
    process runs as, and `~NAME` that of another. In a glob, `?` and `[...]` are one character.

    Raises
    ------
    QueryError
        If a filter is not understood.

    Examples
    --------
    >>> condition_of("width >= 800 and not height > 600")
    SqlCondition(sql='((width >= ?) AND (NOT ifnull((height > ?), 0)))', parameters=(800, 600))
    """
    return SqlCondition.of(all_of(filters_of(where, "where")), filter_of)


def _sql(predicate: Predicate, compiled: Callable[[Comparison], Filter], parameters: list[Any]) -> str:
    """Return the SQL of a tree in parentheses, and add its parameters."""
    if isinstance(predicate, Comparison):
        part = compiled(predicate)
        parameters += part.parameters
        return f"({part.sql})"
    if isinstance(predicate, Not):
        # What is unknown of a picture, such as its date, is no reason to pass the term.
        return f"(NOT ifnull({_sql(predicate.term, compiled, parameters)}, 0))"
    word = " AND " if isinstance(predicate, And) else " OR "
    return f"({word.join(_sql(term, compiled, parameters) for term in predicate.terms)})"


def register_functions(db: sqlite3.Connection) -> None:
    """Give a connection the functions that conditions use; paths are bytes."""
    db.create_function("glob_match", 2, _matches, deterministic=True)
    db.create_function("glob_match_any_case", 2, _matches_any_case, deterministic=True)
    db.create_function("composed", 1, composed, deterministic=True)
    db.create_function("file_of", 1, file_of, deterministic=True)
    db.create_function("folder_of", 1, os.path.dirname, deterministic=True)
    db.create_function("is_called", 5, is_called, deterministic=True)
    db.create_function("is_said", 4, is_said, deterministic=True)
    db.create_function("kilometres", 4, _kilometres, deterministic=True)
    db.create_function("name_of", 1, lambda path: composed(os.path.basename(file_of(path))), deterministic=True)


def _matches(pattern: bytes, text: bytes) -> bool:
    return _matcher(pattern, 0)(composed_text(os.fsdecode(text))) is not None


def _matches_any_case(pattern: bytes, text: bytes) -> bool:
    return _matcher(pattern, re.IGNORECASE)(composed_text(os.fsdecode(text))) is not None


def is_called(value: bytes, is_glob: bool, label_set: str, label: str, label_sets: str) -> bool:
    """Return whether a filter by label means a label of a set; `label_sets` are the names of all sets, as JSON.

    What begins with the name of a set and a slash is meant for that set alone, else a label may hold slashes.
    Case does not count.

    >>> is_called(b"dog", False, "animals", "Dog", '["animals"]')
    True
    >>> is_called(b"a*", True, "animals", "Dog", '["animals"]')
    False
    >>> is_called(b"animals/*", True, "animals", "Dog", '["animals"]')
    True
    """
    asked, label = composed_text(os.fsdecode(value)).casefold(), composed_text(label).casefold()
    lead, slash, rest = asked.partition("/")
    if slash and lead in _folded(label_sets):
        if lead != label_set.casefold():
            return False
        asked = rest
    return _matcher(os.fsencode(asked), 0)(label) is not None if is_glob else asked == label


def is_said(value: str, is_glob: bool, has_levels: bool, text: str | None) -> bool:
    """Return whether a filter with a folded value means what is said of a picture.

    >>> is_said("france", False, True, "Places > France > Paris"), is_said("fran*", True, True, "Places/France")
    (True, True)
    >>> is_said("canon", False, False, "Canon EOS"), is_said("canon*", True, False, "Canon EOS")
    (False, True)
    """
    if text is None:
        return False
    told = folded(text)
    levels = levels_of(told) if has_levels else [told]
    whole, asked = "/".join(levels), "/".join(levels_of(value)) if has_levels else value
    if not is_glob:
        return f"/{asked}/" in f"/{whole}/" if has_levels else asked == whole
    match = _matcher(os.fsencode(asked), 0)
    return any(map(match, (whole, *levels)))


def _kilometres(
    latitude: float | None, longitude: float | None, other_latitude: float, other_longitude: float
) -> float | None:
    """Return the distance of two places, given in degrees, along the surface of the earth (haversine)."""
    if latitude is None or longitude is None:
        return None
    a, b = math.radians(latitude), math.radians(other_latitude)
    d = math.radians(longitude - other_longitude)
    chord = math.sin((a - b) / 2) ** 2 + math.cos(a) * math.cos(b) * math.sin(d / 2) ** 2
    return 2 * _EARTH_KM * math.asin(min(1.0, math.sqrt(chord)))


@lru_cache
def _folded(names: str) -> frozenset[str]:
    return frozenset(name.casefold() for name in json.loads(names))


@lru_cache
def _matcher(pattern: bytes, flags: int) -> Callable[[str], re.Match[str] | None]:
    return re.compile(translate(_BRACKETS.sub(r"[!\1", os.fsdecode(pattern))), flags).match


def filter_of(comparison: Comparison) -> Filter:
    """Return a comparison with its SQL.

    Raises
    ------
    QueryError
        If it is of a format that no picture has.
    """
    field, operator, value = comparison.field, comparison.operator, comparison.value
    if isinstance(value, int):
        return _compared(Filter(comparison, value, field, (value,)), beyond=value + 1)
    if field == "taken":
        # Nothing in a date sorts after the tilde.
        return _dated(_compared(Filter(comparison, value, "taken", (value,)), beyond=value + "~"))
    if field == "orientation":
        return _compared(Filter(comparison, value, ORIENTATION, (value,)), beyond=value + "\0")
    if field == "label":
        said = "NOT " * (operator == "!=") + _LABELLED
        return Filter(comparison, value, said, (os.fsencode(value), operator == "~"))
    if field in ANNOTATED | FILMED:
        return (_annotated if field in ANNOTATED else _filmed)(comparison, value)
    if field == "format":
        value = _format(comparison, value.upper())
    if field in ("path", "folder"):
        value = _with_home(value, is_glob=operator == "~")
        if operator in ("=", "!="):
            return _place(comparison, os.path.abspath(value))
    value = composed_text(value)
    encoded = os.fsencode(value)
    if operator == "~":
        return Filter(comparison, value, _GLOBS[field], (encoded,))
    return _compared(Filter(comparison, value, _TEXTS[field], (encoded,)), beyond=encoded + b"\0")


def _annotated(comparison: Comparison, value: str) -> Filter:
    """Return the filter by what is said of a picture; `!=` passes where it is not said."""
    field, is_denied = comparison.field, comparison.operator == "!="
    asked = value.encode("utf-8", "surrogatepass").decode("utf-8", "replace")  # as bytes of a terminal may be none
    parameters: tuple[Any, ...] = (folded(asked), comparison.operator == "~", field in NAMED)
    if field == "near":
        sql, parameters = _near(*circle_of(value))
    elif field == "has":
        by_kind = " UNION ALL ".join(f"SELECT image FROM {said}" for said in said_by_kind(value))
        sql, parameters = _HAS.get(value, f"id IN ({by_kind})"), ()
    elif field in ("camera", "lens"):
        sql = f"is_said(?, ?, ?, {field})"
    else:
        parts = (f"SELECT image FROM {said} AND text IN {_MEANT.format(said=said)}" for said in said_by_kind(field))
        sql, parameters = f"id IN ({' UNION ALL '.join(parts)})", (*parameters, *parameters)
    return Filter(comparison, value, f"NOT ({sql})" if is_denied else sql, parameters)


def said_by_kind(kind: str) -> tuple[str, str]:
    """Return where what files and users say of a kind stands, as the end of SQL that may go on with AND."""
    indexed = f"kind IN {_INDEXED} AND " if kind in NAMED else ""  # by these words the index is known
    return f"annotation WHERE {indexed}kind = '{kind}'", f"typed WHERE image IS NOT NULL AND kind = '{kind}'"


def _near(latitude: float, longitude: float, kilometres: float) -> tuple[str, tuple[float, ...]]:
    """Return the condition that a picture was taken in a circle: in the box around it first, by an index."""
    angle = kilometres / _EARTH_KM
    height = math.degrees(angle) + _ROUNDING
    has_pole = abs(latitude) + height >= 90
    width = 360.0
    if not has_pole:
        width = math.degrees(math.asin(min(1.0, math.sin(angle) / math.cos(math.radians(latitude))))) + _ROUNDING
    box = "latitude BETWEEN ? AND ? AND (abs(longitude - ?) <= ? OR abs(longitude - ?) >= ?)"
    return (
        f"{box} AND kilometres(latitude, longitude, ?, ?) <= ?",
        (
            latitude - height, latitude + height, longitude, width, longitude, 360 - width,
            latitude, longitude, kilometres,
        ),
    )  # fmt: skip


def _format(comparison: Comparison, value: str) -> str:
    """Return a format as the catalog calls it, or a glob that some formats match."""
    from mmsearch.images.kinds import FILM_FORMATS, FORMATS, format_called  # which loads Pillow

    name = format_called(value)
    if name is not None or comparison.operator not in ("=", "!=", "~"):
        return name or value
    if comparison.operator == "~" and any(
        _matcher(os.fsencode(value), 0)(name) for name in (*FORMATS, *FILM_FORMATS)
    ):
        return value
    raise QueryError(
        f"filter {written(comparison)!r}: no picture has this format; expected one of "
        f"{', '.join((*FORMATS, *FILM_FORMATS))}"
    )


def _compared(column: Filter, *, beyond: Any) -> Filter:
    """Return the filter by order of a column; values from the parameter to before `beyond` count as equal to it."""
    (equal,) = column.parameters
    low = {"=": equal, "!=": equal, ">=": equal, ">": beyond}.get(column.operator)
    high = {"=": beyond, "!=": beyond, "<=": beyond, "<": equal}.get(column.operator)
    return dataclasses.replace(column, sql=f"{column.sql} {column.operator} ?", low=low, high=high)


def _dated(part: Filter) -> Filter:
    """Return the filter by a date as a range of all dates that begin so, which their index finds."""
    if part.operator == "!=":
        return dataclasses.replace(part, sql="taken < ? OR taken >= ?", parameters=(part.low, part.high))
    bounds = (("taken >= ?", part.low), ("taken < ?", part.high))
    said = [(sql, bound) for sql, bound in bounds if bound is not None]
    return dataclasses.replace(
        part, sql=" AND ".join(sql for sql, _ in said), parameters=tuple(bound for _, bound in said)
    )


def _filmed(comparison: Comparison, value: str) -> Filter:
    """Return the filter by a time in a film, or by whether a picture is of one."""
    if comparison.field in TIMES:
        return _timed(Filter(comparison, value, _TIMES[comparison.field], ()))
    is_denied = comparison.operator == "!="
    return Filter(comparison, value, f"NOT ({_KINDS[value]})" if is_denied else _KINDS[value], ())


def _timed(part: Filter) -> Filter:
    """Return the filter by a time in a film; `1:12` is all of that second, `1:12.5` all of its tenth."""
    text = str(part.value)
    low = float(text)
    high = low + 10.0 ** -len(text.partition(".")[2])
    if part.operator in ("=", "!="):
        said = f"{part.sql} >= ? AND {part.sql} < ?"
        sql = said if part.operator == "=" else f"NOT ({said})"
        return dataclasses.replace(part, sql=sql, parameters=(low, high), low=low, high=high)
    at = low if part.operator in (">=", "<") else high
    operator = {">": ">=", "<=": "<"}.get(part.operator, part.operator)
    least, beyond = (at, None) if operator == ">=" else (None, at)
    return dataclasses.replace(part, sql=f"{part.sql} {operator} ?", parameters=(at,), low=least, high=beyond)


def _with_home(value: str, *, is_glob: bool) -> str:
    """Return a path or a glob of paths with the home folder for its `~` or `~NAME`, as a shell does."""
    name, slash, rest = value.partition("/")
    home = os.path.expanduser(name)
    if home == name:
        return value
    return (glob.escape(home) if is_glob else home).rstrip("/") + slash + rest or "/"


def _place(comparison: Comparison, place: str) -> Filter:
    """Return the filter for one path, or for all that lies below a folder."""
    field = comparison.field
    low, high = place_bounds(field, os.fsencode(place))
    sql = "path >= ? AND path < ?"
    parameters: tuple[bytes, ...] = (low, high)
    if not has_one_form(place):  # only the ASCII in front of it can be found in the index of paths
        lead = common_lead(place)
        low, high = place_bounds(field, composed(os.fsencode(place)))
        whole = "composed(file_of(path))" if field == "path" else f"substr(composed(path), 1, {len(low)})"
        sql, parameters = f"{sql} AND {whole} = ?", (lead, _next_lead(lead), low)
    if comparison.operator == "!=":
        sql = f"NOT ({sql})"
    return Filter(comparison, place, sql, parameters, low, high)


def place_bounds(field: str, place: bytes) -> tuple[bytes, bytes]:
    """Return the least path that a filter by `folder` or `path` is for, and the least one beyond."""
    if field == "path":
        return place, place + b"\1"  # with the frames of a film
    lead = place.rstrip(b"/") + b"/"
    return lead, _next_lead(lead)


def _next_lead(lead: bytes) -> bytes:
    """Return the first bytes after all that begin with `lead`, whose last one is ASCII."""
    return lead[:-1] + bytes([lead[-1] + 1])
