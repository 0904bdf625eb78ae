"""How the paths that filters name are spelled in a catalog, so that its index of paths can be used.

One path may be there in several spellings: folders from a Mac beside folders made on Linux, or one in the other.
The conditions of `condition_of` hold for all of them, but are computed for every path; here they become ranges of
the spellings that there are.
"""

from __future__ import annotations

import dataclasses
import os

from mmsearch.predicates import Comparison
from mmsearch.store.catalog import Catalog
from mmsearch.store.normal_form import common_lead, composed, has_one_form
from mmsearch.store.where import Filter, SqlCondition, filter_of, place_bounds

_MOST_NAMES = 5_000  # of one folder; beyond, computing is faster than looking for the next name
_MOST_SPELLINGS = 20


def spelled(catalog: Catalog, condition: SqlCondition) -> SqlCondition:
    """Return a condition that the same pictures pass in the present state of a catalog; inside `reading()`."""
    return SqlCondition.of(condition.predicate, lambda comparison: spelled_filter(catalog, comparison))


def spelled_filter(catalog: Catalog, comparison: Comparison) -> Filter:
    """Return a comparison that the same pictures pass in the present state of a catalog; inside `reading()`."""
    part = filter_of(comparison)
    if part.field not in ("folder", "path") or part.operator not in ("=", "!=") or has_one_form(str(part.value)):
        return part
    spellings = _spellings(catalog, str(part.value))
    if spellings is None:
        return part
    bounds = [place_bounds(part.field, spelling) for spelling in spellings]
    sql = " OR ".join(["path >= ? AND path < ?"] * len(bounds)) or "0"
    parameters = tuple(bound for pair in bounds for bound in pair)
    return dataclasses.replace(part, sql=sql if part.operator == "=" else f"NOT ({sql})", parameters=parameters)


def _spellings(catalog: Catalog, place: str) -> list[bytes] | None:
    """Return the paths in a catalog that are equal to one in the composed form; None if that takes too long."""
    spellings = [b""]
    for name in place.split("/")[1:]:
        if has_one_form(name):
            spellings = [folder + b"/" + os.fsencode(name) for folder in spellings]
            continue
        wanted, longer = composed(os.fsencode(name)), []
        for folder in spellings:
            names = _names_in(catalog, folder, common_lead(name))
            if names is None:
                return None
            longer += [folder + b"/" + other for other in names if composed(other) == wanted]
        if len(longer) > _MOST_SPELLINGS:
            return None
        spellings = longer
    return spellings


def _names_in(catalog: Catalog, folder: bytes, lead: bytes) -> list[bytes] | None:
    """Return the names in a folder that begin with `lead`, of files and folders; None if there are too many."""
    names: list[bytes] = []
    start, end = folder + b"/" + lead, folder + (b"/" + lead + b"\xff" * 256 if lead else b"0")
    sql = "SELECT path FROM image WHERE path >= ? AND path < ? ORDER BY path LIMIT 1"
    while (first := catalog.db.execute(sql, (start, end)).fetchone()) is not None:
        if len(names) == _MOST_NAMES:
            return None
        name, slash, _ = first[0][len(folder) + 1 :].partition(b"/")
        names.append(name)
        start = folder + b"/" + name + (b"0" if slash else b"\0")  # 0 is the next byte after the slash
    return names
