"""Pictures of which somebody else says no more than where they are, with a vector each: rows like those of shards.

Of a picture whose file is on this machine, contents and times are read there, so that a later `index` leaves it
alone; of others the size is 0, and the hash one that no contents have.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from mmsearch.errors import PictureError
from mmsearch.images import file_digest
from mmsearch.records import FileLook, Matrix
from mmsearch.shards.read import NO_DIRECTION, BadRow, Row
from mmsearch.store.changes import StoredFile

READ_BY_OTHERS = 1
"""The number of the way in which these pictures were read: that of before all others, as it is not known."""
SIZES = ("width", "height")
_MAX_PATH = 4096


def whole_path(base: bytes, value: Any, *, is_url: bool = False) -> bytes | None:
    """Return the path of a picture, which is below a folder unless it begins with /; None if it is none."""
    name = os.fsencode(value) if isinstance(value, str) else value
    if not isinstance(name, bytes) or not name or b"\0" in name or len(base) + len(name) >= _MAX_PATH:
        return None
    return base + b"/" + name if is_url else os.path.normpath(os.path.join(base, name))


def foreign_row(
    path: bytes | None, sizes: Mapping[str, Any], vector: Matrix | None, reading: int = READ_BY_OTHERS
) -> Row:
    """Return a picture, or why a row is none."""
    if path is None:
        return BadRow(b"", "it does not say which picture it is, or by a name that no file can have")
    if vector is None:
        return BadRow(path, NO_DIRECTION)
    look, content_hash = _seen(path)
    width, height = (_pixels(sizes.get(name)) for name in SIZES)
    return StoredFile(path, look, content_hash, width, height, "", None, reading, vector=vector)


def _pixels(value: Any) -> int:
    """Return a number of pixels, 0 if it is not known."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return int(value) if is_number and 0 < value < 1 << 31 else 0


def _seen(path: bytes) -> tuple[FileLook, bytes]:
    """Return the look and hash of a picture's file; where it is not here, those of nothing."""
    try:
        return FileLook.of(os.stat(path)), file_digest(path)
    except (PictureError, OSError):
        return FileLook(0, 0, None), sha256(b"contents unknown\0" + path).digest()
