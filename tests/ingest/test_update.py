"""What a run of `index` is asked to do: checked where it is said, before anything is opened."""

from __future__ import annotations

import pytest

from mmsearch.errors import ArgumentError, QueryError
from mmsearch.ingest.plan import ScanOptions
from mmsearch.ingest.update import IngestOptions


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
