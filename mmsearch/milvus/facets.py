"""Counts of the pictures that filters would leave, without fetching them: what there is comes from samples."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from mmsearch.milvus.engine import Row
from mmsearch.milvus.expression import NOTHING, both, dated, in_folder, shaped
from mmsearch.milvus.scan import MOST_ROWS, scan
from mmsearch.predicates import ORIENTATIONS
from mmsearch.store.facets import SIZES, WIDTHS, Counts, Facet, Facets, facets_of, months_of

if TYPE_CHECKING:
    from mmsearch.milvus.conditions import Resolved
    from mmsearch.milvus.store import MilvusStore

_FIELDS = ("id", "path", "size", "taken", "format", "width", "height")
_ROUNDS = 20  # of samples, each of what those before did not show
_MOST_FOLDERS = 100  # that are counted


def fetched_facets(store: MilvusStore, resolved: Resolved) -> Facets:
    """Return the classes of the pictures that pass a condition, each of which is looked at."""
    counts = Counts()
    for rows in scan(store.engine, store.collection, resolved.expression, _FIELDS):
        for row in rows:
            if resolved.ids is None or row["id"] in resolved.ids:
                counts.folders[_folder_of(row)] += 1
                counts.sizes[_class(row["size"], SIZES)] += 1
                counts.years[_year_of(row) or None] += 1
                counts.formats[_format_of(row)] += 1
                counts.widths[_class(row["width"], WIDTHS)] += 1
                counts.orientations[_orientation_of(row)] += 1
    return facets_of(counts)


def counted_facets(store: MilvusStore, expression: str) -> Facets:
    """Return the classes of the pictures that pass an expression; of very many folders those that samples show."""
    orientations = {name: store.count(both(expression, shaped(name))) for name in ORIENTATIONS}
    return facets_of(
        Counts(
            folders=_folders(store, expression),
            sizes=_in_classes(store, expression, "size", SIZES),
            years=_counted(store, both(expression, 'taken != ""'), "taken", _year_of, _in_year),
            formats=_counted(store, expression, "format", _format_of, _of_format),
            widths=_in_classes(store, expression, "width", WIDTHS),
            orientations=Counter[object](orientations),
        )
    )


def _in_classes(store: MilvusStore, expression: str, field: str, lows: Sequence[int]) -> Counter[object]:
    """Count the pictures that pass an expression by the classes of a number."""
    counts = Counter[object]()
    for low, high in pairwise((*lows, None)):
        bound = f"{field} >= {low}" if high is None else f"{field} >= {low} and {field} < {high}"
        counts[low] = store.count(both(expression, bound))
    return counts


def fetched_months(store: MilvusStore, resolved: Resolved) -> tuple[Facet, ...]:
    """Return the months of the pictures that pass a condition, each of which is looked at."""
    parts = scan(store.engine, store.collection, resolved.expression, ("id", "taken"))
    rows = (row for part in parts for row in part if resolved.ids is None or row["id"] in resolved.ids)
    return months_of(Counter(map(_month_of, rows)))


def counted_months(store: MilvusStore, expression: str) -> tuple[Facet, ...]:
    """Return the months of the pictures that pass an expression."""
    counts = _counted(store, both(expression, 'taken != ""'), "taken", _month_of, _in_month)
    n_undated = store.count(both(expression, 'taken == ""'))
    return months_of({str(month): n for month, n in {**counts, "": n_undated}.items() if n})


def _counted(
    store: MilvusStore,
    expression: str,
    field: str,
    value_of: Callable[[Row], str],
    having: Callable[[str], str],
) -> Counter[object]:
    """Count the pictures that pass an expression by a value, of which samples show all that there are."""
    counts, rest = Counter[object](), expression
    for _ in range(_ROUNDS):
        rows = store.engine.query(store.collection, rest, ["id", field], limit=MOST_ROWS)
        values = sorted({value_of(row) for row in rows})
        for value in values:
            counts[value] = store.count(both(rest, having(value)))
        if len(rows) < MOST_ROWS:
            break
        rest = both(rest, *(f"not ({having(value)})" for value in values))
    return counts


def _folders(store: MilvusStore, expression: str) -> Counter[object]:
    """Count what lies below the folders that a sample shows most, less what is counted for others below them."""
    rows = store.engine.query(store.collection, expression, ["id", "path"], limit=MOST_ROWS)
    shown: Counter[bytes] = Counter()
    for folder, n in Counter(map(_folder_of, rows)).items():
        for each in _upwards(folder):
            shown[each] += n
    below = {
        folder: store.count(both(expression, in_folder(folder))) for folder, _ in shown.most_common(_MOST_FOLDERS)
    }
    direct = Counter[object](below)
    for folder in below:
        nearest = next((each for each in _upwards(folder) if each != folder and each in below), None)
        if nearest is not None:
            direct[nearest] -= below[folder]
    return +direct  # without the empty ones


def _upwards(folder: bytes) -> Iterator[bytes]:
    """Yield a folder and all above it."""
    yield folder
    while folder != (above := os.path.dirname(folder)):
        yield above
        folder = above


def _class(number: int, lows: Sequence[int]) -> int | None:
    return max((low for low in lows if low <= number), default=None)


def _orientation_of(row: Row) -> str:
    if row["width"] == row["height"]:
        return "square"
    return "landscape" if row["width"] > row["height"] else "portrait"


def _folder_of(row: Row) -> bytes:
    return os.path.dirname(bytes.fromhex(row["path"]))


def _year_of(row: Row) -> str:
    return str(row["taken"][:4])


def _month_of(row: Row) -> str:
    return str(row["taken"][:7])


def _in_month(month: str) -> str:
    return dated("=", month) if "-" in month else f'taken == "{month}"'


def _in_year(year: str) -> str:
    return dated("=", year) if year.isdigit() else NOTHING


def _format_of(row: Row) -> str:
    return bytes.fromhex(row["format"]).decode()


def _of_format(name: str) -> str:
    return f'format == "{name.encode().hex()}"'
