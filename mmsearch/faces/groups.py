"""GROUPS: vectors of faces in, the group of each out: of one person, as far as distances tell.

What a person decided stands: groups only grow and join, and decided ones keep their faces and never become one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from mmsearch.errors import DimensionError, QueryError
from mmsearch.faces.linkage import Forbidden, Linkage, Numbers, OnProgress
from mmsearch.faces.packing import ALONE
from mmsearch.records import Matrix
from mmsearch.vectors import check_directions

DISTANCE = 0.52
"""Root of the mean squared distance of the faces of two groups, below which they are taken for one person."""
# Of the ORL faces all pairs in one group are of one person up to 0.54, and at 0.52 96 % of the pairs of one person
# are in one group; of 100,000 synthetic faces 99.6 and 95 %.


def group_faces(
    vectors: Matrix,
    previous: Sequence[int] | Numbers | None = None,
    *,
    decided: Collection[int] = (),
    apart: Collection[tuple[int, int]] = (),
    distance: float = DISTANCE,
    first_number: int = 0,
    on_progress: OnProgress = lambda done, total: None,
) -> Numbers:
    """Return the group of every face.

    Faces that had a group stay in it: it grows by new faces, and joins others on which nobody decided. To say that
    two groups are one, or that a face is another's, give it the number of that group in `previous`, and name the
    group in `decided`. Holds about 1 KB a face.

    Parameters
    ----------
    vectors : float32 array, shape (n, dim)
        Of faces, as `find_faces` gives them. Not modified.
    previous : sequence of int, optional
        The group of every face, 0 or above; `ALONE` for one that had none.
    decided : collection of int
        Groups that a person named, joined, split or hid. No two of them become one, and each keeps its number.
    apart : collection of (row, group)
        Faces that a person took out of a group in `decided`, to which they never come back.
    distance : float > 0
        See `DISTANCE`.
    first_number : int
        Numbers of new groups are at least this: as those of groups that are gone are not used again.
    on_progress : callable
        Given (groups compared, groups) while all are compared with all; what it raises ends the grouping.

    Returns
    -------
    int64 array, shape (n,)
        A face alone has a number, too. Groups that became one have that of the group decided on, else the lowest;
        new groups are numbered on, in order of their first faces. The same for the same input.

    Raises
    ------
    VectorError
        If a vector is not finite, or zero.
    DimensionError
        If there are not as many groups as vectors.
    QueryError
        If a face was to be apart from the group in which it is, or from one that is not in `decided`.
    """
    check_directions(vectors, "faces")
    numbers = _checked(len(vectors), previous, decided, apart)
    if not len(vectors):
        return numbers
    starts = _starts(vectors, numbers, {row for row, _ in apart})
    of_number = {number: int(starts[np.argmax(numbers == number)]) for number in decided if number in numbers}
    pairs = [(int(starts[row]), of_number[number]) for row, number in apart if number in of_number]
    linkage = Linkage(
        vectors, starts, distance, Forbidden.of(int(starts.max()) + 1, list(of_number.values()), pairs)
    )
    return _numbered(linkage.joined(on_progress)[starts], numbers, decided, first_number)


def _checked(
    n: int, previous: Sequence[int] | Numbers | None, decided: Collection[int], apart: Collection[tuple[int, int]]
) -> Numbers:
    numbers = np.full(n, ALONE) if previous is None else np.array(previous, dtype=np.int64)
    if numbers.shape != (n,):
        raise DimensionError(f"there are {len(numbers)} groups for {n} faces; expected one for each")
    for row, number in apart:
        if number not in decided:
            raise QueryError(f"a face is apart from group {number}, which is not among those decided on")
        if numbers[row] == number:
            raise QueryError(f"face {row} is in group {number} and apart from it; expected one of both")
    return numbers


def _starts(vectors: Matrix, numbers: Numbers, rows_apart: Collection[int]) -> Numbers:
    """Return where each face begins, as 0 to n_groups - 1: in its group, with its equals, or alone."""
    keys = numbers.copy()
    new = np.flatnonzero(numbers == ALONE)
    # Copies of a picture have equal faces: by themselves they would be joined one in each round.
    equal = np.unique(vectors[new], axis=0, return_inverse=True)[1].ravel()
    keys[new] = numbers.max() + 1 + equal
    loose = [row for row in rows_apart if numbers[row] == ALONE]
    keys[loose] = keys.max() + 1 + np.arange(len(loose))
    return np.unique(keys, return_inverse=True)[1].ravel()


def _numbered(roots: Numbers, numbers: Numbers, decided: Collection[int], first_number: int) -> Numbers:
    """Return the number of the group of each face, of which the roots say which are one."""
    groups = np.unique(roots, return_inverse=True)[1].ravel()
    n = int(groups.max()) + 1
    highest = np.iinfo(np.int64).max
    lowest, lowest_decided = np.full(n, highest), np.full(n, highest)
    had = numbers != ALONE
    np.minimum.at(lowest, groups[had], numbers[had])
    is_decided = np.isin(numbers, list(decided))
    np.minimum.at(lowest_decided, groups[is_decided], numbers[is_decided])
    of_group = np.where(lowest_decided < highest, lowest_decided, lowest)
    firsts = np.full(n, len(groups))
    np.minimum.at(firsts, groups, np.arange(len(groups)))
    new = np.flatnonzero(of_group == highest)
    next_number = max([first_number, int(numbers.max()) + 1, *(number + 1 for number in decided)])
    of_group[new[np.argsort(firsts[new])]] = next_number + np.arange(len(new))
    return of_group[groups]
