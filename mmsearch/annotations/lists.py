"""Lists with a line for every picture of a folder: `captions.jsonl`, `metadata.jsonl` and `metadata.csv`."""

from __future__ import annotations

import codecs
import csv
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, BinaryIO

from mmsearch.annotations.base import Annotation
from mmsearch.annotations.fields import field_annotations
from mmsearch.errors import PictureError
from mmsearch.images import open_regular

NAMES = (b"captions.jsonl", b"metadata.jsonl", b"metadata.csv")
_NAME_FIELDS = ("image", "file_name")
_MAX_BYTES = 64 << 20  # of a list
_MAX_LINE = 1 << 20


def read_list(path: bytes) -> dict[bytes, list[Annotation]]:
    """Return what a list says of every picture that it names, by the path of the picture below the list's folder.

    What is malformed is left out: lines, names outside of that folder, or all of a file that cannot be read. Of a
    list above 64 MB the beginning is read, of a line above 1 MB nothing.
    """
    listed: dict[bytes, list[Annotation]] = {}
    name = os.path.basename(path)
    with suppress(PictureError, csv.Error), open_regular(path) as (handle, _):
        lines = _lines(os.fdopen(handle, "rb", closefd=False))
        for row in csv.DictReader(lines) if name.endswith(b".csv") else _json_rows(lines):
            if picture := _picture(row):
                texts = list(field_annotations(row, os.fsdecode(name)))
                if texts:
                    listed.setdefault(picture, []).extend(texts)
    return listed


def _lines(file: BinaryIO) -> Iterator[str]:
    """Yield the lines of a text file; what is no UTF-8 becomes U+FFFD."""
    n_read, is_beginning = 0, True
    while n_read < _MAX_BYTES and (line := file.readline(_MAX_LINE)):
        is_end = line.endswith(b"\n")
        if is_beginning and (is_end or len(line) < _MAX_LINE):
            yield line.removeprefix(codecs.BOM_UTF8 if n_read == 0 else b"").decode("utf-8", "replace")
        n_read += len(line)
        is_beginning = is_end


def _json_rows(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        with suppress(ValueError, RecursionError):
            row = json.loads(line)
            if isinstance(row, dict):
                yield row


def _picture(row: Mapping[str, Any]) -> bytes:
    """Return the path of the picture that a row is about; nothing for none, or for one elsewhere."""
    name = next((value for field in _NAME_FIELDS if isinstance(value := row.get(field), str)), "")
    try:
        path = os.path.normpath(os.fsencode(name))
    except UnicodeEncodeError:  # halves of surrogate pairs
        return b""
    return b"" if path.startswith((b"/", b"..")) or path == b"." else path
