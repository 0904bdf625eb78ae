"""The two collections of a library: their schemas, and how pictures become rows and rows pictures.

`NAME` holds a row for each picture. What can never change of a library (schema, model, fingerprint, width) is JSON
in its description. `NAME__about` holds what does change: settings, roots, rejected files. Texts whose bytes matter
are lower-case hexadecimal digits: nothing is lost, their order is that of the bytes, and they break no expression.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.errors import EngineError, LibraryNotFoundError, LibraryVersionError, StorageError
from mmsearch.milvus.about import About, about_name
from mmsearch.milvus.engine import Engine, Row
from mmsearch.records import FileLook, ImageRecord, Matrix
from mmsearch.store.changes import KnownFile, StoredFile
from mmsearch.store.matrix import Half
from mmsearch.store.normal_form import composed

if TYPE_CHECKING:
    from pymilvus import CollectionSchema

SCHEMA = 1
"""The number of the present schema; it is raised when an older mmsearch could not read what is written."""
MARK = "mmsearch"  # in the description: the number of the schema
ID_BITS = 53
"""Of ids, which JSON then keeps."""
PLACE_BITS = 63
"""Of the numbers that stand for paths."""
MAX_HEX = 16_384  # characters of a text in hexadecimal digits
NUMBER = "number"  # of a library in the embedded engine
OF_THE_ENCODER = ("dim", "model", "fingerprint", "precision", "views")
"""Settings that never change, in the description."""
VECTOR_TYPE, HALF = "vector_type", "float16"
FLOAT16_FROM = (2, 4)  # servers before lack it, and 2.3 ends when it is given one
FACTS = ("id", "path", "size", "mtime_ns", "width", "height", "format", "taken")
"""What an `ImageRecord` is made of."""
KNOWN = ("id", "path", "content_hash", "reading", "size", "mtime_ns", "ctime_ns", "added")
"""What a `KnownFile` is made of, and when it came."""
WHOLE = (*FACTS, "composed", "name", "place", "content_hash", "ctime_ns", "reading", "added", "vector")
_NUMBERS = ("size", "mtime_ns", "ctime_ns", "width", "height", "reading", "added", "place")
_TEXTS = {"path": MAX_HEX, "composed": MAX_HEX, "name": 4_096, "content_hash": 256, "format": 256, "taken": 64}
_INDEX_PARAMETERS = {
    "HNSW": {"M": 16, "efConstruction": 200}, "FLAT": {}, "IVF_FLAT": {"nlist": 1024}, "IVF_SQ8": {"nlist": 1024},
    "SCANN": {"nlist": 1024}, "DISKANN": {},
}  # fmt: skip


# -- schemas ---------------------------------------------------------------------------------------------


def create(engine: Engine, collection: str, settings: dict[str, Any]) -> None:
    """Make the collection of pictures, if there is none of this name.

    Parameters
    ----------
    engine : Engine
        Where it is made.
    collection : str
        Its name.
    settings : dict
        `dim`, `model` and `fingerprint`, which never change, and `precision` and `views` where they are not usual.
    """
    from pymilvus import DataType, MilvusClient

    creation = engine.address.creation
    is_lite = engine.address.is_lite
    is_half = engine.version >= FLOAT16_FROM and not is_lite
    fixed = {key: settings[key] for key in OF_THE_ENCODER if key in settings}
    marked = {MARK: SCHEMA, **fixed, VECTOR_TYPE: HALF if is_half else "float32"}
    description = json.dumps(marked)
    if is_lite:  # which keeps no descriptions, and gives all collections one number
        number = random.SystemRandom().getrandbits(ID_BITS)
        About(engine, about_name(collection)).keep_description(json.dumps({**marked, NUMBER: number}))
    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False, description=description)
    schema.add_field("id", DataType.INT64, is_primary=True)
    for field, longest in _TEXTS.items():
        schema.add_field(field, DataType.VARCHAR, max_length=longest)
    for field in _NUMBERS:
        schema.add_field(field, DataType.INT64)
    kind = DataType.FLOAT16_VECTOR if is_half else DataType.FLOAT_VECTOR
    schema.add_field("vector", kind, dim=settings["dim"])
    indexes = MilvusClient.prepare_index_params()
    parameters = _INDEX_PARAMETERS[creation.index]
    indexes.add_index("vector", index_type=creation.index, metric_type="COSINE", params=parameters)
    is_inverting = is_half or is_lite
    for field in ("place", "size", "added"):
        indexes.add_index(field, index_type="INVERTED" if is_inverting else "STL_SORT")
    # Before 2.4 the index of texts is slower than none where a range is asked for.
    for field in ("content_hash", *(("path", "composed", "name") if is_inverting else ())):
        indexes.add_index(field, index_type="INVERTED" if is_inverting else "Trie")
    _make(engine, collection, schema, indexes, num_shards=creation.shards)


def create_about(engine: Engine, collection: str) -> None:
    """Make the collection of what changes, if there is none of this name; its loading is begun.

    Raises
    ------
    EngineError
        If there is one that mmsearch did not make.
    """
    from pymilvus import DataType, MilvusClient

    marked = json.dumps({f"{MARK}_about": SCHEMA})
    is_there = not engine.address.is_lite and engine.call("has_collection", collection)
    if is_there and engine.call("describe_collection", collection)["description"] != marked:
        raise _foreign(engine, collection)
    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False, description=marked)
    schema.add_field("key", DataType.VARCHAR, max_length=MAX_HEX + 16, is_primary=True)
    schema.add_field("kind", DataType.VARCHAR, max_length=16)
    schema.add_field("value", DataType.VARCHAR, max_length=65_535)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)  # no collection is without one
    indexes = MilvusClient.prepare_index_params()
    indexes.add_index("vector", index_type="FLAT", metric_type="COSINE", params={})
    _make(engine, collection, schema, indexes, num_shards=1, is_waiting=False)


def _make(
    engine: Engine,
    collection: str,
    schema: CollectionSchema,
    indexes: Any,
    *,
    num_shards: int,
    is_waiting: bool = True,
) -> None:
    """Make a collection with its indexes and have it loaded; what another process or a killed one did is taken."""
    if not engine.call("has_collection", collection):
        try:
            engine.call(
                "create_collection", collection, schema=schema, num_shards=num_shards, consistency_level="Bounded"
            )
        except EngineError:
            if not engine.call("has_collection", collection):  # else somebody was faster
                raise
    indexed = set(engine.call("list_indexes", collection))
    missing = [parameters for parameters in indexes if parameters.field_name not in indexed]
    if missing:
        with ThreadPoolExecutor(len(missing)) as threads:  # the client waits half a second for each
            list(threads.map(partial(_index, engine, collection), missing))
    engine.load(collection, is_waiting=is_waiting)


def _index(engine: Engine, collection: str, parameters: Any) -> None:
    from pymilvus import MilvusClient

    alone = MilvusClient.prepare_index_params()
    alone.append(parameters)
    engine.call("create_index", collection, alone)


def _foreign(engine: Engine, collection: str) -> EngineError:
    return EngineError(
        f"{engine.address.shown}: there is a collection {collection!r} that mmsearch did not make; nothing was "
        "changed: choose another name for the library"
    )


def description_of(engine: Engine, collection: str) -> tuple[int, dict[str, Any]] | None:
    """Return the engine's number for a collection of pictures and what its description says; None without one.

    Raises
    ------
    EngineError
        If the collection is not one of mmsearch.
    LibraryVersionError
        If a newer mmsearch made it.
    """
    if engine.address.is_lite and not Path(engine.address.uri).exists():
        return None  # the embedded engine would make the file
    try:
        facts = engine.call("describe_collection", collection)
    except LibraryNotFoundError:
        return None
    description = facts["description"]
    if engine.address.is_lite:
        description = About(engine, about_name(collection)).description()
    try:
        settings = json.loads(description)
        schema = int(settings[MARK])
    except (ValueError, KeyError, TypeError):
        raise _foreign(engine, collection) from None
    if schema > SCHEMA:
        raise LibraryVersionError(
            f"{engine.address.shown} has schema {schema}, this mmsearch knows {SCHEMA}; update mmsearch"
        )
    return int(settings.pop(NUMBER, facts["collection_id"])), settings


# -- pictures and rows -----------------------------------------------------------------------------------


def image_id_of(path: bytes, content_hash: bytes, reading: int, *, salt: int = 0) -> int:
    """Return the id of a picture: the same in every process that stores it.

    >>> image_id_of(b"/a.jpg", bytes(32), 2) == image_id_of(b"/a.jpg", bytes(32), 2) < 2**53
    True
    """
    said = b"%d %d %d\0" % (salt, reading, len(path)) + path + content_hash
    return int.from_bytes(sha256(said).digest()[:8], "big") >> (64 - ID_BITS)


def place_of(path: bytes) -> int:
    """Return a number that stands for a path, by which an engine finds it faster than by a text."""
    return int.from_bytes(sha256(path).digest()[:8], "big") >> (64 - PLACE_BITS)


def path_fields(path: bytes) -> Row:
    """Return the fields that follow from a path.

    Raises
    ------
    StorageError
        If it is longer than any path that can be opened.
    """
    in_one_form = composed(path)
    if max(len(path), len(in_one_form)) * 2 > MAX_HEX or len(os.path.basename(in_one_form)) * 2 > 4_096:
        raise StorageError(
            f"{os.fsdecode(path)[:80]}...: a path of {len(path)} bytes cannot be kept; expected at most "
            f"{MAX_HEX // 2}, and names of at most 2048"
        )
    return {
        "path": path.hex(), "composed": in_one_form.hex(), "name": os.path.basename(in_one_form).hex(),
        "place": place_of(path),
    }  # fmt: skip


def row_of(file: StoredFile, image_id: int, added: int, vector: Half | Matrix) -> Row:
    """Return the row of a picture, with a vector as `engine_vectors` gives it."""
    look = file.look
    return {
        "id": image_id, **path_fields(file.path), "content_hash": file.content_hash.hex(), "size": look.size,
        "mtime_ns": look.mtime_ns, "ctime_ns": -1 if look.ctime_ns is None else look.ctime_ns, "width": file.width,
        "height": file.height, "format": file.format.encode().hex(), "taken": file.taken_at or "",
        "reading": file.reading, "added": added, "vector": vector,
    }  # fmt: skip


def record_of(row: Row) -> ImageRecord:
    """Return the picture of a row that has `FACTS`."""
    image_id = row["id"]
    return ImageRecord(
        image_id, os.fsdecode(bytes.fromhex(row["path"])), image_id, row["size"], row["mtime_ns"], row["width"],
        row["height"], bytes.fromhex(row["format"]).decode(), row["taken"] or None,
    )  # fmt: skip


def known_of(row: Row) -> KnownFile:
    """Return what a row that has `KNOWN` says of a file."""
    return KnownFile(
        bytes.fromhex(row["path"]), look_of(row), row["id"], bytes.fromhex(row["content_hash"]), row["reading"]
    )


def look_of(row: Row) -> FileLook:
    """Return how a file looked."""
    return FileLook(row["size"], row["mtime_ns"], None if row["ctime_ns"] == -1 else row["ctime_ns"])


def file_of(row: Row, vector: Matrix) -> StoredFile:
    """Return a picture as it was stored, with its vector float32 (dim,)."""
    return StoredFile(
        bytes.fromhex(row["path"]), look_of(row), bytes.fromhex(row["content_hash"]), row["width"], row["height"],
        bytes.fromhex(row["format"]).decode(), row["taken"] or None, row["reading"], vector, row["id"],
    )  # fmt: skip


def engine_vectors(vectors: Half, *, is_half: bool) -> Half | Matrix:
    """Return stored vectors float16 (n, dim) in the type of a collection, with the values that they have."""
    return vectors if is_half else vectors.astype(np.float32)


def stored_vectors(given: Sequence[Any], dim: int) -> Half:
    """Return vectors of rows as float16 (n, dim): those that were stored, whatever type the engine keeps."""
    vectors = np.empty((len(given), dim), dtype=np.float16)
    for place, vector in enumerate(given):
        is_raw = isinstance(vector, bytes | list) and len(vector) > 0 and isinstance(vector[0], bytes)
        raw = vector if isinstance(vector, bytes) else vector[0] if is_raw else None
        vectors[place] = np.asarray(vector) if raw is None else np.frombuffer(raw, dtype="<f2")
    return vectors
