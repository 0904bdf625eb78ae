"""What the status of a library says, against what was done to it."""

from __future__ import annotations

import shutil

from mmsearch import GraphSettings, Library


def test_status_counts_what_was_done(indexed, photos):
    (photos / "page.jpg").write_bytes(b"<html></html>")
    shutil.copyfile(photos / "cat.jpg", photos / "again.jpg")
    indexed.index([photos], local=False, settings=GraphSettings(graph_from=77))
    (photos / "fig.jpg").unlink()
    indexed.index([photos], local=False)
    status = indexed.status()
    assert (status.n_images, status.n_vectors, status.n_dead) == (8, 7, 1)
    assert [(bad.path, bad.code) for bad in status.bad] == [(str(photos / "page.jpg"), "not_an_image")]
    assert (status.n_read_before, status.graph_from, status.n_in_graph) == (0, 77, 0)
    assert status.size_bytes == sum(path.stat().st_size for path in indexed.folder.rglob("*") if path.is_file())


def test_status_counts_each_query_that_is_remembered_once(indexed, cache):
    for text in ("a cat", "a dog", "a cat"):
        indexed.search(text)
    with Library.open(indexed.folder, cache=cache) as library:
        assert library.status().n_remembered == 2
