"""MOVES: the paths in a catalog where pictures lie elsewhere now, a folder at a time."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

from mmsearch.errors import QueryError
from mmsearch.frames import file_of
from mmsearch.names import shell_word
from mmsearch.store.catalog import BELOW, Catalog, bounds_below

_TABLES = {
    "image": "UPDATE", "typed": "UPDATE", "bad": "UPDATE OR REPLACE", "root": "UPDATE OR REPLACE",
    "sound": "UPDATE", "bad_sound": "UPDATE OR REPLACE", "film": "UPDATE", "bad_film": "UPDATE OR REPLACE",
}  # fmt: skip
"""What has a path in a catalog, and how it is given another one."""
_PARKED = b"\0"  # in front of a path: no path of a system begins so
_NAMED = 5  # folders named in a sentence


@dataclass(frozen=True)
class Moves:
    """Folders and pictures that have other paths now, and with a folder all that lies below it.

    Parameters
    ----------
    new_of : mapping of bytes to bytes
        Absolute paths without an end of `/`, by those of before. Of several that hold a path the longest counts.
    """

    new_of: Mapping[bytes, bytes]

    @classmethod
    def of(cls, given: Mapping[bytes, bytes]) -> Moves:
        """Return moves from paths as people write them.

        Raises
        ------
        QueryError
            If one is not absolute.
        """
        for path in (*given, *given.values()):
            if not path.startswith(b"/"):
                raise QueryError(
                    f"{shell_word(os.fsdecode(path))} is no absolute path; expected the old and the new place of a "
                    "folder, such as /old/photos=/new/photos"
                )
        return cls({_plain(old): _plain(new) for old, new in given.items()})

    def moved(self, path: bytes) -> bytes:
        """Return the path that one of before has now.

        >>> moves = Moves.of({b"/a": b"/x", b"/a/b/": b"/"})
        >>> moves.moved(b"/a/c.jpg"), moves.moved(b"/a/b/c.jpg"), moves.moved(b"/ab.jpg")
        (b'/x/c.jpg', b'/c.jpg', b'/ab.jpg')
        """
        file = file_of(path)  # a film that moves takes its frames along
        holding = [old for old in self.new_of if file == old or path.startswith(old.rstrip(b"/") + b"/")]
        if not holding:
            return path
        old = max(holding, key=len)
        rest = path[len(old.rstrip(b"/")) :]
        return self.new_of[old].rstrip(b"/") + rest or b"/"


def _plain(path: bytes) -> bytes:
    """Return a path without `.`, `..` and doubled slashes; of two at its beginning, too."""
    return b"/" + os.path.normpath(path).lstrip(b"/")


def move_paths(catalog: Catalog, moves: Moves) -> int:
    """Give all paths of a catalog their new places; inside `writing()`.

    Returns
    -------
    int
        How many pictures have another path now.

    Raises
    ------
    QueryError
        If nothing is at or below an old path, or two pictures would have one path.
    """
    if not moves.new_of:
        return 0
    db = catalog.db
    _refuse_idle(db, moves)
    db.create_function("moved", 1, moves.moved, deterministic=True)
    db.create_function("parked", 1, lambda path: _PARKED + moves.moved(path), deterministic=True)
    _refuse_meeting(db)
    _keep_equal_texts_once(db)
    db.execute("UPDATE image SET annotated = 0 WHERE moved(path) <> path")  # names of folders are annotations too
    (n_pictures,) = db.execute("SELECT count(*) FROM image WHERE film IS NULL AND moved(path) <> path").fetchone()
    # By way of paths that no file has: two folders may change places. What was typed goes with its picture, by
    # triggers; of two rejected files, or two folders, that have one path now, one stays.
    for table, verb in _TABLES.items():
        db.execute(f"{verb} {table} SET path = parked(path) WHERE moved(path) <> path")
    for table, verb in _TABLES.items():
        db.execute(f"{verb} {table} SET path = substr(path, 2) WHERE substr(path, 1, 1) = x'00'")
    db.execute("DELETE FROM bad WHERE path IN (SELECT path FROM image)")
    db.execute("DELETE FROM bad_sound WHERE path IN (SELECT path FROM sound)")
    db.execute("DELETE FROM bad_film WHERE path IN (SELECT path FROM film)")
    return int(n_pictures)


def _refuse_idle(db: sqlite3.Connection, moves: Moves) -> None:
    """Raise QueryError for an old path that the catalog knows nothing of: it may be misspelt."""
    for old in moves.new_of:
        asked = [f"SELECT 1 FROM {table} WHERE {BELOW} LIMIT 1" for table in _TABLES]
        if not any(db.execute(sql, bounds_below(old)).fetchone() for sql in asked):
            roots = [os.fsdecode(path) for (path,) in db.execute("SELECT path FROM root ORDER BY path")]
            named = ", ".join(map(shell_word, roots[:_NAMED])) + (" and others" if len(roots) > _NAMED else "")
            raise QueryError(
                f"nothing in the backup is at or below {shell_word(os.fsdecode(old))}, so nothing can be moved "
                f"from there; it holds {named or 'no folder'}"
            )


def _refuse_meeting(db: sqlite3.Connection) -> None:
    """Raise QueryError if two pictures, recordings or films, or the captions typed of two, would have one path."""
    for rows, what in (
        ("film", ""),
        ("image", ""),
        ("typed WHERE kind = 'caption'", "the captions of "),
        ("sound", ""),
    ):
        sql = f"SELECT min(path), max(path), moved(path) FROM {rows} GROUP BY moved(path) HAVING count(*) > 1"
        meeting = db.execute(sql).fetchone()
        if meeting is not None:
            first, second, new = (shell_word(os.fsdecode(file_of(path))) for path in meeting)
            raise QueryError(f"{what}{first} and {second} would both be {new}; move them to different places")


def _keep_equal_texts_once(db: sqlite3.Connection) -> None:
    """Forget what was typed of a file that is not in the library, and again of the picture that gets its path."""
    db.execute(
        "DELETE FROM typed WHERE image IS NULL AND id IN (SELECT id FROM (SELECT id, row_number() OVER "
        "(PARTITION BY moved(path), kind, text ORDER BY image IS NULL, id) AS place FROM typed) WHERE place > 1)"
    )
