"""EFFORTS: how hard the engine's index tries for texts and for pictures, chosen on the library itself.

What a search misses depends on where its vectors lie, and texts lie off the pictures. So both are asked at the
widest effort there is, and the least is taken that finds nearly all of that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.indexes.plans import K, picture_queries
from mmsearch.milvus.collection import stored_vectors
from mmsearch.milvus.expression import EVERYTHING
from mmsearch.milvus.searches import MOST_EFFORT, Searches
from mmsearch.records import Matrix, Modality

if TYPE_CHECKING:
    from mmsearch.milvus.store import MilvusStore

EFFORTS = "efforts"
"""Setting: the effort of each modality."""
_UNMEASURED = {"image": 256, "text": 1024}
_LADDER = (128, 256, 512, 1024, 2048, 4096, 8192)
_TARGET = 0.985  # of the widest search, as pictures that leave cost recall until the engine has cleared up
_N_QUERIES = 100


def effort_of(store: MilvusStore, modality: Modality) -> int:
    """Return the effort of a search without filters."""
    kept = store.setting(EFFORTS)
    known: Mapping[str, Any] = kept if isinstance(kept, dict) else {}
    return int(known.get(modality, _UNMEASURED[modality]))


def chosen_efforts(store: MilvusStore, text_probes: Matrix | None) -> dict[str, int]:
    """Return the least effort for each modality that finds nearly all of what the widest search does.

    Parameters
    ----------
    store : MilvusStore
        Its index is up to date.
    text_probes : float32 array, shape (n, dim), or None
        Unit embeddings of typical texts; without them texts go by what suits most libraries.
    """
    searches = Searches(store)
    if not searches.has_efforts:
        return {}
    sample = store.engine.query(store.collection, EVERYTHING, ("vector",), limit=_N_QUERIES)
    queries = {"image": picture_queries(stored_vectors([row["vector"] for row in sample], store.dim), _N_QUERIES)}
    if text_probes is not None and len(text_probes):
        rng = np.random.default_rng(0)
        queries["text"] = text_probes[rng.permutation(len(text_probes))[:_N_QUERIES]]
    return {modality: _least(searches, vectors) for modality, vectors in queries.items() if len(vectors)}


def _least(searches: Searches, vectors: Matrix) -> int:
    expected = _found(searches, vectors, MOST_EFFORT)
    for effort in _LADDER:
        pairs = zip(_found(searches, vectors, effort), expected, strict=True)
        if np.mean([len(near & best) / max(1, len(best)) for near, best in pairs]) >= _TARGET:
            return effort
    return MOST_EFFORT


def _found(searches: Searches, vectors: Matrix, effort: int) -> list[set[int]]:
    return [{hit["id"] for hit in hits} for hits in searches.nearest(vectors, K, effort)]
