"""ADOPT: the vectors of one library, and the encoder that made them, taken for those of another.

The new vectors are a new epoch beside the old one: they are copied, read back and compared with their checksums,
and the encoder is copied into a folder of its own. One transaction makes both count; readers go by the old epoch
until then, and by the new one after it. What is kept of pictures goes by their ids, which stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmsearch.arguments import Variant
from mmsearch.errors import LibraryDamagedError, LibraryError
from mmsearch.records import READING
from mmsearch.store.base import variant_of
from mmsearch.store.captions import forget_captions
from mmsearch.store.encoder import install_beside
from mmsearch.store.folder import Store
from mmsearch.store.labels import Labelling
from mmsearch.store.matrix import append_rows, open_rows, row_checksum
from mmsearch.store.part_items import forget_parts
from mmsearch.store.place import is_library
from mmsearch.system import shown_path, sync_folder

NEXT = "next"
"""The library, in the folder of another, in which the vectors that are to replace that one's are gathered."""
_BLOCK = 65_536  # rows copied and compared at a time


class Begun(NamedTuple):
    """What a run began to make vectors of."""

    model: str
    variant: Variant
    fingerprint: str


def pending_model(folder: Path) -> str | None:
    """Return the model of `pending_encoder`, or None."""
    begun = pending_encoder(folder)
    return None if begun is None else begun.model


def pending_encoder(folder: Path) -> Begun | None:
    """Return the encoder whose vectors a run began to make for the library in a folder, or None.

    None also where those vectors are the library's by now.
    """
    try:
        if (folder / NEXT).is_symlink() or not is_library(folder / NEXT):
            return None
        with closing(Store.open(folder / NEXT)) as begun, closing(Store.open(folder)) as store:
            if begun.setting("fingerprint") == store.setting("fingerprint"):
                return None
            return Begun(str(begun.setting("model")), variant_of(begun), str(begun.setting("fingerprint")))
    except LibraryError:
        return None  # it is begun anew


def pending_text(model: str, *, is_at_work: bool = False) -> str:
    """Say that vectors of a model were begun, and what goes on with them, unless a run is at it."""
    if is_at_work:
        return f"another process makes all vectors anew by {model}; searches answer from those of before"
    return (
        f"a run began to make all vectors anew by {model} and was ended: `mmsearch index --re-embed` goes on with "
        "it, `--no-re-embed` gives it up"
    )


def adopt(store: Store, other: Store, labellings: Mapping[str, Labelling]) -> None:
    """Replace the encoder of a library and all its vectors by those of another one, in one transaction.

    Parameters
    ----------
    store : Store
        Opened by its writer. Its pictures keep their ids, and all that is known of them besides.
    other : Store
        Opened by its writer; has a picture with the contents of every picture of `store`.
    labellings : mapping of str to Labelling
        How each label set of `store` gives labels to the new vectors; those given to the old ones are forgotten.

    Raises
    ------
    LibraryDamagedError
        If `other` lacks a picture, or what was copied is not what it holds; `store` is as it was.
    StorageError
        If the disk refuses; `store` is as it was.
    """
    epoch = store.epoch + 1
    try:
        with _attached(store, other):
            rows = _rows_to_take(store, other)
            _copy_rows(store, other, rows, epoch)
            settings = install_beside(store, other, f"encoder-{epoch}")
            with store.catalog.writing():
                _take_rows(store)
                store.labels.renew(labellings)
                forget_captions(store.catalog.db)
                forget_parts(store.catalog.db)
                store.catalog.set_meta({**settings, "epoch": epoch, "n_rows": len(rows)})
    finally:
        store.forget_old_epochs()  # where it failed that is what was copied, on a disk that may be full


@contextmanager
def _attached(store: Store, other: Store) -> Iterator[None]:
    """Let statements on the catalog of one library see that of another as `other`, and what is taken of it."""
    db = store.catalog.db
    db.execute("ATTACH ? AS other", (str(other.catalog.path),))
    try:
        db.execute("CREATE TEMP TABLE taken (hash BLOB PRIMARY KEY, old INTEGER NOT NULL)")
        db.execute("CREATE TEMP TABLE renumber (old INTEGER PRIMARY KEY, new INTEGER NOT NULL)")
        yield
    finally:
        for table in ("taken", "renumber"):
            db.execute(f"DROP TABLE IF EXISTS temp.{table}")
        db.execute("DETACH other")


def _rows_to_take(store: Store, other: Store) -> list[int]:
    """Return the rows of the other library that stand for pictures of this one, in order."""
    db = store.catalog.db
    db.execute(
        "INSERT INTO taken SELECT hash, max(row) FROM other.image WHERE row >= 0 AND reading = ? "
        "AND hash IN (SELECT hash FROM main.image) GROUP BY hash",
        (READING,),
    )
    (n_missing,) = db.execute(
        "SELECT count(*) FROM main.image WHERE hash NOT IN (SELECT hash FROM taken)"
    ).fetchone()
    if n_missing:
        raise LibraryDamagedError(
            f"{shown_path(other.files)} lacks {n_missing} of the pictures of {store.folder}; run the same command "
            "again to embed them"
        )
    rows = [row for (row,) in db.execute("SELECT DISTINCT old FROM taken ORDER BY old")]
    db.executemany("INSERT INTO renumber VALUES (?, ?)", ((old, new) for new, old in enumerate(rows)))
    return rows


def _copy_rows(store: Store, other: Store, rows: list[int], epoch: int) -> None:
    """Write rows of the other library as the vectors of an epoch, and compare what arrived with its checksums."""
    path, matrix, dim = store.vectors_path(epoch), other.matrix(), other.dim
    for start in range(0, len(rows), _BLOCK):
        append_rows(path, matrix[np.asarray(rows[start : start + _BLOCK])], at=start)
    sync_folder(store.files)
    copied = open_rows(path, len(rows), dim)
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        expected = other.catalog.checksums(block)
        checksums = map(row_checksum, copied[start : start + len(block)])
        if any(expected.get(row) != checksum for row, checksum in zip(block, checksums, strict=True)):
            raise LibraryDamagedError(
                f"{shown_path(path)} is not what was embedded: a vector differs from its checksum; run the same "
                "command again, which embeds damaged ones anew"
            )


def _take_rows(store: Store) -> None:
    """List the copied rows, and give them to the pictures; inside a transaction."""
    db = store.catalog.db
    db.execute("DELETE FROM vector")
    db.execute(
        "INSERT INTO vector SELECT renumber.new, vector.crc32, vector.digest FROM other.vector AS vector "
        "JOIN renumber ON renumber.old = vector.row"
    )
    # In which way a picture was read stays: its visual words, which are not made anew, were.
    db.execute(
        "UPDATE main.image SET row = (SELECT renumber.new FROM taken JOIN renumber ON renumber.old = taken.old "
        "WHERE taken.hash = main.image.hash)"
    )
    db.execute("DELETE FROM dead")
