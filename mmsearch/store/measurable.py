"""MEASURABLE: the indexes of a library folder beside the scan of the same vectors, for who compares them."""

from __future__ import annotations

from typing import Any

from mmsearch.indexes.exact import ExactIndex
from mmsearch.indexes.kinds import KINDS
from mmsearch.indexes.plans import exact_plan
from mmsearch.records import Matrix, Unusable
from mmsearch.store.base import MeasurableIndexes, OnProgress
from mmsearch.store.folder import Store
from mmsearch.store.indexes import GraphSettings, PublishedIndex, plans_in_use


def measurable_indexes(store: Store, texts: Matrix, *, on_progress: OnProgress) -> MeasurableIndexes:
    """Return the published indexes of a library, or some that are built in memory to show what they would do."""
    with store.reading():
        settings, dead = store.indexes.settings, store.dead_rows()
        loaded = {kind.name: store.indexes.load(kind) for kind in store.indexes.kinds()}
        indexes, is_in_memory = [index for index in loaded.values() if not isinstance(index, Unusable)], False
        if not indexes:
            indexes, is_in_memory = store.indexes.in_memory(settings, texts, on_progress=on_progress), True
        n_rows = max(index.index.n_rows for index in indexes)
        indexes = [index for index in indexes if index.index.n_rows == n_rows]
        plans = {
            modality: exact_plan(plan.measured) if isinstance(loaded.get(plan.index), Unusable) else plan
            for modality, plan in plans_in_use(
                store.indexes.facts(), settings.recall_target, KINDS.values()
            ).items()
        }
        matrix = store.first_rows(n_rows)
        facts = [_facts(store, index, settings, is_in_memory=is_in_memory) for index in indexes]
    by_name = {index.kind.name: index.index for index in indexes}
    return MeasurableIndexes(by_name, ExactIndex(matrix, dead), matrix, dead, plans, facts)


def _facts(
    store: Store, published: PublishedIndex, settings: GraphSettings, *, is_in_memory: bool
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
