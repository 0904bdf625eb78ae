"""PARTS: further vectors of pictures, of the windows that say what the whole does not; a channel of the catalog.

All parts of a picture are one item, as they are made, and leave, together. It says which rows of a file of int8
vectors they are, and where in the picture; one of a picture whose windows say nothing new is empty, so that it is
not looked at again. Copies share rows. The file is appended to before the catalog names the rows, as that of the
vectors is. Which rows are whose is published besides, so that a search need not read all items, and so is an index.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple

import numpy as np

from mmsearch.array_file import open_arrays, write_arrays
from mmsearch.encoders.parts import boxes_of, picture_parts
from mmsearch.errors import LibraryDamagedError, advice, reason
from mmsearch.file_array import FileArray, OpenFile
from mmsearch.records import Matrix, PartsFacts, PictureParts, RelativeBox, Unusable, parts_layout
from mmsearch.store.channel_index import ChannelIndexSidecar, PublishedRows, channel_index, update_channel_index
from mmsearch.store.channels import Loaded, Unread, cache_problems, count_items, kept_channel
from mmsearch.store.matrix import append_rows, look_of, stored_rows
from mmsearch.store.near_parts import AsHalves, ListedParts, NearParts, Signs
from mmsearch.store.part_items import BOX, CHANNEL, HEAD, PartsItem, forget_parts, keep_parts
from mmsearch.store.publish import (
    Kind,
    Sidecar,
    current,
    manifest_state,
    next_name,
    sidecar_checksum,
    storage_errors,
    withdraw,
)
from mmsearch.system import shown_path, sync_folder
from mmsearch.vectors import stored_cosines

if TYPE_CHECKING:
    from mmsearch.store.folder import Store


class PartsSidecar(Sidecar):
    """What is noted of published rows: of which encoder and file they are, how many, their items and the last."""

    fingerprint: str
    dim: int
    epoch: int
    n_rows: int
    n_items: int
    last: int


PARTS: Final[Kind[PartsSidecar]] = Kind(CHANNEL)
PART_CELLS: Final[Kind[ChannelIndexSidecar]] = Kind("partcells")
_PUBLISHED: Final[tuple[Kind[Any], ...]] = (PARTS, PART_CELLS)
_VERSION = 1
_NUMBERS = ("epoch", "n_rows", "most")  # that are kept of the channel
_EPOCH = "parts_epoch"  # setting: the number of the newest file that the library ever had
_LEAST, _SHARE = 1_000, 0.02  # items made or gone since they were published that are worth it
_DEAD_SHARE = 0.2  # rows of no picture that are tolerated before the file is rewritten
_BLOCK = 65_536  # rows copied at a time


class Part(NamedTuple):
    """A part of a picture: where it is, and its cosine to what was asked."""

    box: RelativeBox
    cosine: float


class _Published(NamedTuple):
    """Published items: which rows they are, of how many, how many items there were, the last, and their sha256."""

    listed: ListedParts
    n_rows: int
    n_items: int
    last: int
    of: str


class LibraryParts:
    """The parts of the pictures of one open library folder; keeps what it has loaded.

    Parameters
    ----------
    store : Store
        Opened for reading; by its writer for all that changes something.
    """

    def __init__(self, store: Store) -> None:
        self._store, self._catalog = store, store.catalog
        self._near: Loaded[NearParts | None] = Loaded()

    # -- reading -------------------------------------------------------------------------------------

    @property
    def most(self) -> int:
        """How many parts a picture may have, 0 in a library without parts."""
        return int(self._store.setting(CHANNEL) or 0)

    @property
    def path(self) -> Path:
        """The file of the vectors."""
        return self._path(self._kept_facts()[1].get("epoch", 0))

    @property
    def n_rows(self) -> int:
        """How many vectors the catalog lists, those of no picture counted."""
        return int(self._kept_facts()[1].get("n_rows", 0))

    @property
    def is_cut(self) -> bool:
        """Whether vectors that the catalog lists are not there."""
        _, facts = self._kept_facts()
        return bool(facts) and self._n_there(facts) < int(facts["n_rows"])

    def _path(self, epoch: int) -> Path:
        return self._store.files / f"{CHANNEL}-{epoch}.i8"

    def near(self) -> NearParts | None:
        """Return what finds parts, the same object until one changes; None in a library without parts.

        Raises
        ------
        LibraryDamagedError
            If the file of the vectors cannot be opened.
        """
        if not self.most:
            return None
        with self._catalog.reading():
            files = self._store.files
            look = look_of(files / f"{current(files, PARTS)}.bin"), self._n_there(self._kept_facts()[1])
            revision = self._store.revision, self._store.setting("library"), manifest_state(files), look
            return self._near.at(revision, lambda: (self._state_now(), look), self._loaded)

    def nearest(self, query: Matrix, image_ids: Sequence[int]) -> dict[int, Part]:
        """Return the part nearest to a query (dim,) of each of a few pictures that have any, and where it is.

        Parts that are not what was stored are left out; `verify` names them.
        """
        nearest: dict[int, Part] = {}
        for image_id, item, signs in self._of_images(image_ids):
            if len(signs):
                cosines = stored_cosines(query, AsHalves(signs, 0, len(signs))[:])
                part = int(np.argmax(cosines))
                (box,) = boxes_of(item.boxes["box"][part : part + 1])
                nearest[image_id] = Part(box, float(cosines[part]))
        return nearest

    def of(self, image_ids: Sequence[int]) -> dict[int, PictureParts]:
        """Return the parts of a few pictures; those that were not looked at, or are damaged, are left out."""
        return {
            image_id: picture_parts(item.boxes["box"], signs)
            for image_id, item, signs in self._of_images(image_ids)
        }

    def _of_images(self, image_ids: Sequence[int]) -> list[tuple[int, PartsItem, Signs]]:
        """Return the pictures whose parts are what was stored, each with these."""
        with self._catalog.reading():
            channel, facts = self._channel()
            items = self._items(channel, "AND part = 0 AND image IN (SELECT value FROM json_each(?))", image_ids)
            if not items:
                return []
            rows = self._rows(facts)
            read = [(image_id, item, rows[item.row : item.row + len(item.boxes)]) for _, image_id, item in items]
        return [(image_id, item, signs) for image_id, item, signs in read if _are_whole(signs, item)]

    def facts(self) -> PartsFacts | None:
        """Return what the library has of parts; None if it keeps none."""
        if not self.most:
            return None
        with self._catalog.reading():
            sql = (
                "SELECT count(*), ifnull(sum(max(0, length(vector) - ?) / ?), 0), "
                "count(*) FILTER (WHERE vector = x'') FROM item WHERE channel = ?"
            )
            values = (HEAD.itemsize, BOX.itemsize, self._channel()[0])
            return PartsFacts(self.most, *self._catalog.db.execute(sql, values).fetchone())

    def missing(self) -> list[Unread]:
        """Return the pictures that were not looked at for parts, in the order they came; none without parts."""
        if not self.most:
            return []
        sql = (
            "SELECT path, hash FROM image WHERE NOT EXISTS "
            "(SELECT 1 FROM item WHERE image = image.id AND channel = ?) ORDER BY id"
        )
        with self._catalog.reading():
            return [Unread(*row) for row in self._catalog.db.execute(sql, (self._channel()[0],))]

    def _channel(self) -> tuple[int | None, dict[str, Any]]:
        """Return the number of the channel with what is kept of it, if it is of the library's encoder."""
        number, facts = self._kept_facts()
        return (number, facts) if facts | self._identity(self.most) == facts else (None, {})

    def _kept_facts(self) -> tuple[int | None, dict[str, Any]]:
        """Return the number of the channel with what is kept of it, whatever it is of."""
        number, facts = kept_channel(self._catalog.db, CHANNEL)
        is_whole = all(type(facts.get(name)) is int and facts[name] >= 0 for name in _NUMBERS)
        return number, facts if is_whole else {}

    def _identity(self, most: int) -> dict[str, Any]:
        return {
            "version": _VERSION, "dtype": "int8", "dim": self._store.dim, "most": most,
            "fingerprint": self._store.fingerprint(),
        }  # fmt: skip

    def _items(self, channel: int | None, where: str = "", ids: Sequence[int] | None = None) -> list[Any]:
        """Return (id, picture, what it says) of items that are whole, those of some pictures or ids, or all."""
        sql = f"SELECT id, image, vector, crc32 FROM item WHERE channel = ? {where}"
        values = [channel] if ids is None else [channel, json.dumps([int(each) for each in ids])]
        return [
            (item_id, image_id, PartsItem.of(data))
            for item_id, image_id, data, crc in self._catalog.db.execute(sql, values)
            if zlib.crc32(data) == crc
        ]

    def _rows(self, facts: Mapping[str, Any]) -> FileArray[np.int8] | Signs:
        """Return all rows that are there, read when they are asked for."""
        dim, n_rows = self._store.dim, self._n_there(facts)
        if not n_rows:
            return np.zeros((0, dim), dtype=np.int8)
        path = self._path(facts["epoch"])
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            why = f"cannot be read ({reason(error)}); {advice(error)}"
            raise LibraryDamagedError(f"{shown_path(path)} {why}") from error
        return FileArray(OpenFile(path, handle, LibraryDamagedError), np.dtype("i1"), (n_rows, dim))

    def _n_there(self, facts: Mapping[str, Any]) -> int:
        """Return how many rows there are; fewer than the catalog says where the file was cut."""
        epoch, n_rows = int(facts.get("epoch", 0)), int(facts.get("n_rows", 0))
        return min(n_rows, stored_rows(self._path(epoch), self._store.dim, itemsize=1))

    def rows(self) -> FileArray[np.int8] | Signs:
        """Return the vectors of all parts int8 (n, dim), read when asked for; those of no picture are among them.

        Raises
        ------
        LibraryDamagedError
            If some are lost.
        """
        _, facts = self._kept_facts()
        if self._n_there(facts) < int(facts.get("n_rows", 0)):
            raise LibraryDamagedError(
                f"{shown_path(self.path)} holds {self._n_there(facts)} of {facts['n_rows']} vectors of parts; run "
                "`mmsearch verify --repair` and then `mmsearch index` on the folders again"
            )
        return self._rows(facts)

    def _state_now(self) -> tuple[object, ...]:
        channel, facts = self._channel()
        caches = [sidecar_checksum(self._store.files, kind) for kind in _PUBLISHED]
        return channel, count_items(self._catalog.db, channel), facts, caches

    def _loaded(self) -> NearParts | None:
        channel, facts = self._channel()
        if channel is None:
            return None
        rows, (listed, n_published, _, last, of) = self._rows(facts), self._listed(facts)
        sql = "SELECT id FROM item WHERE channel = ?"
        ids = np.array([item_id for (item_id,) in self._catalog.db.execute(sql, (channel,))], dtype=np.int64)
        # What was published after the state that is read lacks what has gone since.
        unlisted = self._items(channel, "AND id > (SELECT value FROM json_each(?))", [last])
        lacking = np.setdiff1d(ids[ids <= last], listed.item_ids).tolist()
        unlisted += self._items(channel, "AND id IN (SELECT value FROM json_each(?))", lacking) if lacking else []
        listed = listed.only(ids).joined(ListedParts.of(unlisted))
        is_there = listed.rows + listed.n_parts <= len(rows)
        listed = listed.taken(is_there)
        n_published = min(n_published, len(rows))
        first = AsHalves(rows, 0, n_published)
        cells = channel_index(self._store, PART_CELLS, first, of) if of else None
        dead = np.flatnonzero(~listed.is_alive(len(rows))[:n_published])
        return NearParts(listed, rows, PublishedRows(first, dead, cells), n_published)

    def _listed(self, facts: Mapping[str, Any]) -> _Published:
        """Return what is published; nothing where it cannot be used."""
        expected = {"fingerprint": self._store.fingerprint(), "dim": self._store.dim, "epoch": facts["epoch"]}
        opened = self._store.load_matching(PARTS, expected, _opened, is_stamp_enough=True)
        return _Published(ListedParts.of([]), 0, 0, 0, "") if isinstance(opened, Unusable) else opened

    # -- writing -------------------------------------------------------------------------------------

    def append(self, parts_of: Sequence[bytes | None]) -> list[bytes | None]:
        """Store the parts of pictures, as workers gave them, and return their items for `keep_parts`.

        Inside a transaction of the writer: when it returns, the vectors are on disk.

        Raises
        ------
        StorageError
            If the disk refuses.
        """
        _, facts = self._kept_facts()
        if not facts:
            return [None] * len(parts_of)
        layout, row = parts_layout(self._store.dim), int(facts["n_rows"])
        items: list[bytes | None] = []
        signs = [np.zeros((0, self._store.dim), np.int8)]
        for data in parts_of:
            if data is None:
                items.append(None)
                continue
            parts = np.frombuffer(data, layout)
            boxes = np.zeros(len(parts), BOX)
            boxes["box"], boxes["scale"] = parts["box"], parts["scale"]
            signs.append(parts["vector"])
            items.append(PartsItem(row, zlib.crc32(parts["vector"].tobytes()), boxes).packed())
            row += len(parts)
        if row > facts["n_rows"]:
            append_rows(self._path(facts["epoch"]), np.concatenate(signs), at=facts["n_rows"])
            self._note(facts | {"n_rows": row})
        return items

    def _note(self, facts: Mapping[str, Any]) -> None:
        self._catalog.db.execute("UPDATE channel SET facts = ? WHERE name = ?", (json.dumps(facts), CHANNEL))

    def recover(self) -> None:
        """Cut off what a writer left that was ended before it acknowledged it."""
        number, facts = self._kept_facts()
        path, size = self.path, int(facts.get("n_rows", 0)) * self._store.dim
        with storage_errors(path, "the parts"):
            if number is not None and path.is_file() and path.stat().st_size > size:
                os.truncate(path, size)

    def give_up_lost(self) -> int:
        """Forget items whose vectors are not there any more, as the file was cut; return how many.

        The caller is the writer, before it appends.
        """
        if not self.is_cut:
            return 0
        channel, facts = self._kept_facts()
        n_there = self._n_there(facts)
        items = self._items(channel)
        lost = [item_id for item_id, _, item in items if item.boxes.size and item.row + len(item.boxes) > n_there]
        self.forget(lost)
        return len(lost)

    def keep_most(self, most: int) -> int:
        """Keep as many parts of a picture from now on, and forget those of another encoder.

        Where more were kept, the first of each picture are those that would be made; where fewer were, all are
        forgotten.

        Returns
        -------
        int
            Of how many pictures parts are forgotten.
        """
        db, identity = self._catalog.db, self._identity(most)
        number, facts = self._kept_facts()
        if facts | identity == facts if most else number is None and not self.most:
            return 0
        n = 0
        with self._catalog.writing():
            if most and facts and facts | identity == facts | {"most": most} and facts["most"] > most:
                self._rewrite(facts | identity, most)
            else:
                n = forget_parts(db)
                if most:
                    noted = json.dumps(identity | {"epoch": self._new_epoch(), "n_rows": 0})
                    db.execute("INSERT INTO channel (name, facts) VALUES (?, ?)", (CHANNEL, noted))
            self._catalog.set_meta({CHANNEL: most})
        self._store.forget_old_epochs()
        return n

    def _new_epoch(self) -> int:
        """Return a number that no file of the library ever had; inside a transaction of the writer."""
        epoch = int(self._store.setting(_EPOCH) or 0) + 1
        self._catalog.set_meta({_EPOCH: epoch})
        self._path(epoch).unlink(missing_ok=True)
        return epoch

    def _rewrite(self, facts: Mapping[str, Any], most: int) -> None:
        """Write the rows of items, so many of each at most, as a new epoch; inside a transaction of the writer.

        Items whose rows are damaged are forgotten: with a checksum of what is there now nobody would see it again.
        """
        db, rows, epoch = self._catalog.db, self._rows(facts), self._new_epoch()
        items = self._items(self._kept_facts()[0])
        path, pending = self._path(epoch), [np.zeros((0, self._store.dim), np.int8)]
        moved: dict[int, tuple[int, int]] = {}
        n_rows = n_pending = 0
        for _, _, item in sorted(items, key=lambda each: each[2].row):
            if item.row in moved or not len(item.boxes):
                continue
            signs = rows[item.row : item.row + len(item.boxes)]
            if not _are_whole(signs, item):
                continue
            signs = signs[:most]
            moved[item.row] = n_rows + n_pending, zlib.crc32(signs.tobytes())
            pending.append(signs)
            n_pending += len(signs)
            if n_pending >= _BLOCK:
                append_rows(path, np.concatenate(pending), at=n_rows)
                n_rows, n_pending, pending = n_rows + n_pending, 0, pending[:1]
        append_rows(path, np.concatenate(pending), at=n_rows)
        sync_folder(self._store.files)
        for item_id, _, item in items:
            if len(item.boxes) and item.row not in moved:
                db.execute("DELETE FROM item WHERE id = ?", (item_id,))
            elif len(item.boxes):
                data = PartsItem(*moved[item.row], item.boxes[:most]).packed()
                # Under a new id, as what is published of the old one is not true any more.
                db.execute(
                    "INSERT OR REPLACE INTO item (channel, image, part, made_of, crc32, vector) "
                    "SELECT channel, image, part, made_of, ?, ? FROM item WHERE id = ?",
                    (zlib.crc32(data), data, item_id),
                )
        self._note({**facts, "epoch": epoch, "n_rows": n_rows + n_pending})

    def keep(self, parts_of: Mapping[bytes, bytes]) -> None:
        """Keep the parts of contents, by their hashes, for all pictures that were made of them."""
        db = self._catalog.db
        with self._catalog.writing():
            for content_hash, item in zip(parts_of, self.append(list(parts_of.values())), strict=True):
                for (image_id,) in db.execute("SELECT id FROM image WHERE hash = ?", (content_hash,)).fetchall():
                    keep_parts(db, image_id, content_hash, item)

    def settle(self, asked: Callable[[], Matrix]) -> None:
        """Rewrite the file where too many rows are of no picture, publish which are whose, and an index of them.

        The caller is the writer.

        Parameters
        ----------
        asked : callable
            Returns typical texts float32 (n_queries, dim), unit rows; only called where an index is made.
        """
        channel, facts = self._channel()
        if channel is None:
            for kind in _PUBLISHED:
                if current(self._store.files, kind) is not None:
                    withdraw(self._store.files, kind)
            return
        if self._n_dead(channel, facts) > _DEAD_SHARE * facts["n_rows"]:
            with self._catalog.writing():
                self._rewrite(facts, facts["most"])
            self._store.forget_old_epochs()
            channel, facts = self._channel()
        with self._catalog.reading():
            self._publish(channel, facts)
            published = self._listed(facts)
            if published.of:
                first = AsHalves(self._rows(facts), 0, published.n_rows)
                update_channel_index(self._store, PART_CELLS, first, published.of, asked)

    def _n_dead(self, channel: int | None, facts: Mapping[str, Any]) -> int:
        """Return how many rows are of no picture; 0 where no item has left since they were published."""
        published, n_rows = self._listed(facts), int(facts["n_rows"])
        if published.of and self._n_kept(channel, published.last) == published.n_items:
            return 0
        return n_rows - int(ListedParts.of(self._items(channel)).is_alive(n_rows).sum())

    def _n_kept(self, channel: int | None, last: int) -> int:
        """Return how many items there are up to an id."""
        sql = "SELECT count(*) FROM item WHERE channel = ? AND id <= ?"
        return int(self._catalog.db.execute(sql, (channel, last)).fetchone()[0])

    def _publish(self, channel: int | None, facts: Mapping[str, Any]) -> None:
        n, last = count_items(self._catalog.db, channel)
        published = self._listed(facts)
        n_kept = self._n_kept(channel, published.last)
        n_before = published.n_items
        if n_before - n_kept + n - n_kept <= max(_LEAST, _SHARE * n_before):
            return
        listed = ListedParts.of(self._items(channel))
        arrays = dict(zip(("item_ids", "image_ids", "rows", "n_parts"), listed.columns, strict=True))
        self._store.publish(
            PARTS,
            next_name(self._store.files, PARTS),
            lambda path: write_arrays(path, CHANNEL, {}, arrays),
            {
                "fingerprint": self._store.fingerprint(), "dim": self._store.dim, "epoch": facts["epoch"],
                "n_rows": facts["n_rows"], "n_items": n, "last": last,
            },
        )  # fmt: skip

    # -- proof ---------------------------------------------------------------------------------------

    def damaged(self) -> list[int]:
        """Return the ids of items whose vectors are lost or differ from their checksums, by reading all of them."""
        with self._catalog.reading():
            channel, facts = self._channel()
            if channel is None:
                return []
            rows = self._rows(facts)
            return [
                item_id
                for item_id, _, item in self._items(channel)
                if not _are_whole(rows[item.row : item.row + len(item.boxes)], item)
            ]

    def forget(self, item_ids: Sequence[int]) -> None:
        """Forget items, so that the next `index` makes them again; the caller is the writer."""
        with self._catalog.writing():
            self._catalog.db.executemany("DELETE FROM item WHERE id = ?", [(item_id,) for item_id in item_ids])

    def problems(self) -> dict[str, str]:
        """Return what is wrong with each cache that there is, by reading all of it."""
        return cache_problems(self._store, _PUBLISHED)


def _are_whole(signs: Signs, item: PartsItem) -> bool:
    """Return whether the vectors of the parts of a picture are what was stored."""
    return not len(item.boxes) or zlib.crc32(signs.tobytes()) == item.crc


def _opened(file: BinaryIO, facts: PartsSidecar) -> _Published:
    arrays = open_arrays(file, CHANNEL)
    listed = ListedParts(*(arrays[name][:] for name in ("item_ids", "image_ids", "rows", "n_parts")))
    return _Published(listed, facts["n_rows"], facts["n_items"], facts["last"], facts["sha256"])
