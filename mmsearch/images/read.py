"""Read the bytes of a file, or a digest of them: never a pipe, never one that changes meanwhile."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256

from mmsearch.errors import PictureError
from mmsearch.images.kinds import HEAD_BYTES, check_kind

MAX_FILE_BYTES = 1 << 30
CHANGED = "the file is not what was indexed any more; index its folder again"
_BLOCK = 1 << 20
_END = 1 << 16


def read_file(path: bytes, *, max_bytes: int = MAX_FILE_BYTES) -> tuple[bytes, os.stat_result]:
    """Return the bytes of a picture file and its status; never waits for a pipe or device.

    What its first bytes show to be no picture that can be read is not read further.

    Raises
    ------
    PictureError
        `not_a_file`, `not_an_image`, `unsupported`, `too_large`, `permission`, `vanished`, `changed` (while it was
        read) or `unreadable`.
    """
    with open_regular(path) as (handle, before):
        if before.st_size > max_bytes:
            raise PictureError("too_large", f"the file has {before.st_size} bytes, at most {max_bytes} are read")
        _check_head(handle, before)
        data = b"".join(_blocks(handle, before.st_size, block_bytes=before.st_size))
        return data, _unchanged(handle, before, len(data))


def read_indexed(path: bytes, content_hash: bytes) -> bytes:
    """Return the bytes of a file that was indexed, if they still are what was indexed.

    Raises
    ------
    PictureError
        `changed` if another file, or a link to one, has come in its place; else as `read_file`.
    """
    try:
        data, _ = read_file(path)
    except PictureError as error:
        if error.code == "not_an_image":  # what was indexed was one
            raise PictureError("changed", CHANGED) from error
        raise
    if sha256(data).digest() != content_hash:
        raise PictureError("changed", CHANGED)
    return data


def file_digest(path: bytes) -> bytes:
    """Return the SHA-256 of a regular file of any size and kind, which is never in memory as a whole.

    Raises
    ------
    PictureError
        `not_a_file`, `permission`, `vanished`, `changed` (while it was read) or `unreadable`.
    """
    with open_regular(path) as (handle, before):
        return file_digest_of(handle, before)


def file_digest_of(handle: int, before: os.stat_result, *, on_block: Callable[[], None] = lambda: None) -> bytes:
    """Return the SHA-256 of an open regular file, all of it, given what its status was when it was opened.

    `on_block` is called after each MiB that was read.

    Raises
    ------
    PictureError
        `changed` if it is another by now.
    """
    digest, n_bytes = sha256(), 0
    os.lseek(handle, 0, os.SEEK_SET)
    for block in _blocks(handle, before.st_size, block_bytes=_BLOCK):
        digest.update(block)
        n_bytes += len(block)
        on_block()
    _unchanged(handle, before, n_bytes)
    return digest.digest()


def ends_of(path: bytes) -> bytes:
    """Return the SHA-256 of the first and the last 64 KiB of a regular file, and of its size: 32 bytes.

    It tells in no time whether a large file is another than it was, unless somebody means to hide that.

    Raises
    ------
    PictureError
        `not_a_file`, `permission`, `vanished` or `unreadable`.
    """
    with open_regular(path) as (handle, status):
        return ends_of_open(handle, status.st_size)


def ends_of_open(handle: int, size: int) -> bytes:
    """Return the same of an open regular file of so many bytes."""
    head = os.pread(handle, _END, 0)
    tail = os.pread(handle, _END, max(0, size - _END))
    return sha256(b"%d:" % size + head + tail).digest()


def first_bytes(path: bytes, n_bytes: int = 512) -> bytes:
    """Return the first bytes of a regular file; the default is enough to say what it is.

    Raises
    ------
    PictureError
        `not_a_file`, `permission`, `vanished` or `unreadable`.
    """
    with open_regular(path) as (handle, _):
        return os.pread(handle, n_bytes, 0)


@contextmanager
def open_regular(path: bytes) -> Iterator[tuple[int, os.stat_result]]:
    """Open a regular file, and give its descriptor and status; whatever the system refuses becomes a PictureError.

    Raises
    ------
    PictureError
        `not_a_file`, `permission`, `vanished` or `unreadable`.
    """
    if b"\0" in path:
        raise PictureError("vanished", "no file has such a name, with a NUL in it")
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        try:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise PictureError("not_a_file", "this is a folder, pipe, socket or device, not a regular file")
            yield handle, status
        finally:
            os.close(handle)
    except OSError as error:
        if getattr(error, "errno", None) == 6:  # ENXIO: a socket
            raise PictureError("not_a_file", "this is a socket or device, not a regular file") from error
        raise PictureError(*refusal(error)) from error


def _check_head(handle: int, before: os.stat_result) -> None:
    """Refuse what starts like no picture that can be read, unless it is still being written."""
    head = os.read(handle, HEAD_BYTES)
    os.lseek(handle, 0, os.SEEK_SET)
    try:
        check_kind(head)
    except PictureError:
        require_unchanged(handle, before)
        raise


def refusal(error: OSError) -> tuple[str, str]:
    """Return the reason code and a sentence for what the system refused."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "vanished", "there is no such file or folder"
    if isinstance(error, PermissionError):
        return "permission", "reading this is not permitted; change its permissions and run again"
    return "unreadable", f"the system could not read it ({error.strerror or error})"


def _blocks(handle: int, size: int, *, block_bytes: int) -> Iterator[bytes]:
    remaining = size
    while remaining > 0 and (block := os.read(handle, min(remaining, block_bytes))):
        yield block
        remaining -= len(block)


def require_unchanged(handle: int, before: os.stat_result) -> None:
    """Raise PictureError `changed` if an open file is another than when it had this status."""
    _unchanged(handle, before, before.st_size)


def _unchanged(handle: int, before: os.stat_result, n_read: int) -> os.stat_result:
    after = os.fstat(handle)
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or n_read != after.st_size:
        raise PictureError("changed", "the file changed while it was read; it is tried again at the next run")
    return after
