"""What is said of a picture inside a bundle, whatever the kind of that."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TypeAlias

from mmsearch.errors import PictureError
from mmsearch.images import FoundFile
from mmsearch.records import FileLook

MAX_BYTES = 1 << 28
"""Of a picture inside a bundle, which is in memory here before it goes to a worker."""
NO_PICTURES = "bundle without pictures"
NO_PICTURE = "row without a picture"
REPEATED = "repeated name"
"""Kinds of what is passed over: a whole bundle, a row of Parquet, and a member of a tar."""


@dataclass(frozen=True)
class Member(FoundFile):
    """A picture inside a bundle.

    Its look has the times of the bundle; in Parquet the size is -1, as it is not known before the row is read.

    Parameters
    ----------
    path : bytes
        Of the bundle, and the name in it.
    look : FileLook
        What it looks like.
    bundle : bytes
        Path of the bundle.
    place : int
        Where its bytes begin in a tar, or the number of its row.
    """

    bundle: bytes
    place: int


Contents: TypeAlias = tuple[Member, bytes | PictureError | None]
"""A member with its bytes, with why it cannot be read, or with None where there is no picture."""


def require_unchanged(status: os.stat_result, member: Member) -> None:
    """Raise PictureError unless a bundle is as it was when its pictures were listed."""
    if FileLook.of(status)[1:] != member.look[1:]:
        raise PictureError("changed", "its tar or Parquet file changed meanwhile; it is read again at the next run")


def too_large(n_bytes: int) -> PictureError:
    """Return the error for a picture that has more bytes than are read."""
    return PictureError(
        "too_large",
        f"the picture has {n_bytes} bytes, at most {MAX_BYTES} are read of one in a tar or Parquet file",
    )
