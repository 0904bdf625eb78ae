"""Libraries of every schema that was ever shipped open and keep their vectors; a writer brings them up to date."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from mmsearch import Library, Query
from mmsearch.encoders.zeroshot import ZeroShotClassifier
from mmsearch.errors import QueryError
from mmsearch.indexes.base import unit_rows
from mmsearch.indexes.cells import CELLS
from mmsearch.indexes.exact import ExactIndex
from mmsearch.indexes.hnsw import GRAPH
from mmsearch.records import Unusable
from mmsearch.samples import sample_folder
from mmsearch.store import migrations
from mmsearch.store.catalog import Catalog
from mmsearch.store.folder import Store
from mmsearch.store.labels import Labelling, LabelOptions
from mmsearch.store.migrations import SCHEMA
from tests import warm
from tests.faces.packed import face, packed
from tests.golden.make_library import PICTURES

GOLDEN = Path(__file__).parents[1] / "golden"
KILLED = """
import os, signal, sys
from pathlib import Path
from mmsearch.store import migrations
from mmsearch.store.folder import Store
if sys.argv[2] == "before":
    migrations._STEPS[migrations.SCHEMA] += ("SELECT kill()",)
import sqlite3
real = sqlite3.connect
def connect(*arguments, **options):
    db = real(*arguments, **options)
    db.create_function("kill", 0, lambda: os.kill(os.getpid(), signal.SIGKILL))
    return db
sqlite3.connect = connect
with Store.writer(Path(sys.argv[1])):
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(params=sorted(GOLDEN.glob("library-v*")), ids=lambda path: path.name)
def old(request, tmp_path):
    """A copy of a library that an earlier version wrote."""
    return Path(shutil.copytree(request.param, tmp_path / "library"))


def schema_of(library):
    with closing(sqlite3.connect(library / "catalog.sqlite")) as db:
        return int(db.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()[0])


def vectors_of(library):
    """Every picture's name and stored vector."""
    store = Store.open(library)
    images = list(store.catalog.images())
    return {Path(image.path).stem: store.checked_rows([image.row])[0].tobytes() for image in images}


def test_golden_library_of_every_schema_but_the_present_one_is_there():
    assert [path.name for path in sorted(GOLDEN.glob("library-v*"))] == [f"library-v{n}" for n in range(1, SCHEMA)]


def test_old_library_is_read_as_it_is_without_a_writer(old):
    before = schema_of(old)
    with Library.open(old, use_graph=True) as library:
        image_id = next(image.image_id for image in library.reader().catalog.images() if "cat" in image.path)
        result = library.search(Query(images=[image_id]), k=3)
        # Later ones were measured by those who want an index to pay for itself, which no index of eleven rows does.
        route = "graph" if before < 3 else "exact"
        assert (Path(result.hits[0].path).name, result.route, len(result.hits)) == ("cat.jpg", route, 3)
        assert library.status().n_images == len(PICTURES)
        assert library.verify().problems == ()
        assert library.index([sample_folder()], is_dry_run=True).moved == len(PICTURES)
    assert schema_of(old) == before


WITHOUT_LABELS = [GOLDEN / f"library-v{n}" for n in (1, 2, 3)]


@pytest.mark.parametrize("old", WITHOUT_LABELS, ids=lambda path: path.name, indirect=True)
def test_old_library_has_no_labels_until_a_writer_gives_it_some_and_filters_say_so(old):
    with Library.open(old) as library:
        assert (library.label_sets(), library.labels_of(1), library.facets().labels) == ((), (), ())
        with pytest.raises(QueryError, match="the library has no labels; `mmsearch labels set"):
            library.pictures(["label = cat"])
        with Store.writer(old) as store:
            colours = np.eye(store.dim, dtype=np.float32)[:2]
            classifier = ZeroShotClassifier(("first", "second"), colours, 1.0)
            store.labels.define("axes", Labelling(classifier, LabelOptions(("{}",)), store.fingerprint()))
            store.labels.update(lambda *_: None)
        (known,) = library.label_sets()
        assert (known.n_labels, known.n_labelled, known.n_left) == (2, len(PICTURES), 0)
        assert library.pictures(["label ~ axes/*"]).n == len(PICTURES)
        assert library.verify().problems == ()


