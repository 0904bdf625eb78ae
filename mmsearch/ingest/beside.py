"""BESIDE: what stands beside a picture: in its name, in those of its folders, and in files next to it.

What those files look like is kept with the picture, so that a change of them is noticed without reading anything.
Files that cannot be read are no error of the picture.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterable

from mmsearch.annotations.base import Annotations, merge
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
        Absolute paths of folders that were ever indexed: the names of a picture's folders count from the outermost
        of those that it lies below, that one included.
    """

    def __init__(self, roots: Iterable[bytes]) -> None:
        self._roots = sorted(set(roots), key=len)
        self._folders: OrderedDict[bytes, Folder] = OrderedDict()

    def is_as_noted(self, file: KnownFile) -> bool:
        """Return whether annotations of a picture whose file did not change are those that the library has."""
        return file.annotated == ANNOTATING and file.beside == self.look(file.path)

    def look(self, path: bytes) -> bytes | None:
        """Return what tells whether the files beside a picture changed; None where there are none."""
        return self._folder(path).look(os.path.basename(path))

    def annotations(self, path: bytes, inside: Annotations) -> Annotations:
        """Return all annotations of a picture, given those inside its file."""
        names = Annotations(of_path(self._below_root(path)))
        return merge(names, self._folder(path).read(os.path.basename(path)), inside)

    def _folder(self, path: bytes) -> Folder:
        name = os.path.dirname(path)
        if name not in self._folders:
            self._folders[name] = Folder(name)
            if len(self._folders) > _N_FOLDERS:
                self._folders.popitem(last=False)
        self._folders.move_to_end(name)
        return self._folders[name]

    def _below_root(self, path: bytes) -> bytes:
        """Return a path from the folder that holds its outermost root, or its last name without any."""
        for root in self._roots:
            if path.startswith(os.path.join(root, b"")):
                return os.path.relpath(path, os.path.dirname(root))
        return os.path.basename(path)
