"""Classes of pictures: what they are called, what gives them, and how many pictures they have."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mmsearch import Library
from mmsearch.records import FileLook
from mmsearch.store.changes import Changes
from mmsearch.store.folder import Store
from tests.conftest import random_units
from tests.store.test_store import DIM, META, file


@pytest.fixture
def library_of(tmp_path):
    """Makes a library of pictures that differ by their paths or their looks."""

    def library_of(**fields):
        ((name, values),) = fields.items()
        vectors = random_units(len(values), DIM)
        stored = [replace(file(i, vectors[i]), **{name: value}) for i, value in enumerate(values)]
        with Store.writer(tmp_path, create=META) as store:
            store.commit(Changes(stored=stored))
        return Library.open(tmp_path)

    return library_of


def test_sizes_are_classes_from_one_step_to_the_next(library_of):
    sizes = (1, 99_999, 100_000, 999_999, 1_000_000, 4_999_999, 5_000_000, 20_000_000, 10**12)
    with library_of(look=[FileLook(size, 1, 1) for size in sizes]) as library:
        facets = library.facets().sizes
        assert [(facet.label, facet.n) for facet in facets] == [
            ("up to 100 kB", 2),
            ("100 kB to 500 kB", 1),
            ("500 kB to 1 MB", 1),
            ("1 MB to 5 MB", 2),
            ("5 MB to 20 MB", 1),
            ("from 20 MB", 2),
        ]
        assert [library.pictures(facet.where).n for facet in facets] == [2, 1, 1, 2, 1, 2]


def test_of_very_many_folders_the_largest_are_named_by_path(library_of):
    paths = [
        b"/photos/%04d/%d.jpg" % (folder, i) for folder in range(1200) for i in range(2 if folder > 700 else 1)
    ]
    with library_of(path=paths) as library:
        folders = library.facets().folders
    assert [folder.n for folder in folders[:1]] == [len(paths)]
    assert len(folders) == 1000
    assert {folder.label for folder in folders} >= {f"/photos/{folder:04}" for folder in range(701, 1200)}
    assert [folder.label for folder in folders] == sorted(folder.label for folder in folders)