def test_old_library_is_given_faces_groups_and_names(old):
    with Library.open(old) as library:
        assert (library.people.list(), library.status().faces) == ((), None)
        with library.place.writer() as store:
            hashes = store.hashes_of([1, 2])
            store.faces.want(True)
            assert len(store.faces.missing()) == len(PICTURES)
            store.faces.keep({hashes[n]: packed(face(1, n)) for n in hashes})
            store.people.group(lambda *_: None)
        library.people.name(1, "Anna")
        assert [(person.name, person.n_pictures) for person in library.people.list()] == [("Anna", 2)]
        assert library.pictures("person = Anna").n == 2
        assert library.verify().problems == ()
        assert library.people.forget() == 2
        assert (library.people.list(), library.verify().problems) == ((), ())


@pytest.mark.parametrize("old", [GOLDEN / "library-v4"], indirect=True)
def test_labels_of_an_old_library_are_those_that_it_was_given_before_and_after_a_writer(old):
    def given(library):
        ids = [image.image_id for image in library.reader().catalog.images()]
        return library.label_sets(), [library.labels_of(image_id) for image_id in ids]

    with Library.open(old) as library:
        before = given(library)
        assert [(known.name, known.n_labelled) for known in before[0]] == [("axes", len(PICTURES))]
        with Store.writer(old):
            pass
        assert given(library) == before


def test_writer_migrates_an_old_library_which_keeps_vectors_graph_and_words(old):
    before = vectors_of(old)
    with Store.writer(old) as store:
        assert not isinstance(store.indexes.load(GRAPH), Unusable)
        assert sorted(store.words.load().inverted.image_ids)[:3] == [1, 2, 3]
    assert schema_of(old) == SCHEMA
    assert vectors_of(old) == before
    with Library.open(old) as library:
        assert library.verify().problems == ()


