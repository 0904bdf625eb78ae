"""What is left out of folders by patterns: those of `index --exclude`, and of files named .mmsearchignore.

The syntax is that of .gitignore, by the library `pathspec`: `*.tmp.jpg`, `/raw/`, `**/previews`, `!keep.jpg`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mmsearch.errors import PictureError, QueryError
from mmsearch.images.read import open_regular
from mmsearch.names import quoted

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

IGNORE_FILE = b".mmsearchignore"
"""A file of patterns for the folder in which it lies and those below it."""
_MAX_BYTES = 1 << 20


def patterns(lines: Sequence[str], source: str) -> GitIgnoreSpec:
    """Return what some lines of patterns leave out.

    Raises
    ------
    QueryError
        If a line is no pattern; `source` says where it stands.
    """
    import re

    from pathspec import GitIgnoreSpec

    for number, line in enumerate(lines, 1):
        try:
            GitIgnoreSpec.from_lines([line])
        except (ValueError, re.error) as error:
            where = f"{source}, line {number}" if len(lines) > 1 else source
            raise QueryError(
                f"{where}: {line!r} is no pattern; expected one as .gitignore has them, such as *.tmp.jpg or /raw/"
            ) from error
    return GitIgnoreSpec.from_lines(lines)


def require_patterns(exclude: Sequence[str]) -> None:
    """Raise QueryError if a pattern that was given is none, or leaves out nothing, as an empty one or a comment."""
    patterns(exclude, "--exclude")
    for pattern in exclude:
        if not pattern.strip() or pattern.startswith("#"):
            raise QueryError(
                f"--exclude: {pattern!r} leaves out nothing; expected a pattern as .gitignore has them, such as "
                "*.tmp.jpg or /raw/ (--no-exclude forgets those of before)"
            )


@dataclass(frozen=True)
class Exclusions:
    """Which entries at and below one folder are left out.

    `layers` are (folder, patterns that are relative to it), of which the first that says something of an entry
    decides: those that were given for a run, `n_given` of them, then those of the nearest folder.
    """

    layers: tuple[tuple[bytes, GitIgnoreSpec], ...] = ()
    n_given: int = 0

    @classmethod
    def given(cls, root: bytes, exclude: Sequence[str]) -> Exclusions:
        """Return what patterns that are relative to a root leave out; QueryError if one is none."""
        return cls(((root, patterns(exclude, "--exclude")),), 1) if exclude else cls()

    def within(self, folder: bytes) -> Exclusions:
        """Return these with the file of patterns that a folder has.

        Raises
        ------
        QueryError
            If it cannot be read, or a line is no pattern: nothing is indexed that was to be left out.
        """
        path = os.path.join(folder, IGNORE_FILE)
        layer = (folder, patterns(_lines(path), quoted(os.fsdecode(path))))
        return replace(self, layers=(*self.layers[: self.n_given], layer, *self.layers[self.n_given :]))

    def leave_out(self, path: bytes, *, is_folder: bool) -> bool:
        """Return whether an entry is left out; what lies below one that is was left out with it."""
        for folder, spec in self.layers:
            name = os.fsdecode(os.path.relpath(path, folder)) + ("/" if is_folder else "")
            decided = spec.check_file(name).include
            if decided is not None:
                return decided
        return False


def _lines(path: bytes) -> list[str]:
    shown = quoted(os.fsdecode(path))
    try:
        with open_regular(path) as (handle, status):
            if status.st_size > _MAX_BYTES:
                raise QueryError(f"{shown} has {status.st_size} bytes; expected patterns, {_MAX_BYTES} at most")
            contents = os.read(handle, _MAX_BYTES)
    except PictureError as error:
        raise QueryError(
            f"{shown} cannot be read ({error}), and says what is not to be indexed; make it readable, or remove it"
        ) from error
    lines = contents.removeprefix(b"\xef\xbb\xbf").split(b"\n")  # alone: names may hold all else
    return [os.fsdecode(line.removesuffix(b"\r")) for line in lines]
