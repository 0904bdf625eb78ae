"""The kinds of index that a library can publish, by the names that its manifest, its plans and its routes have."""

from __future__ import annotations

from mmsearch.indexes.base import IndexKind
from mmsearch.indexes.cells import CELLS
from mmsearch.indexes.hnsw import GRAPH

KINDS: dict[str, IndexKind] = {kind.name: kind for kind in (GRAPH, CELLS)}
"""A new kind is a file of its own, and its name here: nothing that publishes, loads or searches asks further."""
