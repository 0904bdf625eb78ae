"""FACES: who might be seen in pictures, a channel of the catalog, in a library that was asked to look for faces.

A picture that was looked at has an item for each face, numbered from 1, and one with the number 0 that says how
many these are and how many more are too small. They do not depend on the encoder. The groups that faces form, and
what people decided of them, are a channel of their own (`mmsearch.store.people`).
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import LibraryLockedError
from mmsearch.faces.packing import ALONE, FACE, kind_of_faces, unpacked_faces
from mmsearch.records import FacesFacts
from mmsearch.store.channels import Unread, forget_channel
from mmsearch.store.documents import FACE as SOURCE
from mmsearch.store.documents import write_documents
from mmsearch.store.publish import withdraw
from mmsearch.store.sqlite_errors import sqlite_errors
from mmsearch.store.text_index import TEXTS
from mmsearch.system import shown_path

if TYPE_CHECKING:
    from mmsearch.store.folder import Store

CHANNEL: Final = "faces"
GROUPS: Final = "people"
"""The channel of the groups of faces: an item for the group of each."""
_WANTED, _TO_ERASE = "faces", "faces_to_erase"  # settings; the second says that what is forgotten is still on disk
_MARK = np.dtype([("n_faces", ">u4"), ("n_too_small", ">u4")])  # so that SQL reads the first as hexadecimal
_GROUP = np.dtype("<i8")
_ID = "(SELECT id FROM channel WHERE name = ?)"
# Looked at, and no face is lost: else all are found anew.
_IS_WHOLE = (
    f"EXISTS (SELECT 1 FROM item AS mark WHERE mark.channel = {_ID} AND mark.image = image.id AND mark.part = 0 "
    "AND hex(substr(mark.vector, 1, 4)) = printf('%08X', (SELECT count(*) FROM item AS face "
    "WHERE face.channel = mark.channel AND face.image = image.id AND face.part > 0)))"
)


class StoredFaces(NamedTuple):
    """Faces of a library: whose picture each is, its number there, the contents of that, and its record and group.

    `records` are `mmsearch.faces.packing.FACE`; `groups` are `ALONE` for faces that are in none yet.
    """

    image_ids: NDArray[np.int64]
    parts: NDArray[np.int64]
    hashes: list[bytes]
    records: NDArray[Any]
    groups: NDArray[np.int64]


def keep_faces(db: sqlite3.Connection, image_id: int, content_hash: bytes, packed: bytes | None) -> None:
    """Keep the faces of a picture, as a worker gave them; None takes those of a copy, if there is one.

    Inside a transaction of the writer, in a library that keeps faces; elsewhere nothing is kept.
    """
    channel = db.execute("SELECT id FROM channel WHERE name = ?", (CHANNEL,)).fetchone()
    if channel is None:
        return
    if packed is None:
        db.execute(
            "INSERT OR IGNORE INTO item (channel, image, part, made_of, crc32, vector) "
            "SELECT channel, ?, part, made_of, crc32, vector FROM item WHERE image = "
            "(SELECT other.id FROM image AS other JOIN item ON item.image = other.id "
            "WHERE other.hash = ? AND other.id <> ? AND item.channel = ? AND item.part = 0 LIMIT 1) "
            "AND channel IN (SELECT id FROM channel WHERE name IN (?, ?))",
            (image_id, content_hash, image_id, *channel, CHANNEL, GROUPS),
        )
        return
    records, n_too_small = unpacked_faces(packed)
    mark = np.array((len(records), n_too_small), _MARK).tobytes()
    db.execute("DELETE FROM item WHERE channel = ? AND image = ?", (*channel, image_id))
    db.executemany(
        "INSERT INTO item (channel, image, part, made_of, crc32, vector) VALUES (?, ?, ?, ?, ?, ?)",
        [
            (*channel, image_id, part, content_hash, zlib.crc32(data), data)
            for part, data in enumerate([mark, *(record.tobytes() for record in records)])
        ],
    )


def place_faces(db: sqlite3.Connection, faces: StoredFaces, rows: NDArray[np.int64], group: int) -> None:
    """Put some of the faces into a group; inside a transaction of the writer, where there are groups."""
    data = np.array(group, _GROUP).tobytes()
    db.executemany(
        "INSERT OR REPLACE INTO item (channel, image, part, made_of, crc32, vector) "
        f"VALUES ({_ID}, ?, ?, x'', ?, ?)",
        [
            (GROUPS, image_id, part, zlib.crc32(data), data)
            for image_id, part in zip(faces.image_ids[rows].tolist(), faces.parts[rows].tolist(), strict=True)
        ],
    )


class LibraryFaces:
    """The faces in the pictures of one open library folder.

    Parameters
    ----------
    store : Store
        Opened for reading; by its writer for all that changes something.
    """

    def __init__(self, store: Store) -> None:
        self._store, self._catalog = store, store.catalog

    # -- reading -------------------------------------------------------------------------------------

    @property
    def are_wanted(self) -> bool:
        """Whether new pictures are looked at for faces."""
        return bool(self._store.setting(_WANTED))

    def facts(self) -> FacesFacts | None:
        """Return what there is of faces; None in a library that is not asked for any."""
        if not self.are_wanted:
            return None
        with self._catalog.reading():
            marks = self._catalog.db.execute(
                f"SELECT vector FROM item WHERE channel = {_ID} AND part = 0", (CHANNEL,)
            ).fetchall()
            counts = np.frombuffer(b"".join(mark for (mark,) in marks if len(mark) == _MARK.itemsize), _MARK)
            return FacesFacts(len(marks), int(counts["n_faces"].sum()), int(counts["n_too_small"].sum()))

    def missing(self) -> list[Unread]:
        """Return the pictures that were not looked at for faces, or lost some, as they came into the library."""
        sql = f"SELECT path, hash FROM image WHERE NOT {_IS_WHOLE} ORDER BY id"
        with self._catalog.reading():
            return [Unread(*values) for values in self._catalog.db.execute(sql, (CHANNEL,))]

    def load(self, image_id: int | None = None) -> StoredFaces:
        """Return all faces, or those of one picture, by picture and number; damaged ones are left out."""
        sql = (
            "SELECT face.image, face.part, image.hash, face.vector, face.crc32, placed.vector, placed.crc32 "
            "FROM item AS face JOIN image ON image.id = face.image LEFT JOIN item AS placed "
            f"ON placed.channel = {_ID} AND placed.image = face.image AND placed.part = face.part "
            f"WHERE face.channel = {_ID} AND face.part > 0{' AND face.image = ?' * (image_id is not None)} "
            "ORDER BY face.image, face.part"
        )
        of_picture = () if image_id is None else (image_id,)
        image_ids, parts, hashes, data, groups = [], [], [], [], []
        with self._catalog.reading():
            for image_id, part, content_hash, vector, crc, group, group_crc in self._catalog.db.execute(
                sql, (GROUPS, CHANNEL, *of_picture)
            ):
                if len(vector) != FACE.itemsize or zlib.crc32(vector) != crc:
                    continue
                is_placed = group is not None and len(group) == _GROUP.itemsize and zlib.crc32(group) == group_crc
                image_ids.append(image_id)
                parts.append(part)
                hashes.append(content_hash)
                data.append(vector)
                groups.append(int(np.frombuffer(group, _GROUP)[0]) if is_placed else ALONE)
        return StoredFaces(
            np.array(image_ids, dtype=np.int64), np.array(parts, dtype=np.int64), hashes,
            np.frombuffer(b"".join(data), FACE), np.array(groups, dtype=np.int64),
        )  # fmt: skip

    def of_picture(self, image_id: int) -> tuple[NDArray[Any], int] | None:
        """Return the `FACE` records of a picture, and how many faces in it are too small.

        None if it was not looked at for faces, or some are damaged.
        """
        sql = f"SELECT vector, crc32 FROM item WHERE channel = {_ID} AND image = ? ORDER BY part"
        kept = self._catalog.db.execute(sql, (CHANNEL, image_id)).fetchall()
        if not kept or any(zlib.crc32(data) != crc for data, crc in kept) or len(kept[0][0]) != _MARK.itemsize:
            return None
        (mark,), records = np.frombuffer(kept[0][0], _MARK), np.frombuffer(b"".join(d for d, _ in kept[1:]), FACE)
        return (records, int(mark["n_too_small"])) if len(records) == mark["n_faces"] else None

    def n_alone(self) -> int:
        """Return how many faces are in no group yet."""
        sql = (
            f"SELECT count(*) FROM item AS face WHERE channel = {_ID} AND part > 0 AND NOT EXISTS "
            f"(SELECT 1 FROM item WHERE channel = {_ID} AND image = face.image AND part = face.part)"
        )
        return int(self._catalog.db.execute(sql, (CHANNEL, GROUPS)).fetchone()[0])

    def groups_in(self) -> set[tuple[int, int]]:
        """Return (picture, group) of all faces that are in one, without reading what they look like."""
        sql = f"SELECT image, vector FROM item WHERE channel = {_ID}"
        return {
            (image_id, int.from_bytes(data, "little", signed=True))
            for image_id, data in self._catalog.db.execute(sql, (GROUPS,))
        }

    def placed_in(self, image_ids: Sequence[int]) -> list[tuple[bytes, int, int]]:
        """Return the faces in some pictures that are in groups: hash of the contents, number there, group."""
        sql = (
            "SELECT image.hash, item.part, item.vector FROM item JOIN image ON image.id = item.image "
            f"WHERE item.channel = {_ID} AND item.image = ?"
        )
        return [
            (content_hash, part, int.from_bytes(data, "little", signed=True))
            for image_id in image_ids
            for content_hash, part, data in self._catalog.db.execute(sql, (GROUPS, image_id))
        ]

    def left_behind(self) -> list[str]:
        """Return what is still there of faces in a library that is not to have any: sentences."""
        if self._store.setting(_TO_ERASE):
            return ["faces that were forgotten are still in the catalog; the next `mmsearch index` erases them"]
        if self.are_wanted:
            return []
        db = self._catalog.db
        counts = {
            "faces": db.execute(
                f"SELECT count(*) FROM item WHERE channel = {_ID} AND part > 0", (CHANNEL,)
            ).fetchone()[0],
            "groups of faces": db.execute(f"SELECT count(*) FROM item WHERE channel = {_ID}", (GROUPS,)).fetchone()[
                0
            ],
            "names of faces": db.execute(
                "SELECT count(*) FROM annotation WHERE kind = 'person' AND source = ?", (SOURCE,)
            ).fetchone()[0],
        }
        return [f"{n} {what} are kept, although none are to be" for what, n in counts.items() if n]

    # -- writing -------------------------------------------------------------------------------------

    def want(self, is_wanted: bool) -> int:
        """Look for faces from now on, or erase them, their groups and names; return how many faces are forgotten.

        Those that were found or described in another way go, too.

        Raises
        ------
        LibraryLockedError
            If another process reads all the time, so that what is forgotten cannot be erased from the disk yet.
        """
        db, facts = self._catalog.db, json.dumps(kind_of_faces())
        kept = db.execute("SELECT facts FROM channel WHERE name = ?", (CHANNEL,)).fetchone()
        expected = (facts,) if is_wanted else None
        n = 0
        if self.are_wanted != is_wanted or kept != expected:
            with self._catalog.writing():
                if kept not in (None, expected):
                    n = self._forget_all()
                if is_wanted:
                    sql = "INSERT OR IGNORE INTO channel (name, facts) VALUES (?, ?)"
                    db.execute(sql, (CHANNEL, facts))
                self._catalog.set_meta({_WANTED: is_wanted})
        self.erase_forgotten()
        return n

    def _forget_all(self) -> int:
        """Forget all faces, groups and names; inside a transaction of the writer."""
        db = self._catalog.db
        (n,) = db.execute(f"SELECT count(*) FROM item WHERE channel = {_ID} AND part > 0", (CHANNEL,)).fetchone()
        named = db.execute("SELECT DISTINCT image FROM annotation WHERE source = ?", (SOURCE,)).fetchall()
        db.execute("DELETE FROM annotation WHERE source = ?", (SOURCE,))
        write_documents(db, [image_id for (image_id,) in named])
        for name in (CHANNEL, GROUPS):
            forget_channel(db, name)
        self._catalog.set_meta({_TO_ERASE: True})
        return int(n)

    def forget_group(self, group: int) -> int:
        """Forget the faces of a group, in the pictures of which they are not looked for again; return how many.

        Inside a transaction of the writer.
        """
        db, data = self._catalog.db, np.array(group, _GROUP).tobytes()
        faces = db.execute(
            f"SELECT image, part FROM item WHERE channel = {_ID} AND vector = ?", (GROUPS, data)
        ).fetchall()
        for name in (CHANNEL, GROUPS):
            db.executemany(
                f"DELETE FROM item WHERE channel = {_ID} AND image = ? AND part = ?",
                [(name, *face) for face in faces],
            )
        for image_id in dict.fromkeys(image_id for image_id, _ in faces):
            self._count_anew(image_id)
        self._catalog.set_meta({_TO_ERASE: True})
        return len(faces)

    def _count_anew(self, image_id: int) -> None:
        """Let the mark of a picture say how many faces it has."""
        db = self._catalog.db
        sql = f"SELECT vector, (SELECT count(*) FROM item WHERE channel = {_ID} AND image = ? AND part > 0) "
        sql += f"FROM item WHERE channel = {_ID} AND image = ? AND part = 0"
        kept = db.execute(sql, (CHANNEL, image_id, CHANNEL, image_id)).fetchone()
        if kept is None or len(kept[0]) != _MARK.itemsize:  # damaged: all of the picture are found anew
            return
        mark = np.array((kept[1], np.frombuffer(kept[0], _MARK)["n_too_small"][0]), _MARK).tobytes()
        db.execute(
            f"UPDATE item SET vector = ?, crc32 = ? WHERE channel = {_ID} AND image = ? AND part = 0",
            (mark, zlib.crc32(mark), CHANNEL, image_id),
        )

    def erase_forgotten(self) -> None:
        """Leave nothing of what was forgotten in the files of the library: no free page, log or cache of words.

        The caller is the writer.

        Raises
        ------
        LibraryLockedError
            If another process reads all the time.
        """
        if not self._store.setting(_TO_ERASE):
            return
        withdraw(self._store.files, TEXTS)
        path, db = self._catalog.path, self._catalog.db
        with sqlite_errors(path):
            db.execute("VACUUM")
            (is_busy, *_) = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if is_busy:
            raise LibraryLockedError(
                f"{shown_path(path)}: what was forgotten counts no more, and is still in the log, as another "
                "process reads the library; end that, and run the command again"
            )
        self._store.keep({_TO_ERASE: False})

    def keep(self, faces_of: Mapping[bytes, bytes]) -> None:
        """Keep the faces of contents, by their hashes, for all pictures that were made of them."""
        db = self._catalog.db
        with self._catalog.writing():
            for content_hash, packed in faces_of.items():
                for (image_id,) in db.execute("SELECT id FROM image WHERE hash = ?", (content_hash,)).fetchall():
                    keep_faces(db, image_id, content_hash, packed)
