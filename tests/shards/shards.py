"""Shards made by hand, for tests: of random vectors, and of whatever else should be refused."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mmsearch.records import READING, FileLook, Preprocessing
from mmsearch.shards.folder import ShardFolder
from mmsearch.shards.format import METADATA, ShardFacts
from mmsearch.store.changes import StoredFile
from tests.conftest import random_units

DIM = 8
FACTS = ShardFacts("f" * 64, "test", DIM, Preprocessing((32, 32), 32))
STRANGE = b"/photos/\xff\n'\".jpg"
"""A path that is no UTF-8."""


def picture(number, vector=None, *, path=None, contents=None, **fields):
    """A picture whose facts follow from its number."""
    vector = random_units(1, DIM, number)[0] if vector is None else vector
    values = {
        "width": 640, "height": 480, "format": "JPEG", "taken_at": None if number % 2 else "2023-05-01T12:00:00",
        "reading": READING, **fields,
    }  # fmt: skip
    look = FileLook(100 + number, -number, None if number % 3 else number)
    contents = b"%032d" % number if contents is None else contents
    return StoredFile(path or b"/photos/%d.jpg" % number, look, contents, vector=vector, **values)


def write_shards(folder, pictures, *, facts=FACTS):
    """Write one more shard of these pictures."""
    with ShardFolder.writer(folder, facts, lambda sentence: None) as shards:
        shards.add(pictures)
    return folder


def changed_shard(file, facts=(), /, **columns):
    """Write a shard again with other facts in its metadata, or other values in the first row of these columns."""
    table = pq.read_table(file)
    facts = {**json.loads(table.schema.metadata[METADATA]), **dict(facts)}
    for name, value in columns.items():
        place, field = table.schema.get_field_index(name), table.schema.field(name).with_nullable(True)
        values = [value, *table.column(name).to_pylist()[1:]]
        table = table.set_column(place, field, pa.array(values, field.type))
    pq.write_table(table.replace_schema_metadata({METADATA: json.dumps(facts)}), file)


def bits(vector):
    return np.asarray(vector, dtype=np.float16).tobytes()
