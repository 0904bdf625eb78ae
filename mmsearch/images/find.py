"""Find candidate pictures below folders; every problem belongs to one named entry.

Paths are bytes (`os.fsencode`): names that are not UTF-8 are legal. Nothing here blocks on a FIFO, follows
a loop of links or raises for one bad entry.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field

from mmsearch.errors import PictureError
from mmsearch.frames import file_of
from mmsearch.images.ignore import IGNORE_FILE, Exclusions
from mmsearch.images.kinds import (
    EXCLUDED,
    FILM,
    is_left_out,
    is_named_like_a_bundle,
    is_named_like_a_picture,
    is_picture_despite_name,
    unread_kind_of_name,
)
from mmsearch.images.read import first_bytes, refusal
from mmsearch.records import FileLook


@dataclass(frozen=True)
class FoundFile:
    """A candidate picture: its absolute path, and what it looks like."""

    path: bytes
    look: FileLook


@dataclass(frozen=True)
class Unreachable:
    """A file or folder that could not be looked at, with a reason code and a sentence."""

    path: bytes
    code: str
    message: str
    is_folder: bool


@dataclass(frozen=True)
class PassedOver:
    """A picture or film that is not read, with its kind; or a folder left out by default, with its name.

    What patterns leave out is of the kind `EXCLUDED`.
    """

    path: bytes
    kind: str
    is_folder: bool


Found = FoundFile | Unreachable | PassedOver


LINK_ELSEWHERE = "link elsewhere"
"""Kind of a link that is passed over, as its folder has a place of its own."""


def find_files(
    roots: Sequence[bytes],
    *,
    follow_links: bool = False,
    closed_to_links: bytes | None = None,
    with_bundles: bool = False,
    exclude: Sequence[str] = (),
    is_named: Callable[[bytes], bool] | None = None,
) -> Iterator[Found]:
    """Yield the candidate pictures at or below the roots, each once, in sorted order, and what is passed over.

    A root that is a file is a candidate whatever its name, but for films; inside folders the extension decides, and
    the first bytes where it promises a picture that is not read: phones and exporters write JPEG under the name of
    HEIC.
    Hidden entries inside roots are passed over, links too unless `follow_links`. Folders of copies and refuse, such
    as `@eaDir` and `$RECYCLE.BIN`, are left out unless they are roots; so is what patterns leave out, those
    that are given or those of files `.mmsearchignore` at or below the roots.

    Parameters
    ----------
    roots : sequence of bytes
        Absolute paths.
    follow_links : bool
        Go through symbolic links; a folder reached twice is searched once.
    closed_to_links : bytes or None
        Real path of a folder: links to it, into it, or to a folder around it are passed over.
    with_bundles : bool
        Yield tars and Parquet files too, which may hold pictures.
    exclude : sequence of str
        Patterns as .gitignore has them, relative to each root; they count more than those of files.
    is_named : callable or None
        Says of the name of a file whether it is looked for, in place of pictures; of others nothing is yielded.

    Raises
    ------
    QueryError
        If a line is no pattern, or a file of patterns cannot be read.
    """
    search = _Search(follow_links, frozenset(roots), closed_to_links, with_bundles, tuple(exclude), is_named)
    yielded: set[bytes] = set()
    for root in roots:
        for entry in search.from_root(root):
            if entry.path not in yielded:
                yielded.add(entry.path)
                yield entry


@dataclass
class _Search:
    """One search through roots, which remembers the folders it has been in."""

    follow_links: bool
    roots: frozenset[bytes]
    closed_to_links: bytes | None
    with_bundles: bool
    exclude: tuple[str, ...]
    is_named: Callable[[bytes], bool] | None = None
    seen: set[tuple[int, int]] = field(default_factory=set)

    def from_root(self, root: bytes) -> Iterator[Found]:
        try:
            status = os.stat(root)  # a root named by the user may be a link
        except OSError as error:
            yield _unreachable(root, error, is_folder=False)
            return
        if stat.S_ISDIR(status.st_mode):
            yield from self._walk(root)
        elif self.is_named is None and unread_kind_of_name(root) == FILM and stat.S_ISREG(status.st_mode):
            yield _by_its_bytes(root, status, FILM)
        else:
            yield _candidate(root, status)

    def _walk(self, root: bytes) -> Iterator[Found]:
        pending = [(root, Exclusions.given(root, self.exclude))]
        while pending:
            folder, exclusions = pending.pop()
            try:
                listing = self._listed(folder)
            except OSError as error:
                yield _unreachable(folder, error, is_folder=True)
                continue
            if any(entry.name == IGNORE_FILE for entry in listing):
                exclusions = exclusions.within(folder)
            folders = []
            for entry in listing:
                try:
                    if not entry.is_dir(follow_symlinks=self.follow_links):
                        yield from self._file(entry, exclusions)
                    elif (kind := self._why_not(entry, exclusions)) is None:
                        folders.append(entry.path)
                    elif kind and entry.path not in self.roots:  # as a root it has its turn
                        yield PassedOver(entry.path, kind, is_folder=True)
                except OSError as error:
                    yield _unreachable(entry.path, error, is_folder=False)
            pending += [(below, exclusions) for below in reversed(folders)]

    def _why_not(self, folder: os.DirEntry[bytes], exclusions: Exclusions) -> str | None:
        """Return why a folder is not searched, None for one that is; nothing is said of a hidden one."""
        if is_left_out(folder.name):
            return os.fsdecode(folder.name)
        if folder.is_symlink() and self._is_closed(folder.path):
            return LINK_ELSEWHERE
        if folder.name.startswith(b"."):
            return ""
        return EXCLUDED if exclusions.leave_out(folder.path, is_folder=True) else None

    def _listed(self, folder: bytes) -> list[os.DirEntry[bytes]]:
        """Return what is in a folder, sorted by name; nothing if this search has been there."""
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in self.seen:
            return []
        self.seen.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)

    def _is_closed(self, link: bytes) -> bool:
        """Return whether a link leads to, into or around the folder that is closed to links."""
        if self.closed_to_links is None:
            return False
        real = os.path.realpath(link)
        return os.path.commonpath([real, self.closed_to_links]) in (real, self.closed_to_links)

    def _file(self, entry: os.DirEntry[bytes], exclusions: Exclusions) -> Iterator[Found]:
        """Yield what a file inside a folder is, if it is or promises a picture or film."""
        if entry.name.startswith(b".") or (entry.is_symlink() and not self.follow_links):
            return
        is_bundle = self.with_bundles and is_named_like_a_bundle(entry.name)
        is_candidate = is_bundle or (self.is_named or is_named_like_a_picture)(entry.name)
        kind = None if is_candidate or self.is_named else unread_kind_of_name(entry.name)
        if kind is None and not is_candidate:
            return
        if exclusions.leave_out(entry.path, is_folder=False):
            if entry.path not in self.roots:
                yield PassedOver(entry.path, EXCLUDED, is_folder=False)
            return
        status = entry.stat(follow_symlinks=self.follow_links)
        if kind is None:
            yield _candidate(entry.path, status)
        elif stat.S_ISREG(status.st_mode):
            yield _by_its_bytes(entry.path, status, kind)


def is_in_bundle(path: bytes) -> bool:
    """Return whether a path names a picture inside a tar or Parquet file that is still there."""
    while (parent := os.path.dirname(path)) != path:
        if is_named_like_a_bundle(parent) and os.path.isfile(parent):
            return True
        path = parent
    return False


def is_below(path: bytes, places: Collection[bytes]) -> bool:
    """Return whether a path is one of the places, or lies below one; best asked of a set.

    The frames of a film lie at its path.
    """
    return nearest_above(path, places) is not None


def nearest_above(path: bytes, places: Collection[bytes]) -> bytes | None:
    """Return the place that a path is, or the nearest one that it lies below; best asked of a set."""
    path = file_of(path)
    while path not in places:
        parent = os.path.dirname(path)
        if parent == path:
            return None
        path = parent
    return path


def _by_its_bytes(path: bytes, status: os.stat_result, kind: str) -> Found:
    """Return a candidate if a file named like a picture that is not read is one that is."""
    try:
        is_picture = is_picture_despite_name(kind, first_bytes(path))
    except PictureError as error:
        return Unreachable(path, error.code, str(error), is_folder=False)
    return _candidate(path, status) if is_picture else PassedOver(path, kind, is_folder=False)


def _candidate(path: bytes, status: os.stat_result) -> FoundFile | Unreachable:
    if not stat.S_ISREG(status.st_mode):
        message = "this is a pipe, socket or device; expected a regular file"
        return Unreachable(path, "not_a_file", message, is_folder=False)
    return FoundFile(path, FileLook.of(status))


def _unreachable(path: bytes, error: OSError, *, is_folder: bool) -> Unreachable:
    code, message = refusal(error)
    return Unreachable(path, code, message, is_folder)
