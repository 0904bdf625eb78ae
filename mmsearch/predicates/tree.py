"""The tree of a filter: comparisons, and what `and`, `or` and `not` make of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from mmsearch.arguments import unfit
from mmsearch.errors import QueryError
from mmsearch.predicates.values import understood

MAX_COMPARISONS = 200
MAX_DEPTH = 20


@dataclass(frozen=True)
class Comparison:
    """One field of a picture compared with a value.

    A picture without a date fails every comparison of `taken`, `!=` too. A date is compared at the precision it is
    given in, so `taken = 2023-05` is any time in that month. A folder is equal to itself and to all that lies below
    it. An orientation is `landscape` where a picture is wider than high, `portrait` where it is higher than wide,
    else `square`. `~` is a glob over characters, for names without regard to case. A label is one that a label set
    of the library gave the picture, whatever its case, and of one set alone as `SET/LABEL`; `!=` passes those that
    were not given it.

    A tag, person or place is equal to one that a picture has, to what is above it in one with levels such as
    `Places > France > Paris` (or `Places/France/Paris`), and to any level of it; a caption, camera or lens to the
    whole of it. Neither case nor accents count, and `!=` passes pictures that have no such one. `near` is latitude,
    longitude and kilometres, and `has` says what a picture has at all.

    Parameters
    ----------
    field : str
        One of FIELDS.
    operator : str
        One of OPERATORS.
    value : str, int or float
        Kept as an int (`understood`) where the field is a number.

    Raises
    ------
    QueryError
        If it means nothing.

    Examples
    --------
    >>> Comparison("size", ">", "2M")
    Comparison(field='size', operator='>', value=2000000)
    """

    field: str
    operator: str
    value: int | str

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", understood(self.field, self.operator, self.value))


@dataclass(frozen=True)
class _Junction:
    """Several trees, one at least."""

    terms: tuple[Predicate, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "terms", tuple(self.terms))
        if not self.terms:
            raise QueryError("`and` or `or` of no filters; give at least one")
        _require_modest(self.terms)


class And(_Junction):
    """Passed by the pictures that pass all terms."""


class Or(_Junction):
    """Passed by the pictures that pass at least one of the terms."""


@dataclass(frozen=True)
class Not:
    """Passed by exactly the pictures that do not pass the term, those without a date among them."""

    term: Predicate

    def __post_init__(self) -> None:
        _require_modest((self.term,))


Predicate: TypeAlias = Comparison | And | Or | Not


def comparisons(predicate: Predicate) -> Iterator[Comparison]:
    """Yield the comparisons of a tree, in their order."""
    if isinstance(predicate, Comparison):
        yield predicate
        return
    for term in terms_of(predicate):
        yield from comparisons(term)


def terms_of(predicate: And | Or | Not) -> tuple[Predicate, ...]:
    """Return what a node joins or denies."""
    return (predicate.term,) if isinstance(predicate, Not) else predicate.terms


def require_depth(depth: int) -> None:
    """Raise QueryError if filters are nested more deeply than any that are meant."""
    if depth > MAX_DEPTH:
        raise QueryError(f"filters are nested more than {MAX_DEPTH} deep; write them flatter")


def _require_modest(terms: tuple[Predicate, ...]) -> None:
    """Raise an error if a node is made of other things than trees, or is deeper or larger than is meant."""
    for term in terms:
        if not isinstance(term, Comparison | And | Or | Not):
            raise unfit("what `and`, `or` or `not` is made of", term, "a Comparison, And, Or or Not")
    require_depth(1 + max(map(_depth, terms)))
    n = sum(1 for term in terms for _ in comparisons(term))
    if n > MAX_COMPARISONS:
        raise QueryError(f"{n} comparisons in the filters; at most {MAX_COMPARISONS} are taken: ask for fewer")


def _depth(predicate: Predicate) -> int:
    return 0 if isinstance(predicate, Comparison) else 1 + max(map(_depth, terms_of(predicate)))
