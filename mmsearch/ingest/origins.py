"""ORIGINS: files that were moved or copied, told by their contents: recordings and films."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol, TypeVar

from mmsearch.errors import PictureError
from mmsearch.images import FoundFile, file_digest
from mmsearch.system import is_gone


class KnownAtPath(Protocol):
    """What a catalog knows of a file."""

    @property
    def path(self) -> bytes:
        """Where it was; no two have one."""


K = TypeVar("K", bound=KnownAtPath)
K_co = TypeVar("K_co", bound=KnownAtPath, covariant=True)


class KnownByContents(Protocol[K_co]):
    """Recordings or films of a library, asked for by their contents."""

    def has_size(self, size: int) -> bool:
        """Return whether a file of so many bytes may be a copy of one."""

    def with_hash(self, content_hash: bytes) -> Sequence[K_co]:
        """Return those with these file contents."""


def same_contents(known: KnownByContents[K], file: FoundFile) -> Sequence[K]:
    """Return what is known with the contents of a file; it is read only if one has its size."""
    if not known.has_size(file.look.size):
        return []
    try:
        return known.with_hash(file_digest(file.path))
    except PictureError:
        return []  # who reads it next will say why


def origin_of(file: FoundFile, same: Sequence[K], gone: Collection[bytes], taken: Collection[bytes]) -> K | None:
    """Return which of those with its contents a file is by now: its own, or one that is gone; None for a copy.

    Parameters
    ----------
    file : FoundFile
    same : sequence
        As from `same_contents`.
    gone : collection of bytes
        Paths of which this run knows that nothing is there any more.
    taken : collection of bytes
        Paths of those that other files are.
    """
    left = [
        each
        for each in same
        if each.path not in taken and (each.path == file.path or each.path in gone or is_gone(each.path))
    ]
    return min(left, key=lambda each: (each.path != file.path, each.path not in gone), default=None)
