"""ANNOTATIONS of a library folder: what files and users say of its pictures, and which pictures a text is about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmsearch.annotations import Annotation, Kind
from mmsearch.annotations.highlights import Span, spans_of
from mmsearch.annotations.text import cleaned
from mmsearch.annotations.tokens import folded, terms_of
from mmsearch.errors import QueryError
from mmsearch.records import Matrix
from mmsearch.store.base import OnProgress, is_given
from mmsearch.store.captions import CaptionsToEmbed, CaptionVectors, NearCaptions
from mmsearch.store.documents import annotations_of, stale_documents, write_documents
from mmsearch.store.postings import Ids
from mmsearch.store.text_index import TEXTS, TextIndex, TextMatches

if TYPE_CHECKING:
    from mmsearch.store.folder import Store

TYPED = (Kind.TAG, Kind.CAPTION)
"""What users type: any number of tags, and one caption a picture."""
_OF_IMAGES = {
    "annotation": "annotations", "document": "documents", "item": "further vectors", "typed": "typed texts",
}  # fmt: skip
_MOST_COMPARED = 5_000  # documents
_LONGEST = {Kind.TAG: 200, Kind.CAPTION: 5_000}  # characters


class LibraryAnnotations:
    """The annotations of one open library folder, as `Store.annotations` gives them.

    Parameters
    ----------
    store : Store
        Opened for reading; by its writer for all that changes something.
    """

    def __init__(self, store: Store) -> None:
        self._store, self._catalog = store, store.catalog
        self._index, self._captions = TextIndex(store), CaptionVectors(store)

    # -- what is said --------------------------------------------------------------------------------

    @property
    def is_empty(self) -> bool:
        """Whether nothing is said of any picture."""
        with self._catalog.reading():
            return self._catalog.db.execute("SELECT 1 FROM document LIMIT 1").fetchone() is None

    @property
    def are_unread(self) -> bool:
        """Whether nothing that is written beside pictures seems to have been read yet, by an earlier version."""
        with self._catalog.reading():
            last = self._catalog.db.execute("SELECT annotated FROM image ORDER BY id DESC LIMIT 1").fetchone()
            return self.is_empty and last == (0,) and not is_given(self._store)

    @property
    def n_documents(self) -> int:
        """How many pictures something is said of."""
        with self._catalog.reading():
            return self._catalog.count("document")

    def of(self, image_ids: Sequence[int]) -> dict[int, tuple[Annotation, ...]]:
        """Return all that is said of some pictures, what the user typed first; others are left out.

        The source of what the user typed is `user`.
        """
        with self._catalog.reading():
            return annotations_of(self._catalog.db, image_ids)

    def typed_images(self) -> list[int]:
        """Return the pictures that the user typed something for, by id."""
        with self._catalog.reading():
            sql = "SELECT DISTINCT image FROM typed WHERE image IS NOT NULL ORDER BY image"
            return [image_id for (image_id,) in self._catalog.db.execute(sql)]

    def matches(self, text: str) -> TextMatches:
        """Return the pictures beside which something of a text stands, and how much of it.

        Double quotes hold what must follow one another; nothing else in the text is an operator. English function
        words and what stands beside more than half of the pictures that anything is said of carry no weight.
        """
        return self._index.matches(text)

    def highlights(
        self, image_ids: Sequence[int], text: str
    ) -> dict[int, tuple[tuple[Annotation, tuple[Span, ...]], ...]]:
        """Return the annotations of each of some pictures in which something of a text stands, each with where."""
        terms, said_of_image = terms_of(text), self.of(image_ids)
        texts = {said.text for of_image in said_of_image.values() for said in of_image}  # many say the same
        spans_in = {said: spans for said in texts if (spans := spans_of(said, terms))}
        return {
            image_id: tuple(
                (said, spans_in[said.text]) for said in said_of_image.get(image_id, ()) if said.text in spans_in
            )
            for image_id in image_ids
        }

    def settle(self) -> None:
        """Publish what texts are searched with, if that is worth it; the caller is the writer."""
        self._index.publish()
        self._captions.publish()

    def problems(self) -> dict[str, str]:
        """Return what is wrong with each cache that there is, by reading all of it."""
        problem = self._index.problem()
        return self._captions.problems() | ({} if problem is None else {TEXTS: problem})

    # -- proof ---------------------------------------------------------------------------------------

    def faults(self) -> list[str]:
        """Return what of the annotations in the catalog does not belong together: sentences; inside `reading()`.

        Of very many documents some thousands are compared with what is said.
        """
        db = self._catalog.db
        counts = {
            f"{texts} are of pictures that are not there": db.execute(
                f"SELECT count(*) FROM {table} WHERE image NOT NULL AND image NOT IN (SELECT id FROM image)"
            ).fetchone()[0]
            for table, texts in _OF_IMAGES.items()
        }
        counts["documents are not what is said of their pictures"] = len(stale_documents(db, _MOST_COMPARED))
        counts["further vectors differ from their checksums"] = len(self._captions.damaged())
        return [f"{n} {what}" for what, n in counts.items() if n]

    def repair(self) -> None:
        """Drop what belongs to no picture and vectors that are damaged, and write documents that differ anew."""
        damaged, db = self._captions.damaged(), self._catalog.db
        with self._catalog.writing():
            for table in ("annotation", "document", "item"):
                db.execute(f"DELETE FROM {table} WHERE image NOT IN (SELECT id FROM image)")
            db.execute("UPDATE typed SET image = NULL WHERE image NOT IN (SELECT id FROM image)")
            write_documents(db, stale_documents(db, None))
            if damaged:
                db.executemany("DELETE FROM item WHERE id = ?", [(item_id,) for item_id in damaged])
                self._captions.look_again()

    # -- captions as vectors -------------------------------------------------------------------------

    def near_captions(self) -> NearCaptions:
        """Return what finds the captions nearest to texts, the same object until one changes."""
        return self._captions.near()

    def caption_vectors(self) -> tuple[Ids, NDArray[np.float16]]:
        """Return whose captions have vectors, and a copy of these.

        Returns
        -------
        image_ids : int64 array, shape (m,)
            A picture may have several captions.
        vectors : float16 array, shape (m, dim)
            Of the text tower of the library's encoder, of unit length.
        """
        return self._captions.vectors()

    def index_captions(self, asked: Callable[[], Matrix]) -> None:
        """Publish the vectors of captions and an index of them, where that is worth it; the caller is the writer.

        Parameters
        ----------
        asked : callable
            Returns typical texts float32 (n_queries, dim) as captions are compared with them, unit rows; only
            called where an index is made.
        """
        self._captions.publish()
        self._captions.update_index(asked)

    def captions_to_embed(self, limit: int) -> CaptionsToEmbed | None:
        """Return captions without vectors of so many pictures at most; None if all have theirs.

        The caller is the writer, and gives their vectors to `store_caption_vectors`, or all goes by
        `embed_captions`. Captions, and titles, are embedded that have three words or more.
        """
        return self._captions.to_embed(limit)

    def store_caption_vectors(self, captions: CaptionsToEmbed, vectors: Matrix) -> None:
        """Keep the vectors (n, dim) of texts of `captions_to_embed`, in their order, in one transaction."""
        self._captions.keep(captions, vectors)

    def embed_captions(
        self, encode: Callable[[Sequence[str]], Matrix], on_progress: OnProgress, *, limit: int = 256
    ) -> int:
        """Give all captions that have none their vectors, and return how many texts were embedded.

        Parameters
        ----------
        encode : callable
            Given texts, returns their vectors (n, dim).
        on_progress : callable
            Given (`captions`, pictures looked at, pictures to be looked at).
        limit : int
            Pictures of one transaction.
        """
        return self._captions.embed(encode, on_progress, limit=limit)

    # -- what the user types -------------------------------------------------------------------------

    def type(self, image_ids: Sequence[int], kind: Kind, texts: Sequence[str]) -> int:
        """Keep tags, or a caption in place of the one before, for each of some pictures.

        Those of a frame are those of its film, and so of all its frames. They stay with a picture when it is moved,
        and come back with it when it was removed and is indexed again.

        Returns
        -------
        int
            How many texts pictures did not have before.

        Raises
        ------
        QueryError
            If a text says nothing or is too long, there is more than one caption, or a picture is not there.
        """
        texts = [kept_text(kind, text) for text in dict.fromkeys(texts)]
        if kind is Kind.CAPTION and len(texts) != 1:
            raise QueryError(f"{len(texts)} captions were given; expected one, as a picture has one of the user")
        ids, db = self._catalog.frames_with(self._known(image_ids)), self._catalog.db
        with self._catalog.writing():
            if kind is Kind.CAPTION:
                db.executemany(
                    "DELETE FROM typed WHERE kind = 'caption' AND text <> ? AND "
                    "(image = ? OR path = (SELECT path FROM image WHERE id = ?))",
                    [(texts[0], image_id, image_id) for image_id in ids],
                )
            n_before = db.total_changes
            db.executemany(
                "INSERT INTO typed (image, path, hash, kind, text) "
                "SELECT id, path, hash, ?, ? FROM image WHERE id = ? "
                "ON CONFLICT DO UPDATE SET image = excluded.image, hash = excluded.hash WHERE image IS NULL",
                [(kind.value, text, image_id) for image_id in ids for text in texts],
            )
            n_typed = db.total_changes - n_before
            write_documents(db, ids)
        return n_typed

    def untype(self, image_ids: Sequence[int], kind: Kind, texts: Sequence[str] | None = None) -> list[int]:
        """Forget tags or captions that the user typed for some pictures; None for all of a kind.

        Case and accents do not count. What files say stays.

        Returns
        -------
        list of int
            The id of the picture of each text that was forgotten.

        Raises
        ------
        QueryError
            If a picture is not there, or nothing of this kind is typed.
        """
        _require_typed(kind)
        ids, db = self._catalog.frames_with(self._known(image_ids)), self._catalog.db
        asked = None if texts is None else {folded(cleaned(text)) for text in texts}
        with self._catalog.writing():
            typed = [
                (row_id, image_id)
                for image_id in ids
                for row_id, text in db.execute(
                    "SELECT id, text FROM typed WHERE image = ? AND kind = ?", (image_id, kind.value)
                )
                if asked is None or folded(text) in asked
            ]
            db.executemany("DELETE FROM typed WHERE id = ?", [(row_id,) for row_id, _ in typed])
            write_documents(db, ids)
        return [image_id for _, image_id in typed]

    @property
    def n_waiting(self) -> int:
        """How many typed texts are of pictures that are not there, with which they would come back."""
        return self._catalog.count_typed("image IS NULL")

    def _known(self, image_ids: Sequence[int]) -> list[int]:
        """Return ids, each once, or raise QueryError if one is of no picture."""
        ids = list(dict.fromkeys(int(image_id) for image_id in image_ids))
        known = {image.image_id for image in self._store.images_of_ids(ids)}
        missing = [image_id for image_id in ids if image_id not in known]
        if missing:
            raise QueryError(f"there is no picture with the id {missing[0]} in the library; it may have left")
        return ids


def _require_typed(kind: Kind) -> None:
    if kind not in TYPED:
        raise QueryError(f"a {kind.value} is read from files; expected {' or '.join(each.value for each in TYPED)}")


def kept_text(kind: Kind, text: str) -> str:
    """Return what a user typed as it is kept, or raise QueryError."""
    _require_typed(kind)
    kept = cleaned(text)
    if not kept:
        raise QueryError(f"the {kind.value} {text!r} has no letter and no digit, so that nothing could find it")
    if len(kept) > _LONGEST[kind]:
        raise QueryError(f"a {kind.value} of {len(kept)} characters; expected at most {_LONGEST[kind]}")
    return kept
