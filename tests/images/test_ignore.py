from __future__ import annotations

import os

import pytest

from mmsearch.errors import QueryError
from mmsearch.images import EXCLUDED, FoundFile, PassedOver, find_files
from mmsearch.images.ignore import require_patterns


@pytest.fixture
def tree(tmp_path):
    """Pictures in folders: a.jpg, a.png, raw/b.jpg, trips/c.jpg, trips/raw/d.jpg and trips/raw/keep.jpg."""
    for name in ("a.jpg", "a.png", "raw/b.jpg", "trips/c.jpg", "trips/raw/d.jpg", "trips/raw/keep.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def below(folder, entries):
    return [os.path.relpath(os.fsdecode(entry.path), folder) for entry in entries]


def pictures_below(folder, *exclude):
    return below(
        folder, [e for e in find_files([os.fsencode(folder)], exclude=exclude) if isinstance(e, FoundFile)]
    )


ALL = ["a.jpg", "a.png", "raw/b.jpg", "trips/c.jpg", "trips/raw/d.jpg", "trips/raw/keep.jpg"]


@pytest.mark.parametrize(
    ("exclude", "left_out"),
    [
        (["*.png"], ["a.png"]),
        (["raw/"], ["raw/b.jpg", "trips/raw/d.jpg", "trips/raw/keep.jpg"]),
        (["/raw/"], ["raw/b.jpg"]),
        (["trips/raw/*", "!keep.jpg"], ["trips/raw/d.jpg"]),
        (["**/raw/d.jpg"], ["trips/raw/d.jpg"]),
        (["# a comment", "", "*.png"], ["a.png"]),
        (["*.PNG"], []),
    ],
)
def test_patterns_leave_out_what_gitignore_would(tree, exclude, left_out):
    assert pictures_below(tree, *exclude) == [name for name in ALL if name not in left_out]
    (tree / ".mmsearchignore").write_text("\n".join(exclude))
    assert pictures_below(tree) == [name for name in ALL if name not in left_out]


def test_a_file_of_patterns_is_for_its_own_folder_and_those_below(tree):
    (tree / "trips" / ".mmsearchignore").write_text("/raw/d.jpg\na.*\n")
    assert pictures_below(tree) == [name for name in ALL if name != "trips/raw/d.jpg"]


def test_the_nearest_file_counts_more_and_what_is_given_most(tree):
    (tree / ".mmsearchignore").write_text("*.jpg\n")
    (tree / "trips" / ".mmsearchignore").write_text("!*.jpg\n")
    assert pictures_below(tree) == ["a.png", *ALL[3:]]
    assert pictures_below(tree, "!a.jpg", "d.jpg") == ["a.jpg", "a.png", "trips/c.jpg", "trips/raw/keep.jpg"]


def test_what_is_named_itself_is_not_left_out(tree):
    roots = [os.fsencode(tree), os.fsencode(tree / "raw"), os.fsencode(tree / "a.png")]
    entries = list(find_files(roots, exclude=["raw/", "a.png"]))
    assert below(tree, [e for e in entries if isinstance(e, FoundFile)]) == [
        "a.jpg",
        "trips/c.jpg",
        "raw/b.jpg",
        "a.png",
    ]
    assert below(tree, [e for e in entries if isinstance(e, PassedOver)]) == ["trips/raw"]


def test_what_is_left_out_is_told_by_folder_and_by_picture(tree):
    (tree / "notes.txt").write_bytes(b"x")
    entries = [
        e for e in find_files([os.fsencode(tree)], exclude=["raw", "*.png", "*.txt"]) if isinstance(e, PassedOver)
    ]
    assert [(e.kind, e.is_folder) for e in entries] == [(EXCLUDED, False), (EXCLUDED, True), (EXCLUDED, True)]


def test_names_that_are_not_utf_8_are_left_out_by_their_bytes(tree):
    (tree / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"x")
    (tree / ".mmsearchignore").write_bytes(b"\xef\xbb\xbfcaf\xe9*\r\n")
    assert pictures_below(tree) == ALL


@pytest.mark.parametrize("character", ["\u2028", "\x85", "\x0c", "\x1c", "\x0b"])
def test_a_line_of_patterns_ends_where_one_of_a_file_does_and_nowhere_else(tree, character):
    name = f"one{character}other.jpg"
    (tree / name).write_bytes(b"x")
    (tree / ".mmsearchignore").write_text(f"#\r\n{name[:-9]}*.jpg\r\n", newline="")
    assert pictures_below(tree) == ALL


@pytest.mark.parametrize("line", ["!", "[z-a].jpg"])
def test_what_is_no_pattern_is_refused_before_anything_is_found(tree, line):
    with pytest.raises(
        QueryError, match=r"--exclude, line 2: .* is no pattern; expected one as \.gitignore has them"
    ):
        pictures_below(tree, "*.png", line)
    (tree / "trips" / ".mmsearchignore").write_text(f"*.png\n\n{line}\n")
    with pytest.raises(QueryError, match=r"trips/\.mmsearchignore, line 3: "):
        pictures_below(tree)


def test_a_file_of_patterns_that_cannot_be_read_is_said_and_nothing_is_indexed_in_spite_of_it(tree):
    os.mkfifo(tree / ".mmsearchignore")
    with pytest.raises(QueryError, match=r"\.mmsearchignore cannot be read .* make it readable, or remove it"):
        pictures_below(tree)
    (tree / ".mmsearchignore").unlink()
    (tree / ".mmsearchignore").write_bytes(b"*" * (1 << 21))
    with pytest.raises(QueryError, match="has 2097152 bytes; expected patterns, 1048576 at most"):
        pictures_below(tree)


@pytest.mark.parametrize("pattern", ["", " ", "# raw"])
def test_a_pattern_that_leaves_out_nothing_is_a_mistake(pattern):
    with pytest.raises(QueryError, match=rf"--exclude: '{pattern}' leaves out nothing; expected a pattern"):
        require_patterns(["*.tmp.jpg", pattern])
