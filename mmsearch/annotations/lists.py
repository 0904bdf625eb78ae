"""Lists with a line for every picture of a folder: `captions.jsonl`, `metadata.jsonl` and `metadata.csv`."""

from __future__ import annotations

import codecs
import csv
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, BinaryIO

from mmsearch.annotations.base import Annotation
from mmsearch.annotations.fields import FIELDS, field_annotations
from mmsearch.errors import PictureError
from mmsearch.images import open_regular

NAMES = (b"captions.jsonl", b"metadata.jsonl", b"metadata.csv")
_NAME_FIELDS = ("image", "file_name")
_MAX_BYTES = 64 << 20  # of a list
_MAX_LINE = 1 << 20
_ODD = re.compile(r"/\.|//|^\.|^/|/$")  # paths that may be the same as a shorter one


@dataclass(frozen=True, eq=False)
class Listed(Mapping[bytes, "list[Annotation]"]):
    """What a list says of every picture that it names, by the path of the picture below the list's folder.

    A list may be long and few of its pictures asked for, so its rows are kept as they were written until then.

    Parameters
    ----------
    name : str
        Of the list.
    rows : mapping of bytes to list
        Those of each picture: lines of JSON, or known fields.
    """

    name: str
    rows: Mapping[bytes, Sequence[str | Mapping[str, str]]]

    def __getitem__(self, picture: bytes) -> list[Annotation]:
        """Return the annotations of a picture, in the order of the rows."""
        rows = (_object(row) if isinstance(row, str) else row for row in self.rows[picture])
        return [annotation for row in rows for annotation in field_annotations(row, self.name)]

    def __iter__(self) -> Iterator[bytes]:
        """Return an iterator over the pictures."""
        return iter(self.rows)

    def __len__(self) -> int:
        """Return how many pictures are named."""
        return len(self.rows)


def read_list(path: bytes) -> Listed:
    """Return what a list says of pictures.

    What is malformed is left out: lines, names outside of that folder, or all of a file that cannot be read. Of a
    list above 64 MB the beginning is read, of a line above 1 MB nothing.
    """
    rows: dict[bytes, list[str | dict[str, str]]] = {}
    name = os.path.basename(path)
    with suppress(PictureError, csv.Error), open_regular(path) as (handle, _):
        lines = _lines(os.fdopen(handle, "rb", closefd=False))
        for picture, row in _table_rows(lines) if name.endswith(b".csv") else _json_rows(lines):
            if picture:
                rows.setdefault(picture, []).append(row)
    return Listed(os.fsdecode(name), rows)


def _lines(file: BinaryIO) -> Iterator[str]:
    """Yield the lines of a text file; what is no UTF-8 becomes U+FFFD."""
    n_read, is_beginning = 0, True
    while n_read < _MAX_BYTES and (line := file.readline(_MAX_LINE)):
        is_end = line.endswith(b"\n")
        if is_beginning and (is_end or len(line) < _MAX_LINE):
            yield line.removeprefix(codecs.BOM_UTF8 if n_read == 0 else b"").decode("utf-8", "replace")
        n_read += len(line)
        is_beginning = is_end


def _json_rows(lines: Iterable[str]) -> Iterator[tuple[bytes, str]]:
    for line in lines:
        yield _picture(_object(line)), line


def _object(line: str) -> dict[str, Any]:
    """Return an object as a line of JSON says it, an empty one for what is none."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return row if isinstance(row, dict) else {}


def _table_rows(lines: Iterable[str]) -> Iterator[tuple[bytes, dict[str, str]]]:
    for row in csv.DictReader(lines):
        if known := {field: row[field] for field in FIELDS if row.get(field)}:
            yield _picture(row), known


def _picture(row: Mapping[str, Any]) -> bytes:
    """Return the path of the picture that a row is about; nothing for none, or for one elsewhere."""
    name = next((value for field in _NAME_FIELDS if isinstance(value := row.get(field), str)), "")
    if name.isascii() and not _ODD.search(name):
        return name.encode()
    try:
        path = os.path.normpath(os.fsencode(name))
    except UnicodeEncodeError:  # halves of surrogate pairs
        return b""
    return b"" if path.startswith((b"/", b"..")) or path == b"." else path
