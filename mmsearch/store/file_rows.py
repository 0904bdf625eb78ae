"""FILE ROWS: which rows of vectors lie in one file. A film has many, and is ranked by the best of them."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from mmsearch.indexes.base import Rows
from mmsearch.indexes.exact import MARGIN
from mmsearch.records import Matrix
from mmsearch.store.catalog import Catalog
from mmsearch.store.where import SqlCondition
from mmsearch.vectors import contenders

_ROWS_OF_FILE = 13  # the best one, and as many others as a hit names


class FileRows(NamedTuple):
    """The rows (n,) of pictures in order of their files, where those of each file begin, and how many pictures.

    Films of equal contents are one file, whose number is the id of the first of them; those of others are negative.
    A row that a film and a photograph share is there for each. Rows that count for nothing may be there, too.
    """

    rows: Rows
    starts: Rows
    files: Rows
    n_pictures: int


def file_rows(catalog: Catalog, condition: SqlCondition, n_rows: int, n_pictures: int) -> FileRows:
    """Return the rows, of so many, of the pictures that pass a condition; inside `reading()`.

    Without a condition `n_pictures` pass, and only films are looked up: photographs may be a million.
    """
    db, has_condition = catalog.db, bool(condition.sql)
    passing = f" AND ({condition.sql})" if has_condition else ""
    sql = f"SELECT row, film FROM image WHERE film IS NOT NULL AND row >= 0 AND row < ?{passing}"
    frames = np.array(db.execute(sql, (n_rows, *condition.parameters)).fetchall(), np.int64).reshape(-1, 2)
    films = db.execute("SELECT id, min(id) OVER (PARTITION BY hash) FROM film ORDER BY id").fetchall()
    film_ids, first_ids = np.array(films, dtype=np.int64).reshape(-1, 2).T
    of_films = np.column_stack([first_ids[np.searchsorted(film_ids, frames[:, 1])], frames[:, 0]])
    of_films = np.unique(of_films, axis=0)  # by film, each row once
    if has_condition:
        sql = f"SELECT row FROM image WHERE film IS NULL AND row >= 0 AND row < ?{passing}"
        listed = [row for (row,) in db.execute(sql, (n_rows, *condition.parameters))]
        photographs, n_pictures = np.unique(np.array(listed, np.int64)), len(listed) + len(frames)
    else:
        shared = (
            "SELECT row FROM image WHERE film IS NULL AND row IN (SELECT row FROM image WHERE film IS NOT NULL)"
        )
        is_of_photograph = np.ones(n_rows, dtype=bool)
        is_of_photograph[frames[:, 0]] = False
        is_of_photograph[[row for (row,) in db.execute(shared) if 0 <= row < n_rows]] = True
        photographs = np.flatnonzero(is_of_photograph)
    # Photographs of one vector may be copies.
    files = np.concatenate([-1 - photographs, of_films[:, 0]])
    starts = np.flatnonzero(np.diff(files, prepend=files[:1] - 1))
    return FileRows(np.concatenate([photographs, of_films[:, 1]]), starts, files[starts], n_pictures)


def rows_of_best(
    files: FileRows, scores: Matrix, k: int, *, ceiling: float = math.inf
) -> tuple[Rows, tuple[int, ...]]:
    """Return the best rows of the k files that have the best of all, and of those that may be as good.

    With them come the numbers of the films that are above the ceiling, which may share such rows.

    Parameters
    ----------
    files : FileRows
    scores : float32 array, shape (n_rows,)
        Of all rows, off by `MARGIN` at most; -inf of those that do not count.
    k : int > 0
    ceiling : float
        Files that have a row above it are left out, but for such as may not.
    """
    if not len(files.rows):
        return files.rows, ()
    of_rows, ends = scores[files.rows], np.append(files.starts[1:], len(files.rows))
    best = np.maximum.reduceat(of_rows, files.starts)
    is_above = best > ceiling + MARGIN
    best[is_above] = -np.inf
    (near,) = contenders(best[None], k, MARGIN)
    chosen = []
    for place in near[np.isfinite(best[near])]:
        rows, of_file = files.rows[files.starts[place] : ends[place]], of_rows[files.starts[place] : ends[place]]
        if len(of_file) > _ROWS_OF_FILE:
            floor = np.partition(of_file, -_ROWS_OF_FILE)[-_ROWS_OF_FILE]
            rows = rows[of_file >= min(floor, best[place] - 2 * MARGIN)]
        chosen.append(rows)
    above = files.files[is_above & (files.files > 0)]
    return np.unique(np.concatenate(chosen)) if chosen else files.rows[:0], tuple(above.tolist())
