"""PEOPLE: the groups of faces of a library wherever it stands, as `Library.people` gives them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

from mmsearch.arguments import as_id, as_text, ids_of
from mmsearch.errors import QueryError
from mmsearch.faces.packing import WHAT
from mmsearch.ingest.plan import absolute_roots
from mmsearch.records import FaceInPicture, PathLike, Person, PictureFace
from mmsearch.store.base import LibraryStore, Place, folder_of, in_folder

if TYPE_CHECKING:
    from mmsearch.store.folder import Store

T = TypeVar("T")


class People:
    """The people of a library: groups of faces, formed without labels, and what you decide of them, which stands.

    Parameters
    ----------
    place : Place
        Where the library stands; UnsupportedError is raised by all where that is an address.
    reader : callable
        Returns the library, opened for reading.
    """

    def __init__(self, place: Place, reader: Callable[[], LibraryStore]) -> None:
        self._place, self._reader = place, reader

    def list(self, *, with_hidden: bool = False) -> tuple[Person, ...]:
        """Return the groups, those of most faces first; hidden ones only if they are wanted."""
        return tuple(self._store().people.all(with_hidden=with_hidden))

    def person(self, group: int) -> Person:
        """Return one group.

        Raises
        ------
        GroupNotFoundError
            If there is no such group, as in all that follow.
        """
        return self._store().people.person(as_id(group, "group"))

    def faces(self, group: int) -> tuple[PictureFace, ...]:
        """Return the faces of a group, those that can be seen best first; of copies one."""
        return tuple(self._store().people.faces_of(as_id(group, "group")))

    def in_picture(self, image_id: int) -> tuple[FaceInPicture, ...]:
        """Return the faces of a picture, with whom they are taken for; none of one that is not in the library."""
        return tuple(self._store().people.in_picture(as_id(image_id, "image_id")))

    def names_without_faces(self) -> dict[int, str]:
        """Return the names of groups whose pictures all left, by their numbers; `forget` takes these, too."""
        return self._store().people.names_without_faces()

    def name(self, group: int, name: str | None) -> None:
        """Give a group a name, in place of that which it has; None takes it away.

        Its pictures answer to the filter `person = NAME`, and to the name as a word, until it goes.

        Raises
        ------
        QueryError
            Also if the name has no letter and no digit.
        """
        said = None if name is None else as_text(name, "name")
        self._change(lambda store: store.people.name(as_id(group, "group"), said))

    def hide(self, group: int, *, is_hidden: bool = True) -> None:
        """List a group no more, or again if `is_hidden` is False."""
        self._change(lambda store: store.people.hide(as_id(group, "group"), is_hidden=is_hidden))

    def merge(self, group: int, others: int | Iterable[int]) -> None:
        """Put the faces of other groups into a group, which takes the first of their names if it has none."""
        wanted = ids_of(others, "others")
        self._change(lambda store: store.people.merge(as_id(group, "group"), wanted))

    def split(
        self, group: int, paths: PathLike | Iterable[PathLike] = (), *, image_ids: int | Iterable[int] = ()
    ) -> int:
        """Take the faces that a group has in some pictures out of it; return their new group.

        Pictures are named by their paths, by folders of them, or by their ids. The faces never come back by
        themselves.

        Raises
        ------
        QueryError
            Also if none of its faces is there, or all are.
        """
        named = ids_of(image_ids, "image_ids")
        roots = absolute_roots(paths, is_none_enough=len(named) > 0)

        def split(store: Store) -> int:
            ids = [*named, *(file.image_id for root in roots for file in store.known_files(root))]
            if not ids:
                shown = os.fsdecode(roots[0])
                raise QueryError(f"{shown!r} is no picture of the library and no folder of any; name some of them")
            return store.people.split(as_id(group, "group"), ids)

        return self._change(split)

    def forget(self, group: int | None = None) -> int:
        """Erase the faces of a group with its name, or all faces, groups and names; return how many faces.

        Nothing of them is left in the files of the library. The faces of a group are not looked for again until
        their pictures change; after all are forgotten no faces are looked for until `index(faces=True)`.

        Raises
        ------
        LibraryLockedError
            If another process reads the library all the time, so that nothing can be erased yet.
        """
        if group is None:
            return self._change(lambda store: store.faces.want(False))
        return self._change(lambda store: store.people.forget(as_id(group, "group")))

    def _store(self) -> Store:
        folder_of(self._place, WHAT)
        return in_folder(self._reader(), WHAT)

    def _change(self, change: Callable[[Store], T]) -> T:
        folder_of(self._place, WHAT)
        with self._place.writer() as writer:
            store = in_folder(writer, WHAT)
            changed = change(store)
            store.annotations.settle()
        return changed
