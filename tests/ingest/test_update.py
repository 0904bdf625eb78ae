"""A run of `index`: what it is asked to do, checked where it is said, and what becomes of what is refused."""

from __future__ import annotations

import shutil

import pytest

from mmsearch.errors import ArgumentError, QueryError, StorageError
from mmsearch.ingest import run
from mmsearch.ingest.plan import ScanOptions
from mmsearch.ingest.update import IngestOptions
from mmsearch.samples import sample_folder
from mmsearch.store.folder import Store


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"is_dry_run": 1}, r"is_dry_run is 1 \(int\); expected True or False"),
        ({"follow_links": "no"}, "follow_links is 'no'"),
        ({"local": "no"}, "local is 'no'"),
        ({"remember": 0}, "remember is 0"),
        ({"max_megapixels": 0}, "max_megapixels is 0; expected a number above 0"),
        ({"model": 5}, "model is 5"),
        ({"model": ""}, "model is an empty path"),
    ],
)
def test_options_of_a_run_are_checked_where_they_are_made(options, sentence):
    with pytest.raises((ArgumentError, QueryError), match=sentence):
        IngestOptions(**options)


def test_options_of_a_run_say_how_files_are_looked_at():
    options = IngestOptions(b"models/tiny", follow_links=True, is_recheck=True)
    assert options.model_name == "models/tiny"
    assert options.scan(is_limit_raised=True) == ScanOptions(
        follow_links=True, is_recheck=True, is_limit_raised=True
    )
    assert IngestOptions().scan() == ScanOptions()


def test_pictures_that_the_library_refuses_to_store_are_not_offered_again_in_the_same_run(
    indexed, photos, monkeypatch
):
    known = {path.name for path in photos.iterdir()}
    new = next(path for path in sorted(sample_folder().glob("*.jpg")) if path.name not in known)
    shutil.copyfile(new, photos / "new.jpg")
    monkeypatch.setattr(run, "COMMIT_PICTURES", 1)
    offered = []

    def refused(store, changes):
        if changes.stored:
            offered.append(len(changes.stored))
            raise StorageError("the disk is full")

    monkeypatch.setattr(Store, "commit", refused)
    with pytest.raises(StorageError, match="the disk is full"):
        indexed.index([photos])
    assert offered == [1]
