"""Pictures in a tar, as they lie there: found by its headers, and read at their places; nothing is unpacked.

The standard library reads the headers, through a file that lets it go forward alone and read no more at once than a
header takes: a tar may claim names of gigabytes, or members of negative size that would send it round for ever.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator, Sequence
from typing import Any

from mmsearch.errors import PictureError
from mmsearch.images import (
    Found,
    FoundFile,
    PassedOver,
    Unreachable,
    is_left_out,
    is_named_like_a_picture,
    is_picture_despite_name,
    open_regular,
    unread_kind_of_name,
)
from mmsearch.shards.members import MAX_BYTES, REPEATED, Contents, Member, require_unchanged, too_large

_MAX_HEADER = 1 << 16  # bytes of an extended header: names have 4096 at most
_MAX_NAME = 4096
_HEAD = 512  # bytes that say what a file is
_BROKEN = (tarfile.TarError, ValueError, LookupError, ArithmeticError, RecursionError)
_AGAIN = "copy it again from where it was made, or make it again"
_LEADS_OUT = ("unsupported", "the name of this member leads out of the tar; give it one that does not")


class _Headers:
    """A tar as `tarfile` may read it: forward alone, and no more at once than a header takes."""

    def __init__(self, handle: int) -> None:
        self.handle, self.at = handle, 0

    def tell(self) -> int:
        return self.at

    def seek(self, at: int) -> None:
        if at < self.at:
            raise tarfile.ReadError("a member has a size below 0")
        self.at = at

    def read(self, n_bytes: int) -> bytes:
        if not 0 <= n_bytes <= _MAX_HEADER:
            raise tarfile.ReadError(f"a header claims {n_bytes} bytes")
        read = os.pread(self.handle, n_bytes, self.at)
        self.at += len(read)
        return read


def tar_members(file: FoundFile) -> Iterator[Found]:
    """Yield what a tar holds by the rules of folders: pictures by their names, hidden ones left out.

    A name that leads out of the tar, and a link, pipe or device in the place of a picture, is a fault. Where two
    members have one name, the first counts.

    Parameters
    ----------
    file : FoundFile
        The tar.

    Raises
    ------
    PictureError
        If it is none, cannot be opened, or is damaged or cut short; members before that were yielded.
    """
    names: set[bytes] = set()
    with open_regular(file.path) as (handle, status):
        for info in _infos(handle, status.st_size):
            entry = _entry(file, info, handle, status.st_size)
            if isinstance(entry, Member):
                is_repeated = entry.path in names
                names.add(entry.path)
                yield PassedOver(entry.path, REPEATED, is_folder=False) if is_repeated else entry
            elif entry is not None:
                yield entry


def _infos(handle: int, size: int) -> Iterator[tarfile.TarInfo]:
    """Yield the headers of a tar."""
    n_read = 0
    headers: Any = _Headers(handle)
    try:
        tar: Any = tarfile.TarFile(fileobj=headers, encoding="utf-8", errors="surrogateescape")
        while (info := tar.next()) is not None:
            n_read += 1
            tar.members.clear()  # they would all be kept
            yield info
    except _BROKEN as error:
        if not n_read:
            raise _no_tar(handle, str(error)) from error
        ends = "ends too soon" if headers.at >= size else f"is damaged after member {n_read} ({error})"
        raise PictureError(
            "truncated" if headers.at >= size else "corrupt", f"this tar {ends}; {_AGAIN}"
        ) from error
    end = os.pread(handle, tarfile.BLOCKSIZE, tar.offset)
    if len(end) < tarfile.BLOCKSIZE:
        raise PictureError("truncated", f"this tar ends too soon, after member {n_read}; {_AGAIN}")
    if any(end):
        raise PictureError("corrupt", f"this tar is damaged after member {n_read}; {_AGAIN}")


def _no_tar(handle: int, words: str) -> PictureError:
    start = os.pread(handle, 6, 0)
    if start.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd")):
        return PictureError(
            "unsupported", "this tar is compressed, which cannot be read in place; unpack it to a .tar"
        )
    return PictureError("corrupt", f"this is no tar, or it is damaged at its start ({words}); {_AGAIN}")


def _entry(file: FoundFile, info: tarfile.TarInfo, handle: int, size: int) -> Found | None:
    """Return what a member is, None if it is nothing to look at."""
    name = info.name.encode("utf-8", "surrogateescape")
    kind = unread_kind_of_name(name)
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    is_like_one = kind is not None or is_named_like_a_picture(name)
    if info.isdir() or not is_like_one or _is_hidden(parts):
        return None
    leads_out = name.startswith(b"/") or b".." in parts
    path = b"/".join([file.path, *([name] if leads_out else parts)])[: len(file.path) + _MAX_NAME]
    problem = _LEADS_OUT if leads_out else _problem(info, name, size)
    if problem is not None:
        return Unreachable(path, *problem, is_folder=False)
    member = Member(path, file.look._replace(size=info.size), file.path, info.offset_data)
    if kind is None or is_picture_despite_name(kind, os.pread(handle, min(_HEAD, info.size), member.place)):
        return member
    return PassedOver(path, kind, is_folder=False)


def _is_hidden(parts: Sequence[bytes]) -> bool:
    """Return whether a search through folders would leave a member out; `..` is a fault and not hidden."""
    return any((part.startswith(b".") and part != b"..") for part in parts) or any(map(is_left_out, parts[:-1]))


def _problem(info: tarfile.TarInfo, name: bytes, size: int) -> tuple[str, str] | None:
    """Return a reason code and a sentence on why a member cannot be used, or None."""
    if b"\0" in name or len(name) > _MAX_NAME:
        return "unsupported", "the name of this member is too long, or holds a NUL"
    if info.issym() or info.islnk():
        return "not_a_file", "this member of a tar is a link, which is not followed"
    if info.sparse is not None:
        return "unsupported", "this member of a tar is a sparse file, which cannot be read in place"
    if not info.isreg():
        return "not_a_file", "this member of a tar is a pipe or device, not a regular file"
    if info.size > MAX_BYTES:
        return "too_large", str(too_large(info.size))
    if info.size < 0 or info.offset_data + info.size > size:
        return "truncated", f"the tar ends before this member does; {_AGAIN}"
    return None


def tar_contents(members: Sequence[Member]) -> Iterator[Contents]:
    """Yield the members of one tar with their bytes; as `mmsearch.shards.bundles.contents_of` says.

    Raises
    ------
    PictureError
        If the tar cannot be opened, or changed since it was listed.
    """
    with open_regular(members[0].bundle) as (handle, _):
        for member in members:
            require_unchanged(os.fstat(handle), member)
            data = os.pread(handle, member.look.size, member.place)
            is_whole = len(data) == member.look.size
            yield member, data if is_whole else PictureError("changed", "its tar was cut while it was read")
