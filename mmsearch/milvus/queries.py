"""Vectors of texts that were looked for, in the memory of this process: an engine that others share keeps none."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

from mmsearch.records import Matrix

LIMIT = 1_000  # texts


class QueriesInMemory:
    """The latest texts with their vectors, under the fingerprint of the encoder; may be shared between threads.

    Parameters
    ----------
    fingerprint : str
        That of the encoder whose vectors are asked for.
    """

    def __init__(self, fingerprint: str = "") -> None:
        self.fingerprint = fingerprint
        self.is_wanted = True
        self._vectors: OrderedDict[tuple[str, str], Matrix] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        """Return how many texts are remembered."""
        return len(self._vectors)

    def get(self, text: str) -> Matrix | None:
        """Return the unit vector float32 (dim,) of a text, or None."""
        with self._lock:
            vector = self._vectors.get((self.fingerprint, text))
            if vector is not None:
                self._vectors.move_to_end((self.fingerprint, text))
            return vector

    def put(self, text: str, vector: Matrix, fingerprint: str) -> None:
        """Remember the vector that the encoder of a fingerprint gives a text; the oldest make room."""
        with self._lock:
            self._vectors[fingerprint, text] = vector
            while len(self._vectors) > LIMIT:
                self._vectors.popitem(last=False)

    def forget(self) -> int:
        """Forget all queries, and return how many there were."""
        with self._lock:
            n = len(self._vectors)
            self._vectors.clear()
            return n

    def keep(self, wanted: bool | None) -> None:
        """Keep in this process whether queries are remembered, if that is said; forget all if not."""
        if wanted is not None:
            self.is_wanted = wanted
        if wanted is False:
            self.forget()
