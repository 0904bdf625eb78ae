"""Shards read: what can be used of one, row by row, and a sentence on what cannot."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mmsearch.errors import ShardError, advice, reason, refuse_shortage
from mmsearch.records import FileLook, Matrix
from mmsearch.shards.format import FACT_COLUMNS, OPTIONAL, VECTOR, EncoderFacts, ShardFacts, facts_of
from mmsearch.store.changes import StoredFile
from mmsearch.system import is_out_of_memory, shown_path

ERRORS = "errors.parquet"
"""Beside the shards: pictures that could not be used."""
_BATCH = 2048  # rows read at a time
NO_DIRECTION = "its vector is zero or not finite, so that it has no direction"
_AGAIN = "copy it again from where it was made, or make it again"
_MARK = b"PAR1"  # at both ends of a Parquet file
_TAKEN = re.compile(
    r"\d{4}(-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01])(T([01]\d|2[0-3]):[0-5]\d:[0-5]\d)?)?)?", re.ASCII
)
_FORMAT = re.compile(r"[A-Z0-9_+-]{0,20}", re.ASCII)


@dataclass(frozen=True)
class BadRow:
    """A row of a shard that cannot be used: of which picture, and why."""

    path: bytes
    message: str


Row = StoredFile | BadRow


class PictureRows(Protocol):
    """Pictures with their vectors, one a row, in a file that was whole when it was opened."""

    @property
    def path(self) -> Path:
        """Where it lies."""

    @property
    def facts(self) -> EncoderFacts:
        """What made the vectors."""

    @property
    def n_rows(self) -> int:
        """Pictures in it."""

    def paths(self) -> list[bytes | None]:
        """Return the paths of all rows; None for one that has none."""

    def rows(self) -> Iterator[list[Row]]:
        """Yield the pictures with their vectors float32 (dim,), some at a time; ShardError if that fails."""


@dataclass(frozen=True)
class Shard:
    """A whole shard, as it was when it was opened.

    Parameters
    ----------
    path : Path
        Where it lies.
    facts : ShardFacts
        What it says of its encoder.
    n_rows : int
        Pictures in it.
    """

    path: Path
    facts: ShardFacts
    n_rows: int

    @classmethod
    def open(cls, path: Path) -> Shard:
        """Look at the end of a file, where it says what it is.

        Raises
        ------
        ShardError
            If it is no shard that can be used; the sentence names it.
        """
        with _errors(path), _opened(path) as file:
            n_rows = file.metadata.num_rows
            return cls(path, facts_of(file.schema_arrow, n_rows), n_rows)

    def rows(self) -> Iterator[list[Row]]:
        """Yield the pictures with their vectors float32 (dim,), some at a time.

        Raises
        ------
        ShardError
            If what is read is not what was written; rows before are as they were.
        """
        for batch in self._batches([*FACT_COLUMNS, VECTOR]):
            vectors = _vectors_of(batch.column(VECTOR), self.facts.dim)
            facts = batch.select(FACT_COLUMNS).to_pylist()
            yield [_row(values, vector) for values, vector in zip(facts, vectors, strict=True)]

    def paths(self) -> list[bytes | None]:
        """Return the paths of all rows, after reading every page: damage is found before a shard is used.

        Raises
        ------
        ShardError
            If what is read is not what was written.
        """
        return [path for batch in self._batches(None) for path in batch.column("path").to_pylist()]

    def _batches(self, columns: list[str] | None) -> Iterator[pa.RecordBatch]:
        with _errors(self.path), _opened(self.path) as file:
            if facts_of(file.schema_arrow, self.n_rows) != self.facts:
                raise ShardError("changed", "this shard was replaced while it was read")
            n_rows = 0
            for batch in file.iter_batches(batch_size=_BATCH, columns=columns, use_threads=False):
                n_rows += len(batch)
                yield batch
            if n_rows != self.n_rows:
                raise ShardError(
                    "corrupt", f"this shard is damaged: it has {n_rows} rows of {self.n_rows}; {_AGAIN}"
                )


def shard_paths(folder: Path) -> list[Path]:
    """Return the Parquet files in a folder that may be shards, oldest first: the shorter names, then by name.

    Raises
    ------
    ShardError
        If the folder cannot be looked at.
    """
    try:
        names = [name for name in os.listdir(folder) if name.endswith(".parquet") and name != ERRORS]
    except OSError as error:
        raise ShardError(
            "unreadable", f"{folder}: no folder of shards can be read here ({reason(error)}); {advice(error)}"
        ) from error
    except ValueError as error:  # a NUL
        raise ShardError("unreadable", f"{str(folder)!r} names no folder ({error}); correct it") from error
    return [folder / name for name in sorted(names, key=lambda name: (len(name), name))]


def _opened(path: Path) -> pq.ParquetFile:
    return pq.ParquetFile(path, page_checksum_verification=True, memory_map=False)


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    """Turn what is wrong with a shard into a ShardError that names it."""
    name = shown_path(path)
    try:
        yield
    except ShardError as error:
        raise ShardError(error.code, f"{name}: {error}") from error
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        if is_out_of_memory(error):
            raise ShardError("out_of_memory", f"{name}: it takes more memory than there is") from error
        refuse_shortage(name, error)
        code, message = _damage(path, error)
        raise ShardError(code, f"{name}: {message}") from error


def _damage(path: Path, error: Exception) -> tuple[str, str]:
    """Return a code of what is wrong with a file that cannot be read, and a sentence."""
    try:
        with path.open("rb") as file:
            first = file.read(len(_MARK))
            file.seek(max(0, file.seek(0, os.SEEK_END) - len(_MARK)))
            last = b"" if file.tell() < len(_MARK) else file.read()
    except OSError as refused:
        return "unreadable", f"it cannot be read ({reason(refused)}); {advice(refused)}"
    if first != _MARK and last != _MARK:
        return "unsupported", "this is no Parquet file; expected a shard of mmsearch"
    if last != _MARK:
        return "truncated", f"this shard ends too soon; {_AGAIN}"
    words = str(error).splitlines()[0] if str(error) else type(error).__name__
    return "corrupt", f"this shard is damaged ({words}); {_AGAIN}"


def _vectors_of(column: pa.FixedSizeListArray, dim: int) -> list[Matrix | None]:
    """Return the vectors float32 (dim,) of a column, None where there is none, or one without a direction."""
    values = column.values.slice(column.offset * dim, len(column) * dim)
    half: np.ndarray[Any, np.dtype[np.float16]] = values.to_numpy(zero_copy_only=False).reshape(-1, dim)
    wide: Matrix = half.astype(np.float32)
    is_there = column.is_valid().to_numpy(zero_copy_only=False)
    is_usable = is_there & np.isfinite(wide).all(axis=1) & wide.any(axis=1)  # a missing value is NaN
    return [vector if is_used else None for vector, is_used in zip(wide, is_usable, strict=True)]


def _row(values: dict[str, Any], vector: Matrix | None) -> Row:
    """Return a picture, or why a row is none."""
    path = values["path"]
    if path is None or not path.startswith(b"/") or b"\0" in path:
        return BadRow(path or b"", "it has no whole path, which begins with /")
    if not _makes_sense(values):
        return BadRow(path, "what it says of the picture is missing or makes no sense")
    if vector is None:
        return BadRow(path, NO_DIRECTION)
    look = FileLook(values["size"], values["mtime_ns"], values["ctime_ns"])
    return StoredFile(
        path, look, values["hash"], values["width"], values["height"], values["format"], values["taken"],
        values["reading"], vector=vector,
    )  # fmt: skip


def _makes_sense(values: dict[str, Any]) -> bool:
    """Return whether what a row says of a picture is there, and may be said of one.

    Where the format is not known, as of embeddings that others made, width and height need not be: they are 0 then.
    """
    if any(value is None for name, value in values.items() if name not in OPTIONAL):
        return False
    least = 1 if values["format"] else 0
    is_sized = values["size"] >= 0 and min(values["width"], values["height"]) >= least and values["reading"] > 0
    is_dated = values["taken"] is None or _TAKEN.fullmatch(values["taken"]) is not None
    return is_sized and is_dated and _FORMAT.fullmatch(values["format"]) is not None
