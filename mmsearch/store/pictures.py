"""PICTURES: what is asked of a library by who searches it, indexes into it or shows it, answered by a catalog.

This is the part of a `Store` that says nothing of files. `query/`, `ingest/` and `server/` ask it by
`mmsearch.store.base.LibraryStore`, and never the catalog behind it.
"""

from __future__ import annotations

import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from mmsearch.annotations import Annotation
from mmsearch.errors import QueryError
from mmsearch.frames import frame_name
from mmsearch.predicates import FilterLike, Predicate
from mmsearch.records import BadPicture, GivenLabel, ImageRecord, LabelSet, Order, PicturePage
from mmsearch.store.base import ALL, Condition, Copies
from mmsearch.store.catalog import Catalog, PageEnd
from mmsearch.store.changes import KnownBad, KnownFile
from mmsearch.store.documents import annotations_of
from mmsearch.store.facets import Facet, Facets, count_facets, count_months
from mmsearch.store.label_sets import label_sets, labels_of
from mmsearch.store.possible import possible_condition
from mmsearch.store.spelling import spelled
from mmsearch.store.where import SqlCondition, condition_of

_MOST = (1 << 63) - 1
_ALL_ROWS = SqlCondition()
T = TypeVar("T")


class Pictures:
    """The pictures of a library with what is known of each; not shared between threads.

    Parameters
    ----------
    catalog : Catalog
        Opened; closed by who opened it.
    """

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._compiled: tuple[Predicate | None, int, SqlCondition] = (None, -1, SqlCondition())  # with its revision
        self._label_sets: tuple[int, tuple[LabelSet, ...]] = (-1, ())  # with their revision

    def reading(self) -> AbstractContextManager[None]:
        """Hold one consistent state of the library for what is asked inside."""
        return self.catalog.reading()

    # -- the library ---------------------------------------------------------------------------------

    @property
    def revision(self) -> int:
        """A number that grows with every change of the library."""
        return int(self.catalog.meta("revision"))

    @property
    def n_pictures(self) -> int:
        """Pictures in the library."""
        return self.catalog.count("image")

    def setting(self, name: str) -> Any:
        """Return a setting that `keep` stored, or None."""
        return self.catalog.meta(name)

    def keep(self, settings: dict[str, Any]) -> None:
        """Store settings that JSON can hold; the caller is the writer."""
        with self.catalog.writing():
            self.catalog.set_meta(settings)

    def fingerprint(self) -> str:
        """Return that of the encoder which made the vectors, by the latest state of the library."""
        with self.reading():
            return str(self.setting("fingerprint"))

    def of_one_encoder(self, read: Callable[[], T]) -> T:
        """Return what `read` gives, asked again if the library was given vectors of another encoder meanwhile.

        What is encoded by one encoder must not meet vectors of another. An error of the first try does not count
        then: the encoder of before goes with its vectors.
        """
        while True:
            fingerprint = self.fingerprint()
            try:
                answer = read()
            except Exception:
                if self.fingerprint() == fingerprint:
                    raise
                continue
            if self.fingerprint() == fingerprint:
                return answer

    # -- for searches --------------------------------------------------------------------------------

    def condition(self, where: Sequence[FilterLike]) -> Condition:
        """Return what passes all of some filters.

        Raises
        ------
        QueryError
            If a filter is not understood, or no picture could pass in the present state of the library.
        """
        if not where:
            return ALL
        with self.reading():
            compiled = possible_condition(self.catalog, where)
            self._compiled = compiled.predicate, self.revision, compiled
        return Condition(compiled.predicate)

    def compiled(self, condition: Condition) -> SqlCondition:
        """Return a condition as SQL over the present state of the library; inside `reading()`."""
        predicate, revision = condition.predicate, self.revision
        if predicate is not None and self._compiled[:2] != (predicate, revision):
            self._compiled = predicate, revision, spelled(self.catalog, condition_of(predicate))
        sql = SqlCondition() if predicate is None else self._compiled[2]
        return sql.without(condition.left_out)

    def images_of_ids(self, image_ids: Sequence[int], condition: Condition = ALL) -> list[ImageRecord]:
        """Return the pictures with these ids that pass a condition, in no special order."""
        with self.reading():
            sql = self.compiled(condition)
            return self.catalog.images_of_ids(image_ids, sql.sql, sql.parameters)

    def images_of_rows(
        self, rows: Sequence[int], condition: SqlCondition = _ALL_ROWS, *, is_one_enough: bool = False
    ) -> list[ImageRecord]:
        """Return the pictures that refer to these rows and pass a condition, in no special order.

        If one is enough, it is the first of those that share their contents and a row.
        """
        return self.catalog.images_of_rows(rows, condition.sql, condition.parameters, is_one_enough=is_one_enough)

    def rows_of_ids(self, image_ids: Sequence[int], condition: Condition) -> list[tuple[int, int]]:
        """Return (id, row) of the pictures with these ids that pass a condition, in no special order."""
        sql = self.compiled(condition)
        return self.catalog.rows_of_ids(image_ids, sql.sql, sql.parameters)

    def rows_of_passing(self, condition: Condition) -> list[tuple[int, int]]:
        """Return (id, row) of all pictures that pass a condition, by id."""
        sql = self.compiled(condition)
        return self.catalog.rows_of_passing(sql.sql, sql.parameters)

    def ids_of_rows(self, rows: Sequence[int], condition: Condition) -> list[tuple[int, int]]:
        """Return (id, row) of the pictures that refer to these rows and pass a condition, in no special order."""
        sql = self.compiled(condition)
        return self.catalog.ids_of_rows(rows, sql.sql, sql.parameters)

    def rows_passing(self, condition: SqlCondition, *, limit: int | None = None) -> list[int]:
        """Return the rows of pictures that pass a condition, possibly repeated, up to a limit."""
        return self.catalog.rows_where(condition.sql, condition.parameters, -1 if limit is None else limit)

    def ids_passing(self, condition: SqlCondition, *, limit: int) -> list[int]:
        """Return the ids of up to so many pictures that pass a condition."""
        return self.catalog.ids_where(condition.sql, condition.parameters, limit)

    def dead_rows(self) -> list[int]:
        """Return the rows that no picture refers to any more."""
        return self.catalog.dead_rows()

    def image_at(self, path: bytes) -> ImageRecord | None:
        """Return the picture that was indexed under this path, or None."""
        return self.catalog.image_at(path)

    def images_with_hash(self, content_hash: bytes) -> list[ImageRecord]:
        """Return the pictures that were made of files of these contents, by id."""
        return self.catalog.images_with_hash(content_hash)

    def hashes_of(self, image_ids: Sequence[int]) -> dict[int, bytes]:
        """Return the sha256 of the file that each of some pictures lies in: for the frames of a film one."""
        return self.catalog.file_hashes_of(image_ids)

    def copies_of(
        self, content_hashes: Iterable[bytes], condition: Condition = ALL, *, limit: int
    ) -> dict[bytes, Copies]:
        """Return the pictures of the same contents that pass a condition, where there are several of them."""
        with self.reading():
            counts = self.catalog.count_copies(list(content_hashes))  # without a filter, in an index alone
            if not counts:
                return {}
            sql = self.compiled(condition)
            if sql.sql:
                counts = self.catalog.count_copies(list(counts), sql.sql, sql.parameters)
            return {
                content_hash: Copies(
                    n, self.catalog.images_with_hash(content_hash, sql.sql, sql.parameters, limit=limit)
                )
                for content_hash, n in counts.items()
            }

    def original(self, image_id: int) -> tuple[ImageRecord, bytes] | None:
        """Return a picture and what tells its contents, or None if there is no such picture.

        That is the sha256 of the file that it was made of, or `frame_hash`.
        """
        with self.reading():
            images = self.images_of_ids([image_id])
            return (images[0], self.catalog.hashes_of([image_id])[image_id]) if images else None

    # -- to be shown ---------------------------------------------------------------------------------

    def page(
        self, where: Sequence[FilterLike], *, order: Order, after: str | None, offset: int, limit: int
    ) -> PicturePage:
        """Return some of the pictures that pass all filters; see `Library.pictures`."""
        end = None if after is None else _end_of(after)
        with self.reading():
            condition = self.catalog.once(self.compiled(self.condition(where)))
            n = self.catalog.count_where(condition.sql or "1", condition.parameters)
            images = self.catalog.page(
                condition,
                order=order,
                after=end,
                offset=min(offset, _MOST),
                limit=min(limit + 1, _MOST),
                n_passing=n,
            )
        following = _cursor(images[limit - 1]) if len(images) > limit else None
        return PicturePage(tuple(images[:limit]), n, following)

    def count_passing(self, where: Sequence[FilterLike] = ()) -> int:
        """Return how many pictures pass all filters, a film being one."""
        with self.reading():
            condition = self.catalog.once(self.compiled(self.condition(where)))
            return self.catalog.count_where(condition.sql or "1", condition.parameters)

    def facets(self, where: Sequence[FilterLike] = ()) -> Facets:
        """Return the classes of the pictures that pass all filters; see `Library.facets`."""
        return count_facets(self.catalog, where)

    def timeline(self, where: Sequence[FilterLike] = ()) -> tuple[Facet, ...]:
        """Return the months of the pictures that pass all filters; see `Library.timeline`."""
        with self.reading():
            return count_months(self.catalog, self.catalog.once(self.compiled(self.condition(where))))

    def label_sets(self) -> tuple[LabelSet, ...]:
        """Return the sets of labels that pictures are given, by name."""
        with self.reading():
            if self._label_sets[0] != self.revision:
                self._label_sets = self.revision, label_sets(self.catalog)
            return self._label_sets[1]

    def labels_of(self, image_ids: Sequence[int]) -> dict[int, tuple[GivenLabel, ...]]:
        """Return the labels of each of some pictures, most probable first; those without any are left out."""
        with self.reading():
            return labels_of(self.catalog, image_ids)

    def annotations_of(self, image_ids: Sequence[int]) -> dict[int, tuple[Annotation, ...]]:
        """Return what files and users say of some pictures, the user's first; others are left out."""
        with self.reading():
            return annotations_of(self.catalog.db, image_ids)

    # -- for what is indexed -------------------------------------------------------------------------

    def roots(self) -> list[bytes]:
        """Return the folders and files that were ever given to `index`."""
        return self.catalog.roots()

    def known_files(self, root: bytes) -> Iterator[KnownFile]:
        """Yield what is known of every picture at or below `root`."""
        return self.catalog.known_files(root)

    def files_at(self, paths: Sequence[bytes]) -> list[KnownFile]:
        """Return what is known of the pictures that are stored under these paths, in no special order."""
        return self.catalog.files_at(paths)

    def bad_files(self, root: bytes) -> Iterator[KnownBad]:
        """Yield what is known of every rejected file at or below `root`."""
        return self.catalog.bad_files(root)

    def bad_pictures(self) -> list[BadPicture]:
        """Return every rejected file with its reason, by path."""
        return self.catalog.bad_pictures()

    def count_below(self, root: bytes) -> int:
        """Return the number of pictures at or below `root`, a film being one."""
        return self.catalog.count_below(root)

    def paths_of_size(self, size: int) -> list[bytes]:
        """Return the paths of all pictures whose files have so many bytes."""
        return self.catalog.paths_of_size(size)

    def reading_of(self, image_id: int) -> int:
        """Return the number of the way in which a picture was read."""
        return self.catalog.reading_of(image_id)

    def last_id(self) -> int:
        """Return the highest id ever given to a picture; ids are not used twice."""
        return self.catalog.last_id()


def _cursor(image: ImageRecord) -> str:
    """Return what says where a page ended, in each order."""
    said = f"{image.image_id}@{image.taken_at or ''}".encode()
    path = os.fsencode(image.path)
    return urlsafe_b64encode(said + (frame_name(path, image.moment.at) if image.moment else path)).decode()


def _end_of(cursor: str) -> PageEnd:
    """Return where a page ended."""
    try:
        said, slash, path = urlsafe_b64decode(cursor).partition(b"/")
        image_id, _, taken = said.decode().partition("@")
        return PageEnd(min(int(image_id), _MOST), slash + path, taken)
    except ValueError as error:
        shown = cursor if len(cursor) <= 60 else f"{cursor[:57]}..."
        raise QueryError(f"after is {shown!r}; expected the `next` of a page, as it was given") from error
