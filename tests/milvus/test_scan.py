"""Orders, samples and counts over more rows than are fetched at once; the embedded engine answers."""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import pairwise

import pytest

from mmsearch.errors import QueryError
from mmsearch.milvus import scan, store
from mmsearch.milvus.neighbours import MOST
from mmsearch.places import place_of
from mmsearch.store.base import ALL, AskedVector
from mmsearch.store.changes import Changes
from tests.contracts.test_store import SETTINGS, picture, unit
from tests.tiers import tiered

pytest.importorskip("milvus_lite", reason="milvus-lite is not installed")
N, N_COPIES = 700, 20
VECTORS = unit(N, 9)
FILES = [picture(b"/%02d/%d.jpg" % (n * 7 % 31, n * 7919 % N), vector=VECTORS[n]) for n in range(N)]
FILES[:N_COPIES] = [replace(file, content_hash=FILES[0].content_hash) for file in FILES[:N_COPIES]]


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """More pictures than are sorted here or looked at as a sample: both numbers are made small."""
    place = place_of(f"milvus-lite://{tmp_path_factory.mktemp('scan')}/libraries.db/many")
    with place.writer(create=SETTINGS) as writer:
        for start in range(0, N, 200):
            writer.commit(Changes(stored=FILES[start : start + 200]))
    opened = place.open()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(scan, "_FEW", 200)
        patched.setattr(scan, "_SAMPLE", 100)
        yield opened
    opened.close()


@pytest.mark.parametrize("order", tiered(["added", "path", "taken"], ["taken"]))
@pytest.mark.parametrize("where", tiered([[], ["width >= 800"], ["name ~ *7.jpg"]], [["width >= 800"]]))
def test_page_anywhere_in_a_large_library_is_that_of_the_whole_order(library, order, where):
    page = library.page(where, order=order, after=None, offset=0, limit=N)
    paths = [os.fsencode(image.path) for image in page.pictures]
    assert len(set(paths)) == page.n
    if not where:
        newest = sorted(reversed(FILES), key=lambda file: file.taken_at or "", reverse=True)
        of_order = {"added": FILES, "path": sorted(FILES, key=lambda file: file.path), "taken": newest}
        assert paths == [file.path for file in of_order[order]]
    for offset in (0, 1, page.n // 3, page.n - 5):
        part = library.page(where, order=order, after=None, offset=offset, limit=20)
        assert [os.fsencode(image.path) for image in part.pictures] == paths[offset : offset + 20]
        if part.next:
            following = library.page(where, order=order, after=part.next, offset=0, limit=20)
            assert [os.fsencode(image.path) for image in following.pictures] == paths[offset + 20 : offset + 40]


def test_page_far_into_a_library_is_counted_to_and_not_fetched_to(library, monkeypatch):
    fetched = []
    query = library.engine.query

    def counted(*arguments, **options):
        rows = query(*arguments, **options)
        fetched.append(len(rows))
        return rows

    monkeypatch.setattr(library.engine, "query", counted)
    library.page([], order="path", after=None, offset=N // 2, limit=20)
    assert sum(fetched) < N


@pytest.mark.parametrize("moment", ["as it is counted", "as it is fetched"])
def test_pictures_that_leave_while_a_page_is_looked_up_end_no_list(tmp_path, monkeypatch, moment):
    def leave(*arguments, **options):
        writer.remove_images(leaving)
        leaving.clear()
        return answer(*arguments, **options)

    monkeypatch.setattr(scan, "_FEW", 50)
    monkeypatch.setattr(scan, "_SAMPLE", 50)
    with place_of(f"milvus-lite://{tmp_path}/libraries.db/leaving").writer(create=SETTINGS) as writer:
        writer.commit(Changes(stored=FILES[:300]))
        images = writer.page([], order="path", after=None, offset=0, limit=N).pictures
        first = writer.page([], order="path", after=None, offset=0, limit=10)
        leaving = [image.image_id for image in images[10:110]]
        asked, name = (scan, "scan") if moment == "as it is counted" else (writer, "rows_among")
        answer = getattr(asked, name)
        monkeypatch.setattr(asked, name, leave)
        second = writer.page([], order="path", after=first.next, offset=0, limit=10)
        third = writer.page([], order="path", after=second.next, offset=0, limit=N)
    assert not leaving
    assert [*second.pictures, *third.pictures] == list(images[110:])
    assert third.next is None


@pytest.mark.parametrize("along", ["id", "place"])
def test_scan_gives_every_row_once_though_answers_are_cut(library, monkeypatch, along):
    monkeypatch.setattr(scan, "MOST_ROWS", 100)
    parts = list(scan.scan(library.engine, library.collection, "", ("id", "place"), along=along))
    ids = [row["id"] for rows in parts for row in rows]
    assert len(ids) == len(set(ids)) == N
    assert max(map(len, parts)) < 100
    numbers = [[row[along] for row in rows] for rows in parts]
    assert all(max(before) < min(after) for before, after in pairwise(numbers))


def test_files_of_one_size_or_contents_are_all_given_though_answers_are_cut(library, monkeypatch):
    query, lengths = library.engine.query, []

    def counted(*arguments, **options):
        rows = query(*arguments, **options)
        lengths.append(len(rows))
        return rows

    monkeypatch.setattr(library.engine, "query", counted)
    monkeypatch.setattr(scan, "MOST_ROWS", 100)
    alike = [file.path for file in FILES if file.look.size == 10]
    assert len(alike) > 100
    assert sorted(library.paths_of_size(10)) == sorted(alike)
    assert max(lengths) <= 100
    monkeypatch.setattr(scan, "MOST_ROWS", 5)
    lengths.clear()
    copies = library.images_with_hash(FILES[0].content_hash)
    assert sorted(os.fsencode(image.path) for image in copies) == sorted(file.path for file in FILES[:N_COPIES])
    assert max(lengths) <= 5


@pytest.mark.parametrize("where", [[], ["width >= 800"], ["folder = /03 or folder = /04", "taken = 2023"]])
def test_facets_of_more_pictures_than_are_fetched_are_counted(library, monkeypatch, where):
    expected = library.facets(where)
    monkeypatch.setattr(store, "MOST_FETCHED", 0)
    assert library.facets(where) == expected


@pytest.mark.parametrize("where", [[], ["width >= 800"]])
def test_months_of_more_pictures_than_are_fetched_are_counted(library, monkeypatch, where):
    expected = library.timeline(where)
    assert len(expected) == 4
    monkeypatch.setattr(store, "MOST_FETCHED", 0)
    assert library.timeline(where) == expected


def test_more_than_the_engine_gives_is_refused(library):
    with pytest.raises(QueryError, match="gives 16000 pictures at most"):
        library.neighbours().shortlists([AskedVector(VECTORS[0])], MOST + 1, ALL, "text")
    (answer,) = library.neighbours().shortlists([AskedVector(VECTORS[0])], MOST, ALL, "text")
    assert len(answer.pictures) == N
