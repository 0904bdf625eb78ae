"""The items of parts in the catalog: which rows of their file the parts of a picture are, and where in it."""

from __future__ import annotations

import sqlite3
import zlib
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmsearch.store.channels import forget_channel

CHANNEL: Final = "parts"
HEAD = np.dtype([("row", "<i8"), ("crc32", "<u4")])  # of an item: its first row, and the checksum of all its rows
BOX = np.dtype([("box", "<u2", (4,)), ("scale", "<f4")])  # and then one of these for each


def keep_parts(db: sqlite3.Connection, image_id: int, content_hash: bytes, item: bytes | None) -> None:
    """Keep the item of the parts of a picture; None takes that of a copy, if there is one.

    Inside a transaction of the writer, in a library that keeps parts; elsewhere nothing is kept.
    """
    if item is None:
        db.execute(
            "INSERT OR IGNORE INTO item (channel, image, part, made_of, crc32, vector) "
            "SELECT item.channel, ?, 0, item.made_of, item.crc32, item.vector FROM image AS other "
            "JOIN item ON item.image = other.id WHERE other.hash = ? AND other.id <> ? "
            "AND item.channel = (SELECT id FROM channel WHERE name = ?) LIMIT 1",
            (image_id, content_hash, image_id, CHANNEL),
        )
        return
    db.execute(
        "INSERT OR REPLACE INTO item (channel, image, part, made_of, crc32, vector) "
        "SELECT id, ?, 0, x'', ?, ? FROM channel WHERE name = ?",
        (image_id, zlib.crc32(item), item, CHANNEL),
    )


def forget_parts(db: sqlite3.Connection) -> int:
    """Forget all parts, which are made again if the library keeps any, and return of how many pictures they were.

    Inside a transaction of the writer.
    """
    return forget_channel(db, CHANNEL)


class PartsItem(NamedTuple):
    """What an item says: its first row, the checksum of its rows, and where each part is."""

    row: int
    crc: int
    boxes: NDArray[Any]

    @classmethod
    def of(cls, data: bytes) -> PartsItem:
        """Return what the bytes of an item say; no parts where they are empty, or of another length."""
        n_bytes = len(data) - HEAD.itemsize
        if n_bytes < 0 or n_bytes % BOX.itemsize:
            return cls(0, 0, np.zeros(0, BOX))
        head = np.frombuffer(data, HEAD, 1)[0]
        boxes = np.frombuffer(data, BOX, offset=HEAD.itemsize)
        return cls(max(0, int(head["row"])), int(head["crc32"]), boxes)

    def packed(self) -> bytes:
        """Return the bytes of an item; nothing without parts."""
        return np.array((self.row, self.crc), HEAD).tobytes() + self.boxes.tobytes() if len(self.boxes) else b""
