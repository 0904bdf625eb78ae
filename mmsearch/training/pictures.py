"""PICTURES: what every training asks of its pictures: finite features, copies on one side, a part held out."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

import numpy as np

from mmsearch.errors import TrainingError
from mmsearch.evaluation.metrics.ranks import Ids
from mmsearch.records import Matrix
from mmsearch.traces import Traces, copy_pairs


def require_finite(features: Matrix, what: str) -> None:
    """Raise TrainingError if a row of features (n, n_features) is not finite."""
    is_finite = np.isfinite(features).all(axis=1)
    if not is_finite.all():
        raise TrainingError(
            f"the features of {what} are not finite, the first at {int(np.argmin(is_finite))}; leave it out"
        )


def joined(n: int, links: Iterable[tuple[int, int]]) -> Ids:
    """Return a number for each of n pictures, the same for those that links join, directly or by others.

    Examples
    --------
    >>> joined(5, [(0, 1), (3, 1)]).tolist()
    [0, 0, 1, 0, 2]
    """
    parents = list(range(n))

    def root(picture: int) -> int:
        while parents[picture] != picture:
            parents[picture] = parents[parents[picture]]
            picture = parents[picture]
        return picture

    for first, second in links:
        parents[root(max(root(first), root(second)))] = min(root(first), root(second))
    numbers: Ids = np.unique([root(picture) for picture in range(n)], return_inverse=True)[1].reshape(-1)
    return numbers


def copies_in(features: Matrix, traces: Traces | None) -> list[tuple[int, int]]:
    """Return pairs of rows that are one picture: of equal features, of the same bytes, or copies of one another.

    Parameters
    ----------
    features : float32 array, shape (n, n_features)
        Of pictures.
    traces : uint8 array, shape (m, TRACE_BYTES), or None
        Of the first m of them, which alone are compared; None where there are no files.
    """
    first_of: dict[bytes, int] = {}
    equal = []
    for row, values in enumerate(features if traces is None else features[: len(traces)]):
        digest = sha256(values.tobytes()).digest()
        if first_of.setdefault(digest, row) != row:
            equal.append((first_of[digest], row))
    return equal if traces is None else equal + copy_pairs(traces)


def held_out_parts(ids: Ids, share: float, seed: int, *, least: int) -> tuple[Ids, Ids, Ids]:
    """Return what to train on, what to choose the best epoch by, and what to judge by.

    Who judges has chosen nothing: the best of many epochs looks better than it is to those it was chosen by.

    Parameters
    ----------
    ids : int64 array
        Different numbers, of what must be on one side as a whole.
    share : float in (0, 1)
        That is held out, half to choose and half to judge.
    seed : int
        Of the parts.
    least : int
        That are held out, where there are so many.
    """
    mixed = np.random.default_rng(seed).permutation(ids)
    n_held_out = min(len(ids) - 2, max(least, round(share * len(ids))))
    return mixed[n_held_out:], mixed[: n_held_out // 2], mixed[n_held_out // 2 : n_held_out]
