"""Filters `FIELD OP VALUE` as SQL conditions over the catalog.

Fields: path, folder, name, format, taken, width, height, size. Operators: = != < <= > >= and ~ (glob). Paths,
folders and names are compared in one normal form, and globs run over characters.
"""

from __future__ import annotations

import dataclasses
import glob
import json
import os
import re
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache
from typing import Any

from mmsearch.arguments import texts_of
from mmsearch.errors import QueryError
from mmsearch.store.normal_form import common_lead, composed, composed_text, has_one_form

_EXPRESSION = re.compile(r"\s*([a-z_]+)\s*(!=|<=|>=|=|<|>|~)\s*(.*?)\s*", re.DOTALL)
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]?)i?b?", re.IGNORECASE)
_TAKEN = re.compile(r"\d{4}(-\d\d(-\d\d([T ]\d\d(:\d\d(:\d\d)?)?)?)?)?")
_BRACKETS = re.compile(r"\[\^(\]?[^\]]*\])")  # shells take ^ for ! there, Python does not
_LARGEST = 2.0**62  # SQLite's integers have 64 bits
NUMBERS = {"width", "height", "size"}
_TEXTS = {  # in the composed form, and as bytes: the format is kept as text
    "path": "composed(path)",
    "folder": "composed(folder_of(path))",
    "name": "name_of(path)",
    "format": "CAST(format AS BLOB)",
}
_GLOBBED = _TEXTS | {"path": "path", "folder": "folder_of(path)"}  # a glob composes by itself
FIELDS = ("path", "folder", "name", "taken", "width", "height", "size", "format")


@dataclass(frozen=True)
class Filter:
    """One expression: as it was given, what it compares, as SQL, and the values of its field that it leaves.

    `value` is a number, the beginning of a date, or a text or glob in the composed form; a path or folder that is
    compared for equality is absolute, and spelled as it was given. Only values pass that are at least `low` and
    below `high`, and for `!=` none of them; None is no bound. What lies below a folder is bounded as a path is.
    """

    expression: str
    field: str
    operator: str
    value: int | str
    sql: str
    parameters: tuple[Any, ...]
    low: Any = None
    high: Any = None


@dataclass(frozen=True)
class Condition:
    """An SQL condition over the table `image` with its parameters; empty means every picture."""

    sql: str = ""
    parameters: tuple[Any, ...] = ()
    filters: tuple[Filter, ...] = dataclasses.field(default=(), repr=False)

    @classmethod
    def of(cls, filters: Sequence[Filter]) -> Condition:
        """Return the condition that all filters hold."""
        return cls(
            " AND ".join(f"({part.sql})" for part in filters),
            tuple(value for part in filters for value in part.parameters),
            tuple(filters),
        )

    def without(self, image_ids: Sequence[int]) -> Condition:
        """Return the condition that a picture passes and is none of these."""
        if not image_ids:
            return self
        others = "id NOT IN (SELECT value FROM json_each(?))"
        sql = f"({self.sql}) AND {others}" if self.sql else others
        return Condition(sql, (*self.parameters, json.dumps(list(image_ids))))


def parse_where(expressions: str | Iterable[str]) -> Condition:
    """Return the condition that one expression holds, or all of several.

    `taken = 2023-05` means any time in that month: a date is compared at the precision it is given in;
    pictures without a date fail every comparison of `taken`. Sizes take k, M, G (1000s). A folder
    matches itself and everything below it. `~` at the start of a folder or path is the home folder of the user
    whom this process runs as, and `~NAME` that of another. In a glob, `?` and `[...]` are one character.

    Raises
    ------
    QueryError
        If an expression is not understood.

    Examples
    --------
    >>> parse_where("width >= 800")
    Condition(sql='(width >= ?)', parameters=(800,))
    """
    return Condition.of([_filter(text) for text in texts_of(expressions, "where", has_order=False)])


def register_functions(db: sqlite3.Connection) -> None:
    """Give a connection the functions that conditions use; paths are bytes."""
    db.create_function("glob_match", 2, _matches, deterministic=True)
    db.create_function("composed", 1, composed, deterministic=True)
    db.create_function("folder_of", 1, os.path.dirname, deterministic=True)
    db.create_function("name_of", 1, lambda path: composed(os.path.basename(path)), deterministic=True)


def _matches(pattern: bytes, text: bytes) -> bool:
    return _matcher(pattern)(composed_text(os.fsdecode(text))) is not None


@lru_cache
def _matcher(pattern: bytes) -> Callable[[str], re.Match[str] | None]:
    return re.compile(translate(_BRACKETS.sub(r"[!\1", os.fsdecode(pattern)))).match


