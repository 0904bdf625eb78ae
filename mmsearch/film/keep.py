"""KEEP: which of the sampled frames of a film are worth a vector of their own: those unlike all that are kept.

Shots come again, and many last: of an hour at a frame a second 900 to 1,600 are kept, and the right film is first
for 95 % of the frames between those that are looked at (benchmarks/films.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmsearch.records import Matrix
from mmsearch.vectors import as_stored

_NOVEL_BELOW = {"offline": 0.90, "cnn": 0.76}
"""Cosines between neighbouring frames of films, by encoder, where about as many are kept of each."""
_USUAL = 0.90
MOST_AN_HOUR = 1500
_AT_ONCE = 120  # frames beyond what an hour may have, after calm minutes


def novel_below(model: str) -> float:
    """Return the cosine to all kept frames of a film below which another one is kept, for an encoder's name."""
    return _NOVEL_BELOW.get(model.partition(":")[0], _USUAL)


class Keeper:
    """Decides of the frames of one film, in order, which are kept, and how long each stands for what is seen.

    Parameters
    ----------
    threshold : float
        As from `novel_below`.
    kept : float32 array, shape (n, dim)
        Unit vectors of the frames that are kept already; dim is 0 in a library without vectors, where only the
        number an hour decides.
    times : sequence of float
        Those of the frames that are kept already, in order, with which it goes on as if it had kept them itself.
    """

    def __init__(self, threshold: float, kept: Matrix, times: Sequence[float] = ()) -> None:
        self._threshold = threshold
        self._kept = np.array(kept, dtype=np.float32)
        self.n_kept = len(kept)
        self._room, self._last_at = float(_AT_ONCE), 0.0
        for at in times:
            self._pass_to(at)
            self._room -= 1
        self._current = self.n_kept - 1  # the kept frame that the film still looks like

    def is_kept(self, vector: Matrix | None, at: float) -> bool:
        """Return whether the next frame is kept, given its unit vector (dim,), None without an encoder."""
        self._pass_to(at)
        if self.is_alike(vector):
            return False
        if self._room < 1 and self.n_kept:
            self._current = -1
            return False
        self._room -= 1
        if vector is not None:
            if self.n_kept == len(self._kept):  # twice as many: appending costs no more than once for each
                grown = np.zeros((max(64, 2 * self.n_kept), len(vector)), np.float32)
                grown[: self.n_kept] = self._kept
                self._kept = grown
            self._kept[self.n_kept] = as_stored(vector[None])[0]
        self._current = self.n_kept
        self.n_kept += 1
        return True

    def go_on(self, vector: Matrix | None, at: float) -> None:
        """Look once more at the frame that was decided of last, so that it goes on from there."""
        was_kept = bool(self.n_kept) and self._last_at == at
        self._pass_to(at)
        if vector is None:
            self._current = self.n_kept - 1 if was_kept else -1
        else:
            self.is_alike(vector)

    def is_alike(self, vector: Matrix | None) -> bool:
        """Return whether a frame looks like one that is kept, which is what the film looks like from then on."""
        if vector is None or not self.n_kept:
            return False
        cosines = self._kept[: self.n_kept] @ vector
        is_alike = bool(cosines.max() >= self._threshold)
        self._current = int(cosines.argmax()) if is_alike else -1
        return is_alike

    def _pass_to(self, at: float) -> None:
        self._room = min(_AT_ONCE, self._room + max(0.0, at - self._last_at) * MOST_AN_HOUR / 3600)
        self._last_at = at

    @property
    def is_last_seen(self) -> bool:
        """Whether the frame that was decided of last looks like the one that was kept last."""
        return self._current == self.n_kept - 1
