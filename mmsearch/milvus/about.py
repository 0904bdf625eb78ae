"""What changes of a library beside its pictures, in the collection `NAME__about`: settings, roots, bad files."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Sequence
from typing import Any

from mmsearch.errors import LibraryNotFoundError
from mmsearch.milvus.engine import Engine, Row
from mmsearch.milvus.expression import both
from mmsearch.records import BadPicture, FileLook
from mmsearch.store.changes import KnownBad, RejectedFile
from mmsearch.store.where import place_bounds

SETTING, ROOT, BAD, FIXED = "setting", "root", "bad", "fixed"
REVISION = "revision"
"""Setting: a number that is another after every commit."""
HELD = "held_pictures"
"""Setting: that the library holds pictures, or ever did."""
_LONGEST = 8_000  # characters of a message that are kept
_FIELDS = ("key", "value")
_TOGETHER = 1_000  # rows of one call, which takes or gives 64 MiB at most
_MOST_KEYS = 16_000  # of one answer
_BEYOND = "~"  # sorts after all keys


class About:
    """The small collection beside that of the pictures.

    Parameters
    ----------
    engine : Engine
        Where it is.
    collection : str
        Its name.
    """

    def __init__(self, engine: Engine, collection: str) -> None:
        self.engine, self.collection = engine, collection

    def settings(self) -> dict[str, Any]:
        """Return all settings that were kept."""
        rows = self._rows(f'kind == "{SETTING}"')
        return {row["key"].partition(":")[2]: json.loads(row["value"]) for row in rows}

    def keep(self, settings: dict[str, Any]) -> None:
        """Store settings that JSON can hold."""
        self._put(SETTING, {name: json.dumps(value) for name, value in settings.items()})

    def description(self) -> str:
        """Return what `keep_description` kept, or nothing."""
        return "".join(row["value"] for row in self._rows(f'kind == "{FIXED}"'))

    def keep_description(self, text: str) -> None:
        """Keep the description of the collection of pictures, for an engine that keeps none."""
        self._put(FIXED, {"": text})

    def roots(self) -> list[bytes]:
        """Return the folders and files that were ever given to `index`, by path."""
        return sorted(_path_of(row) for row in self._rows(f'kind == "{ROOT}"'))

    def add_roots(self, roots: Sequence[bytes]) -> None:
        """Keep folders and files that were given to `index`."""
        self._put(ROOT, {root.hex(): "" for root in roots})

    def bad_files(self, root: bytes) -> list[KnownBad]:
        """Return what is known of every rejected file at or below a root."""
        low, high = place_bounds("folder", root)
        keys = f'key == "{BAD}:{root.hex()}" or (key >= "{BAD}:{low.hex()}" and key < "{BAD}:{high.hex()}")'
        files = []
        for row in self._bad_rows(keys):
            facts = json.loads(row["value"])
            files.append(KnownBad(_path_of(row), FileLook(*facts["look"]), facts["code"], facts["n_tries"]))
        return files

    def bad_pictures(self) -> list[BadPicture]:
        """Return every rejected file with its reason, by path."""
        rows = sorted(self._bad_rows(), key=_path_of)
        facts = [json.loads(row["value"]) for row in rows]
        return [
            BadPicture(os.fsdecode(_path_of(row)), known["code"], known["message"])
            for row, known in zip(rows, facts, strict=True)
        ]

    def bad_paths(self) -> set[bytes]:
        """Return the paths of all rejected files."""
        return {_path_of(row) for row in self._bad_rows(fields=("key",))}

    def reject(self, files: Sequence[RejectedFile]) -> None:
        """Keep why files could not be used."""
        self._put(BAD, {file.path.hex(): _value_of(file) for file in files})

    def accept(self, paths: Iterable[bytes]) -> None:
        """Forget why the files at some paths could not be used."""
        keys = [f"{BAD}:{path.hex()}" for path in paths]
        for start in range(0, len(keys), _TOGETHER):
            self.engine.delete(self.collection, keys[start : start + _TOGETHER])

    def _put(self, kind: str, values: dict[str, str]) -> None:
        rows: list[Row] = [
            {"key": f"{kind}:{name}", "kind": kind, "value": value, "vector": [1.0, 0.0]}
            for name, value in values.items()
        ]
        for start in range(0, len(rows), _TOGETHER):
            self.engine.upsert(self.collection, rows[start : start + _TOGETHER])

    def _bad_rows(self, expression: str = "", fields: Sequence[str] = _FIELDS) -> list[Row]:
        """Return the rows of rejected files that pass an expression: more than one answer could hold."""
        rows: list[Row] = []
        bounds = [("", _BEYOND)]
        while bounds:
            low, high = bounds.pop()
            within = both(f'kind == "{BAD}" and key >= "{low}" and key < "{high}"', expression)
            keys = sorted(row["key"] for row in self._rows(within, ("key",), limit=_MOST_KEYS))
            if len(keys) <= _TOGETHER:
                rows += self._rows(within, fields) if keys else []
            else:
                middle = keys[len(keys) // 2]
                bounds += [(middle, high), (low, middle)]
        return rows

    def _rows(self, expression: str, fields: Sequence[str] = _FIELDS, *, limit: int | None = None) -> list[Row]:
        """Return the rows that pass an expression; none where the collection was dropped, until a writer comes."""
        try:
            return self.engine.query(self.collection, expression, fields, limit=limit)
        except LibraryNotFoundError:
            return []


def about_name(collection: str) -> str:
    """Return the name of the small collection beside that of the pictures."""
    return f"{collection}__about"


def new_revision() -> int:
    """Return a number that no commit before had, whatever process made it."""
    return time.time_ns() // 1000


def _path_of(row: Row) -> bytes:
    return bytes.fromhex(row["key"].partition(":")[2])


def _value_of(file: RejectedFile) -> str:
    facts = {
        "look": file.look,
        "code": file.code,
        "message": file.message[:_LONGEST],
        "n_tries": file.n_tries,
    }
    return json.dumps(facts)
