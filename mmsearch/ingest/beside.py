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
from typing import NamedTuple

from mmsearch.annotations.base import Annotation, Annotations, Kind, merge
from mmsearch.annotations.gazetteer import named
from mmsearch.annotations.names import of_file, of_folder, outermost_root
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
        self._folders: OrderedDict[bytes, _KnownFolder] = OrderedDict()

    def is_as_noted(self, file: KnownFile) -> bool:
        """Return whether annotations of a picture whose file did not change are those that the library has."""
        return file.annotated == ANNOTATING and file.beside == self.look(file.path)

    def look(self, path: bytes) -> bytes | None:
        """Return what tells whether the files beside a picture changed; None where there are none."""
        folder, name = os.path.split(path)
        sidecars = self._folder(folder).files.beside(name)
        looks = "".join(f"{sidecar.path!r} {sidecar.size} {sidecar.mtime_ns}\n" for sidecar in sidecars)
        return blake2b(looks.encode(), digest_size=16).digest() if sidecars else None

    def annotations(self, path: bytes, inside: Annotations) -> Annotations:
        """Return all annotations of a picture, given those inside its file; the names of its position are last."""
        folder_path, name = os.path.split(path)
        folder = self._folder(folder_path)
        written = merge(Annotations((*of_file(name), *folder.names)), folder.files.read(name), inside)
        places = _places_at(written.position)
        return merge(written, Annotations(places)) if places else written

    def _folder(self, path: bytes) -> _KnownFolder:
        if path not in self._folders:
            root = outermost_root(path, self._roots)
            above = None if root is None or path == root else self._folder(os.path.dirname(path)).files
            files = Folder(path, above=above, follow_links=self._follow_links)
            self._folders[path] = _KnownFolder(files, of_folder(path, self._roots))
            if len(self._folders) > _N_FOLDERS:
                self._folders.popitem(last=False)
        self._folders.move_to_end(path)
        return self._folders[path]


class _KnownFolder(NamedTuple):
    """What is the same for all pictures of a folder: the files in it, and the words of its path."""

    files: Folder
    names: tuple[Annotation, ...]


@lru_cache(maxsize=4096)
def _places_at(position: tuple[float, float] | None) -> tuple[Annotation, ...]:
    """Return the names of a position, where the package that knows them is installed."""
    names = None if position is None else named(*position)
    return tuple(Annotation(Kind.PLACE, "position", name) for name in names or ())
