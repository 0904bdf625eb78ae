"""Tars and Parquet files of pictures, made by hand for tests."""

from __future__ import annotations

import io
import os
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq

from mmsearch.images import FoundFile
from mmsearch.records import FileLook


def write_tar(path, members, *, format_=tarfile.GNU_FORMAT):
    """Write a tar of names with their bytes; where a dict stands for those, its values are set in the header."""
    with tarfile.open(path, "w", format=format_) as tar:
        for name, contents in members:
            info = tarfile.TarInfo(name)
            fields = contents if isinstance(contents, dict) else {}
            data = b"" if fields else contents
            info.size = len(data)
            for key, value in fields.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(data))
    return path


def structs(*cells):
    """A column as the datasets library writes it, of (bytes, path) or None a row."""
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    return pa.array(
        [None if cell is None else dict(zip(("bytes", "path"), cell, strict=True)) for cell in cells], kind
    )


def write_table(path, group=1 << 20, **columns):
    """Write a Parquet file of these columns, so many rows a group."""
    pq.write_table(pa.table(columns), path, row_group_size=group)
    return path


def file_at(path):
    return FoundFile(os.fsencode(path), FileLook.of(path.stat()))
