"""What the status of a library says, against what was done to it."""

from __future__ import annotations

import shutil

from mmsearch import GraphSettings


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
