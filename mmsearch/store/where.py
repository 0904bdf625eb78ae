"""Filters `FIELD OP VALUE` as SQL conditions over the catalog.

Fields: path, folder, name, format, taken, width, height, size. Operators: = != < <= > >= and ~ (glob).
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from mmsearch.errors import QueryError

_EXPRESSION = re.compile(r"\s*([a-z_]+)\s*(!=|<=|>=|=|<|>|~)\s*(.*?)\s*", re.DOTALL)
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]?)i?b?", re.IGNORECASE)
_TAKEN = re.compile(r"\d{4}(-\d\d(-\d\d([T ]\d\d(:\d\d(:\d\d)?)?)?)?)?")
_LARGEST = 2.0**62  # SQLite's integers have 64 bits
_NUMBERS = {"width", "height", "size"}
_TEXTS = {"path", "folder", "name", "format"}
FIELDS = ("path", "folder", "name", "taken", "width", "height", "size", "format")


@dataclass(frozen=True)
class Condition:
    """An SQL condition over the table `image` with its parameters; empty means every picture."""

    sql: str = ""
    parameters: tuple[Any, ...] = ()

    def without(self, image_ids: Sequence[int]) -> Condition:
        """Return the condition that a picture passes and is none of these."""
        if not image_ids:
            return self
        others = "id NOT IN (SELECT value FROM json_each(?))"
        sql = f"({self.sql}) AND {others}" if self.sql else others
        return Condition(sql, (*self.parameters, json.dumps(list(image_ids))))


def parse_where(expressions: Sequence[str]) -> Condition:
    """Return the condition that all expressions hold.

    `taken = 2023-05` means any time in that month: a date is compared at the precision it is given in;
    pictures without a date fail every comparison of `taken`. Sizes take k, M, G (1000s). A folder
    matches itself and everything below it.

    Raises
    ------
    QueryError
        If an expression is not understood.

    Examples
    --------
    >>> parse_where(["width >= 800"])
    Condition(sql='(width >= ?)', parameters=(800,))
    """
    parts = [_condition(expression) for expression in expressions]
    return Condition(
        " AND ".join(f"({part.sql})" for part in parts),
        tuple(value for part in parts for value in part.parameters),
    )


def register_functions(db: sqlite3.Connection) -> None:
    """Give a connection the functions that conditions use; paths are bytes."""
    db.create_function("glob_match", 2, lambda glob, value: fnmatchcase(value, glob), deterministic=True)
    db.create_function("folder_of", 1, os.path.dirname, deterministic=True)
    db.create_function("name_of", 1, os.path.basename, deterministic=True)


def _condition(expression: str) -> Condition:
    match = _EXPRESSION.fullmatch(expression)
    field, operator, value = match.groups() if match else ("", "", "")
    if field not in FIELDS or value == "":
        raise QueryError(
            f"filter {expression!r} is not understood; expected FIELD OP VALUE with FIELD one of "
            f"{', '.join(FIELDS)} and OP one of = != < <= > >= ~, for instance 'width >= 800'"
        )
    if operator == "~" and field not in _TEXTS:
        raise QueryError(f"filter {expression!r}: ~ (glob) works on path, folder, name and format only")
    if field in _NUMBERS:
        return Condition(f"{field} {operator} ?", (_number(field, value, expression),))
    if field == "taken":
        return _taken(operator, value, expression)
    if field == "format":
        value = value.upper()
    if field == "folder" and operator in ("=", "!="):
        return _below(operator, value)
    if field == "path" and operator in ("=", "!="):
        value = os.path.abspath(value)
    column = {"folder": "folder_of(path)", "name": "name_of(path)"}.get(field, field)
    parameter = value if field == "format" else os.fsencode(value)
    if operator == "~":
        return Condition(f"glob_match(?, {column})", (parameter,))
    return Condition(f"{column} {operator} ?", (parameter,))


def _below(operator: str, value: str) -> Condition:
    root = os.path.abspath(value).rstrip("/")
    prefix = os.fsencode(root) + b"/"
    sql = "path >= ? AND path < ?"
    return Condition(sql if operator == "=" else f"NOT ({sql})", (prefix, prefix[:-1] + b"0"))


def _number(field: str, value: str, expression: str) -> int:
    match = _SIZE.fullmatch(value)
    if not match or (match[2] and field != "size"):
        raise QueryError(f"filter {expression!r}: expected a number, found {value!r}")
    factor = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}[match[2].lower()]
    return int(min(float(match[1]) * factor, _LARGEST))


def _taken(operator: str, value: str, expression: str) -> Condition:
    if not _TAKEN.fullmatch(value):
        raise QueryError(f"filter {expression!r}: expected a date such as 2023, 2023-05 or 2023-05-01T12:00")
    value = value.replace(" ", "T")
    return Condition(f"substr(taken, 1, {len(value)}) {operator} ?", (value,))
