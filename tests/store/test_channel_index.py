"""The index of captions: what it finds is what a scan finds, and it is of the vectors that lie beside it."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from mmsearch.indexes.cells import CellsIndex
from mmsearch.store import captions, channel_index
from mmsearch.store.captions import CAPTION_CELLS, CAPTIONS
from mmsearch.store.folder import Store
from mmsearch.store.indexes import GraphSettings
from mmsearch.vectors import l2_normalize
from tests.store.test_captions import DIM, add, captions_of


def encode(texts):
    """A vector for every text, no two of which are alike."""
    seeds = [zlib.crc32(text.encode()) for text in texts]
    return l2_normalize(np.float32([np.random.default_rng(seed).normal(size=DIM) for seed in seeds]))


ASKED = encode([f"a question about {n} things" for n in range(40)])


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A library of as many captions as are worth cells, which are as fast as need be."""
    monkeypatch.setattr(captions, "_LEAST", 0)
    monkeypatch.setattr(channel_index, "_WORTH", 1e-9)
    with Store.writer(tmp_path / "library", create={"dim": DIM, "fingerprint": "f" * 64, "model": "any"}) as writer:
        writer.indexes.keep(GraphSettings(graph_from=100))
        captioned(writer, range(1, 41))
        writer.annotations.index_captions(lambda: ASKED)
        yield writer


def captioned(store, numbers):
    """Add pictures with ten captions each."""
    said = [captions_of(*(f"what {10 * n + i} shows" for i in range(10))) for n in numbers]
    added = add(store, *said, first=numbers.start)
    store.annotations.embed_captions(encode, lambda *_: None)
    return added


def nearest(store, query, k=10, **options):
    scores, ids = store.annotations.near_captions().search(query[None], k, **options)
    return list(zip(scores[0].round(6).tolist(), ids[0].tolist(), strict=True))


def scanned(store, query, k=10, among=None):
    """The same by plain arithmetic."""
    ids, vectors = store.annotations.caption_vectors()
    vectors = vectors.astype(np.float64)
    cosines = vectors @ query.astype(np.float64) / np.linalg.norm(vectors, axis=1)
    best = [(cosine, i) for cosine, i in zip(cosines.round(6).tolist(), ids.tolist(), strict=True)]
    return sorted((each for each in best if among is None or each[1] in among), key=lambda each: -each[0])[:k]


def asked_by_cells(store, monkeypatch):
    """The number of searches that cells answer from now on."""
    counted, search = [], CellsIndex.search

    def counting(*given):
        counted.append(given)
        return search(*given)

    monkeypatch.setattr(CellsIndex, "search", counting)
    return counted


def test_captions_are_found_by_cells_as_a_scan_finds_them(store, monkeypatch):
    reader, by_cells = Store.open(store.folder), asked_by_cells(store, monkeypatch)
    assert store.sidecar(CAPTION_CELLS)["plan"]["recall"] >= store.indexes.settings.recall_target
    hits = [len(set(nearest(reader, query)) & set(scanned(reader, query))) for query in ASKED]
    assert len(by_cells) == len(ASKED)
    assert np.mean(hits) >= 9.5
    assert nearest(reader, ASKED[0], 1_000) == scanned(reader, ASKED[0], 1_000)  # more than there are


def test_captions_that_came_and_went_since_are_found_and_not_found(store, monkeypatch):
    gone = [image_id for _, image_id in scanned(store, ASKED[0], 3)]
    store.remove_images(gone)
    (new,) = captioned(store, range(41, 42))
    reader, by_cells = Store.open(store.folder), asked_by_cells(store, monkeypatch)
    (asked,) = encode(["what 415 shows"])
    assert nearest(reader, asked, 1)[0][1] == new
    assert not set(gone) & {image_id for _, image_id in nearest(reader, ASKED[0], 300)}
    assert len(by_cells) == 2
    assert reader.annotations.near_captions().n_pictures == 41 - len(set(gone))


def test_captions_of_some_pictures_are_scanned(store):
    (new,) = captioned(store, range(41, 42))
    among = np.array([3, 17, new])
    assert nearest(store, ASKED[1], 25, among=among) == scanned(store, ASKED[1], 25, among.tolist())


def test_cells_of_vectors_of_before_are_left_alone_and_made_anew(store, monkeypatch):
    before = store.sidecar(CAPTION_CELLS)
    captioned(store, range(41, 61))
    store.annotations.settle()
    reader, by_cells = Store.open(store.folder), asked_by_cells(store, monkeypatch)
    assert nearest(reader, ASKED[2]) == scanned(reader, ASKED[2])
    assert not by_cells
    store.annotations.index_captions(lambda: ASKED)
    assert before["of"] != store.sidecar(CAPTION_CELLS)["of"] == store.sidecar(CAPTIONS)["sha256"]
    by_cells.clear()
    nearest(reader, ASKED[2])  # it sees what was published
    assert len(by_cells) == 1


def test_cells_are_made_once_and_none_where_they_are_no_faster_than_a_scan(store, monkeypatch):
    state = store.indexes.state()
    store.annotations.index_captions(lambda: ASKED)
    assert store.indexes.state() == state
    monkeypatch.setattr(channel_index, "_WORTH", 1e9)
    captioned(store, range(41, 61))
    store.annotations.index_captions(lambda: ASKED)
    by_cells = asked_by_cells(store, monkeypatch)
    assert nearest(store, ASKED[2]) == scanned(store, ASKED[2])
    assert not by_cells
    state = store.indexes.state()
    store.annotations.index_captions(lambda: ASKED)
    assert store.indexes.state() == state  # nobody tries again
    store.remove_images(list(range(1, 55)))
    store.annotations.index_captions(lambda: ASKED)
    assert not list(store.folder.glob("captioncells-*"))


def test_damaged_cells_are_named_and_the_captions_are_scanned(store):
    (path,) = store.folder.glob("captioncells-*.bin")
    whole, expected = path.read_bytes(), scanned(store, ASKED[0])
    reader = Store.open(store.folder)
    near = reader.annotations.near_captions()
    for place in (len(whole) // 3, len(whole) - 9):  # of what is read at once, and of what is read when asked for
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert "captioncells" in store.annotations.problems()
        assert nearest(Store.open(store.folder), ASKED[0]) == expected
        assert near.search(ASKED[:1], 10)[1][0].tolist() == [image_id for _, image_id in expected]
    assert "captioncells" in " ".join(store.verify().problems)


def test_a_library_without_vectors_has_no_captions_to_find(tmp_path):
    with Store.writer(tmp_path / "library", create={"dim": 0, "fingerprint": "none", "model": "none"}) as store:
        assert store.annotations.near_captions().n_pictures == 0
