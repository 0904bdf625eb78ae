"""What a shard is: a Parquet file of pictures with their vectors, and what its metadata says of the encoder.

A row is a picture: the fields of `StoredFile`, its path in bytes as the system has it, and a number made of that
path. Vectors are float16 as a library stores them, so that a shard of a library holds its very bits. Every page of
the file has a checksum.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from typing import Any

import pyarrow as pa

from mmsearch.arguments import FP32, Precision, Variant, one_of
from mmsearch.encoders.base import ImageEncoder
from mmsearch.errors import QueryError, ShardError
from mmsearch.records import Preprocessing

FORMAT = 1
METADATA = b"mmsearch"
"""Key of the file's metadata under which the facts stand, as JSON."""
ROWS = 10_000
"""Pictures in a shard."""
MAX_DIM = 65_536
_VALUE = pa.field("element", pa.float16(), nullable=False)
_FIELDS = {
    "id": pa.int64(), "path": pa.binary(), "size": pa.int64(), "mtime_ns": pa.int64(), "ctime_ns": pa.int64(),
    "hash": pa.binary(32), "width": pa.int32(), "height": pa.int32(), "format": pa.string(), "taken": pa.string(),
    "reading": pa.int32(),
}  # fmt: skip
OPTIONAL = ("ctime_ns", "taken")
FACT_COLUMNS = tuple(_FIELDS)
VECTOR = "vector"


@dataclass(frozen=True)
class EncoderFacts:
    """What made vectors.

    Parameters
    ----------
    fingerprint : str
        Of the encoder, as of `ImageEncoder`.
    model : str
        The name that prepares it.
    dim : int
        Width of the vectors.
    precision : str
        In what the image tower computed.
    """

    fingerprint: str
    model: str
    dim: int
    precision: Precision = field(default=FP32, kw_only=True)

    @property
    def variant(self) -> Variant:
        """Which of the vectors that the model can make they are."""
        return Variant(self.precision)


@dataclass(frozen=True)
class ShardFacts(EncoderFacts):
    """What all vectors of a shard have in common: the encoder that made them.

    Parameters
    ----------
    fingerprint, model, dim, precision
        As of `EncoderFacts`.
    preprocessing : Preprocessing
        How pictures were made ready for its image tower.
    """

    preprocessing: Preprocessing

    @property
    def variant(self) -> Variant:
        """Which of the vectors that the model can make they are."""
        return Variant(self.precision, self.preprocessing.views)

    @classmethod
    def of(cls, encoder: ImageEncoder) -> ShardFacts:
        """Return the facts of an encoder."""
        return cls(
            encoder.fingerprint, encoder.name, encoder.dim, encoder.preprocessing, precision=encoder.precision
        )


def picture_id(path: bytes) -> int:
    """Return the id of a picture in shards: 63 bits of its path's hash, the same wherever it is written.

    >>> picture_id(b"/photos/a.jpg") == picture_id(b"/photos/b.jpg")
    False
    """
    return int.from_bytes(blake2b(path, digest_size=8).digest()) >> 1


def schema_of(facts: ShardFacts, n_rows: int) -> pa.Schema:
    """Return the columns of a shard of so many rows, with its metadata."""
    fields = [pa.field(name, kind, nullable=name in OPTIONAL) for name, kind in _FIELDS.items()]
    fields.append(pa.field(VECTOR, pa.list_(_VALUE, facts.dim), nullable=False))
    written = {"format": FORMAT, "n_rows": n_rows, **asdict(facts), "preprocessing": facts.preprocessing.to_json()}
    if facts.precision == FP32:  # which goes without saying, as it always did
        del written["precision"]
    return pa.schema(fields, metadata={METADATA: json.dumps(written)})


def facts_of(schema: pa.Schema, n_rows: int) -> ShardFacts:
    """Return what the metadata of a shard of so many rows says, after a look at its columns.

    Raises
    ------
    ShardError
        If it is no shard, or one of a newer format.
    """
    values = _metadata(schema)
    number = values.get("format")
    if isinstance(number, int) and number > FORMAT:
        raise ShardError(
            "unsupported",
            f"this shard has format {number}, and this mmsearch knows formats up to {FORMAT}; use the mmsearch "
            "that wrote it, or a newer one",
        )
    if not isinstance(number, int) or number < 1:
        raise _damaged(f"its format is {number!r}; expected a number")
    facts = _encoder_in(values)
    if values.get("n_rows") != n_rows:  # a checksum of pages does not say that all of them are there
        raise _damaged(f"it has {n_rows} rows, and should have {values.get('n_rows')}")
    _require_columns(schema, facts)
    return facts


def _metadata(schema: pa.Schema) -> dict[str, Any]:
    """Return what mmsearch wrote into the metadata of a file."""
    written = (schema.metadata or {}).get(METADATA)
    if written is None:
        raise ShardError("unsupported", "this is a Parquet file, but no shard of mmsearch")
    try:
        values = json.loads(written)
    except (ValueError, RecursionError) as error:
        raise _damaged(f"its metadata is no JSON ({error})") from error
    if not isinstance(values, dict):
        raise _damaged("its metadata names no encoder")
    return values


def _encoder_in(values: dict[str, Any]) -> ShardFacts:
    """Return what metadata says of the encoder."""
    fingerprint, model, dim = (values.get(name) for name in ("fingerprint", "model", "dim"))
    try:
        preprocessing = Preprocessing.of_json(values["preprocessing"])
        precision = one_of(values.get("precision", FP32), "precision", Precision)
    except (TypeError, KeyError, QueryError) as error:
        raise _damaged("its metadata names no encoder") from error
    is_named = isinstance(fingerprint, str) and isinstance(model, str) and model
    if not (is_named and isinstance(dim, int) and 0 < dim <= MAX_DIM):
        raise _damaged("its metadata names no encoder")
    return ShardFacts(str(fingerprint), str(model), dim, preprocessing, precision=precision)


def _require_columns(schema: pa.Schema, facts: ShardFacts) -> None:
    """Raise unless the columns of a shard are there; what else stands beside them is passed over."""
    for name, expected in _FIELDS.items():
        kinds = [schema.field(place).type for place in schema.get_all_field_indices(name)]
        if kinds != [expected]:
            held = ", ".join(map(str, kinds)) or "missing"
            raise _damaged(f"its column {name} is {held}; expected {expected}")
    kinds = [schema.field(place).type for place in schema.get_all_field_indices(VECTOR)]
    is_list = len(kinds) == 1 and pa.types.is_fixed_size_list(kinds[0])
    if not is_list or kinds[0].value_type != pa.float16() or kinds[0].list_size != facts.dim:
        held = ", ".join(map(str, kinds)) or "missing"
        raise _damaged(f"its column {VECTOR} is {held}; expected {facts.dim} float16 values, as its metadata says")


def _damaged(what: str) -> ShardError:
    return ShardError("corrupt", f"this shard is damaged, or was written by something else: {what}")
