"""SIGNATURES: the light of pictures in a coarse grid, a channel of the catalog, by which copies are found.

They do not depend on the encoder. A picture of one colour has an empty one, so that it is not looked at again; one
that was indexed before there were signatures has none until it is signed.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from mmsearch.records import SIGNATURE_SIDE, luminance_layout
from mmsearch.store.channels import Unread

if TYPE_CHECKING:
    from mmsearch.store.catalog import Catalog

CHANNEL: Final = "signature"
_LAYOUT = luminance_layout(SIGNATURE_SIDE)
_FACTS = json.dumps({"version": 1, "bytes": _LAYOUT.itemsize})  # others are of another way to make them
_OF_CHANNEL = "channel = (SELECT id FROM channel WHERE name = ? AND facts = ?)"
_KEY = CHANNEL, _FACTS


def sign_image(db: sqlite3.Connection, image_id: int, content_hash: bytes, signature: bytes | None) -> None:
    """Keep the signature of a picture; None takes that of a copy, if there is one. Inside a transaction."""
    if signature is None:
        db.execute(
            "INSERT OR IGNORE INTO item (channel, image, part, made_of, crc32, vector) "
            "SELECT item.channel, ?, 0, item.made_of, item.crc32, item.vector FROM image AS other "
            f"JOIN item ON item.image = other.id WHERE other.hash = ? AND other.id <> ? AND {_OF_CHANNEL} LIMIT 1",
            (image_id, content_hash, image_id, *_KEY),
        )
        return
    db.execute(
        "INSERT OR REPLACE INTO item (channel, image, part, made_of, crc32, vector) VALUES (?, ?, 0, ?, ?, ?)",
        (_writable_channel(db), image_id, content_hash, zlib.crc32(signature), signature),
    )


def _writable_channel(db: sqlite3.Connection) -> int:
    """Return the number of the channel, made anew where its signatures are of another kind."""
    sql = "SELECT id, facts FROM channel WHERE name = ?"
    kept = db.execute(sql, (CHANNEL,)).fetchone()
    if kept is None or kept[1] != _FACTS:
        db.execute("DELETE FROM item WHERE channel IN (SELECT id FROM channel WHERE name = ?)", (CHANNEL,))
        db.execute(
            "INSERT INTO channel (name, facts) VALUES (?, ?) ON CONFLICT DO UPDATE SET facts = excluded.facts",
            _KEY,
        )
        kept = db.execute(sql, (CHANNEL,)).fetchone()
    return int(kept[0])


class LibrarySignatures:
    """The signatures of one open library folder.

    Parameters
    ----------
    catalog : Catalog
        Opened for reading; by the writer for all that changes something.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def load(self, image_ids: Sequence[int] | None = None) -> dict[int, NDArray[Any]]:
        """Return the signatures of some pictures, or all, by id, as `mmsearch.records.luminance_layout` has them.

        Those of pictures of one colour, and damaged ones, are left out.
        """
        wanted = "" if image_ids is None else "AND image IN (SELECT value FROM json_each(?)) "
        asked = _KEY if image_ids is None else (*_KEY, json.dumps(list(image_ids)))
        sql = f"SELECT image, vector, crc32 FROM item WHERE {_OF_CHANNEL} {wanted}AND part = 0 ORDER BY image"
        with self._catalog.reading():
            return {
                image_id: np.frombuffer(vector, _LAYOUT)
                for image_id, vector, crc in self._catalog.db.execute(sql, asked)
                if vector and len(vector) % _LAYOUT.itemsize == 0 and zlib.crc32(vector) == crc
            }

    def unsigned(self) -> list[Unread]:
        """Return the pictures that have no signature, in the order in which they came into the library."""
        sql = (
            "SELECT path, hash FROM image WHERE NOT EXISTS "
            f"(SELECT 1 FROM item WHERE image = image.id AND {_OF_CHANNEL}) ORDER BY id"
        )
        with self._catalog.reading():
            return [Unread(*values) for values in self._catalog.db.execute(sql, _KEY)]

    def keep(self, signatures: Mapping[bytes, bytes]) -> None:
        """Keep the signatures of contents, by their hashes, for all pictures that were made of them."""
        db = self._catalog.db
        with self._catalog.writing():
            for content_hash, signature in signatures.items():
                for (image_id,) in db.execute("SELECT id FROM image WHERE hash = ?", (content_hash,)).fetchall():
                    sign_image(db, image_id, content_hash, signature)
