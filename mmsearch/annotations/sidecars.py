"""What stands beside a picture in its folder: XMP, texts, JSON, and lists for many pictures."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from mmsearch.annotations.base import Annotations, Kind, annotation, merge
from mmsearch.annotations.fields import field_annotations, field_position
from mmsearch.annotations.lists import NAMES, Listed, read_list
from mmsearch.annotations.names import words_in
from mmsearch.annotations.takeout import json_names
from mmsearch.annotations.text import decoded
from mmsearch.annotations.xmp import xmp_annotations
from mmsearch.errors import PictureError
from mmsearch.images import first_bytes
from mmsearch.images.kinds import is_named_like_a_picture_or_film

_MAX_BYTES = 1 << 20  # of a file beside a picture; of lists, see there
_MAX_NAME = 1_000  # characters of a name in Google's Takeout
_TEXT_SUFFIXES = (b".txt", b".caption")


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A file beside a picture; of another size or time it may say something else."""

    path: bytes
    size: int
    mtime_ns: int


class _List(NamedTuple):
    """A list for many pictures, the folder that it is in, and from there the path of the folder of a picture."""

    sidecar: Sidecar
    folder: Folder
    below: bytes


class Folder:
    """The files of one folder by their names, looked at once and shared by all of its pictures.

    A file beside a picture is named `a.jpg.xmp` or `a.xmp`, `a.txt` or `a.caption`, `a.json` or as Google's Takeout
    names it; pictures that differ in their extension alone share it. A name in other cases counts where there is
    none in the same. Lists are those of this folder and of the folders above it. Only regular files count, and
    links as far as those to pictures do. A folder that cannot be looked at is empty.

    Parameters
    ----------
    path : bytes
        Of the folder.
    above : Folder or None
        The folder that it is in, if that is below or at the one that is indexed.
    follow_links : bool
        As for `images.find_files`.
    """

    def __init__(self, path: bytes, *, above: Folder | None = None, follow_links: bool = False) -> None:
        self._follow_links = follow_links
        self._entries: dict[bytes, os.DirEntry[bytes]] = {}
        with suppress(OSError), os.scandir(path) as entries:
            self._entries = {entry.name: entry for entry in entries}
        self._lower = {name.lower(): entry for name, entry in self._entries.items()}
        self._suffixes = {os.path.splitext(name)[1] for name in self._lower}
        self._listed: dict[bytes, Listed] = {}  # by the paths of lists that were read
        self._lists: list[_List] = [_List(sidecar, self, b"") for sidecar in self._sidecars(*NAMES)]
        if above is not None:
            name = os.path.basename(os.path.normpath(path))
            self._lists += [_List(file, folder, os.path.join(below, name)) for file, folder, below in above._lists]

    def beside(self, name: bytes) -> tuple[Sidecar, ...]:
        """Return the files that may say something of a picture, without reading them, in the order of `read`.

        Ask before `read`: a file that changes between them has another time at the next look.
        """
        return (*self._xmp(name), *self._texts(name), *self._json(name), *(each.sidecar for each in self._lists))

    def read(self, name: bytes) -> Annotations:
        """Return what stands beside a picture; XMP first, lists last. What is malformed is left out."""
        parts = [xmp_annotations(_beginning(sidecar), lead="sidecar:") for sidecar in self._xmp(name)]
        parts += [_from_text(sidecar) for sidecar in self._texts(name)]
        parts += [_from_json(sidecar, name) for sidecar in self._json(name)]
        parts += [
            Annotations(tuple(folder._list(sidecar.path).get(os.path.join(below, name), ())))
            for sidecar, folder, below in self._lists
        ]
        return merge(*parts)

    def _sidecars(self, *names: bytes) -> Iterator[Sidecar]:
        for name in names:
            entry = self._entries.get(name) or self._lower.get(name.lower())
            if entry is None:
                continue
            with suppress(OSError):
                status = entry.stat(follow_symlinks=self._follow_links)
                if stat.S_ISREG(status.st_mode):
                    yield Sidecar(entry.path, status.st_size, status.st_mtime_ns)

    def _xmp(self, name: bytes) -> Iterator[Sidecar]:
        return self._sidecars(*dict.fromkeys((name + b".xmp", os.path.splitext(name)[0] + b".xmp")))

    def _texts(self, name: bytes) -> Iterator[Sidecar]:
        return self._sidecars(*(os.path.splitext(name)[0] + suffix for suffix in _TEXT_SUFFIXES))

    def _json(self, name: bytes) -> Iterator[Sidecar]:
        """Yield the file of Google's Takeout, the likeliest, and the one that is named like the picture."""
        if b".json" not in self._suffixes:
            return  # the names that Takeout gives are many
        plain = os.path.splitext(name)[0] + b".json"
        exported = (other for other in map(os.fsencode, json_names(os.fsdecode(name))) if other != plain)
        yield from islice(self._sidecars(*exported), 1)
        yield from self._sidecars(plain)

    def _list(self, path: bytes) -> Listed:
        if path not in self._listed:
            self._listed[path] = read_list(path)
        return self._listed[path]


def _beginning(sidecar: Sidecar) -> bytes:
    """Return what is read of a file; nothing if it cannot be."""
    try:
        return first_bytes(sidecar.path, _MAX_BYTES)
    except PictureError:
        return b""


def _from_text(sidecar: Sidecar) -> Annotations:
    """Return the lines of a text as captions, but for those without a letter, such as boxes of objects."""
    source = "text:" + os.fsdecode(os.path.splitext(sidecar.path)[1]).lower()
    lines = decoded(_beginning(sidecar)).splitlines()
    return Annotations(
        tuple(
            caption
            for line in lines
            if any(map(str.isalpha, line))
            for caption in annotation(Kind.CAPTION, source, line)
        )
    )


def _from_json(sidecar: Sidecar, name: bytes) -> Annotations:
    """Return what a JSON object says; a title that names a file is the whole name of a picture that was cut off."""
    try:
        entry = json.loads(decoded(_beginning(sidecar)))
    except (ValueError, RecursionError):
        return Annotations()
    if not isinstance(entry, dict):
        return Annotations()
    texts = list(field_annotations(entry, "json"))
    title = entry.get("title")
    whole_name = title[-_MAX_NAME:].encode("utf-8", "replace") if isinstance(title, str) else b""
    if is_named_like_a_picture_or_film(whole_name):
        texts = [text for text in texts if text.kind is not Kind.TITLE]
        words, known = (words_in(os.path.splitext(part)[0]) for part in (whole_name, name))
        texts += annotation(Kind.NAME, "json:title", words if words != known else "")
    return Annotations(tuple(texts), position=field_position(entry))