def _filter(expression: str) -> Filter:
    match = _EXPRESSION.fullmatch(expression)
    field, operator, value = match.groups() if match else ("", "", "")
    if field not in FIELDS or value == "":
        raise QueryError(
            f"filter {expression!r} is not understood; expected FIELD OP VALUE with FIELD one of "
            f"{', '.join(FIELDS)} and OP one of = != < <= > >= ~, for instance 'width >= 800'"
        )
    if operator == "~" and field not in _TEXTS:
        raise QueryError(f"filter {expression!r}: ~ (glob) works on path, folder, name and format only")
    if field in NUMBERS:
        number = _number(field, value, expression)
        return _compared(Filter(expression, field, operator, number, field, (number,)), beyond=number + 1)
    if field == "taken":
        return _taken(operator, value, expression)
    return _text(field, operator, value, expression)


def _compared(column: Filter, *, beyond: Any) -> Filter:
    """Return the filter by order of a column; values from the parameter to before `beyond` count as equal to it."""
    (equal,) = column.parameters
    low = {"=": equal, "!=": equal, ">=": equal, ">": beyond}.get(column.operator)
    high = {"=": beyond, "!=": beyond, "<=": beyond, "<": equal}.get(column.operator)
    return dataclasses.replace(column, sql=f"{column.sql} {column.operator} ?", low=low, high=high)


def _text(field: str, operator: str, value: str, expression: str) -> Filter:
    if field == "format":
        value = value.upper()
    if field in ("path", "folder"):
        value = _with_home(value, is_glob=operator == "~")
        if operator in ("=", "!="):
            return _place(field, operator, os.path.abspath(value), expression)
    value = composed_text(value)
    encoded = _encoded(value, expression)
    if operator == "~":
        return Filter(expression, field, operator, value, f"glob_match(?, {_GLOBBED[field]})", (encoded,))
    column = Filter(expression, field, operator, value, _TEXTS[field], (encoded,))
    return _compared(column, beyond=encoded + b"\0")


def _with_home(value: str, *, is_glob: bool) -> str:
    """Return a path or a glob of paths with the home folder for its `~` or `~NAME`, as a shell does."""
    name, slash, rest = value.partition("/")
    home = os.path.expanduser(name)
    if home == name:
        return value
    return (glob.escape(home) if is_glob else home).rstrip("/") + slash + rest or "/"


def _place(field: str, operator: str, place: str, expression: str) -> Filter:
    """Return the filter for one path, or for all that lies below a folder."""
    low, high = place_bounds(field, _encoded(place, expression))
    sql = "path >= ? AND path < ?"
    parameters: tuple[bytes, ...] = (low, high)
    if not has_one_form(place):  # only the ASCII in front of it can be found in the index of paths
        lead = common_lead(place)
        low, high = place_bounds(field, composed(_encoded(place, expression)))
        whole = "composed(path)" if field == "path" else f"substr(composed(path), 1, {len(low)})"
        sql, parameters = f"{sql} AND {whole} = ?", (lead, _next_lead(lead), low)
    if operator == "!=":
        sql = f"NOT ({sql})"
    return Filter(expression, field, operator, place, sql, parameters, low, high)


def place_bounds(field: str, place: bytes) -> tuple[bytes, bytes]:
    """Return the least path that a filter by `folder` or `path` is for, and the least one beyond."""
    if field == "path":
        return place, place + b"\0"
    lead = place.rstrip(b"/") + b"/"
    return lead, _next_lead(lead)


def _next_lead(lead: bytes) -> bytes:
    """Return the first bytes after all that begin with `lead`, whose last one is ASCII."""
    return lead[:-1] + bytes([lead[-1] + 1])


def _encoded(value: str, expression: str) -> bytes:
    try:
        return os.fsencode(value)
    except UnicodeEncodeError as error:
        raise QueryError(
            f"filter {expression!r} holds half a character (a lone surrogate), as no name of a file does; "
            "correct it"
        ) from error


def _number(field: str, value: str, expression: str) -> int:
    match = _SIZE.fullmatch(value)
    if not match or (match[2] and field != "size"):
        raise QueryError(f"filter {expression!r}: expected a number, found {value!r}")
    factor = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}[match[2].lower()]
    return int(min(float(match[1]) * factor, _LARGEST))


def _taken(operator: str, value: str, expression: str) -> Filter:
    if not _TAKEN.fullmatch(value):
        raise QueryError(f"filter {expression!r}: expected a date such as 2023, 2023-05 or 2023-05-01T12:00")
    value = value.replace(" ", "T")
    column = f"substr(taken, 1, {len(value)})"
    # Nothing in a date sorts after the tilde.
    return _compared(Filter(expression, "taken", operator, value, column, (value,)), beyond=value + "~")
