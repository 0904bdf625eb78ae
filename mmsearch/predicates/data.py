"""Filters as callers give them: texts, trees, and trees as data of JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from mmsearch.arguments import several, unfit
from mmsearch.errors import QueryError
from mmsearch.predicates.text import parse, written
from mmsearch.predicates.tree import And, Comparison, Not, Or, Predicate, require_depth

FilterLike: TypeAlias = "str | Predicate | Mapping[str, Any]"
_FORMS = '{"field": ..., "op": ..., "value": ...}, {"and": [...]}, {"or": [...]} or {"not": ...}'


def filters_of(given: FilterLike | Iterable[FilterLike], name: str) -> tuple[str | Predicate, ...]:
    """Return one filter or several, all of which must hold: texts as they are, and data as trees.

    Raises
    ------
    ArgumentError
        If one is neither a text nor a tree.
    QueryError
        If a tree as data means nothing. Texts are not looked at.

    Examples
    --------
    >>> filters_of({"field": "width", "op": ">", "value": 800}, "where")
    (Comparison(field='width', operator='>', value=800),)
    """
    if isinstance(given, Mapping):
        return (_filter(given, name),)
    return several(sorted(given, key=_key) if isinstance(given, set | frozenset) else given, name, _filter)


def all_of(filters: Iterable[str | Predicate]) -> Predicate | None:
    """Return the tree that all filters hold, or None if there are none.

    Raises
    ------
    QueryError
        If a text is not understood.
    """
    terms = tuple(parse(given) if isinstance(given, str) else given for given in filters)
    return And(terms) if len(terms) > 1 else next(iter(terms), None)


def _key(value: object) -> str:
    return written(value) if isinstance(value, Comparison | And | Or | Not) else str(value)


def _filter(value: object, name: str) -> str | Predicate:
    if isinstance(value, str):
        return str(value)
    return _tree(value, name, depth=0)


def _tree(value: object, name: str, depth: int) -> Predicate:
    require_depth(depth)
    if isinstance(value, Comparison | And | Or | Not):
        return value
    if isinstance(value, str):
        return parse(value)
    if not isinstance(value, Mapping):
        raise unfit(name, value, f"a filter: a text such as 'width > 800', or a tree {_FORMS}")
    if value.keys() == {"field", "op", "value"}:
        return Comparison(value["field"], value["op"], value["value"])
    key, below = next(iter(value.items())) if len(value) == 1 else (None, None)
    if key == "not":
        return Not(_tree(below, f"{name}.not", depth + 1))
    if key not in ("and", "or"):
        raise QueryError(f"{name} is a filter of {', '.join(map(repr, value)) or 'nothing'}; expected {_FORMS}")
    if not isinstance(below, list | tuple):
        raise unfit(f"{name}.{key}", below, "a list of filters")
    terms = tuple(_tree(term, f"{name}.{key}[{place}]", depth + 1) for place, term in enumerate(below))
    return And(terms) if key == "and" else Or(terms)
