"""Counts of the pictures that filters would leave: by folder, year, size, format, shape, kind, label and tag."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from mmsearch.annotations.tokens import folded, levels_of
from mmsearch.predicates import KINDS, ORIENTATIONS, Comparison, FilterLike, written
from mmsearch.store.catalog import Catalog
from mmsearch.store.spelling import spelled
from mmsearch.store.where import KIND, ORIENTATION, SqlCondition, condition_of, said_by_kind

SIZES = (0, 100_000, 500_000, 1_000_000, 5_000_000, 20_000_000)
"""Where the classes of file sizes begin, in bytes."""
WIDTHS = (0, 1_000, 2_000, 4_000)
"""Where the classes of widths begin, in pixels."""
MAX_FOLDERS = 1_000
MAX_LABELS = 1_000  # of a set, and tags
_MOST_LEVELS = 10
_EVERY_MONTH = """WITH RECURSIVE month(name) AS (
    SELECT substr(max(taken), 1, 7) FROM image
    UNION ALL SELECT (SELECT substr(max(taken), 1, 7) FROM image WHERE taken < name) FROM month WHERE name NOTNULL)
    SELECT name, (SELECT count(*) FROM image WHERE taken >= name AND taken < name || '~'
        AND (length(name) = 7 OR taken = name)) FROM month WHERE name NOTNULL
    UNION ALL SELECT '', count(*) FROM image WHERE taken IS NULL HAVING count(*) > 0"""
"""From one month to the next by the index of dates, which takes a tenth of grouping them."""
_NO_TEXT = re.compile("[\udc80-\udcff]")
_WILD = re.compile(r"[*?[]")
_CONNECTIVE = re.compile(r"(?<=\s)[ao](?=(?:nd|r)\b)", re.IGNORECASE)  # by its first letter, for brackets round it


@dataclass(frozen=True)
class Facet:
    """A class of pictures: what it is called, the filters that give it, and how many pictures it has."""

    label: str
    where: tuple[str, ...]
    n: int


@dataclass(frozen=True)
class LabelFacets:
    """The labels that one set gave pictures, the most frequent first; of very many those."""

    label_set: str
    facets: tuple[Facet, ...]


@dataclass(frozen=True)
class Facets:
    """Pictures that pass some filters, in classes; empty classes are left out.

    A folder counts what is at any depth below it, as the filter does; of the folders that hold all only the deepest
    is named, and of very many folders the largest. A film counts once; `kinds` are pictures and films, and empty in
    a library without films.
    """

    n: int
    folders: tuple[Facet, ...]
    years: tuple[Facet, ...]
    sizes: tuple[Facet, ...]
    formats: tuple[Facet, ...]
    widths: tuple[Facet, ...]
    orientations: tuple[Facet, ...]
    labels: tuple[LabelFacets, ...] = ()
    tags: tuple[Facet, ...] = ()
    kinds: tuple[Facet, ...] = ()


def count_facets(catalog: Catalog, where: Sequence[FilterLike] = ()) -> Facets:
    """Return the classes of the pictures that pass all filters; none where no picture could pass them.

    Raises
    ------
    QueryError
        If a filter is not understood.
    """
    condition = condition_of(where)

    def counted(expression: str) -> Counter[object]:
        sql = f"SELECT {expression}, count(*) FROM image WHERE {condition.sql or '1'} GROUP BY 1"
        return Counter(dict(catalog.db.execute(sql, condition.parameters)))

    with catalog.reading():
        condition = catalog.once(spelled(catalog, condition))
        counts = Counts(
            folders=counted("folder_of(path)"),
            sizes=counted(_class("size", SIZES)),
            years=counted("substr(taken, 1, 4)"),
            formats=counted("format"),
            widths=counted(_class("width", WIDTHS)),
            orientations=counted(ORIENTATION),
        )
        labels, tags = _labels(catalog, condition), _tags(catalog, condition)
        by_kind = counted(KIND) if catalog.has_films() else {}
    kinds = tuple(Facet(f"{kind}s", (f"kind = {kind}",), by_kind[kind]) for kind in KINDS if kind in by_kind)
    return replace(facets_of(counts), labels=labels, tags=tags, kinds=kinds)


def _class(column: str, lows: Sequence[int]) -> str:
    """Return the SQL of the beginning of the class that a number is in."""
    return f"CASE {' '.join(f'WHEN {column} >= {low} THEN {low}' for low in reversed(lows))} END"


@dataclass(frozen=True)
class Counts:
    """How many pictures lie right in each folder, and have each size, year, format, width and orientation.

    Folders are bytes, sizes and widths the beginnings of their classes (`SIZES`, `WIDTHS`), a year that is not
    known is any that is no text.
    """

    folders: Counter[object] = field(default_factory=Counter)
    sizes: Counter[object] = field(default_factory=Counter)
    years: Counter[object] = field(default_factory=Counter)
    formats: Counter[object] = field(default_factory=Counter)
    widths: Counter[object] = field(default_factory=Counter)
    orientations: Counter[object] = field(default_factory=Counter)


def facets_of(counts: Counts) -> Facets:
    """Return the classes of pictures of which there are so many."""
    shapes = counts.orientations
    return Facets(
        n=sum(counts.formats.values()),
        folders=_folders({path: n for path, n in counts.folders.items() if isinstance(path, bytes)}),
        years=tuple(Facet(year, (f"taken = {year}",), n) for year, n in _sorted(counts.years)),
        sizes=_ranges("size", SIZES, counts.sizes, _bytes),
        formats=tuple(Facet(name, (f"format = {name}",), n) for name, n in _sorted(counts.formats)),
        widths=_ranges("width", WIDTHS, counts.widths, _pixels),
        orientations=tuple(
            Facet(name, (f"orientation = {name}",), shapes[name]) for name in ORIENTATIONS if shapes[name]
        ),
    )


def count_months(catalog: Catalog, condition: SqlCondition) -> tuple[Facet, ...]:
    """Return the months of the pictures that pass a condition; inside `catalog.reading()`."""
    if condition.sql:
        sql = f"SELECT ifnull(substr(taken, 1, 7), ''), count(*) FROM image WHERE {condition.sql} GROUP BY 1"
    else:
        sql = _EVERY_MONTH
    return months_of(dict(catalog.db.execute(sql, condition.parameters)))


def months_of(counts: Mapping[str, int]) -> tuple[Facet, ...]:
    """Return the months of which so many pictures are, the newest first: the order in which pictures are listed.

    A month is the beginning of a date, `2023-05`; where only the year is known it is that alone, and empty
    where nothing is known.

    >>> for month in months_of({"": 1, "2023": 2, "2023-05": 3}):
    ...     print(month.label, month.n, *month.where, sep=", ")
    2023-05, 3, taken = 2023-05
    2023, 2, taken = 2023, not taken >= 2023-01
    without a date, 1, not taken >= 0000
    """
    return tuple(
        Facet(month or "without a date", _month_filters(month), counts[month])
        for month in sorted(counts, reverse=True)
    )


def _month_filters(month: str) -> tuple[str, ...]:
    if not month:
        return ("not taken >= 0000",)
    return (f"taken = {month}",) if "-" in month else (f"taken = {month}", f"not taken >= {month}-01")


def _labels(catalog: Catalog, condition: SqlCondition) -> tuple[LabelFacets, ...]:
    """Return how many of the pictures that pass a condition have each label."""
    counts = "SELECT label, count(*) AS n FROM given GROUP BY label"
    if condition.sql:  # from the pictures on, of which few may pass
        counts = (
            "SELECT given.label, count(*) AS n FROM image CROSS JOIN given ON given.image = image.id "
            f"WHERE {condition.sql} GROUP BY given.label"
        )
    of_set: dict[str, list[Facet]] = {}
    for label_set, label, n in catalog.db.execute(
        f"SELECT label_set.name, label.name, n FROM ({counts}) AS counted JOIN label ON label.id = counted.label "
        "JOIN label_set ON label_set.id = label.label_set ORDER BY label_set.name, n DESC, label.id",
        condition.parameters,
    ):
        where = written(Comparison("label", "=", f"{label_set}/{label}"))
        of_set.setdefault(label_set, []).append(Facet(label, (where,), n))
    return tuple(LabelFacets(name, tuple(facets[:MAX_LABELS])) for name, facets in of_set.items())


def _tags(catalog: Catalog, condition: SqlCondition) -> tuple[Facet, ...]:
    """Return how many of the pictures that pass a condition have each tag, the most frequent first.

    A tag counts what the filter by it passes: its other spellings, and what has it among its levels.
    """
    tagged = " UNION ALL ".join(f"SELECT text, image FROM {said}" for said in said_by_kind("tag"))
    tagged = f"FROM ({tagged}) WHERE "
    tagged += f"image IN (SELECT id FROM image WHERE {condition.sql})" if condition.sql else "1"
    counts = dict(
        catalog.db.execute(f"SELECT text, count(DISTINCT image) {tagged} GROUP BY text", condition.parameters)
    )
    alike: dict[str, list[str]] = {}
    for tag in sorted(counts, key=lambda tag: (-counts[tag], tag)):
        for levels in _runs_of_levels(folded(tag)):
            alike.setdefault(levels, []).append(tag)
    facets: dict[str, Facet] = {}
    for tag in sorted(counts, key=lambda tag: (-counts[tag], tag))[:MAX_LABELS]:
        name = "/".join(levels_of(folded(tag)))
        if name and name not in facets:
            n, all_such = counts[tag], alike[name]
            if len(all_such) > 1:
                sql = f"SELECT count(DISTINCT image) {tagged} AND text IN (SELECT value FROM json_each(?))"
                (n,) = catalog.db.execute(sql, (*condition.parameters, json.dumps(all_such))).fetchone()
            facets[name] = Facet(tag, (written(Comparison("tag", "=", tag)),), n)
    return tuple(sorted(facets.values(), key=lambda facet: (-facet.n, facet.label)))


def _runs_of_levels(tag: str) -> set[str]:
    """Return what a tag is found by: its levels that follow one another.

    >>> sorted(_runs_of_levels("a > b > c"))
    ['a', 'a/b', 'a/b/c', 'b', 'b/c', 'c']
    """
    levels = levels_of(tag)[:_MOST_LEVELS]
    return {"/".join(levels[i:j]) for i in range(len(levels)) for j in range(i + 1, len(levels) + 1)}


def _sorted(counts: Counter[object]) -> list[tuple[str, int]]:
    return sorted((key, n) for key, n in counts.items() if isinstance(key, str))


def _folders(direct: dict[bytes, int]) -> tuple[Facet, ...]:
    """Return the folders with what is at any depth below each, by path."""
    counts: Counter[bytes] = Counter()
    for folder, n in direct.items():
        counts[folder] += n
        while folder != (above := os.path.dirname(folder)):
            counts[above] += n
            folder = above
    common = os.path.commonpath(direct) if direct else b""
    kept = [(path, n) for path, n in counts.most_common() if len(path) >= len(common)][:MAX_FOLDERS]
    return tuple(Facet(os.fsdecode(path), (_folder_filter(os.fsdecode(path)),), n) for path, n in sorted(kept))


def _folder_filter(path: str) -> str:
    """Return the filter of a folder such that an address and JSON can hold it: bytes that are no text are any."""
    # A slash keeps the space at the end of a name, which a filter would lose.
    text = written(Comparison("folder", "=", path + "/" if path[-1].isspace() else path))
    if text.startswith("folder") and not _NO_TEXT.search(path):
        return text
    literal = _CONNECTIVE.sub(r"[\g<0>]", _WILD.sub(r"[\g<0>]", path))
    return f"path ~ {_NO_TEXT.sub('?', literal)}/*"


def _ranges(
    name: str, lows: Sequence[int], counts: Counter[object], said: Callable[[int], str]
) -> tuple[Facet, ...]:
    """Return the classes of a number that have pictures; `lows` are where they begin."""
    facets: list[Facet] = []
    where: tuple[str, ...]
    for low, high in zip(lows, (*lows[1:], None), strict=True):
        if high is None:
            label, where = f"from {said(low)}", (f"{name} >= {low}",)
        else:
            label = f"{said(low)} to {said(high)}" if low else f"up to {said(high)}"
            where = (f"{name} >= {low}", f"{name} < {high}")
        if counts[low]:
            facets.append(Facet(label, where, counts[low]))
    return tuple(facets)


def _bytes(size: int) -> str:
    return f"{size / 1e6:g} MB" if size >= 1e6 else f"{size // 1000} kB"


def _pixels(width: int) -> str:
    return f"{width:,} px"
