"""Pictures in a Parquet file: a column of their bytes, as img2dataset and the datasets library write it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mmsearch.errors import PictureError
from mmsearch.images import FoundFile, open_regular
from mmsearch.shards.members import MAX_BYTES, Contents, Member, require_unchanged, too_large
from mmsearch.system import is_out_of_memory

COLUMNS = ("image", "jpg", "jpeg", "png", "webp", "img", "image_bytes", "bytes")
"""What a column of pictures is usually called; the first that holds bytes is taken."""
_NAMES = ("__key__", "key", "filename", "file_name", "name")  # columns that name pictures that have no path
_ROWS = 8  # read at a time: their pictures are in memory
_NAME_ROWS = 4096
_MAX_NAME = 255
_SHOWN = 20  # columns named in an error


def table_members(file: FoundFile, column: str | None, *, is_named: bool) -> Iterator[Member]:
    """Yield the rows of a Parquet file that has a column of pictures, with the names that they give.

    Parameters
    ----------
    file : FoundFile
        The Parquet file.
    column : str or None
        Of the pictures; None takes the first of `COLUMNS` that holds bytes.
    is_named : bool
        Whether somebody named the file; else it may hold something else, and nothing is yielded then.

    Raises
    ------
    PictureError
        If it cannot be read, or has no such column.
    """
    look = file.look._replace(size=-1)
    with _opened(file.path) as (table, _):
        schema = table.schema_arrow
        if not is_named and column is None and _usual_column(schema) is None:
            return
        naming = _naming_leaf(schema, _column(schema, column))
        for row, name in enumerate(_names(table, naming)):
            path = b"/".join([file.path, b"%d" % row, *([name] if name else [])])
            yield Member(path, look, file.path, row)


def table_contents(members: Sequence[Member], column: str | None) -> Iterator[Contents]:
    """Yield the rows of one Parquet file with their pictures; as `mmsearch.shards.bundles.contents_of` says.

    Raises
    ------
    PictureError
        If the file cannot be read, or changed since it was listed; rows before were yielded.
    """
    with _opened(members[0].bundle) as (table, status):
        require_unchanged(status, members[0])
        name = _column(table.schema_arrow, column)
        wanted = iter(members)
        member = next(wanted, None)
        start = 0
        for group in range(table.metadata.num_row_groups):
            end = start + table.metadata.row_group(group).num_rows
            if member is not None and member.place < end:
                for row, value in enumerate(_values(table, group, name), start=start):
                    if member is not None and row == member.place:
                        yield member, _picture(value)
                        member = next(wanted, None)
            start = end


def _values(table: pq.ParquetFile, group: int, column: str) -> Iterator[Any]:
    """Yield a column of a group of rows."""
    for batch in table.iter_batches(batch_size=_ROWS, row_groups=[group], columns=[column], use_threads=False):
        yield from batch.column(0)


def _picture(scalar: Any) -> bytes | PictureError | None:
    """Return the bytes in one cell."""
    if not scalar.is_valid:
        return None
    if pa.types.is_struct(scalar.type):
        names = [field.name for field in scalar.type]
        scalar, path = scalar["bytes"], scalar["path"].as_py() if "path" in names else None
        if not scalar.is_valid:
            if path is None:
                return None
            return PictureError(
                "not_a_file",
                f"this row has the path {str(path)[:_MAX_NAME]!r} and no bytes, which is not followed; give paths "
                "with --list",
            )
    buffer = scalar.as_buffer()
    return too_large(buffer.size) if buffer.size > MAX_BYTES else bytes(buffer)


@contextmanager
def _opened(path: bytes) -> Iterator[tuple[pq.ParquetFile, os.stat_result]]:
    """Open a Parquet file; whatever is wrong with it, then or later, becomes a PictureError."""
    with open_regular(path) as (handle, status), os.fdopen(handle, "rb", closefd=False) as file:
        try:
            # Pages are read as they are needed, not all of a group of rows at once.
            table = pq.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20, page_checksum_verification=True)
            yield table, status
        except PictureError:
            raise
        except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
            raise _damaged(error) from error


def _damaged(error: Exception) -> PictureError:
    """Return the error for a Parquet file that cannot be read."""
    if is_out_of_memory(error):
        return PictureError("out_of_memory", "reading this Parquet file takes more memory than there is")
    words = (str(error).splitlines() or [type(error).__name__])[0]
    return PictureError("corrupt", f"this is no Parquet file, or it is cut short or damaged ({words})")


def _usual_column(schema: pa.Schema) -> str | None:
    """Return the column of pictures that is called as usual, or None."""
    return next((name for name in COLUMNS if _holds_bytes(schema, name)), None)


def _column(schema: pa.Schema, column: str | None) -> str:
    """Return the column of pictures, or raise PictureError."""
    name = column or _usual_column(schema)
    if name is not None and _holds_bytes(schema, name):
        return name
    held = ", ".join(f"{field.name} ({field.type})" for field in list(schema)[:_SHOWN])
    wanted = f"column {column} of bytes" if column else "column of pictures, such as image or jpg"
    raise PictureError(
        "unsupported",
        f"this Parquet file has no {wanted}; its columns are {held}: name one with --image-column, and give a file "
        "of paths with --list",
    )


def _holds_bytes(schema: pa.Schema, name: str) -> bool:
    """Return whether a schema has one column of this name, and it is of bytes, or of a struct with `bytes`."""
    places = schema.get_all_field_indices(name)
    if len(places) != 1:
        return False
    kind = schema.field(places[0]).type
    if pa.types.is_struct(kind):
        inside = [field.type for field in kind if field.name == "bytes"]
        return len(inside) == 1 and _is_binary(inside[0])
    return _is_binary(kind)


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _naming_leaf(schema: pa.Schema, column: str) -> str | None:
    """Return what of a row names its picture: the path beside the bytes, or a column; None if nothing does."""
    kind = schema.field(column).type
    if pa.types.is_struct(kind) and any(_is_naming(field) for field in kind if field.name == "path"):
        return f"{column}.path"
    names = [name for name in _NAMES if len(schema.get_all_field_indices(name)) == 1]
    return next((name for name in names if _is_naming(schema.field(name))), None)


def _is_naming(field: pa.Field) -> bool:
    return bool(pa.types.is_string(field.type) or pa.types.is_large_string(field.type))


def _names(table: pq.ParquetFile, leaf: str | None) -> Iterator[bytes]:
    """Yield the name that each row gives, without the folders before it; empty where there is none."""
    if leaf is None:
        for _ in range(table.metadata.num_rows):
            yield b""
        return
    for batch in table.iter_batches(batch_size=_NAME_ROWS, columns=[leaf], use_threads=False):
        values = batch.column(0)
        if pa.types.is_struct(values.type):
            values = values.flatten()[0]
        for value in values.cast(pa.large_binary()).to_pylist():
            yield _base_name(value or b"")


def _base_name(name: bytes) -> bytes:
    r"""Return the last part of a path of any system, if it can be one of a name.

    >>> _base_name(b"../../etc/a.jpg"), _base_name(b"C:\\b.jpg"), _base_name(b"..")
    (b'a.jpg', b'b.jpg', b'')
    """
    base = name.replace(b"\\", b"/").rsplit(b"/", 1)[-1].replace(b"\0", b"")[:_MAX_NAME]
    return b"" if base in (b".", b"..") else base
