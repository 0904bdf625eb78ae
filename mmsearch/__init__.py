"""Multimodal text and image search on your own machine.

>>> import mmsearch
>>> mmsearch.Query(text="two dogs in the snow", exclude="people").exclude
('people',)

Importing this package is cheap: the names below are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmsearch.errors import MmsearchError
    from mmsearch.library import Library
    from mmsearch.records import Hit, PictureBytes, Query, SearchOptions, SearchResult, Term
    from mmsearch.store.indexes import GraphSettings

__version__ = "0.1.0"

_HOME = {
    "GraphSettings": "mmsearch.store.indexes",
    "Hit": "mmsearch.records",
    "Library": "mmsearch.library",
    "MmsearchError": "mmsearch.errors",
    "PictureBytes": "mmsearch.records",
    "Query": "mmsearch.records",
    "SearchOptions": "mmsearch.records",
    "SearchResult": "mmsearch.records",
    "Term": "mmsearch.records",
}

__all__ = [
    "GraphSettings", "Hit", "Library", "MmsearchError", "PictureBytes", "Query", "SearchOptions", "SearchResult",
    "Term",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used."""
    if name not in _HOME:
        raise AttributeError(f"module 'mmsearch' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
