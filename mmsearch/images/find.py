"""Find candidate pictures and read their bytes; every problem belongs to one named entry.

Paths are bytes (`os.fsencode`): names that are not UTF-8 are legal. Nothing here blocks on a FIFO, follows
a loop of links or raises for one bad entry.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

from mmsearch.errors import PictureError

MAX_FILE_BYTES = 1 << 30
_EXTENSIONS = {
    b".jpg", b".jpeg", b".jpe", b".jfif", b".png", b".webp", b".gif", b".bmp", b".tif", b".tiff", b".avif",
}  # fmt: skip
_HEIF_EXTENSIONS = {b".heic", b".heif"}


@dataclass(frozen=True)
class FoundFile:
    """A candidate picture: absolute path, size in bytes, modification time."""

    path: bytes
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class Unreachable:
    """A file or folder that could not be looked at, with a reason code and a sentence."""

    path: bytes
    code: str
    message: str
    is_folder: bool


def find_files(roots: Sequence[bytes], *, follow_links: bool = False) -> Iterator[FoundFile | Unreachable]:
    """Yield the candidate pictures at or below the roots, each once, in sorted order.

    A root that is a file is a candidate whatever its name; inside folders the extension decides. Hidden
    entries inside roots are passed over, links too unless `follow_links`.

    Parameters
    ----------
    roots : sequence of bytes
        Absolute paths.
    follow_links : bool
        Go through symbolic links; a folder reached twice is searched once.
    """
    seen: set[tuple[int, int]] = set()
    yielded: set[bytes] = set()
    for root in roots:
        for found in _from_root(root, follow_links, seen):
            if found.path not in yielded:
                yielded.add(found.path)
                yield found


def _from_root(root: bytes, follow_links: bool, seen: set[tuple[int, int]]) -> Iterator[FoundFile | Unreachable]:
    try:
        status = os.stat(root)  # a root named by the user may be a link
    except OSError as error:
        yield _unreachable(root, error, is_folder=False)
        return
    if stat.S_ISDIR(status.st_mode):
        yield from _walk(root, follow_links, seen)
    else:
        yield _candidate(root, status)


def _walk(root: bytes, follow_links: bool, seen: set[tuple[int, int]]) -> Iterator[FoundFile | Unreachable]:
    pending = [root]
    while pending:
        folder = pending.pop()
        try:
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as entries:
                listing = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            yield _unreachable(folder, error, is_folder=True)
            continue
        folders = []
        for entry in listing:
            if entry.name.startswith(b"."):
                continue
            try:
                if entry.is_dir(follow_symlinks=follow_links):
                    folders.append(entry.path)
                elif is_named_like_a_picture(entry.name) and (follow_links or not entry.is_symlink()):
                    yield _candidate(entry.path, entry.stat(follow_symlinks=follow_links))
            except OSError as error:
                yield _unreachable(entry.path, error, is_folder=False)
        pending += reversed(folders)


def is_named_like_a_picture(name: bytes) -> bool:
    """Return whether the extension of a file name is that of a format that can be read."""
    extension = os.path.splitext(name)[1].lower()
    return extension in _EXTENSIONS or (extension in _HEIF_EXTENSIONS and has_heif())


@cache
def has_heif() -> bool:
    """Return whether HEIC pictures can be read: the optional package pillow-heif is installed."""
    return find_spec("pillow_heif") is not None


def _candidate(path: bytes, status: os.stat_result) -> FoundFile | Unreachable:
    if not stat.S_ISREG(status.st_mode):
        message = "this is a pipe, socket or device; expected a regular file"
        return Unreachable(path, "not_a_file", message, is_folder=False)
    return FoundFile(path, status.st_size, status.st_mtime_ns)


def _unreachable(path: bytes, error: OSError, *, is_folder: bool) -> Unreachable:
    code, message = _reason(error)
    return Unreachable(path, code, message, is_folder)


def _reason(error: OSError) -> tuple[str, str]:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "vanished", "there is no such file or folder"
    if isinstance(error, PermissionError):
        return "permission", "reading this is not permitted; change its permissions and run again"
    return "unreadable", f"the system could not read it ({error.strerror or error})"


def read_file(path: bytes, *, max_bytes: int = MAX_FILE_BYTES) -> tuple[bytes, os.stat_result]:
    """Return the bytes of a regular file and its status; never waits for a pipe or device.

    Raises
    ------
    PictureError
        `not_a_file`, `too_large`, `permission`, `vanished`, `changed` (while it was read) or `unreadable`.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        try:
            before = os.fstat(handle)
            if not stat.S_ISREG(before.st_mode):
                raise PictureError("not_a_file", "this is a folder, pipe, socket or device, not a regular file")
            if before.st_size > max_bytes:
                raise PictureError(
                    "too_large", f"the file has {before.st_size} bytes, at most {max_bytes} are read"
                )
            data = _read_all(handle, before.st_size)
            after = os.fstat(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if getattr(error, "errno", None) == 6:  # ENXIO: a socket
            raise PictureError("not_a_file", "this is a socket or device, not a regular file") from error
        raise PictureError(*_reason(error)) from error
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or len(data) != after.st_size:
        raise PictureError("changed", "the file changed while it was read; it is tried again at the next run")
    return data, after


def _read_all(handle: int, size: int) -> bytes:
    blocks = []
    remaining = size
    while remaining > 0 and (block := os.read(handle, remaining)):
        blocks.append(block)
        remaining -= len(block)
    return b"".join(blocks) if len(blocks) != 1 else blocks[0]
