"""Pictures that could not be embedded: a Parquet file of them beside the shards, replaced whenever it changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mmsearch.records import FileLook
from mmsearch.shards.folder import write_table
from mmsearch.shards.read import ERRORS
from mmsearch.store.changes import RejectedFile

_FIELDS = {
    "path": pa.binary(), "code": pa.string(), "message": pa.string(), "n_tries": pa.int32(), "size": pa.int64(),
    "mtime_ns": pa.int64(), "ctime_ns": pa.int64(),
}  # fmt: skip


def read_errors(folder: Path, notify: Callable[[str], None]) -> dict[bytes, RejectedFile]:
    """Return the pictures that could not be used before, by path; none, and a sentence, if they cannot be read.

    Nothing is lost then: they are tried again.
    """
    path = folder / ERRORS
    try:
        rows = pq.read_table(path, columns=list(_FIELDS), page_checksum_verification=True).to_pylist()
        rejected = [
            RejectedFile(
                bytes(row["path"]), FileLook(row["size"], row["mtime_ns"], row["ctime_ns"]), str(row["code"]),
                str(row["message"]), int(row["n_tries"]),
            )
            for row in rows
        ]  # fmt: skip
    except FileNotFoundError:
        return {}
    except (pa.ArrowException, OSError, ValueError, TypeError) as error:
        words = (str(error).splitlines() or [type(error).__name__])[0]
        notify(f"{path} cannot be read ({words}): the pictures in it are tried again, and it is replaced")
        return {}
    return {file.path: file for file in rejected}


def write_errors(folder: Path, rejected: Iterable[RejectedFile]) -> None:
    """Replace the list of pictures that could not be used; durably, or not at all."""
    files = sorted(rejected, key=lambda file: file.path)
    columns: dict[str, list[object]] = {
        **{name: [getattr(file, name) for file in files] for name in ("path", "code", "message", "n_tries")},
        **{name: [getattr(file.look, name) for file in files] for name in FileLook._fields},
    }
    schema = pa.schema([pa.field(name, kind, nullable=name == "ctime_ns") for name, kind in _FIELDS.items()])
    table = pa.table([pa.array(columns[field.name], field.type) for field in schema], schema=schema)
    write_table(folder / ERRORS, table, "the pictures that could not be used")
