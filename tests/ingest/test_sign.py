"""Signatures of pictures: made with their vectors, and later for those that were indexed before there were any."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing

from PIL import Image


def signed(library):
    """The paths of pictures with a signature."""
    store = library.reader()
    return {image.path for image in store.images_of_ids(list(store.signatures.load()))}


def unsign(library):
    """Make a library as it was before pictures were signed."""
    library.close()
    with closing(sqlite3.connect(library.folder / "catalog.sqlite")) as db, db:
        db.execute("DELETE FROM item")
        db.execute("DELETE FROM channel")


def test_new_pictures_and_copies_are_signed_as_they_are_indexed(indexed, photos):
    assert signed(indexed) == {str(path) for path in photos.rglob("*.jpg")}
    shutil.copyfile(photos / "cat.jpg", photos / "copy.jpg")
    Image.new("RGB", (60, 60), "red").save(photos / "red.png")
    assert "signed" not in indexed.index([photos]).details
    assert signed(indexed) == {str(path) for path in photos.rglob("*.jpg")}
    assert indexed.reader().signatures.unsigned() == []


def test_pictures_of_before_are_signed_by_the_next_index_of_their_folder(indexed, photos):
    unsign(indexed)
    (photos / "cat.jpg").write_bytes((photos / "fig.jpg").read_bytes())
    assert indexed.index([photos / "trip"]).details["signed"] == 2
    assert len(signed(indexed)) == 2
    seen = []
    report = indexed.index([photos], on_progress=lambda *step: seen.append(step))
    assert (report.changed, report.details["signed"]) == (1, 5)  # contents: the fig is there twice
    assert ("sign", 5, 5) in seen
    assert signed(indexed) == {str(path) for path in photos.rglob("*.jpg")}
    assert "signed" not in indexed.index([photos]).details
