"""Embeddings that clip-retrieval wrote, read as shards: `img_emb/img_emb_N.npy`, `metadata/metadata_N.parquet`.

They say neither which model made the vectors nor what the files of the pictures were (`mmsearch.shards.foreign`).
The model is named by who loads them.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mmsearch.errors import ShardError, advice, reason
from mmsearch.shards.foreign import SIZES, foreign_row, whole_path
from mmsearch.shards.format import EncoderFacts
from mmsearch.shards.read import Row
from mmsearch.system import is_out_of_memory
from mmsearch.vectors import unit_vectors

VECTORS, METADATA = "img_emb", "metadata"
_NAME = re.compile(r"img_emb_(\d+)\.npy")
_METADATA_NAME = re.compile(r"metadata_(\d+)\.parquet")
_NAMING = ("image_path", "url")  # columns that say which picture it is
_BATCH = 2048  # rows read at a time


def is_clip_retrieval(folder: Path) -> bool:
    """Return whether a folder holds what clip-retrieval writes."""
    return os.path.isdir(folder / VECTORS)


def parts_in(folder: Path) -> list[Path]:
    """Return the files of vectors in a folder, in the order of their numbers, and those that nothing belongs to.

    Raises
    ------
    ShardError
        If the folder cannot be looked at.
    """
    try:
        names = os.listdir(folder / VECTORS)
        other = os.listdir(folder / METADATA) if (folder / METADATA).is_dir() else []
    except OSError as error:
        raise ShardError("unreadable", f"{folder} cannot be read ({reason(error)}); {advice(error)}") from error
    numbered = sorted(filter(_NAME.fullmatch, names), key=lambda name: (len(name), name))
    numbers = {match[1] for match in map(_NAME.fullmatch, numbered) if match}
    alone = [
        match[0] for match in map(_METADATA_NAME.fullmatch, sorted(other)) if match and match[1] not in numbers
    ]
    strange = [name for name in sorted(names) if name.endswith(".npy") and name not in numbered]
    vectors = [folder / VECTORS / name for name in (*numbered, *strange)]
    return vectors + [folder / METADATA / name for name in alone]


@dataclass(frozen=True)
class Embeddings:
    """One file of vectors, with the metadata beside it.

    Parameters
    ----------
    path : Path
        Of the vectors.
    facts : EncoderFacts
        Of the model that made them, as somebody says.
    n_rows : int
        Vectors in it.
    images : Path
        Where pictures are whose paths do not begin with /.
    header : Header
        How the file of vectors is laid out.
    """

    path: Path
    facts: EncoderFacts
    n_rows: int
    images: Path
    header: Header

    @classmethod
    def open(cls, path: Path, facts: EncoderFacts, images: Path) -> Embeddings:
        """Look at the header of a file of vectors, and at the metadata beside it.

        Raises
        ------
        ShardError
            If they cannot be used, or do not fit the model or one another.
        """
        with _errors(path):
            if _METADATA_NAME.fullmatch(path.name):
                raise ShardError(
                    "vanished", "the vectors of these pictures are missing; copy the whole folder again"
                )
            if _NAME.fullmatch(path.name) is None:
                raise ShardError(
                    "unsupported", "it has no name such as img_emb_0.npy, which says what belongs to it"
                )
            header = Header.of(path)
            if header.dim != facts.dim:
                raise ShardError(
                    "unsupported",
                    f"its vectors have {header.dim} dimensions, those of {facts.model} have {facts.dim}; name the "
                    "model that made them with --model",
                )
            embeddings = cls(path, facts, header.n_rows, images, header)
            with _opened(embeddings.metadata) as table:
                n_rows = table.metadata.num_rows
            if n_rows != header.n_rows:
                raise ShardError(
                    "corrupt",
                    f"it has {header.n_rows} vectors, and {embeddings.metadata.name} has {n_rows} rows, so that "
                    "nobody knows which belongs to which; copy both again from where they were made",
                )
            return embeddings

    @property
    def metadata(self) -> Path:
        """The Parquet file of what is known of the pictures."""
        number = _NAME.fullmatch(self.path.name)
        assert number is not None
        return self.path.parent.parent / METADATA / f"metadata_{number[1]}.parquet"

    def paths(self) -> list[bytes | None]:
        """Return the paths of all rows."""
        with _errors(self.path):
            return [path for values in self._metadata() for path in self._paths(*values)]

    def rows(self) -> Iterator[list[Row]]:
        """Yield the pictures with their vectors float32 (dim,) at unit length, some at a time.

        Raises
        ------
        ShardError
            If a file was cut or replaced meanwhile; rows before are as they were.
        """
        with _errors(self.path), self.path.open("rb", buffering=0) as file:
            for start, values in self._metadata():
                paths = self._paths(start, values)
                vectors = unit_vectors(self.header.block(file.fileno(), start, len(paths)))
                yield [
                    foreign_row(path, {name: values[name][row] for name in SIZES if name in values}, vector)
                    for row, (path, vector) in enumerate(zip(paths, vectors, strict=True))
                ]

    def _metadata(self) -> Iterator[tuple[int, dict[str, list[Any]]]]:
        """Yield the number of a first row, and the columns of some rows from there on."""
        start = 0
        with _opened(self.metadata) as table:
            names = set(table.schema_arrow.names)
            columns = [name for name in (*_NAMING, *SIZES) if name in names] or table.schema_arrow.names[:1]
            for batch in table.iter_batches(batch_size=_BATCH, columns=columns, use_threads=False):
                yield start, batch.to_pydict()
                start += len(batch)
        if start != self.n_rows:
            raise ShardError("changed", f"{self.metadata.name} was replaced while it was read")

    def _paths(self, start: int, values: Mapping[str, list[Any]]) -> list[bytes | None]:
        """Return the whole paths of rows; None for one that cannot be."""
        n_rows = len(next(iter(values.values())))
        naming = next((name for name in _NAMING if name in values), None)
        if naming is None:
            return [os.fsencode(self.path / str(start + row)) for row in range(n_rows)]
        base = os.fsencode(self.images)
        return [whole_path(base, value, is_url=naming == "url") for value in values[naming]]


@dataclass(frozen=True)
class Header:
    """How a matrix lies in an .npy file.

    Parameters
    ----------
    n_rows, dim : int
        Its shape.
    dtype : dtype
        Of real numbers, in any byte order.
    is_by_columns : bool
        Whether columns lie one after the other, and not rows.
    offset : int
        Where the numbers begin.
    """

    n_rows: int
    dim: int
    dtype: np.dtype[Any]
    is_by_columns: bool
    offset: int

    @classmethod
    def of(cls, path: Path) -> Header:
        """Return the header of a file, and raise ShardError or ValueError if it is none of vectors."""
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            if version not in ((1, 0), (2, 0)):
                raise ShardError("unsupported", f"this .npy file has format {version}; expected 1.0 or 2.0")
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, is_by_columns, dtype = read(file)
            offset, size = file.tell(), os.fstat(file.fileno()).st_size
        if dtype.hasobject:
            raise ShardError(
                "unsupported", "it holds pickled Python objects, which are never read; save it as float16"
            )
        if dtype.kind != "f" or dtype.itemsize > 8 or len(shape) != 2 or shape[1] < 1:
            raise ShardError(
                "unsupported",
                f"it holds {dtype} of shape {shape}; expected a matrix of float16, float32 or float64",
            )
        expected = offset + math.prod(shape) * dtype.itemsize
        if size != expected:
            code, words = ("truncated", "ends too soon") if size < expected else ("corrupt", "is too long")
            raise ShardError(code, f"it {words}: it has {size} bytes, expected {expected}; copy it again")
        return cls(shape[0], shape[1], dtype, is_by_columns, offset)

    def block(self, handle: int, start: int, n: int) -> np.ndarray[Any, Any]:
        """Return n rows of a file from a number on, of its own dtype; no more than these are read."""
        width = self.dtype.itemsize
        if self.is_by_columns:
            places = [
                (self.offset + (column * self.n_rows + start) * width, n * width) for column in range(self.dim)
            ]
        else:
            places = [(self.offset + start * self.dim * width, n * self.dim * width)]
        read = b"".join(os.pread(handle, n_bytes, place) for place, n_bytes in places)
        if len(read) != n * self.dim * width:
            raise ShardError("truncated", "it was cut while it was read")
        values = np.frombuffer(read, self.dtype)
        return values.reshape(self.dim, n).T if self.is_by_columns else values.reshape(n, self.dim)


def _opened(path: Path) -> pq.ParquetFile:
    return pq.ParquetFile(path, pre_buffer=False)


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    """Turn what is wrong with vectors or metadata into a ShardError that names the vectors."""
    try:
        yield
    except ShardError as error:
        raise ShardError(error.code, f"{path}: {error}") from error
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        if is_out_of_memory(error):
            raise ShardError("out_of_memory", f"{path}: it takes more memory than there is") from error
        words = (str(error).splitlines() or [type(error).__name__])[0]
        raise ShardError(
            "corrupt", f"{path}: it, or the metadata beside it, cannot be read ({words}); copy both again"
        ) from error
