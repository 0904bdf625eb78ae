"""The files of hits, copied or linked into a folder of their own, named in the order of their ranks."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmsearch.errors import OutputError, PictureError, write_errors
from mmsearch.system import is_gone

if TYPE_CHECKING:
    from mmsearch.records import Hit

_LONGEST_NAME, _LONGEST_EXTENSION = 255, 16  # bytes


def require_empty(folder: Path) -> None:
    """Make a folder, or raise OutputError if there is something in it, and StorageError if the system refuses."""
    with write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise OutputError(f"{folder} is not empty: hits would be mixed with what is there; name another")


def gather(hits: Sequence[Hit], folder: Path, *, is_link: bool) -> list[str]:
    """Copy the files of hits into a folder, or link to them, and return sentences on those that cannot be had.

    Rank 7 of 100 is called `007_` and its name, which is cut where that is too long. Nothing that came there
    meanwhile is replaced.

    Raises
    ------
    StorageError
        If the disk is full, or refuses in another way.
    """
    problems, n_digits = [], len(str(len(hits)))
    for hit in hits:
        target = folder / _cut(f"{hit.rank:0{n_digits}d}_{Path(hit.path).name}")
        try:
            if is_link:
                _link(hit.path, target)
            else:
                _copy(hit.path, target)
        except PictureError as error:
            problems.append(f"{hit.path}: {error}")
    return problems


def _cut(name: str) -> str:
    """Return a name that file systems take: what is too long is left out before the extension."""
    stem, extension = Path(name).stem, Path(name).suffix
    if len(os.fsencode(extension)) > _LONGEST_EXTENSION:
        stem, extension = name, ""
    while len(os.fsencode(stem + extension)) > _LONGEST_NAME:
        stem = stem[:-1]
    return stem + extension


def _link(path: str, target: Path) -> None:
    if is_gone(os.fsencode(path), follow_links=True):
        raise PictureError("vanished", "there is no such file")
    with write_errors(target):
        target.symlink_to(path)  # which is absolute


def _copy(path: str, target: Path) -> None:
    """Copy contents and times, whole or not at all."""
    from mmsearch.images import open_regular

    with open_regular(os.fsencode(path)) as (handle, status), write_errors(target):
        with os.fdopen(os.dup(handle), "rb") as source, target.open("xb") as copy:
            try:
                shutil.copyfileobj(source, copy)
            except BaseException:
                target.unlink()
                raise
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