def test_index_after_a_migration_embeds_nothing_again(old, tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name in PICTURES:
        shutil.copyfile(sample_folder() / f"{name}.jpg", pictures / f"{name}.jpg")
    before = vectors_of(old)
    with Library.open(old) as library:
        report = library.index([pictures])
        assert (report.new, report.moved, report.details["words"]["n_described"]) == (0, len(PICTURES), 0)
        assert library.status().n_unread_words == 0
    assert vectors_of(old) == before


def test_an_old_library_has_no_parts_until_they_are_asked_for(old, tmp_path):
    store = Store.open(old)
    assert (store.parts.most, store.parts.facts(), store.parts.near()) == (0, None, None)
    assert (store.parts.missing(), store.parts.of([1])) == ([], {})
    store.close()
    with Store.writer(old) as writer:
        assert writer.parts.keep_most(4) == 0
        assert len(writer.parts.missing()) == len(PICTURES)
        assert writer.parts.near().n_parts == 0
    with Library.open(old) as library:
        assert library.verify().problems == ()


@pytest.mark.full
def test_an_old_library_is_given_parts(old, tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name in PICTURES:
        shutil.copyfile(sample_folder() / f"{name}.jpg", pictures / f"{name}.jpg")
    with Library.open(old) as library:
        report = library.index([pictures], parts=4)
        assert (report.new, report.moved, report.details["parts"]) == (0, len(PICTURES), len(PICTURES))
        parts = library.status().parts
        assert (parts.n_images, parts.n_parts > len(PICTURES)) == (len(PICTURES), True)
        best = library.search(Query(images=[pictures / "cat.jpg"]), k=3)
        assert best[0].path == str(pictures / "cat.jpg")
        assert library.verify().problems == ()


def test_pictures_of_an_old_library_count_as_read_by_an_earlier_version_if_that_read_in_another_way(old):
    n_before = len(PICTURES) if schema_of(old) < 3 else 0
    n_unread = len(PICTURES) if schema_of(old) < 5 else 0
    with Library.open(old) as library:
        assert (library.status().n_read_before, library.status().n_unread_words) == (n_before, n_unread)
        with Store.writer(old):
            pass
        assert library.status().n_read_before == n_before


@pytest.mark.parametrize("when", ["before", "after"])
def test_kill_while_migrating_leaves_the_old_library_or_the_new_one(old, when):
    before, vectors = schema_of(old), vectors_of(old)
    done = warm.run([sys.executable, "-c", KILLED, str(old), when], text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert schema_of(old) == (before if when == "before" else SCHEMA)
    assert vectors_of(old) == vectors
    with Store.writer(old):
        pass
    assert schema_of(old) == SCHEMA


def test_reader_that_was_open_before_a_migration_sees_the_library_as_it_is_then(old):
    with Library.open(old, use_graph=True) as library:
        assert len(library.search(Query(images=[1]), k=3).hits) == 3
        with Store.writer(old) as store:
            store.remove_images([1])
        result = library.search(Query(images=[2]), k=20)
        assert (len(result.hits), result.problems) == (len(PICTURES) - 1, ())
        assert library.reader().catalog.moment() == Store.open(old).catalog.moment()


@pytest.mark.parametrize("old", [GOLDEN / "library-v1", GOLDEN / "library-v2"], indirect=True)  # without cells
def test_old_library_opens_by_its_graph_and_gets_cells_beside_it_at_the_end_of_the_next_run(old):
    assert [kind.name for kind in Store.open(old).indexes.kinds()] == ["graph"]
    hits = []
    with Library.open(old, use_graph=False) as library:
        hits.append(library.search(Query(images=[1]), k=5).hits)
    with Library.open(old) as library:
        hits.append(library.search(Query(images=[1]), k=5).hits)
        with Store.writer(old) as store:
            store.settle(np.zeros((0, store.dim), np.float32), on_progress=lambda *step: None)
        hits.append(library.search(Query(images=[1]), k=5).hits)
        assert library.verify().problems == ()
    assert hits == [hits[0]] * 3
    store = Store.open(old)
    n_rows = store.n_rows
    assert {kind: facts["covered"] for kind, facts in store.indexes.facts().items()} == {
        "graph": n_rows, "cells": n_rows,
    }  # fmt: skip
    queries = unit_rows(store.matrix()[:])[1]
    _, rows = store.indexes.load(CELLS).index.search(queries, 5)
    np.testing.assert_array_equal(rows, ExactIndex(store.matrix(), store.dead_rows()).search(queries, 5)[1])


@pytest.mark.parametrize("old", [GOLDEN / "library-v1"], indirect=True)  # later caches say whose they are
def test_caches_put_into_a_migrated_library_from_elsewhere_are_not_adopted(old):
    kept = {path.name: path.read_bytes() for path in old.iterdir() if path.suffix in (".bin", ".json")}
    for name in kept:
        (old / name).unlink()
    with Store.writer(old):
        pass
    for name, data in kept.items():
        (old / name).write_bytes(data)
    store = Store.open(old)
    assert store.indexes.load(GRAPH) == Unusable(
        "the file of the graph says nothing of the library that it was made for"
    )
    assert store.words.load() == Unusable(
        "the file of the vocabulary says nothing of the library that it was made for"
    )


def test_new_catalog_has_the_tables_of_a_migrated_one(old, tmp_path):
    with Store.writer(old):
        pass
    Catalog.create(tmp_path / "catalog.sqlite", {"dim": 4})

    def tables(path):
        with closing(sqlite3.connect(path)) as db:
            rows = db.execute(
                "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY name"
            )
            return [(kind, name, " ".join(sql.split())) for kind, name, sql in rows]

    assert tables(old / "catalog.sqlite") == tables(tmp_path / "catalog.sqlite")


def test_every_step_has_a_way_to_be_read_before_it_is_taken():
    assert sorted(migrations._READ_AS_NOW) == sorted(migrations._STEPS)[:-1] == list(range(1, SCHEMA))


def test_vectors_of_an_old_library_are_those_of_its_pictures(old):
    store = Store.open(old)
    assert store.matrix().shape == (len(PICTURES) + 1, 16)
    assert np.isfinite(store.matrix()[:]).all()
    assert os.path.getsize(old / "vectors-0.f16") == 2 * 16 * (len(PICTURES) + 1)
