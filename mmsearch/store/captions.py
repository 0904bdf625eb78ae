"""CAPTIONS: sentences beside pictures as vectors of the text tower, a channel of the catalog.

The vectors in the catalog are the truth; most of them are published as one matrix besides. Which pictures were
looked at is known by the number of the commit that wrote their documents, so a run that is ended goes on where it
was. What is not said of a picture any more leaves with its document.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from mmsearch.array_file import arrays_in_pieces, open_arrays
from mmsearch.errors import DimensionError
from mmsearch.file_array import HalfRows
from mmsearch.indexes.exact import ExactIndex, merge
from mmsearch.records import Cosines, Matrix, Unusable
from mmsearch.store.base import OnProgress
from mmsearch.store.channel_index import ChannelIndexSidecar, PublishedRows, channel_index, update_channel_index
from mmsearch.store.channels import Loaded, cache_problems, count_items, forget_channel, kept_channel
from mmsearch.store.documents import CHANNEL, captions_of, digest_of, said_of
from mmsearch.store.matrix import look_of
from mmsearch.store.publish import Kind, Sidecar, current, manifest_state, next_name, sidecar_checksum
from mmsearch.vectors import check_directions, l2_normalize

if TYPE_CHECKING:
    from pathlib import Path

    from mmsearch.store.folder import Store

Ids = NDArray[np.int64]


class CaptionsSidecar(Sidecar):
    """What is noted of published vectors: of which encoder they are, how wide, and the last that are among them."""

    fingerprint: str
    dim: int
    last: int


CAPTIONS: Final[Kind[CaptionsSidecar]] = Kind(CHANNEL)
CAPTION_CELLS: Final[Kind[ChannelIndexSidecar]] = Kind("captioncells")
_PUBLISHED: Final[tuple[Kind[Any], ...]] = (CAPTIONS, CAPTION_CELLS)
_BLOCK = 8_192  # vectors that are written at a time
_LEAST, _SHARE = 1_000, 0.02  # vectors made or gone since they were published that are worth it, as of postings


@dataclass(frozen=True)
class _Published:
    """Published items: their ids, those of their pictures, their vectors, the last id, the sha256 of the file."""

    item_ids: Ids
    image_ids: Ids
    vectors: HalfRows
    last: int
    of: str


@dataclass(frozen=True)
class _Rows:
    """All vectors: whose they are, the published ones, of which file, those since, which of the first are gone."""

    image_ids: Ids
    published: HalfRows
    of: str
    fresh: NDArray[np.float16]
    dead: Ids


@dataclass(frozen=True)
class CaptionsToEmbed:
    """Captions of some pictures without vectors: the texts, each once, and which of them each picture has.

    `mark` is where who looks for the next goes on.
    """

    texts: tuple[str, ...]
    of_images: Mapping[int, tuple[str, ...]]
    mark: tuple[int, int]


class NearCaptions:
    """Finds the captions nearest to texts in one state of a library.

    Parameters
    ----------
    image_ids : int64 array, shape (n,)
        Whose captions they are; a picture may have several.
    published : PublishedRows
        Finds the first of them.
    fresh : float16 array, shape (m, dim)
        The vectors of the m others.
    dead : int64 array
        Which of the first are none any more.
    """

    def __init__(self, image_ids: Ids, published: PublishedRows, fresh: NDArray[np.float16], dead: Ids) -> None:
        self._image_ids, self._published, self._fresh = image_ids, published, ExactIndex(fresh)
        self._n_published = len(image_ids) - len(fresh)
        self._is_alive = np.ones(len(image_ids), dtype=np.bool_)
        self._is_alive[dead] = False
        self.n_pictures = len(np.unique(image_ids[self._is_alive]))
        """How many pictures have captions."""

    def search(self, queries: Matrix, k: int, *, among: Ids | None = None) -> tuple[Cosines, Ids]:
        """Return the cosines of the k nearest captions of every query, and whose they are; all if there are fewer.

        With `among` they are the exact nearest of those of some pictures, else as an index finds them.
        """
        if among is None:
            first, others = self._published.search(queries, k), self._fresh.search(queries, k)
        else:
            rows = np.flatnonzero(self._is_alive & np.isin(self._image_ids, among))
            is_first = rows < self._n_published
            first = self._published.search_among(queries, k, rows[is_first])
            others = self._fresh.search_among(queries, k, rows[~is_first] - self._n_published)
        scores, nearest = merge(first, (others[0], others[1] + self._n_published), k)
        return scores, self._image_ids[nearest]


def forget_captions(db: sqlite3.Connection) -> None:
    """Forget all vectors of captions, which are made again; inside a transaction of the writer."""
    forget_channel(db, CHANNEL)


class CaptionVectors:
    """The vectors of captions of one open library folder; keeps those that it has loaded.

    Parameters
    ----------
    store : Store
        Opened for reading; by its writer for all that changes something.
    """

    def __init__(self, store: Store) -> None:
        self._store, self._catalog = store, store.catalog
        self._near: Loaded[NearCaptions] = Loaded()

    # -- reading -------------------------------------------------------------------------------------

    def near(self) -> NearCaptions:
        """Return what finds captions, the same object until one changes."""
        with self._catalog.reading():
            files = self._store.files
            look = look_of(files / f"{current(files, CAPTIONS)}.bin")
            revision = self._store.revision, self._store.setting("library"), manifest_state(files), look
            return self._near.at(
                revision,
                lambda: (self._state_now(), [sidecar_checksum(files, kind) for kind in _PUBLISHED], look),
                lambda: self._loaded(self._channel()[0]),
            )

    def vectors(self) -> tuple[Ids, NDArray[np.float16]]:
        """Return a copy of all vectors (n, dim), and whose they are."""
        with self._catalog.reading():
            rows = self._rows(self._channel()[0])
        live = np.setdiff1d(np.arange(len(rows.published)), rows.dead)
        is_alive = np.ones(len(rows.image_ids), dtype=np.bool_)
        is_alive[rows.dead] = False
        return rows.image_ids[is_alive], np.concatenate([rows.published[live], rows.fresh])

    def _state_now(self) -> tuple[int | None, int, int, object, object]:
        channel, facts = self._channel()
        n, last = count_items(self._catalog.db, channel)
        return channel, n, last, facts.get("fingerprint"), self._store.setting("library")

    def _channel(self) -> tuple[int | None, dict[str, Any]]:
        """Return the number of the channel with what is kept of it, if it is of the library's encoder."""
        number, facts = kept_channel(self._catalog.db, CHANNEL)
        is_fit = (facts.get("fingerprint"), facts.get("dim")) == (self._store.fingerprint(), self._store.dim)
        return (number, facts) if is_fit else (None, {})

    def _loaded(self, channel: int | None) -> NearCaptions:
        rows = self._rows(channel)
        cells = channel_index(self._store, CAPTION_CELLS, rows.published, rows.of) if rows.of else None
        published = PublishedRows(rows.published, rows.dead, cells)
        return NearCaptions(rows.image_ids, published, rows.fresh, rows.dead)

    def _rows(self, channel: int | None) -> _Rows:
        opened = self._published()
        kept = self._catalog.db.execute("SELECT id FROM item WHERE channel = ?", (channel,)).fetchall()
        ids = np.array([item_id for (item_id,) in kept], dtype=np.int64)
        there = np.isin(opened.item_ids, ids)
        fresh = [*self._items(channel, after=opened.last)]
        # A file that was published after the state that is read lacks what has gone since.
        for item_id in np.setdiff1d(ids[ids <= opened.last], opened.item_ids).tolist():
            fresh += self._items(channel, after=item_id - 1, limit=1)
        halves = np.frombuffer(b"".join(vector for _, _, vector in fresh), dtype="<f2")
        fresh_ids = np.array([image_id for _, image_id, _ in fresh], dtype=np.int64)
        image_ids = np.concatenate([opened.image_ids, fresh_ids])
        return _Rows(
            image_ids,
            opened.vectors,
            opened.of,
            halves.reshape(len(fresh), self._store.dim),
            np.flatnonzero(~there),
        )

    def _published(self) -> _Published:
        """Return the published vectors; none where they cannot be used."""
        expected = {"fingerprint": self._store.fingerprint(), "dim": self._store.dim}
        opened = self._store.load_matching(CAPTIONS, expected, _opened, is_stamp_enough=True)
        if isinstance(opened, Unusable):
            nothing = np.zeros(0, np.int64)
            return _Published(nothing, nothing, np.zeros((0, self._store.dim), np.float16), 0, "")
        return opened

    def _items(self, channel: int | None, *, after: int, limit: int = -1) -> Iterator[tuple[int, int, bytes]]:
        """Yield (id, picture, vector) of so many items after an id, or of all, as far as they are whole."""
        sql = "SELECT id, image, vector, crc32 FROM item WHERE channel = ? AND id > ? ORDER BY id LIMIT ?"
        for item_id, image_id, vector, crc in self._catalog.db.execute(sql, (channel, after, limit)):
            if zlib.crc32(vector) == crc and len(vector) == 2 * self._store.dim:
                yield item_id, image_id, vector

    # -- writing -------------------------------------------------------------------------------------

    def embed(self, encode: Callable[[Sequence[str]], Matrix], on_progress: OnProgress, *, limit: int) -> int:
        """Give captions that have none their vectors, and return how many texts were embedded.

        Parameters
        ----------
        encode : callable
            Given texts, returns their vectors (n, dim).
        on_progress : callable
            Given (`captions`, pictures looked at, pictures to be looked at).
        limit : int
            Pictures of one transaction.
        """
        n_texts, n_done, n = 0, 0, self.n_left
        while (captions := self.to_embed(limit)) is not None:
            self.keep(captions, encode(captions.texts))
            n_texts, n_done = n_texts + len(captions.texts), min(n_done + len(captions.of_images), n)
            on_progress(CHANNEL, n_done, n)
        return n_texts

    @property
    def n_left(self) -> int:
        """How many documents were not looked at yet."""
        mark = self._mark()
        sql = "SELECT count(*) FROM document WHERE revision >= ? AND (revision, image) > (?, ?)"
        return int(self._catalog.db.execute(sql, (mark[0], *mark)).fetchone()[0])

    def _mark(self) -> tuple[int, int]:
        _, facts = self._channel()
        return facts.get("revision", -1), facts.get("image", -1)

    def to_embed(self, limit: int) -> CaptionsToEmbed | None:
        """Return the next captions without vectors, of as many pictures at most, or None if all have theirs.

        Pictures that have nothing to embed are passed over for good.
        """
        while True:
            mark, db = self._mark(), self._catalog.db
            looked_at = db.execute(
                "SELECT image, revision FROM document WHERE revision >= ? AND (revision, image) > (?, ?) "
                "ORDER BY revision, image LIMIT ?",
                (mark[0], *mark, limit),
            ).fetchall()
            if not looked_at:
                return None
            ids = [image_id for image_id, _ in looked_at]
            missing = self._missing(ids)
            texts = tuple(dict.fromkeys(text for of_image in missing.values() for text in of_image))
            captions = CaptionsToEmbed(texts, missing, (looked_at[-1][1], ids[-1]))
            if texts:
                return captions
            self.keep(captions, np.zeros((0, self._store.dim), np.float32))

    def _missing(self, image_ids: Sequence[int]) -> dict[int, tuple[str, ...]]:
        """Return the captions without vectors of each of some pictures."""
        channel, _ = self._channel()
        missing: dict[int, tuple[str, ...]] = {}
        for image_id, said in said_of(self._catalog.db, image_ids).items():
            sql = "SELECT made_of FROM item WHERE channel = ? AND image = ?"
            made = {digest for (digest,) in self._catalog.db.execute(sql, (channel, image_id))}
            missing[image_id] = tuple(text for text in captions_of(said) if digest_of(text) not in made)
        return missing

    def keep(self, captions: CaptionsToEmbed, vectors: Matrix) -> None:
        """Keep the vectors (n, dim) of texts that `to_embed` gave, in its order, in one transaction.

        Raises
        ------
        VectorError, DimensionError
            If a vector cannot be used; nothing is kept.
        """
        dim = self._store.dim
        if vectors.shape != (len(captions.texts), dim):
            raise DimensionError(
                f"the vectors of {len(captions.texts)} captions have the shape {vectors.shape}, expected "
                f"{(len(captions.texts), dim)}"
            )
        check_directions(vectors, "vectors of captions")
        halves = l2_normalize(vectors).astype("<f2")
        bytes_of = {text: half.tobytes() for text, half in zip(captions.texts, halves, strict=True)}
        with self._catalog.writing():
            channel, db = self._writable_channel(captions.mark), self._catalog.db
            for image_id, texts in captions.of_images.items():
                (first,) = db.execute(
                    "SELECT ifnull(max(part), -1) + 1 FROM item WHERE channel = ? AND image = ?",
                    (channel, image_id),
                ).fetchone()
                db.executemany(
                    "INSERT INTO item (channel, image, part, made_of, crc32, vector) VALUES (?, ?, ?, ?, ?, ?)",
                    [
                        (channel, image_id, part, digest_of(text), zlib.crc32(bytes_of[text]), bytes_of[text])
                        for part, text in enumerate(texts, first)
                    ],
                )

    def _writable_channel(self, mark: tuple[int, int]) -> int:
        """Return the number of the channel, made anew where it was of another encoder, with a mark."""
        db, (channel, _) = self._catalog.db, self._channel()
        if channel is None:
            forget_captions(db)
        fingerprint, dim = self._store.fingerprint(), self._store.dim
        facts = {"dtype": "float16", "dim": dim, "fingerprint": fingerprint, "revision": mark[0], "image": mark[1]}
        db.execute(
            "INSERT INTO channel (name, facts) VALUES (?, ?) ON CONFLICT DO UPDATE SET facts = excluded.facts",
            (CHANNEL, json.dumps(facts)),
        )
        return int(db.execute("SELECT id FROM channel WHERE name = ?", (CHANNEL,)).fetchone()[0])

    def look_again(self) -> None:
        """Let the captions of all pictures be looked at again; inside a transaction of the writer."""
        self._writable_channel((-1, -1))

    def publish(self) -> None:
        """Publish the vectors as one matrix, if many changed since they last were; the caller is the writer."""
        with self._catalog.reading():
            channel, n, last, fingerprint, _ = self._state_now()
            published = self._published()
            n_before = len(published.item_ids)
            sql = "SELECT count(*) FROM item WHERE channel = ? AND id <= ?"
            (n_kept,) = self._catalog.db.execute(sql, (channel, published.last)).fetchone()
            if n_before - n_kept + n - n_kept <= max(_LEAST, _SHARE * n_before):
                return
            facts = {"fingerprint": fingerprint, "dim": self._store.dim, "last": last}
            name = next_name(self._store.files, CAPTIONS)
            self._store.publish(CAPTIONS, name, lambda path: self._save(path, channel, n), facts)

    def update_index(self, asked: Callable[[], Matrix]) -> None:
        """Publish an index of the published vectors, if that is worth it; the caller is the writer.

        Parameters
        ----------
        asked : callable
            Returns typical texts float32 (n_queries, dim) as captions are compared with them, unit rows.
        """
        published = self._published()
        update_channel_index(self._store, CAPTION_CELLS, published.vectors, published.of, asked)

    def _save(self, path: Path, channel: int | None, n: int) -> None:
        """Write n items, less those that are damaged, to a file."""
        described: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {
            "item_ids": (np.dtype(np.int64), (n,)), "image_ids": (np.dtype(np.int64), (n,)),
            "vectors": (np.dtype(np.float16), (n, self._store.dim)),
        }  # fmt: skip
        n_written = 0
        with arrays_in_pieces(path, CHANNEL, {}, described) as put:
            items = self._items(channel, after=0)
            while block := list(islice(items, _BLOCK)):
                item_ids, image_ids, vectors = zip(*block, strict=True)
                put("item_ids", n_written, np.array(item_ids, dtype=np.int64))
                put("image_ids", n_written, np.array(image_ids, dtype=np.int64))
                halves = np.frombuffer(b"".join(vectors), dtype="<f2").reshape(len(block), -1)
                put("vectors", n_written, halves)
                n_written += len(block)

    # -- proof ---------------------------------------------------------------------------------------

    def problems(self) -> dict[str, str]:
        """Return what is wrong with the published vectors and their index, by reading all of both."""
        return cache_problems(self._store, _PUBLISHED)

    def damaged(self) -> list[int]:
        """Return the ids of items whose vectors differ from their checksums."""
        sql = "SELECT id, vector, crc32 FROM item"
        return [item_id for item_id, vector, crc in self._catalog.db.execute(sql) if zlib.crc32(vector) != crc]


def _opened(file: BinaryIO, facts: CaptionsSidecar) -> _Published:
    arrays = open_arrays(file, CHANNEL)
    return _Published(
        arrays["item_ids"][:], arrays["image_ids"][:], arrays["vectors"], facts["last"], facts["sha256"]
    )
