"""MEASURABLE: the index of a library folder beside the scan of the same vectors, for who compares them."""

from __future__ import annotations

from typing import Any

from mmsearch.indexes.exact import ExactIndex
from mmsearch.records import Unusable
from mmsearch.store.base import MeasurableIndex, OnProgress
from mmsearch.store.folder import Store
from mmsearch.store.graph import GraphSettings, PublishedGraph, followed


def measurable_index(store: Store, *, on_progress: OnProgress) -> MeasurableIndex:
    """Return the published index of a library, or one that is built in memory to show what it would do."""
    with store.reading():
        settings, dead = store.graph.settings, store.dead_rows()
        published, is_in_memory = store.graph.load(), False
        if isinstance(published, Unusable):
            published, is_in_memory = store.graph.in_memory(settings, on_progress=on_progress), True
        plans = followed(published.plans, store.n_rows - len(dead))
        matrix = store.first_rows(published.index.n_rows)
        facts = _facts(store, published, settings, is_in_memory=is_in_memory)
    return MeasurableIndex(published.index, ExactIndex(matrix, dead), matrix, plans, facts)


def _facts(
    store: Store, published: PublishedGraph, settings: GraphSettings, *, is_in_memory: bool
) -> dict[str, Any]:
    facts = published.index.facts
    return {
        "kind": published.kind.name,
        "model": store.setting("model"),
        "n_vectors": store.n_rows - store.n_dead,
        "n_in_index": facts.n_held,
        "n_dead_in_index": len(published.index.dead),
        "dim": store.dim,
        **facts.settings,  # under names that only its method knows
        "vector_bytes": 2 * store.dim,
        "index_bytes_per_vector": round(facts.size_bytes / max(1, facts.n_held), 1),
        "build_seconds": None if published.build_seconds is None else round(published.build_seconds, 4),
        "is_built_for_this_measurement": is_in_memory,
        "recall_target": settings.recall_target,
        "graph_from": settings.graph_from,
    }
