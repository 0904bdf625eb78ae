"""A catalog in which tests list the pictures that they need."""

from __future__ import annotations

import os

import pytest

from mmsearch.store.catalog import Catalog


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    path = tmp_path_factory.mktemp("catalog") / "catalog.sqlite"
    Catalog.create(path, {})
    opened = Catalog.open(path, write=True)
    yield opened
    opened.close()


def list_only(catalog, paths):
    """Leave nothing in a catalog but pictures at these paths."""
    with catalog.writing():
        catalog.db.execute("DELETE FROM image")
        catalog.db.executemany(
            "INSERT INTO image (path, size, mtime_ns, hash, row, width, height, format) "
            "VALUES (?, 1, 1, x'00', -1, 1, 1, 'JPEG')",
            [(os.fsencode(path),) for path in paths],
        )
