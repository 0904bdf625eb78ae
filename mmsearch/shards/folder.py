"""A folder of shards, written by one process: a finished shard is never touched again.

A shard is written under another name, forced to disk and renamed, so that a kill leaves no half of one. What
finished shards hold is not written again, and a run that was ended goes on with what they lack. Where a picture was
changed since, the later shard counts.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mmsearch.errors import FingerprintError, ShardError
from mmsearch.names import shell_word
from mmsearch.records import FileLook
from mmsearch.shards.format import ROWS, ShardFacts, picture_id, schema_of
from mmsearch.shards.read import BadRow, PictureRows, Shard, shard_paths
from mmsearch.store.changes import StoredFile
from mmsearch.store.lock import locked
from mmsearch.store.place import is_library
from mmsearch.store.publish import replacing, storage_errors
from mmsearch.system import sync_folder

_SECONDS = 300.0  # after which a shard is written with what there is: so much work a kill may lose at most
_SHARD = re.compile(r"shard-(\d{5,})\.parquet")
_HALF = re.compile(r"(shard-\d{5,}|errors)\.parquet\.tmp|part-[0-9a-f]+-\d+\.tmp(\.tmp)?")


class Held(NamedTuple):
    """What finished shards hold of a picture."""

    look: FileLook
    content_hash: bytes


class ShardFolder:
    """The shards in a folder, and those to come; use `ShardFolder.writer`.

    Parameters
    ----------
    folder : Path
        Where they lie.
    facts : ShardFacts
        Of all of them.
    held : dict of bytes to Held
        What finished shards hold, by path.
    """

    def __init__(self, folder: Path, facts: ShardFacts, held: dict[bytes, Held]) -> None:
        self.folder, self.facts, self.held = folder, facts, held
        self._pending: list[StoredFile] = []
        self._began = time.monotonic()

    @classmethod
    @contextmanager
    def writer(cls, folder: Path, facts: ShardFacts, notify: Callable[[str], None]) -> Iterator[ShardFolder]:
        """Hold the only writer of a folder of shards; at the end, also by Ctrl-C, what is pending is written.

        Parameters
        ----------
        folder : Path
            Made if it is not there.
        facts : ShardFacts
            Of the vectors that will be written.
        notify : callable
            Given a sentence for every damaged shard, whose pictures are written again.

        Raises
        ------
        LibraryLockedError
            If another process writes there.
        FingerprintError, ShardError
            If there are shards of another encoder or a newer format, other Parquet files, or a library.
        StorageError
            If the disk refuses.
        """
        if is_library(folder):
            raise ShardError("unsupported", f"{folder} is a library; choose another folder for shards with --out")
        with storage_errors(folder, "the folder of shards"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(folder, "folder of shards"):
            with storage_errors(folder, "to the folder of shards"):
                for name in filter(_HALF.fullmatch, os.listdir(folder)):
                    (folder / name).unlink()
            shards = cls(folder, facts, _held_by(folder, facts, notify))
            try:
                yield shards
            finally:
                shards.flush()

    def add(self, files: Iterable[StoredFile]) -> None:
        """Take pictures with their vectors, and write a shard when there are enough of them, or it is time."""
        for file in files:
            self._pending.append(file)
            if len(self._pending) >= ROWS or time.monotonic() - self._began >= _SECONDS:
                self.flush()

    def flush(self) -> None:
        """Write what is pending as a shard of its own."""
        pending, self._pending = self._pending, []
        if pending:
            write_shard(self._next(), pending, self.facts)
        self._began = time.monotonic()

    def adopt(self, part: str) -> None:
        """Make a shard of a file that another process wrote in the folder by `write_shard` under a `part_name`."""
        path = self._next()
        with storage_errors(path, "a shard"):
            (self.folder / part).replace(path)
            sync_folder(self.folder)

    def _next(self) -> Path:
        numbers = [int(match[1]) for match in map(_SHARD.fullmatch, os.listdir(self.folder)) if match]
        return self.folder / f"shard-{max(numbers, default=-1) + 1:05d}.parquet"


def part_name(token: str, number: int) -> str:
    """Return under which name another process writes what is to be a shard; nobody reads it, and it is left out.

    >>> part_name("00ff", 3)
    'part-00ff-3.tmp'
    """
    return f"part-{token}-{number}.tmp"


def write_shard(path: Path, files: list[StoredFile], facts: ShardFacts) -> None:
    """Write pictures with their vectors as a shard, whole and durably, or not at all."""
    write_table(path, _table_of(files, facts), "a shard")


def write_table(path: Path, table: pa.Table, what: str) -> None:
    """Write a Parquet file whole and durably, or not at all; `what` it is called in errors."""
    with storage_errors(path, what), replacing(path) as handle, os.fdopen(os.dup(handle), "wb") as file:
        pq.write_table(
            table, file, compression="zstd", use_dictionary=["format"] if "format" in table.column_names else False,
            write_statistics=False, write_page_checksum=True,
        )  # fmt: skip


def _table_of(files: list[StoredFile], facts: ShardFacts) -> pa.Table:
    """Return pictures with their vectors as the rows of a shard."""
    schema = schema_of(facts, len(files))
    vectors = np.stack([np.asarray(file.vector, dtype=np.float16) for file in files])
    columns: dict[str, list[object]] = {
        "id": [picture_id(file.path) for file in files],
        "hash": [file.content_hash for file in files],
        "taken": [file.taken_at for file in files],
        **{name: [getattr(file.look, name) for file in files] for name in FileLook._fields},
        **{
            name: [getattr(file, name) for file in files]
            for name in ("path", "width", "height", "format", "reading")
        },
    }
    arrays = [pa.array(columns[field.name], field.type) for field in schema if field.name != "vector"]
    rows = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), type=schema.field("vector").type)
    return pa.table([*arrays, rows], schema=schema)


def _held_by(folder: Path, facts: ShardFacts, notify: Callable[[str], None]) -> dict[bytes, Held]:
    """Return what the shards in a folder hold; raise if they are not of the same kind."""
    held: dict[bytes, Held] = {}
    for path in shard_paths(folder):
        try:
            shard = Shard.open(path)
            require_encoder(shard, facts.fingerprint, facts.dim, str(folder))
            rows = [row for batch in shard.rows() for row in batch]
        except ShardError as error:
            if error.code not in ("truncated", "corrupt"):
                raise ShardError(error.code, f"{error}; choose another folder with --out") from error
            notify(f"{error}; its pictures are written again, `rm {shell_word(str(path))}` removes it")
            continue
        held |= {
            row.path: Held(row.look, row.content_hash) for row in rows if not isinstance(row, BadRow)
        }  # fmt: skip
    return held


def require_encoder(shard: PictureRows, fingerprint: str, dim: int, place: str) -> None:
    """Raise FingerprintError unless a shard has vectors of the encoder of a library or folder of shards."""
    if (shard.facts.fingerprint, shard.facts.dim) != (fingerprint, dim):
        raise FingerprintError(
            f"{shard.path} holds vectors of {shard.facts.model} ({shard.facts.dim} dimensions, fingerprint "
            f"{shard.facts.fingerprint[:12]}), {place} goes by {dim} dimensions and fingerprint "
            f"{fingerprint[:12]}; vectors of two encoders cannot be compared: choose another place for them"
        )
