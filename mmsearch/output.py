"""OUTPUT: files that are written where somebody says, whole or not at all, and never over what is not ours.

What is there is replaced if mmsearch wrote it and it is of the same kind, as its first bytes tell, or if the caller
insists; a picture or film never is. A pipe or device is written to as it comes.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mmsearch.errors import OutputError, write_errors
from mmsearch.images.kinds import HEAD_BYTES, is_named_like_a_picture_or_film, is_picture_or_film
from mmsearch.system import sync_folder

T = TypeVar("T")


@dataclass(frozen=True)
class Kind:
    """A kind of file that is written: what it is called, and how one begins.

    What is `precious` cannot be made again: another one is replaced only if the caller insists, and nobody but the
    user may read it.
    """

    words: str
    start: re.Pattern[bytes]
    is_precious: bool = False


VOCABULARY = Kind("a vocabulary of mmsearch", re.compile(rb"mmsearch vocabulary \d+\n"))
PAGE = Kind(
    "a page of mmsearch",
    re.compile(rb'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
               rb'<meta name="generator" content="mmsearch">\n'),
)  # fmt: skip
REPORT = Kind("a report of mmsearch", re.compile(rb'\{\s*"generator": "mmsearch"'))
CLASSIFIER = Kind("a classifier of mmsearch", re.compile(rb'(?s).{8}\{"__metadata__":\{"mmsearch classifier \d+":'))
RUN = Kind("a run of mmsearch", re.compile(rb"\S+ Q0 \S+ \d+ \S+ mmsearch\."))
QRELS = Kind("qrels of mmsearch", re.compile(rb"\S+ mmsearch \S+ \S+\n"))
BACKUP = Kind("a backup of mmsearch", re.compile(rb"(?s)PK\x03\x04.{26}catalog\.sqlite"), is_precious=True)


@dataclass(frozen=True)
class OutputFile:
    """One file to be written.

    Parameters
    ----------
    path : Path
        A symbolic link is followed: what it leads to is written.
    kind : Kind
        What it will be.
    is_forced : bool
        Also replace a file of another kind, but no picture.
    """

    path: Path
    kind: Kind
    is_forced: bool = False

    def check(self) -> None:
        """Refuse a place that cannot be written to, before any work goes into what would be.

        Raises
        ------
        OutputError
            If there is something that must not be replaced.
        StorageError
            If the system refuses.
        """
        with write_errors(self.path):
            if not self._is_stream():
                target = self._target()
                self._refuse_others(target)
                with tempfile.TemporaryFile(dir=target.parent):
                    pass

    def write(self, save: Callable[[Path], T]) -> T:
        """Write the file with `save`, which is given a path to write to, and return its answer.

        Errors are those of `check`.

        What came there meanwhile is looked at like what was there before.
        """
        with write_errors(self.path):
            is_stream, target = self._is_stream(), self._target()
            beside = None if is_stream else target.parent
            with tempfile.TemporaryDirectory(prefix=".mmsearch-", dir=beside) as folder:
                whole = Path(folder, "whole")
                answer = save(whole)
                if self.kind.is_precious:
                    whole.chmod(0o600)
                if is_stream:
                    self._pour(whole)
                else:
                    self._place(whole, target)
        return answer

    def write_text(self, text: str) -> None:
        """Write text as UTF-8; names that are not are written as `mmsearch.names` does before."""
        self.write(lambda path: path.write_text(text, encoding="utf-8"))

    def _target(self) -> Path:
        return Path(os.path.realpath(self.path))

    def _is_stream(self) -> bool:
        """Return whether it is no file that could be replaced: a pipe, a device, or our own standard output."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return False
        if stat.S_ISFIFO(status.st_mode) or stat.S_ISCHR(status.st_mode):
            return True
        with suppress(OSError):
            return os.path.samestat(status, os.fstat(1))
        return False

    def _pour(self, whole: Path) -> None:
        """Write into a pipe or device, or go on where results end."""
        is_ours = os.path.samestat(self.path.stat(), os.fstat(1))
        with whole.open("rb") as source, nullcontext(sys.stdout.buffer) if is_ours else self.path.open("wb") as out:
            shutil.copyfileobj(source, out)
            out.flush()

    def _place(self, whole: Path, target: Path) -> None:
        """Bring the finished file to the disk and give it its name."""
        with whole.open("rb") as written:
            os.fsync(written.fileno())
        try:
            os.link(whole, target)  # which never replaces anything
        except OSError:  # there is something, or the file system has no hard links
            self._refuse_others(target)
            if not self.kind.is_precious:
                with suppress(FileNotFoundError):
                    shutil.copymode(target, whole)
            whole.replace(target)
        sync_folder(target.parent)

    def _refuse_others(self, target: Path) -> None:
        """Raise OutputError if there is what must not be replaced."""
        try:
            status = target.stat()
        except FileNotFoundError:
            return
        if not stat.S_ISREG(status.st_mode):
            what = "a folder" if stat.S_ISDIR(status.st_mode) else "a socket or device"
            raise OutputError(f"{self.path} is {what}; expected the name of a file to write")
        with target.open("rb") as file:
            head = file.read(HEAD_BYTES)
        is_ours = self.kind.start.match(head) is not None
        if is_ours and (self.is_forced or not self.kind.is_precious):
            return
        # Some kinds cannot be told by their first bytes, and a damaged file may still be mended.
        if is_picture_or_film(head) or is_named_like_a_picture_or_film(os.fsencode(target.name)):
            raise OutputError(f"{self.path} is a picture or film, which is never replaced; choose another name")
        if not self.is_forced:
            what = "is there" if is_ours else f"is there and is not {self.kind.words}"
            raise OutputError(f"{self.path} {what}; choose another name, or replace it with --force")
