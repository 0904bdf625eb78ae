"""SAME PICTURE: candidates and what is known of their pairs in, groups of the forms of one picture out.

Candidates are compared with those before them: what is known of some stays as it is when others come after them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.duplicates.groups import Groups, Verdict
from mmsearch.duplicates.join import Places, near_pairs
from mmsearch.duplicates.keepers import Candidate
from mmsearch.duplicates.lights import STRETCH, Lights, best_of_each
from mmsearch.duplicates.vectors import nearest_pairs
from mmsearch.duplicates.verdicts import DIFFERENT, OPEN, Judge, Looks, verdict_of
from mmsearch.store.base import OnProgress
from mmsearch.store.comparisons import PAIR, Comparisons

CERTAIN = 0.998
"""Signatures whose cosine is as high are of one picture."""
ALIKE = 0.88
"""Signatures whose cosine is as high may be."""
_HARDLY_ALIKE = 0.35  # a copy that is lightly cropped is hardly ever less alike by its signature
_NEAR = 0.85  # the cosine of vectors above which it does not matter how alike signatures are
_MOST = 20  # pairs of a picture with those before it that are looked at as they are alike, the most alike


@dataclass
class Compared:
    """Candidates in the order in which they were compared, and what is known of their pairs.

    `order` are their places in the order in which they are kept; the first `n_known` were compared with one
    another. `equal` and `pairs` are as `Comparisons` has them.
    """

    order: Places
    n_known: int
    equal: Places
    pairs: NDArray[Any] = field(default_factory=lambda: np.zeros(0, PAIR))

    @classmethod
    def of(cls, kept: Comparisons, hashes: Sequence[bytes]) -> Compared:
        """Return what is known of candidates, of which there are the hashes in the order in which they are kept.

        One is new, too, if the one that it was equal to is gone.
        """
        number_of = {content_hash: number for number, content_hash in enumerate(hashes)}
        numbers = np.array([number_of.get(bytes(each), -1) for each in kept.contents], dtype=np.int64)
        is_known = (numbers >= 0) & (numbers[kept.equal] >= 0)
        n_known = int(is_known.sum())
        place_of = np.full(len(numbers), -1)
        place_of[is_known] = np.arange(n_known)
        is_new = np.ones(len(hashes), dtype=bool)
        is_new[numbers[is_known]] = False
        pairs = kept.pairs.copy()
        for name in ("first", "second"):
            pairs[name] = place_of[kept.pairs[name]]
        return cls(
            np.concatenate([numbers[is_known], np.flatnonzero(is_new)]),
            n_known,
            np.concatenate([place_of[kept.equal[is_known]], np.arange(n_known, len(hashes))]),
            pairs[(pairs["first"] >= 0) & (pairs["second"] >= 0)],
        )

    def comparisons(self, hashes: Sequence[bytes]) -> Comparisons:
        """Return what is to be kept, by the hashes of candidates in the order in which they are kept."""
        contents = np.array([hashes[number] for number in self.order], dtype="V32")
        return Comparisons(contents, self.equal.astype(np.int32), self.pairs)


def same_pictures(
    candidates: Sequence[Candidate],
    compared: Compared,
    vectors: NDArray[np.float16] | None,
    looks: Looks,
    on_progress: OnProgress,
) -> Groups:
    """Return the groups of candidates that are one picture, each with the one of them that is kept first.

    Parameters
    ----------
    candidates : sequence of Candidate
        All with a signature, in the order of `compared`.
    compared : Compared
        What is known of them; what is found is added.
    vectors : float16 array, shape (n, dim), or None
        Of unit length, in their order.
    looks : Looks
        Decodes the files of candidates.
    on_progress : callable
        Given (`compare` or `align`, done, total).
    """
    if len(candidates) < 2:
        return Groups(len(candidates))
    lights = Lights(candidates)
    alike = [*_alike(lights, compared, on_progress)]
    places = [_most_alike(np.concatenate([np.zeros((0, 3)), *alike]), compared)[:, :2].astype(np.int64)]
    if vectors is not None:
        places += _near(lights, compared, vectors, on_progress)
    _add(compared, np.unique(np.concatenate(places), axis=0))
    grouping = _Grouping(compared, lights)
    grouping.decide(Judge(candidates, lights, looks, partial(on_progress, "align")))
    return grouping.groups


def nearly_equal(candidates: Sequence[Candidate]) -> Groups:
    """Return the groups of candidates, all with a signature, that are one picture by these alone.

    The first of each is its keeper. No file is read, so that pairs which are only alike stay apart.
    """
    n = len(candidates)
    if n < 2:
        return Groups(n)
    lights, compared = Lights(candidates), Compared(np.arange(n), 0, np.arange(n))
    for _ in _alike(lights, compared, lambda stage, done, total: None):
        pass
    return _Grouping(compared, lights).groups


def _alike(lights: Lights, compared: Compared, on_progress: OnProgress) -> Iterator[NDArray[np.float64]]:
    """Note which candidates are nearly equal by their signatures, and yield the pairs that are only alike.

    As rows of two places and a cosine.
    """
    equal = compared.equal
    is_open = (equal == np.arange(len(equal)))[lights.owners]
    n_known = int(np.searchsorted(lights.owners, compared.n_known))
    comparing = partial(on_progress, "compare")
    for pairs in near_pairs(lights.grids, ALIKE, is_open=is_open, n_known=n_known, on_progress=comparing):
        first, second = lights.owners[pairs.first], lights.owners[pairs.second]
        is_certain = (pairs.cosines >= CERTAIN) & (lights.stretch(pairs) <= STRETCH)
        for place, other in zip(first[is_certain].tolist(), second[is_certain].tolist(), strict=True):
            if equal[place] == place and equal[other] == other:
                equal[other] = place
        is_open &= (equal == np.arange(len(equal)))[lights.owners]
        yield _most_alike(np.stack([first, second, pairs.cosines], axis=1)[~is_certain], compared)


def _near(
    lights: Lights, compared: Compared, vectors: NDArray[np.float16], on_progress: OnProgress
) -> Iterator[NDArray[np.int64]]:
    """Yield the pairs whose vectors are near, of those that are equal the first, as rows of two places."""
    comparing = partial(on_progress, "compare")
    for first, second in nearest_pairs(vectors, n_known=compared.n_known, on_progress=comparing):
        ours, theirs = (vectors[places].astype(np.float32) for places in (first, second))
        is_near = np.einsum("nd,nd->n", ours, theirs) >= _NEAR
        places = np.sort(compared.equal[np.stack([first, second], axis=1)], axis=1)
        is_wanted = is_near | (lights.most_alike(places[:, 0], places[:, 1]).cosines >= _HARDLY_ALIKE)
        yield places[is_wanted & (places[:, 0] < places[:, 1])]


def _most_alike(alike: NDArray[np.float64], compared: Compared) -> NDArray[np.float64]:
    """Return of pairs, rows of two places and a cosine, each once, and of each second the most alike."""
    places = alike[:, :2].astype(np.int64)
    is_wanted = (compared.equal[places] == places).all(axis=1) & (places[:, 0] < places[:, 1])
    places, cosines = places[is_wanted], alike[is_wanted, 2]
    best = best_of_each(places[:, 0] + len(compared.equal) * places[:, 1], cosines)
    seconds = places[best, 1]  # in order
    order = np.lexsort((-cosines[best], seconds))
    rank = np.arange(len(order)) - np.searchsorted(seconds, seconds[order])
    most: NDArray[np.float64] = alike[is_wanted][best[order[rank < _MOST]]]
    return most


def _add(compared: Compared, places: NDArray[np.int64]) -> None:
    """Add pairs to those that are known, to be decided."""
    pairs = np.zeros(len(places), PAIR)
    pairs["first"], pairs["second"] = places[:, 0], places[:, 1]
    keys, known = (_keys(each["first"], each["second"], compared) for each in (pairs, compared.pairs))
    compared.pairs = np.concatenate([compared.pairs, pairs[~np.isin(keys, known)]])


def _keys(first: NDArray[Any], second: NDArray[Any], compared: Compared) -> NDArray[np.int64]:
    """Return a number for each pair of places."""
    keys: NDArray[np.int64] = first.astype(np.int64) + len(compared.order) * second.astype(np.int64)
    return keys


class _Grouping:
    """Puts candidates into `groups`: those that are nearly equal at once, and others by what is known of pairs."""

    def __init__(self, compared: Compared, lights: Lights) -> None:
        self._compared, self._lights = compared, lights
        self.groups = Groups(len(compared.order))
        order, equal = compared.order, compared.equal
        best = np.full(len(order), len(order))  # of those that are equal, which is kept
        np.minimum.at(best, equal, order)
        place_of = np.argsort(order)
        self._keepers = place_of[best[equal]]
        others = np.flatnonzero(self._keepers != np.arange(len(order)))
        for keeper, other, verdict in self._as_signed(self._keepers[others], others):
            self.groups.join(keeper, other, verdict)

    def decide(self, judge: Judge) -> None:
        """Put the pairs into groups that are one picture; what is not known of them is decided.

        Where one that was a keeper joins a group, those that are nearly equal to it go with it, and the others of
        its own are compared with its new keeper.
        """
        groups, pairs = self.groups, self._compared.pairs
        places = self._keepers[np.stack([pairs["first"], pairs["second"]], axis=1)]
        while len(places):
            released: set[tuple[int, int]] = set()
            for first, second, verdict in self._same(places, judge):
                if not (groups.is_open[first] and groups.is_open[second]):
                    continue
                others = groups.release(second)
                groups.join(first, second, verdict)
                equal = [other for other, known in others.items() if known.evidence == "signature"]
                for _, other, signed in self._as_signed(
                    np.full(len(equal), first), np.array(equal, dtype=np.int64)
                ):
                    groups.join(first, other, replace(verdict, turns=signed.turns, parts=signed.parts))
                released |= {(first, other) for other in others if other not in equal}
            places = np.array(sorted(released), dtype=np.int64).reshape(-1, 2)

    def _as_signed(self, keepers: Places, others: Places) -> Iterator[tuple[int, int, Verdict]]:
        """Yield pairs that are known to be nearly equal with how they lie, by their signatures."""
        pairs, parts = self._lights.most_alike(keepers, others), self._lights.parts
        for keeper, other, row, other_row, cosine, turns in zip(
            keepers.tolist(), others.tolist(), *pairs.columns(), strict=True
        ):
            yield keeper, other, Verdict("signature", cosine, turns, (int(parts[row]), int(parts[other_row])))

    def _same(self, places: NDArray[np.int64], judge: Judge) -> Iterator[tuple[int, int, Verdict]]:
        """Yield the pairs (n, 2) that are one picture, in the order in which they are kept, the keeper first."""
        pairs, ranks = self._known(np.sort(places, axis=1), judge), self._compared.order
        pairs = pairs[pairs["verdict"] > DIFFERENT]
        is_turned_round = ranks[pairs["first"]] > ranks[pairs["second"]]
        first = np.where(is_turned_round, pairs["second"], pairs["first"])
        second = np.where(is_turned_round, pairs["first"], pairs["second"])
        for number in np.lexsort((ranks[second], ranks[first])).tolist():
            verdict = verdict_of(pairs[number], is_turned_round=bool(is_turned_round[number]))
            yield int(first[number]), int(second[number]), verdict

    def _known(self, places: NDArray[np.int64], judge: Judge) -> NDArray[Any]:
        """Return what is known of pairs of places (n, 2), the lower first; what is not is decided and noted."""
        compared = self._compared
        places = np.unique(places[places[:, 0] != places[:, 1]], axis=0)
        wanted, pairs = _keys(places[:, 0], places[:, 1], compared), compared.pairs
        keys = _keys(pairs["first"], pairs["second"], compared)
        is_new = ~np.isin(wanted, keys[pairs["verdict"] != OPEN])
        decided = judge.decided(places[is_new, 0], places[is_new, 1])
        keys = np.concatenate([keys[is_old := ~np.isin(keys, wanted[is_new])], wanted[is_new]])
        compared.pairs = np.concatenate([pairs[is_old], decided])
        return compared.pairs[np.isin(keys, wanted)]
