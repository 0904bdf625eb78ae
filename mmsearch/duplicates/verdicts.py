"""VERDICTS: pairs of pictures in, for each whether they are one picture, and how that is known, out.

Signatures tell in which window of the one the other may lie. Then both files are decoded once more: the window is
moved to where they agree best, and they must agree in fine light on the whole and in every place. Where they do
not, something may have been pasted on one of them: then the rest agrees, as do local features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mmsearch.duplicates.align import Windows, agreement, best_windows, moved, moved_once
from mmsearch.duplicates.groups import Verdict
from mmsearch.duplicates.join import Pairs, Places, turned
from mmsearch.duplicates.keepers import Candidate
from mmsearch.duplicates.lights import STRETCH, Lights, best_of_each
from mmsearch.duplicates.pasted import agreement_beside, n_in_place
from mmsearch.records import Evidence, LocalFeatures
from mmsearch.store.comparisons import PAIR

OPEN, DIFFERENT, PIXELS, LOCAL = range(4)
"""Verdicts of pairs: none yet, of two pictures, of one by pixels, of one by local features and pixels beside."""
WINDOW = 0.9
"""The signature of a copy and that of what it shows of its original correlate so much."""
AGREEING = 0.915
"""The fine light of both does, less what is coarse."""
RESIDUE = 1.15
"""So little of it is left in any place, as a share of what there is on the whole."""
MAYBE_BESIDE, BESIDE = 0.97, 0.99
"""Signatures agree so much beside what was pasted, and so does the fine light."""
IN_PLACE = 60
"""So many local features are at the same places then."""
# All chosen on the choosing half of `benchmarks/duplicates.py`: of what nobody changed, two pairs of portraits of
# one face are one.
FINE_SIDE = 64
"""Cells of a side of fine light."""
_BESIDE_CELLS = 4  # of them, the side of a square that is left out as one
_STEPPED_STRETCH, _COARSE_STRETCH = 0.25, 0.06  # while windows are only known in steps, and by signatures
_TOGETHER = 512  # pairs


class Looks(Protocol):
    """Decodes the files of candidates, given by their places; those that cannot be had are left out."""

    def fine_lights(self, places: Sequence[int]) -> Mapping[int, NDArray[Any]]:
        """Return luminances of FINE_SIDE cells a side, of these and of others."""

    def local_features(self, places: Sequence[int]) -> Mapping[int, LocalFeatures]:
        """Return local features, of these and of others."""


class Judge:
    """Decides pairs of candidates.

    Parameters
    ----------
    candidates : sequence of Candidate
    lights : Lights
        Of the candidates.
    looks : Looks
    on_progress : callable
        Given (pairs done, pairs).
    """

    def __init__(
        self,
        candidates: Sequence[Candidate],
        lights: Lights,
        looks: Looks,
        on_progress: Callable[[int, int], None],
    ) -> None:
        self._candidates, self._lights, self._looks = candidates, lights, looks
        self._on_progress = on_progress

    def decided(self, first: Places, second: Places) -> NDArray[Any]:
        """Return what is found of pairs of candidates, as `PAIR` has it; open where a file cannot be had."""
        parts = [np.zeros(0, PAIR)]
        for start in range(0, len(first), _TOGETHER):
            end = min(start + _TOGETHER, len(first))
            self._on_progress(start, len(first))
            parts.append(self._decided(first[start:end], second[start:end]))
            self._on_progress(end, len(first))
        return np.concatenate(parts)

    def _decided(self, first: Places, second: Places) -> NDArray[Any]:
        decided = np.zeros(len(first), PAIR)
        decided["first"], decided["second"], decided["verdict"] = first, second, DIFFERENT
        pairs, windows, is_inside, is_likely = self._windows(first, second)
        is_maybe_pasted = self._is_maybe_pasted(first, second)
        looked_at = np.flatnonzero(is_likely | is_maybe_pasted)
        places = np.union1d(first[looked_at], second[looked_at]).tolist()
        lights = self._looks.fine_lights(places)
        can_be_had = np.array([a in lights and b in lights for a, b in zip(first, second, strict=True)], bool)
        decided["verdict"][(is_likely | is_maybe_pasted) & ~can_be_had] = OPEN
        likely = np.flatnonzero(is_likely & can_be_had)
        self._by_pixels(decided, likely, pairs.where(likely), windows[likely], is_inside[likely], lights)
        is_left = decided["verdict"] == DIFFERENT
        self._by_features(decided, np.flatnonzero(is_maybe_pasted & can_be_had & is_left), lights)
        return decided

    def _windows(
        self, first: Places, second: Places
    ) -> tuple[Pairs, Windows, NDArray[np.bool_], NDArray[np.bool_]]:
        """Return how pairs of candidates lie most likely: as rows, with a window of one that the other shows.

        And whether the window is one of the first, and whether that is likely at all.
        """
        pairs, numbers = self._lights.placings(first, second)
        grids, others = self._lights.grids[pairs.first], _lying_alike(self._lights.grids[pairs.second], pairs.turns)
        of_first, of_second = best_windows(grids, others), best_windows(others, grids)
        is_inside = of_first[1] >= of_second[1]
        windows = np.where(is_inside[:, None], of_first[0], of_second[0])
        likeness = np.maximum(of_first[1], of_second[1])
        likeness[self._lights.stretch(pairs, windows, is_inside) > _STEPPED_STRETCH] = -1
        best = best_of_each(numbers, likeness)
        pairs, windows, is_inside = pairs.where(best), windows[best], is_inside[best]
        is_first = is_inside[:, None, None]
        grids, others = grids[best], others[best]
        windows, likeness = moved_once(
            np.where(is_first, grids, others), np.where(is_first, others, grids), windows
        )
        is_likely = (likeness >= WINDOW) & (self._lights.stretch(pairs, windows, is_inside) <= _COARSE_STRETCH)
        return pairs, windows, is_inside, is_likely

    def _is_maybe_pasted(self, first: Places, second: Places) -> NDArray[np.bool_]:
        """Return which pairs of candidates may be one picture with something pasted on it, by all but the files."""
        lights = self._lights
        rows, other_rows = lights.firsts[first], lights.firsts[second]
        as_they_lie = Pairs(rows, other_rows, np.ones(len(rows), np.float32), np.zeros(len(rows), np.int64))
        is_alike = agreement_beside(lights.grids[rows], lights.grids[other_rows], 1) >= MAYBE_BESIDE
        is_alike &= lights.stretch(as_they_lie) <= STRETCH
        for number in np.flatnonzero(is_alike).tolist():
            times = {self._candidates[place].image.taken_at for place in (first[number], second[number])}
            is_alike[number] = len(times - {None}) < 2  # else two photographs, of a camera that stood still
        return is_alike

    def _by_pixels(
        self,
        decided: NDArray[Any],
        numbers: Places,
        pairs: Pairs,
        windows: Windows,
        is_inside: NDArray[np.bool_],
        lights: Mapping[int, NDArray[Any]],
    ) -> None:
        """Decide those of some pairs that agree in fine light."""
        ours, theirs = (self._fine(lights, rows) for rows in (pairs.first, pairs.second))
        theirs, is_ours = _lying_alike(theirs, pairs.turns), is_inside[:, None, None]
        grids, others = np.where(is_ours, ours, theirs), np.where(is_ours, theirs, ours)
        windows = moved(grids, others, windows)
        correlations, residues = agreement(grids, others, windows)
        is_same = (correlations >= AGREEING) & (residues <= RESIDUE)
        is_same &= self._lights.stretch(pairs, windows, is_inside) <= STRETCH
        same, pairs, windows = numbers[is_same], pairs.where(is_same), windows[is_same]
        decided["verdict"][same], decided["score"][same] = PIXELS, correlations[is_same]
        decided["turns"][same] = pairs.turns
        decided["parts"][same] = self._lights.parts[np.stack([pairs.first, pairs.second], axis=1)]
        decided["shown"][same] = windows[:, 1::2] - windows[:, ::2]

    def _by_features(self, decided: NDArray[Any], numbers: Places, lights: Mapping[int, NDArray[Any]]) -> None:
        """Decide those of some pairs that agree but for what was pasted on one of them."""
        pairs = decided[numbers]
        grids, others = (
            np.array([lights[place][0]["grid"] for place in pairs[name].tolist()]).reshape(-1, FINE_SIDE, FINE_SIDE)
            for name in ("first", "second")
        )
        correlations = agreement_beside(grids, others, _BESIDE_CELLS)
        numbers, correlations = numbers[correlations >= BESIDE], correlations[correlations >= BESIDE]
        first, second = decided["first"][numbers].tolist(), decided["second"][numbers].tolist()
        features = self._looks.local_features(sorted({*first, *second}))
        for number, place, other, correlation in zip(numbers, first, second, correlations, strict=True):
            if place not in features or other not in features:
                decided["verdict"][number] = OPEN
            elif n_in_place(features[place], features[other]) >= IN_PLACE:
                decided[number] = (place, other, LOCAL, 0, (0, 0), correlation, (1, 1))

    def _fine(self, lights: Mapping[int, NDArray[Any]], rows: Places) -> NDArray[np.int8]:
        """Return the fine grids that belong to rows of coarse ones."""
        grids = np.zeros((len(rows), FINE_SIDE, FINE_SIDE), np.int8)
        for number, row in enumerate(rows.tolist()):
            light = lights[int(self._lights.owners[row])]
            part = int(self._lights.parts[row])
            if part < len(light):  # else the file tells its frame in another way now, and agrees with nothing
                grids[number] = light[part]["grid"]
        return grids


def verdict_of(pair: Any, *, is_turned_round: bool) -> Verdict:
    """Return a pair of one picture as a verdict, of the second of it if it is turned round."""
    turns, parts = int(pair["turns"]), (int(pair["parts"][0]), int(pair["parts"][1]))
    if is_turned_round:
        n_quarters, is_mirrored = divmod(turns, 2)
        turns = turns if is_mirrored else 2 * (-n_quarters % 4)  # a mirrored turn undoes itself
        parts = parts[::-1]
    evidence: Evidence = "local" if pair["verdict"] == LOCAL else "pixels"
    return Verdict(evidence, float(pair["score"]), turns, parts, (float(pair["shown"][0]), float(pair["shown"][1])))


def _lying_alike(grids: NDArray[np.int8], turns: Places) -> NDArray[np.int8]:
    """Return grids, each in its turn."""
    alike = [turned(grid, number) for grid, number in zip(grids, turns.tolist(), strict=True)]
    return np.stack(alike) if alike else grids
