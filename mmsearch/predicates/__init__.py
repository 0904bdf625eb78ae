"""PREDICATES: filters as trees of comparisons, from text or data; an engine makes its own conditions of them."""

from mmsearch.predicates.data import FilterLike, all_of, filters_of
from mmsearch.predicates.text import parse, written
from mmsearch.predicates.tree import And, Comparison, Not, Or, Predicate
from mmsearch.predicates.values import (
    ANNOTATED,
    FIELDS,
    FILMED,
    HAD,
    KINDS,
    NUMBERS,
    OPERATORS,
    ORIENTATIONS,
    TIMES,
    Field,
    Operator,
    seconds_of,
)

__all__ = [
    "ANNOTATED", "FIELDS", "FILMED", "HAD", "KINDS", "NUMBERS", "OPERATORS", "ORIENTATIONS", "TIMES", "And",
    "Comparison", "Field", "FilterLike", "Not", "Operator", "Or", "Predicate", "all_of", "filters_of", "parse",
    "seconds_of", "written",
]  # fmt: skip
