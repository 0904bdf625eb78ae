"""FOLDER PLACE: a folder on this machine, as the place of a library."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmsearch.errors import QueryError
from mmsearch.store.encoder import InstalledEncoder
from mmsearch.store.folder import Store
from mmsearch.store.place import holds_pictures, identity_of, is_library, library_errors


@dataclass(frozen=True)
class FolderPlace:
    """A folder in which a library lies, or can be made.

    Parameters
    ----------
    folder : Path
        Absolute.
    """

    folder: Path

    @property
    def address(self) -> str:
        """The folder, as people write it."""
        return str(self.folder)

    @property
    def kept(self) -> Path:
        """The folder, which also holds what can be made again."""
        return self.folder

    def holds_library(self) -> bool:
        """Return whether a library lies in the folder."""
        return is_library(self.folder)

    def holds_pictures(self) -> bool:
        """Return whether a library lies in the folder that holds pictures, or ever did."""
        return holds_pictures(self.folder)

    def identity(self) -> tuple[int, int]:
        """Return what tells the library from another that is made in its place later; zeros where there is none."""
        return identity_of(self.folder)

    def open(self) -> Store:
        """Open the library for reading, as `Store.open` does."""
        return Store.open(self.folder)

    def writer(self, *, create: dict[str, Any] | None = None) -> AbstractContextManager[Store]:
        """Hold the library's only writer, as `Store.writer` does."""
        return Store.writer(self.folder, create=create)

    def encoder(self, cache: Path | None) -> InstalledEncoder:
        """Return the encoder that lies in the library's folder."""
        return InstalledEncoder(self.folder, cache)

    def errors(self) -> AbstractContextManager[None]:
        """Let what SQLite says be an error of the library, with what to do."""
        return library_errors(self.folder)

    def refuse_mixing(self, roots: Sequence[bytes]) -> None:
        """Raise QueryError if the library would lie among the pictures, or the pictures in the library."""
        folder = os.fsencode(self.folder)
        for root in roots:
            below = (
                folder[len(root.rstrip(b"/")) :] if (folder + b"/").startswith(root.rstrip(b"/") + b"/") else None
            )
            # A hidden folder is never scanned, so the default library may lie below a home folder.
            is_scanned = below is not None and b"/." not in below
            if is_scanned or (root + b"/").startswith(folder + b"/"):
                raise QueryError(
                    f"the library {self.folder} and the pictures {os.fsdecode(root)} lie in one another; "
                    "choose a library outside the picture folders with --library"
                )
