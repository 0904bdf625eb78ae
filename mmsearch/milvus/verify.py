"""Prove a library in Milvus whole: every row read once, and compared with what must hold of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.milvus.about import REVISION, new_revision
from mmsearch.milvus.collection import path_fields, place_of, stored_vectors
from mmsearch.milvus.engine import Row
from mmsearch.milvus.expression import EVERYTHING
from mmsearch.milvus.scan import scan
from mmsearch.records import Fault, VerifyReport

if TYPE_CHECKING:
    from mmsearch.milvus.store import MilvusStore

_FIELDS = ("id", "path", "composed", "name", "place", "added", "vector")
_PROOF = "every path is there once with fields that fit it, every vector has unit length"
_LENGTHS = 0.99, 1.01  # of vectors that were unit before they were rounded


@dataclass
class _Seen:
    """What a pass over all rows has found."""

    n: int = 0
    damaged: list[tuple[int, Fault]] = field(default_factory=list)  # ids, and what is wrong
    repeated: list[int] = field(default_factory=list)  # ids of older rows under a path


def verify(store: MilvusStore, *, is_repair: bool = False) -> VerifyReport:
    """Read every row: paths that are there once, fields that fit their path, vectors with a direction.

    With `is_repair` what is wrong is deleted, so that the next `index` or `load` stores it again; of several rows
    under a path the latest stays.
    """
    seen = _Seen()
    # Rows of one path come together, so that what was seen of others need not be kept.
    for rows in scan(store.engine, store.collection, EVERYTHING, _FIELDS, along="place"):
        _look(rows, store.dim, seen)
    faults = [Fault("lost_settings", problem) for problem in store.problems()]
    faults += [fault for _, fault in seen.damaged]
    if seen.repeated:
        what = f"{len(seen.repeated)} pictures are older ones of paths that are there again"
        faults.append(Fault("repeated_pictures", what))
    n_counted = store.count()
    if n_counted != seen.n:
        what = f"the engine counts {n_counted} pictures and gives {seen.n}; is something being written? Try again"
        faults.append(Fault("wrong_count", what))
    n_dropped = 0
    if is_repair:
        doomed = sorted({*(image_id for image_id, _ in seen.damaged), *seen.repeated})
        store.forget(doomed)
        store.about.keep({REVISION: new_revision()})
        n_dropped = len(doomed)
    return VerifyReport(seen.n, tuple(faults), n_dropped, proof=_PROOF)


def _look(rows: list[Row], dim: int, seen: _Seen) -> None:
    vectors = stored_vectors([row["vector"] for row in rows], dim).astype(np.float32)
    lengths = np.linalg.norm(vectors, axis=1)
    latest: dict[str, tuple[int, int]] = {}  # of a path: when its row came, and the id
    for row, length in zip(rows, lengths.tolist(), strict=True):
        seen.n += 1
        wrong = next(_wrong(row, length), None)
        if wrong is not None:
            seen.damaged.append((row["id"], wrong))
            continue
        key, came = row["path"], (row["added"], row["id"])
        before = latest.get(key)
        if before is not None:
            seen.repeated.append(min(before, came)[1])
        latest[key] = came if before is None else max(before, came)


def _wrong(row: Row, length: float) -> Iterator[Fault]:
    """Yield what is wrong with a row."""
    try:
        path = bytes.fromhex(row["path"])
    except ValueError:
        yield _damaged(f"picture {row['id']} has no path")
        return
    if any(row[name] != value for name, value in path_fields(path).items()) or row["place"] != place_of(path):
        what = f"picture {row['id']} has fields that do not fit its path {os.fsdecode(path)!r}"
        yield _damaged(what, os.fsdecode(path))
    if not _LENGTHS[0] <= length <= _LENGTHS[1]:
        what = f"the vector of {os.fsdecode(path)!r} is not finite, or not of unit length"
        yield _damaged(what, os.fsdecode(path))


def _damaged(what: str, path: str | None = None) -> Fault:
    return Fault("damaged_picture", f"{what}; `mmsearch verify --repair` drops it", path)
