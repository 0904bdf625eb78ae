"""WATCH: a sign when folders are watched, and after each burst of changes that count."""

from __future__ import annotations

import os

import pytest

from mmsearch.ingest.watch import _filter, changes_below


def test_the_first_sign_comes_without_a_change_for_what_changed_before(tmp_path):
    signs = changes_below([os.fsencode(tmp_path)])
    next(signs)
    (tmp_path / "cat.jpg").write_bytes(b"x")  # while the caller is at work
    next(signs)
    signs.close()


@pytest.mark.parametrize(
    ("path", "is_counted"),
    [
        ("cat.jpg", True),
        ("trip/cat.jpg", True),
        (".mmsearchignore", True),
        ("trip/.mmsearchignore", True),
        (".cat.jpg", False),
        (".git/cat.jpg", False),
        ("trip/.thumbnails/a/cat.jpg", False),
        (".git/.mmsearchignore", False),
        ("", True),
    ],
)
def test_what_is_hidden_below_a_root_does_not_count(tmp_path, path, is_counted):
    """The root itself may lie in a hidden folder, and be known by another name."""
    root = tmp_path / ".hidden" / "photos"
    root.mkdir(parents=True)
    (tmp_path / "link").symlink_to(root)
    for name in (root, tmp_path / "link"):
        counts = _filter([os.fsencode(name)])
        assert counts(None, str(name / path)) is is_counted
        assert counts(None, str(root / path)) is is_counted
