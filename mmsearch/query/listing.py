"""LISTING: the pictures of a library page by page, and all their vectors as one matrix, wherever it stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from mmsearch.errors import QueryError
from mmsearch.predicates import FilterLike
from mmsearch.records import ImageRecord, LibraryVectors
from mmsearch.store.base import LibraryStore
from mmsearch.vectors import l2_normalize

_PAGE = 10_000
_TYPES = (np.dtype(np.float32), np.dtype(np.float16))


def pictures_of(store: LibraryStore, where: Sequence[FilterLike] = ()) -> Iterator[ImageRecord]:
    """Yield the pictures of a library that pass all filters, by id; those of one page are of one state of it."""
    after = None
    while True:
        page = store.page(where, order="added", after=after, offset=0, limit=_PAGE)
        yield from page.pictures
        if (after := page.next) is None:
            return


def vectors_of(store: LibraryStore, where: Sequence[FilterLike], dtype: object) -> LibraryVectors:
    """Return the pictures of one state of a library that pass filters, with their vectors; see `Library.vectors`.

    Every vector is compared with its checksum.
    """
    try:
        kind = np.dtype(dtype)  # type: ignore[call-overload]
    except TypeError:
        kind = np.dtype(object)
    if kind not in _TYPES:
        raise QueryError(f"dtype is {dtype!r}; expected float32, or float16 as a library stores vectors")

    def read() -> LibraryVectors:
        images = list(pictures_of(store, where))
        matrix = np.empty((len(images), store.dim), dtype=kind)
        for start in range(0, len(images), _PAGE):
            stored = store.vectors_of(images[start : start + _PAGE])
            is_wide = kind == np.float32
            matrix[start : start + _PAGE] = l2_normalize(stored.astype(np.float32)) if is_wide else stored
        ids = np.array([image.image_id for image in images], dtype=np.int64)
        return LibraryVectors(ids, [image.path for image in images], matrix)

    return store.consistently(read)
