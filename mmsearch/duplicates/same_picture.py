"""SAME PICTURE: candidates in the order in which they are kept in, groups of the forms of one picture out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.duplicates.align import Windows, best_windows, fine_agreement
from mmsearch.duplicates.changes import SAME_SHARE
from mmsearch.duplicates.groups import Groups, Verdict
from mmsearch.duplicates.join import Pairs, Places, best_cosines, best_turns, near_pairs, turned
from mmsearch.duplicates.keepers import WHOLE, Candidate
from mmsearch.duplicates.vectors import nearest_pairs
from mmsearch.store.base import OnProgress

CERTAIN = 0.998
"""Signatures whose cosine is as high are of one picture."""
ALIKE = 0.9
"""Signatures whose cosine is as high may be."""
WINDOW = 0.92
"""The signature of a copy and that of what it shows of its original correlate so much."""
AGREEING, AGREEING_PARTLY = 0.92, 0.87
"""The fine light of both does, less what is coarse, of whole pictures and where a window is shown."""
# Chosen on other draws of `benchmarks/duplicates.py`, with some of the pictures that it reports, so that no two
# other photographs are one.
FINE_SIDE = 64
"""Cells of a side of that."""
_HARDLY_ALIKE = 0.45  # a copy that is lightly cropped is hardly ever less alike by its signature
_STRETCH = 0.1  # by which the shapes of two forms of a picture may differ, as the logarithm of a ratio
_COARSE_STRETCH = 0.25  # while windows are only known in steps
_MOST = 20  # pairs of one picture that are looked at more closely, the most alike first
_TOGETHER = 512  # pairs that are looked at more closely at a time

FineGrids = Callable[[Sequence[int]], Mapping[int, NDArray[Any]]]
"""Given numbers of candidates, returns their luminances of FINE_SIDE cells a side, of those that can be had."""


def same_pictures(
    candidates: Sequence[Candidate],
    vectors: NDArray[np.float16] | None,
    fine_grids: FineGrids,
    on_progress: OnProgress,
) -> Groups:
    """Return the groups of candidates that are one picture, each with the first of them as its keeper.

    Parameters
    ----------
    candidates : sequence of Candidate
        All with a signature, those first that are rather kept.
    vectors : float16 array, shape (n, dim), or None
        Of unit length, in their order.
    fine_grids : callable
        Decodes the files of candidates.
    on_progress : callable
        Given (`compare` or `align`, done, total).
    """
    if len(candidates) < 2:
        return Groups(len(candidates))
    search = _Search(candidates, fine_grids, on_progress)
    undecided = [search.most_alike(best_turns([*search.alike()]))]
    if vectors is not None:
        undecided += search.near(vectors)
    search.decide(search.most_alike(best_turns(undecided), most=len(candidates)))
    return search.groups


def nearly_equal(candidates: Sequence[Candidate]) -> Groups:
    """Return the groups of candidates, all with a signature, that are one picture by these alone.

    The first of each is its keeper. No file is read, so that pairs which are only alike stay apart.
    """
    if len(candidates) < 2:
        return Groups(len(candidates))
    search = _Search(candidates, lambda numbers: {}, lambda stage, done, total: None)
    for _ in search.alike():
        pass
    return search.groups


class _Search:
    """What is known of the candidates while they are put into groups.

    Each has a row of light of the whole picture and, where it has a frame, one of what is inside: `owners` are the
    numbers of both. Pairs are pairs of such rows until they are decided.
    """

    def __init__(self, candidates: Sequence[Candidate], fine_grids: FineGrids, on_progress: OnProgress) -> None:
        self.groups = Groups(len(candidates))
        lights = [each.signature for each in candidates if each.signature is not None]
        self.owners = np.repeat(np.arange(len(candidates)), [len(light) for light in lights])
        self.parts = np.concatenate([np.arange(len(light)) for light in lights])
        self.firsts = np.searchsorted(self.owners, np.arange(len(candidates)))
        self.lasts = np.append(self.firsts[1:], len(self.owners)) - 1
        rows = np.concatenate(lights)
        self.grids = rows["grid"]
        sizes = np.array([(each.image.width, each.image.height) for each in candidates])[self.owners]
        boxes = rows["box"].astype(np.float64) / WHOLE
        widths, heights = ((boxes[:, 2:] - boxes[:, :2]) * sizes).T
        self.shapes = np.log((widths + 0.5) / (heights + 0.5))
        self.fine_grids, self.on_progress = fine_grids, on_progress

    def alike(self) -> Iterator[Pairs]:
        """Put pictures into groups whose signatures are nearly equal, and yield the pairs that are only alike."""
        is_open = np.ones(len(self.owners), dtype=bool)
        for pairs in near_pairs(self.grids, ALIKE, is_open=is_open, on_progress=self._comparing):
            others = pairs.where(self.owners[pairs.first] != self.owners[pairs.second])
            is_certain = (others.cosines >= CERTAIN) & (self._stretch(others) <= _STRETCH)
            certain = others.where(is_certain)
            for first, second, cosine, turns in zip(*certain.columns(), strict=True):
                parts = int(self.parts[first]), int(self.parts[second])
                verdict = Verdict("signature", cosine, turns, parts)
                self.groups.join(int(self.owners[first]), int(self.owners[second]), verdict)
            is_open &= self.groups.is_open[self.owners]
            yield others.where(~is_certain)

    def near(self, vectors: NDArray[np.float16]) -> Iterator[Pairs]:
        """Yield the pairs whose vectors are near, with the keepers of those that are in a group."""
        for pair in nearest_pairs(vectors, on_progress=self._comparing):
            first, second = np.sort(self.groups.keepers[np.stack(pair)], axis=0)
            pairs = self._between(first[first < second], second[first < second])
            yield pairs.where(pairs.cosines >= _HARDLY_ALIKE)

    def most_alike(self, pairs: Pairs, most: int = _MOST) -> Pairs:
        """Return the pairs of pictures that are in no group: of two pictures one, and of each the most alike."""
        first, second = self.owners[pairs.first], self.owners[pairs.second]
        order = np.lexsort((-pairs.cosines, second, first))
        first, second = first[order], second[order]
        is_wanted = self.groups.is_open[first] & self.groups.is_open[second]
        is_wanted[1:] &= (first[1:] != first[:-1]) | (second[1:] != second[:-1])
        pairs = pairs.where(order[is_wanted])
        first = first[is_wanted]
        order = np.lexsort((-pairs.cosines, first))
        rank = np.arange(len(order)) - np.searchsorted(first, first[order])
        return pairs.where(order[rank < most])

    def decide(self, pairs: Pairs) -> None:
        """Put those pairs into groups that are one picture when they are looked at more closely.

        Where one that was a keeper joins a group, those that are nearly equal to it go with it, and the others of
        its own are compared with its new keeper.
        """
        while len(pairs):
            released: set[tuple[int, int]] = set()
            for first, second, verdict in self._verdicts(pairs):
                if not (self.groups.is_open[first] and self.groups.is_open[second]):
                    continue
                others = self.groups.release(second)
                self.groups.join(first, second, verdict)
                equal = [other for other, known in others.items() if known.evidence == "signature"]
                for other, turns, parts in self._as_they_lie(first, equal):
                    self.groups.join(first, other, replace(verdict, turns=turns, parts=parts))
                released |= {(first, other) for other in others if other not in equal}
            again = np.array(sorted(released), dtype=np.int64).reshape(-1, 2)
            pairs = self.most_alike(self._between(again[:, 0], again[:, 1]))

    def _as_they_lie(self, first: int, others: Sequence[int]) -> Iterator[tuple[int, int, tuple[int, int]]]:
        """Yield each of some pictures with its turns to lie as the first, and the parts that are most alike."""
        numbers = np.array(others, dtype=np.int64)
        pairs = self.most_alike(self._between(np.full(len(numbers), first), numbers), most=len(numbers))
        for row, other, _, turns in zip(*pairs.columns(), strict=True):
            yield int(self.owners[other]), turns, (int(self.parts[row]), int(self.parts[other]))

    def _verdicts(self, pairs: Pairs) -> Iterator[tuple[int, int, Verdict]]:
        """Yield the pairs of pictures that are one, in their order, with how that is known."""
        for start in range(0, len(pairs), _TOGETHER):
            self.on_progress("align", start, len(pairs))
            some = pairs.where(np.arange(start, min(start + _TOGETHER, len(pairs))))
            windows, is_inside, likeness = self._windows(some)
            is_likely = (likeness >= WINDOW) & (self._stretch(some, windows, is_inside) <= _COARSE_STRETCH)
            yield from self._looked_at(some.where(is_likely), windows[is_likely], is_inside[is_likely])
        self.on_progress("align", len(pairs), len(pairs))

    def _windows(self, pairs: Pairs) -> tuple[Windows, NDArray[np.bool_], NDArray[np.float32]]:
        """Return a window of one of each pair that the other shows, whether of the first, and their likeness."""
        first, second = self.grids[pairs.first], _lying_alike(self.grids[pairs.second], pairs.turns)
        of_first, of_second = best_windows(first, second), best_windows(second, first)
        is_inside = of_first[1] >= of_second[1]
        windows = np.where(is_inside[:, None], of_first[0], of_second[0])
        likeness = np.maximum(of_first[1], of_second[1])
        return windows, is_inside, likeness

    def _looked_at(
        self, pairs: Pairs, windows: Windows, is_inside: NDArray[np.bool_]
    ) -> Iterator[tuple[int, int, Verdict]]:
        """Yield the pairs of pictures that agree in fine light."""
        numbers = np.union1d(self.owners[pairs.first], self.owners[pairs.second]).tolist()
        lights = self.fine_grids(numbers)
        (ours, can_ours), (theirs, can_theirs) = (self._fine(lights, rows) for rows in (pairs.first, pairs.second))
        can_be_had = can_ours & can_theirs
        pairs, windows, is_inside = pairs.where(can_be_had), windows[can_be_had], is_inside[can_be_had]
        ours, theirs = ours[can_be_had], _lying_alike(theirs[can_be_had], pairs.turns)
        is_ours = is_inside[:, None, None]
        windows, agreement = fine_agreement(
            np.where(is_ours, ours, theirs), np.where(is_ours, theirs, ours), windows
        )
        shown = np.minimum(windows[:, 1] - windows[:, 0], windows[:, 3] - windows[:, 2])
        least = np.where(shown < 1 - SAME_SHARE, AGREEING_PARTLY, AGREEING)
        is_same = (agreement >= least) & (self._stretch(pairs, windows, is_inside) <= _STRETCH)
        for place in np.flatnonzero(is_same).tolist():
            left, right, top, bottom = windows[place].tolist()
            row, other = int(pairs.first[place]), int(pairs.second[place])
            verdict = Verdict(
                "pixels", float(agreement[place]), int(pairs.turns[place]),
                (int(self.parts[row]), int(self.parts[other])), (right - left, bottom - top),
            )  # fmt: skip
            yield int(self.owners[row]), int(self.owners[other]), verdict

    def _fine(self, lights: Mapping[int, NDArray[Any]], rows: Places) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
        """Return the fine grids that belong to rows of coarse ones, and which of them can be had."""
        grids, can_be_had = np.zeros((len(rows), FINE_SIDE, FINE_SIDE), np.int8), np.zeros(len(rows), bool)
        for place, row in enumerate(rows.tolist()):
            light, part = lights.get(int(self.owners[row])), int(self.parts[row])
            if light is not None and part < len(light):
                grids[place], can_be_had[place] = light[part]["grid"], True
        return grids, can_be_had

    def _between(self, first: Places, second: Places) -> Pairs:
        """Return pairs of pictures as pairs of their rows."""
        rows = np.concatenate(
            [
                np.stack([ours[first], theirs[second]], axis=1)
                for ours in (self.firsts, self.lasts)
                for theirs in (self.firsts, self.lasts)
            ]
        )
        rows = np.unique(rows, axis=0)
        return best_cosines(self.grids, rows[:, 0], rows[:, 1])

    def _stretch(
        self, pairs: Pairs, windows: Windows | None = None, is_inside: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float64]:
        """Return how far the shapes of pictures that lie alike are from each other, as logarithms of ratios.

        Of one of each pair a window counts if there are windows.
        """
        second = np.where(pairs.turns // 2 % 2 == 1, -1, 1) * self.shapes[pairs.second]
        difference = self.shapes[pairs.first] - second
        if windows is not None and is_inside is not None:
            left, right, top, bottom = windows.T
            difference = difference + np.where(is_inside, 1, -1) * np.log((right - left) / (bottom - top))
        stretch: NDArray[np.float64] = np.abs(difference)
        return stretch

    def _comparing(self, done: int, total: int) -> None:
        self.on_progress("compare", done, total)


def _lying_alike(grids: NDArray[np.int8], turns: Places) -> NDArray[np.int8]:
    """Return grids, each in its turn."""
    alike = [turned(grid, number) for grid, number in zip(grids, turns.tolist(), strict=True)]
    return np.stack(alike) if alike else grids
