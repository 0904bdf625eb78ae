"""Conditions as the engine is asked for them: an expression, and where that is not all, the ids that pass it."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from mmsearch.milvus.engine import Engine, Row
from mmsearch.milvus.expression import EVERYTHING, among, below, both, expression_of
from mmsearch.milvus.scan import scan
from mmsearch.predicates import Comparison, Predicate
from mmsearch.store.base import Condition
from mmsearch.store.checked import Facts, passing

CHECKED = ("id", "path", "size", "width", "height", "format", "taken")
"""What conditions look at."""
_MOST_IDS = 20_000  # in one expression
_KEPT = 8  # answers of which filters that the engine cannot say are kept


@dataclass(frozen=True)
class Resolved:
    """A condition in one state of the library.

    `expression` is passed by all that pass, and by more if `ids` are there and too many for an expression: then
    only those pass.
    """

    expression: str
    ids: frozenset[int] | None = None
    is_exact: bool = True


class Conditions:
    """Resolves conditions over one collection, and keeps what it cost most to find out.

    Parameters
    ----------
    engine : Engine
        Where it is.
    collection : str
        That of the pictures.
    """

    def __init__(self, engine: Engine, collection: str) -> None:
        self._engine, self._collection = engine, collection
        self._kept: OrderedDict[tuple[int, Predicate], frozenset[int]] = OrderedDict()

    def resolved(self, condition: Condition, revision: int) -> Resolved:
        """Return a condition as it is asked in the state of a library with this revision."""
        others = f"not ({among('id', condition.left_out)})" if condition.left_out else EVERYTHING
        predicate = condition.predicate
        expression = expression_of(predicate)
        if predicate is None or expression.is_exact:
            return Resolved(both(expression.wide, others) or EVERYTHING)
        ids = self._ids_passing(predicate, expression.wide, revision).difference(condition.left_out)
        if len(ids) <= _MOST_IDS:
            return Resolved(among("id", sorted(ids)), ids)
        return Resolved(both(expression.wide, others) or EVERYTHING, ids, is_exact=False)

    def _ids_passing(self, predicate: Predicate, wide: str, revision: int) -> frozenset[int]:
        """Return the ids that pass a filter, of the pictures that pass a wider expression."""
        key = revision, predicate
        if key not in self._kept:
            # What is kept holds all that was written before: after this, answers do.
            self._engine.count(self._collection, level="Strong")
            parts = scan(self._engine, self._collection, wide, CHECKED)
            self._kept[key] = frozenset(passing(predicate, (fact for rows in parts for fact in facts_of(rows))))
        self._kept.move_to_end(key)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return self._kept[key]


class InCollection:
    """What the collection of a library holds, for who refuses filters that no picture could pass."""

    def __init__(self, engine: Engine, collection: str, roots: Callable[[], list[bytes]]) -> None:
        self._engine, self._collection, self.roots = engine, collection, roots

    def holds(self, comparison: Comparison | None = None) -> bool:
        """Return whether there is a picture that passes a comparison, or any at all."""
        if comparison is None:
            return self._has(EVERYTHING)
        expression = expression_of(comparison)
        if expression.is_exact:
            return self._has(expression.wide)
        parts = scan(self._engine, self._collection, expression.wide, CHECKED)
        return any(passing(comparison, facts_of(rows)) for rows in parts)

    def holds_below(self, place: bytes) -> bool:
        """Return whether there is a picture at or below a path."""
        return self._has(below(place))

    def labels(self) -> list[tuple[str, str]]:
        """Return no labels: filters by them are refused before."""
        return []

    def texts_near(self, kind: str, text: str) -> list[str]:
        """Return no texts: filters by them are refused before."""
        return []

    def _has(self, expression: str) -> bool:
        return bool(self._engine.query(self._collection, expression, ["id"], limit=1))


def facts_of(rows: Iterable[Row]) -> Iterable[Facts]:
    """Yield what conditions look at, of rows with the fields `CHECKED`."""
    for row in rows:
        path, kind = bytes.fromhex(row["path"]), os.fsdecode(bytes.fromhex(row["format"]))
        yield row["id"], path, row["size"], row["width"], row["height"], kind, row["taken"] or None
