"""BESIDE: what stands beside a picture: in its name, in those of its folders, and in files next to it.

What those files look like is kept with the picture, so that a change of them is noticed without reading anything.
Files that cannot be read are no error of the picture.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b

from mmsearch.annotations.base import Annotation, Annotations, Kind, merge
from mmsearch.annotations.gazetteer import named
from mmsearch.annotations.names import of_path
from mmsearch.annotations.sidecars import Folder
from mmsearch.records import ANNOTATING
from mmsearch.store.changes import KnownFile

_N_FOLDERS = 16  # whose listings are held at a time; pictures come folder by folder, from several workers


class Beside:
    """What stands beside pictures.

    Parameters
    ----------
    roots : iterable of bytes
        Absolute paths of folders that were ever indexed: a picture's folders, and lists in them, count from the
        outermost of those that it lies below, that one included.
    follow_links : bool
        As for `mmsearch.images.find_files`.
    """

    def __init__(self, roots: Iterable[bytes], *, follow_links: bool = False) -> None:
        self._roots = frozenset(roots)
        self._follow_links = follow_links
        self._folders: OrderedDict[bytes, Folder] = OrderedDict()

    def is_as_noted(self, file: KnownFile) -> bool:
        """Return whether annotations of a picture whose file did not change are those that the library has."""
        return file.annotated == ANNOTATING and file.beside == self.look(file.path)

    def look(self, path: bytes) -> bytes | None:
        """Return what tells whether the files beside a picture changed; None where there are none."""
        sidecars = self._folder(os.path.dirname(path)).beside(os.path.basename(path))
        looks = "".join(f"{sidecar.path!r} {sidecar.size} {sidecar.mtime_ns}\n" for sidecar in sidecars)
        return blake2b(looks.encode(), digest_size=16).digest() if sidecars else None

    def annotations(self, path: bytes, inside: Annotations) -> Annotations:
        """Return all annotations of a picture, given those inside its file; the names of its position are last."""
        names = Annotations(of_path(self._below_root(path)))
        written = merge(names, self._folder(os.path.dirname(path)).read(os.path.basename(path)), inside)
        return merge(written, Annotations(_places_at(written.position)))

    def _folder(self, path: bytes) -> Folder:
        if path not in self._folders:
            root = self._root_of(path)
            above = None if root is None or path == root else self._folder(os.path.dirname(path))
            self._folders[path] = Folder(path, above=above, follow_links=self._follow_links)
            if len(self._folders) > _N_FOLDERS:
                self._folders.popitem(last=False)
        self._folders.move_to_end(path)
        return self._folders[path]

    def _root_of(self, path: bytes) -> bytes | None:
        """Return the outermost root that a path is or lies below."""
        # Pictures may be named one by one, so there may be as many roots as pictures.
        parts = path.split(b"/")
        ancestors = (b"/".join(parts[:n]) or b"/" for n in range(1, len(parts) + 1))
        return next((folder for folder in ancestors if folder in self._roots), None)

    def _below_root(self, path: bytes) -> bytes:
        """Return a path from the name of its outermost root on, or its last name without any."""
        root = self._root_of(path)
        return os.path.basename(path) if root in (None, path) else os.path.relpath(path, os.path.dirname(root))


@lru_cache(maxsize=4096)
def _places_at(position: tuple[float, float] | None) -> tuple[Annotation, ...]:
    """Return the names of a position, where the package that knows them is installed."""
    names = None if position is None else named(*position)
    return tuple(Annotation(Kind.PLACE, "position", name) for name in names or ())
