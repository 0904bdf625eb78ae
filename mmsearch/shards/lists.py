"""Lists of paths, as other programs write them: text, or a column of a Parquet file."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from mmsearch.errors import QueryError
from mmsearch.names import listed_names

PATH_COLUMN = "path"
_PARQUET = b"PAR1"  # how a file begins
_NAMED = 20  # columns named in an error


def listed_paths(written: bytes, name: str, column: str = PATH_COLUMN) -> list[bytes]:
    r"""Return the paths in a list, as they are; empty ones are left out.

    Parameters
    ----------
    written : bytes
        The whole list. Of Parquet one column is read, of text or of bytes; else every path is ended by a NUL if
        there is one, or by the end of a line.
    name : str
        What the list is called in errors.
    column : str
        Of a Parquet file.

    Raises
    ------
    QueryError
        If there is no path, or the Parquet file cannot be read or has no such column.

    Examples
    --------
    >>> listed_paths(b"a.jpg\nb c.jpg\n", "list"), listed_paths(b"a\nb.jpg\0", "list")
    ([b'a.jpg', b'b c.jpg'], [b'a\nb.jpg'])
    """
    if written.startswith(_PARQUET):
        listed = _column(written, name, column)
    else:
        listed = written.split(b"\0") if b"\0" in written else listed_names(written)
    paths = [path for path in listed if path]
    if not paths:
        raise QueryError(f"{name} is empty; expected paths of pictures or folders")
    return paths


def _column(written: bytes, name: str, column: str) -> list[bytes]:
    try:
        file = pq.ParquetFile(pa.BufferReader(written))
        schema = file.schema_arrow
        kinds = [schema.field(place).type for place in schema.get_all_field_indices(column)]
        readable = (pa.string(), pa.large_string(), pa.binary(), pa.large_binary())
        if len(kinds) != 1 or kinds[0] not in readable:
            held = ", ".join(schema.names[:_NAMED])
            raise QueryError(
                f"{name} has no column {column} of text or bytes; its columns are {held}: name one with --column"
            )
        values = file.read(columns=[column]).column(column).cast(pa.large_binary())
        return [value for value in values.to_pylist() if value is not None]
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        words = (str(error).splitlines() or [type(error).__name__])[0]
        raise QueryError(f"{name} is a Parquet file that cannot be read ({words}); make it again") from error
