"""PLACES: the name of a library in, the place where it stands out: a folder, or a collection at an address."""

from __future__ import annotations

import os
import re
from pathlib import Path

from mmsearch.arguments import as_path
from mmsearch.errors import QueryError
from mmsearch.records import PathLike
from mmsearch.store.base import Place

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_SPOILT = re.compile(r"(milvus(?:\+https|-lite)?):/?(?!/)", re.IGNORECASE)


def place_of(name: PathLike, cache: Path | None = None) -> Place:
    """Return the place of a library.

    Parameters
    ----------
    name : str or path
        A folder, or an address such as `milvus://host:19530/NAME`.
    cache : Path or None
        Where what can be made again of a library at an address is kept; default the user's cache folder.

    Raises
    ------
    QueryError
        If it is an address of another kind, or one that means nothing.
    """
    from mmsearch.store.folder_place import FolderPlace

    text = os.fsdecode(as_path(name, "path"))
    scheme = _SCHEME.match(text) if isinstance(name, str) else None
    if scheme is None:
        if spoilt := _SPOILT.match(text):
            raise QueryError(
                f"{spoilt[0]} begins no address: expected text that begins with {spoilt[1]}://, as a path loses a "
                f"slash; a folder of this name is ./{spoilt[1]}:"
            )
        return FolderPlace(Path(text).absolute())
    from mmsearch.milvus.address import SCHEMES

    if scheme[0] in SCHEMES:
        from mmsearch.milvus.place import MilvusPlace

        return MilvusPlace(text, cache)
    raise QueryError(
        f"there are no libraries at addresses that begin with {scheme[0]}; name a folder, or an address that "
        f"begins with {', '.join(SCHEMES)}"
    )
