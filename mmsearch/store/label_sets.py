"""What a catalog says of labels: which sets there are, and which picture was given what."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import isfinite
from typing import Any

from mmsearch.records import GivenLabel, LabelSet
from mmsearch.store.catalog import Catalog

_CHUNK = 500  # ids of one statement
_FACTS = {
    "templates": list, "closed": bool, "multi": bool, "min_probability": int | float, "mode": str,
    "logit_scale": int | float, "constant": int | float, "fingerprint": str,
}  # fmt: skip


def label_sets(catalog: Catalog) -> tuple[LabelSet, ...]:
    """Return the label sets, by name; inside `reading()`."""
    kept = catalog.db.execute(
        "SELECT label_set.name, facts, done, count(label.id), min(label.id), max(label.id) FROM label_set "
        "LEFT JOIN label ON label.label_set = label_set.id GROUP BY label_set.id ORDER BY label_set.name"
    ).fetchall()
    sets = []
    for name, facts, done, n_labels, *numbers in kept:
        told = facts_of(facts)
        least, mode = told.get("min_probability", 0.0), told.get("mode", "")
        n_waiting, templates = n_left(catalog, done), tuple(told.get("templates", ()))
        n_labelled, n_given = _counts(catalog, *numbers)
        sets.append(LabelSet(name, n_labels, n_labelled, n_given, n_waiting, least, mode, templates))
    return tuple(sets)


def _counts(catalog: Catalog, first: int | None, last: int | None) -> tuple[int, int]:
    """Return how many pictures a set labelled, and how many labels it gave, by the range of their numbers.

    Labels of a set were numbered in one go. One by one, as different pictures are counted along an index then.
    """
    (n_given,) = catalog.db.execute(
        "SELECT count(*) FROM given WHERE label BETWEEN ? AND ?", (first, last)
    ).fetchone()
    sql = "SELECT count(DISTINCT image) FROM given INDEXED BY given_image WHERE +label BETWEEN ? AND ?"
    return catalog.db.execute(sql, (first, last)).fetchone()[0], n_given


def facts_of(kept: str) -> dict[str, Any]:
    """Return what is kept of a set beside its labels; nothing where that is damaged, which `verify` names."""
    try:
        told = json.loads(kept)
        is_whole = all(isinstance(told[name], kind) for name, kind in _FACTS.items())
        is_whole = is_whole and all(isfinite(told[name]) for name in ("min_probability", "logit_scale", "constant"))
        return told if is_whole and all(isinstance(template, str) for template in told["templates"]) else {}
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return {}


def n_left(catalog: Catalog, done: int) -> int:
    """Return how many pictures a set has not looked at yet that is done up to an id."""
    return catalog.count_where("id > ? AND row >= 0", (done,))


def unfinished(catalog: Catalog) -> list[str]:
    """Return a sentence for each set that has not looked at all pictures; inside `reading()`."""
    said = []
    for name, done in catalog.db.execute("SELECT name, done FROM label_set ORDER BY name"):
        n = n_left(catalog, done)
        if n:
            pictures = "picture was" if n == 1 else "pictures were"
            said.append(
                f"{n} {pictures} not looked at yet for the label set {name!r}; the next `mmsearch index` goes on "
                "with them"
            )
    return said


def labels_called(catalog: Catalog) -> list[tuple[str, str]]:
    """Return all labels as (set, label), by set and in the order in which they were given; inside `reading()`."""
    sql = "SELECT label_set.name, label.name FROM label JOIN label_set ON label_set.id = label.label_set"
    return catalog.db.execute(f"{sql} ORDER BY label_set.name, label.id").fetchall()


def labels_of(catalog: Catalog, image_ids: Sequence[int]) -> dict[int, tuple[GivenLabel, ...]]:
    """Return what each picture was given, most probable first; pictures without labels are left out."""
    given: dict[int, list[GivenLabel]] = {}
    for start in range(0, len(image_ids), _CHUNK):
        chunk = [int(image_id) for image_id in image_ids[start : start + _CHUNK]]
        for image_id, *label in catalog.db.execute(
            "SELECT given.image, label_set.name, label.name, given.probability FROM given "
            "JOIN label ON label.id = given.label JOIN label_set ON label_set.id = label.label_set "
            f"WHERE given.image IN ({','.join('?' * len(chunk))}) ORDER BY given.probability DESC, given.label",
            chunk,
        ):
            given.setdefault(image_id, []).append(GivenLabel(*label))
    return {image_id: tuple(labels) for image_id, labels in given.items()}
