"""One search of the engine: how its kinds of index are told to do more or less for an answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mmsearch.milvus.expression import EVERYTHING
from mmsearch.records import Matrix

if TYPE_CHECKING:
    from mmsearch.milvus.store import MilvusStore

MOST_EFFORT = 8_192
_MOST_CELLS = 1024
_PARAMETERS: dict[str, Callable[[int], dict[str, int]]] = {  # by the kind of index
    "HNSW": lambda effort: {"ef": effort},
    "DISKANN": lambda effort: {"search_list": effort},
    "IVF_FLAT": lambda effort: {"nprobe": min(_MOST_CELLS, effort // 2)},
    "IVF_SQ8": lambda effort: {"nprobe": min(_MOST_CELLS, effort // 2)},
    "SCANN": lambda effort: {"nprobe": min(_MOST_CELLS, effort // 2), "reorder_k": effort},
}


class Searches:
    """Asks the engine for nearest vectors of one open library.

    Parameters
    ----------
    store : MilvusStore
        Opened for reading.
    """

    def __init__(self, store: MilvusStore) -> None:
        self._store = store
        self._kind: str | None = None

    @property
    def kind(self) -> str:
        """The kind of index, such as HNSW."""
        if self._kind is None:
            facts = self._store.engine.call("describe_index", self._store.collection, "vector") or {}
            self._kind = str(facts.get("index_type", "HNSW"))
        return self._kind

    def nearest(
        self, vectors: Matrix, limit: int, effort: int, *, expression: str = EVERYTHING, fields: Sequence[str] = ()
    ) -> list[Any]:
        """Return the hits of each vector (n, dim), best first, with fields of those that pass an expression."""
        effort = min(max(effort, limit), max(limit, MOST_EFFORT))
        told = _PARAMETERS.get(self.kind)  # a scan of all needs no telling
        parameters = {} if told is None else told(effort)
        engine, collection = self._store.engine, self._store.collection
        hits: list[Any] = engine.call(
            "search",
            collection,
            data=list(vectors),
            anns_field="vector",
            limit=limit,
            filter="" if expression == EVERYTHING else expression,
            output_fields=list(fields),
            search_params={"metric_type": "COSINE", "params": parameters},
            consistency_level=engine.level(collection),
        )
        return hits
