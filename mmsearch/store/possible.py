"""Refuse filters that no picture could pass, which an empty answer would leave in the dark.

A filter that passes no picture today is none of them: the answer is empty then. Here are filters that no picture
passes whatever is taken tomorrow, those that name a folder or picture of which the library holds nothing, and
those that look as if more was meant than one name. Of what `or` joins, one part must be possible; what `not` denies
need not be.

A library is asked which names it holds, whatever engine keeps it (`Holdings`).
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import islice, product
from typing import Protocol

from mmsearch.annotations.text import cleaned
from mmsearch.annotations.tokens import folded, levels_of
from mmsearch.errors import QueryError
from mmsearch.predicates import FIELDS, NUMBERS, OPERATORS, And, Comparison, FilterLike, Not, Predicate, written
from mmsearch.predicates.tree import comparisons
from mmsearch.store.catalog import Catalog
from mmsearch.store.label_sets import labels_called
from mmsearch.store.spelling import spelled, spelled_filter
from mmsearch.store.where import (
    NAMED,
    Filter,
    SqlCondition,
    condition_of,
    filter_of,
    is_called,
    place_bounds,
    said_by_kind,
)

_MOST_NAMED = 3
_MOST_COMPARED = 20_000  # texts, when one is looked for that may be misspelt
_LONGEST_LEAD = 40  # characters of the levels above the one that is meant
_MOST_WAYS = 64  # of passing filters; those that have more are not looked at
_LEAST = 1  # pixels of a side, and bytes of a file
_DIGITS = re.compile(r"\d+")
_QUOTED = re.compile(r"""(["']).*\1""", re.DOTALL)
_OTHER_FILTER = re.compile(r"\s(?:and|or)\s+(?:not\s+)?\(?([a-z_]+)\s*(?:[<>~]|!?=)", re.IGNORECASE)


class Holdings(Protocol):
    """What a library is asked before a filter is refused; inside `reading()`."""

    def holds(self, comparison: Comparison | None = None) -> bool:
        """Return whether there is a picture that passes a comparison, or any at all."""

    def holds_below(self, place: bytes) -> bool:
        """Return whether there is a picture at or below a path."""

    def labels(self) -> list[tuple[str, str]]:
        """Return all labels as (set, label)."""

    def texts_near(self, kind: str, text: str) -> list[str]:
        """Return tags, persons or places of about the length of one: some thousands, if there are as many."""

    def roots(self) -> list[bytes]:
        """Return the folders and files that were ever given to `index`."""


class InCatalog:
    """What the catalog of a library in a folder holds."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self.roots = catalog.roots

    def holds(self, comparison: Comparison | None = None) -> bool:
        """Return whether there is a picture that passes a comparison, or any at all."""
        if comparison is None:
            return self._catalog.holds("1")
        if comparison.field in NAMED and comparison.operator == "=" and self._says(comparison):
            return True  # which takes no time, while other spellings do
        part = spelled_filter(self._catalog, comparison)
        return self._catalog.holds(part.sql, part.parameters)

    def holds_below(self, place: bytes) -> bool:
        """Return whether there is a picture at or below a path."""
        return self._catalog.holds("path = ? OR path >= ? AND path < ?", (place, *place_bounds("folder", place)))

    def labels(self) -> list[tuple[str, str]]:
        """Return all labels as (set, label)."""
        return labels_called(self._catalog)

    def texts_near(self, kind: str, text: str) -> list[str]:
        """Return tags, persons or places of about the length of one: some thousands, if there are as many."""
        sql = " UNION ".join(f"SELECT text FROM {said}" for said in said_by_kind(kind))
        sql = f"SELECT text FROM ({sql}) WHERE length(text) BETWEEN ? AND ? LIMIT ?"
        shortest, longest = len(text) // 2, 2 * len(text) + _LONGEST_LEAD
        return [near for (near,) in self._catalog.db.execute(sql, (shortest, longest, _MOST_COMPARED))]

    def _says(self, comparison: Comparison) -> bool:
        """Return whether a tag, person or place of a picture is spelled as in a comparison."""
        text = cleaned(str(comparison.value))
        return any(
            self._catalog.db.execute(f"SELECT 1 FROM {said} AND text = ? LIMIT 1", (text,)).fetchone()
            for said in said_by_kind(comparison.field)
        )


def possible_condition(catalog: Catalog, where: FilterLike | Sequence[FilterLike]) -> SqlCondition:
    """Return the condition that all filters hold, with paths as a catalog spells them; inside `reading()`.

    Raises
    ------
    QueryError
        If a filter is not understood, or no picture could pass them.
    """
    condition = condition_of(where)
    require_possible(InCatalog(catalog), condition.predicate)
    return spelled(catalog, condition)


def require_possible(library: Holdings, predicate: Predicate | None) -> None:
    """Raise QueryError if no picture could pass a filter.

    A library without pictures is not asked: nothing passes there, and that is not the fault of a filter.
    """
    if predicate is None or not library.holds():
        return
    _require_labels(library, predicate)
    compiled, missing = cache(filter_of), cache(lambda part: _unmeant(library, part) or _unknown(library, part))
    faults: list[str] = []
    for way in _ways(predicate):
        parts = [compiled(comparison) for comparison in way]
        fault = _first(map(_unfit, parts)) or _without_overlap(parts) or _first(map(missing, parts))
        if fault is None or len(faults) == _MOST_WAYS:
            return
        faults.append(fault)
    raise QueryError(faults[0])


def _require_labels(library: Holdings, predicate: Predicate) -> None:
    """Raise QueryError if a filter is by label, wherever it stands, and the library has none."""
    part = next((part for part in comparisons(predicate) if part.field == "label"), None)
    if part is not None and not library.labels():
        raise QueryError(
            f"filter {written(part)!r}: the library has no labels; `mmsearch labels set NAME --labels-file F` "
            "gives some to its pictures"
        )


def _first(faults: Iterable[str | None]) -> str | None:
    return next((fault for fault in faults if fault is not None), None)


def _ways(predicate: Predicate) -> Iterator[tuple[Comparison, ...]]:
    """Yield the ways to pass a tree, each as the comparisons that then hold; those below `not` are left out."""
    if isinstance(predicate, Comparison):
        yield (predicate,)
    elif isinstance(predicate, Not):
        yield ()
    elif isinstance(predicate, And):
        choices = [list(islice(_ways(term), _MOST_WAYS + 1)) for term in predicate.terms]
        for chosen in product(*choices):
            yield tuple(comparison for way in chosen for comparison in way)
    else:
        for term in predicate.terms:
            yield from _ways(term)


def _said(part: Filter) -> str:
    return f"filter {written(part.comparison)!r}"


def _unfit(part: Filter) -> str | None:
    """Return why no picture passes a comparison whatever the library holds, or None."""
    value = str(part.value)
    if part.field in NUMBERS and part.operator != "!=" and part.high is not None and part.high <= _LEAST:
        return f"{_said(part)}: no picture is so small; raise the number"
    if part.field == "name" and part.operator in "=~" and "/" in value and "[" not in value:
        return f"{_said(part)}: a name holds no /, so this passes no picture; ask for the path"
    is_quoted = _QUOTED.fullmatch(value)  # of which more is said
    if part.field in ("folder", "path") and part.operator == "~" and value[0] not in "/*?[" and not is_quoted:
        return (
            f"{_said(part)}: a {part.field} begins with /, so this passes no picture; "
            f"put */ in front, as in '{part.field} ~ */{value}'"
        )
    return None


def _without_overlap(parts: Sequence[Filter]) -> str | None:
    """Return which two of several comparisons leave nothing of a field, or None."""
    of_axis: dict[str, list[Filter]] = {}
    for part in parts:
        of_axis.setdefault(_axis(part), []).append(part)
    pair = next(filter(None, map(_apart, of_axis.values())), None)
    if pair is None:
        return None
    first, second = (written(part.comparison) for part in sorted(pair, key=parts.index))
    return f"no picture passes both {first!r} and {second!r}; filters must all hold: leave one of them out"


def _apart(parts: Sequence[Filter]) -> tuple[Filter, Filter] | None:
    """Return two of several comparisons of one field that nothing passes together, or None."""
    lows = [part for part in parts if part.operator != "!=" and part.low is not None]
    highs = [part for part in parts if part.operator != "!=" and part.high is not None]
    if not (lows and highs):
        return None
    lowest, highest = max(lows, key=lambda part: part.low), min(highs, key=lambda part: part.high)
    if lowest.low >= highest.high:
        return lowest, highest
    excluded = [part for part in parts if part.operator == "!="]
    return next(
        (
            (part, out)
            for part in (lowest, highest)
            for out in excluded
            if part in highs and part in lows and out.low <= part.low and part.high <= out.high
        ),
        None,
    )


def _axis(part: Filter) -> str:
    return "path" if part.field == "folder" and part.operator in ("=", "!=") else part.field


def _unmeant(library: Holdings, part: Filter) -> str | None:
    """Return what else a name may be meant for, if the library holds nothing that is called so, or None."""
    if part.field not in ("folder", "path", "name"):
        return None
    field, operator, value = part.field, part.operator, str(part.comparison.value)
    other = _OTHER_FILTER.search(value)
    if _QUOTED.fullmatch(value):
        advice = f"the quotes are part of the {field} here, and nothing has them; leave them out"
    elif value[0] in "=<>":
        advice = f"the {field} begins with {value[0]} here, as no other does; operators are {' '.join(OPERATORS)}"
    elif other is not None and other[1] not in FIELDS:
        advice = (
            f"this is one {field} up to the end, and nothing is called so; if {other[1]!r} is meant as a field, "
            f"expected one of {', '.join(FIELDS)}"
        )
    else:
        return None
    equal = Comparison(field, "~" if operator == "~" else "=", value)
    return None if library.holds(equal) else f"{_said(part)}: {advice}"


def _unknown(library: Holdings, part: Filter) -> str | None:
    """Return that the library holds nothing of the folder, picture or label that a comparison names, or None."""
    if part.field == "label":
        return _unknown_label(library.labels(), part)
    if part.operator == "=" and part.field in NAMED:
        return None if library.holds(part.comparison) else _misspelt(library, part)
    if part.operator != "=" or part.field not in ("folder", "path"):
        return None
    if library.holds(part.comparison):
        return None
    place = os.fsencode(str(part.value))
    if part.field == "path" and library.holds_below(place):
        return f"{_said(part)}: this is a folder; ask for all below it by 'folder = ...'"
    roots = [root for root in library.roots() if library.holds_below(root)]
    other = next((name for name in _other_names(place, roots) if library.holds_below(name)), None)
    if other is not None:
        advice = f"links lead from it to {os.fsdecode(other)}, which is how it was indexed: ask for that"
    else:
        advice = f"correct it, or index it first; there are pictures in {_named(roots)}"
    what = "picture" if part.field == "path" else "picture below"
    return f"{_said(part)}: the library holds no {what} {os.fsdecode(place)}; {advice}"


def _unknown_label(labels: list[tuple[str, str]], part: Filter) -> str | None:
    """Return that no set has a label that a comparison asks for, or None."""
    from difflib import get_close_matches

    value, is_glob = os.fsencode(str(part.value)), part.operator == "~"
    counts = Counter(label_set for label_set, _ in labels)
    names = json.dumps(list(counts))
    if part.operator == "!=" or any(is_called(value, is_glob, *label, names) for label in labels):
        return None
    spelled_so = {name.casefold(): name for _, name in labels}
    asked = str(part.value).casefold()
    spellings = (asked, asked.strip("'"), asked.partition("/")[2])
    near = list(dict.fromkeys(name for spelling in spellings for name in get_close_matches(spelling, spelled_so)))
    meant = f"; is {' or '.join(repr(spelled_so[name]) for name in near[:_MOST_NAMED])} meant?" if near else ""
    if near and asked != asked.strip("'"):
        meant += " (without single quotes)"
    sets = ", ".join(f"{name} ({n} labels)" for name, n in counts.items())
    return f"{_said(part)}: no label is called so in the label sets of the library: {sets}{meant}"


def _misspelt(library: Holdings, part: Filter) -> str | None:
    """Return which tags, persons or places are called nearly as one that there is not, or None."""
    from difflib import get_close_matches

    asked = "/".join(levels_of(folded(str(part.value))))
    spelled_so: dict[str, str] = {}
    for text in library.texts_near(part.field, asked):
        whole = levels_of(folded(text))
        for name, of_it in zip(("/".join(whole), *whole), (text, *levels_of(text)), strict=False):
            spelled_so.setdefault(name, of_it.strip())
    # Another number is no other spelling: where there is 2019, nobody meant it who asks for 2018.
    alike = [name for name in spelled_so if _DIGITS.findall(name) == _DIGITS.findall(asked)]
    near = [spelled_so[name] for name in get_close_matches(asked, alike, _MOST_NAMED)]
    if not near:
        return None
    meant = " or ".join(map(repr, dict.fromkeys(near)))
    return f"{_said(part)}: no picture has this {part.field}; is {meant} meant?"


def _other_names(place: bytes, roots: Iterable[bytes]) -> Iterable[bytes]:
    """Yield what a path is called where the links in it, or in the folders that were indexed, are followed."""
    if b"\0" in place:
        return
    real = os.path.realpath(place)
    yield real
    for root in roots:
        real_root = os.path.realpath(root)
        if real == real_root or real.startswith(real_root.rstrip(b"/") + b"/"):
            yield os.path.join(root, os.path.relpath(real, real_root)) if real != real_root else root


def _named(roots: list[bytes]) -> str:
    names = [os.fsdecode(root) for root in roots[:_MOST_NAMED]]
    n_more = len(roots) - len(names)
    return ", ".join(names) + (f" and {n_more} more" if n_more else "") if names else "other folders"
