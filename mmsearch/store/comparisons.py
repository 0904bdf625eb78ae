"""COMPARISONS: which pictures were compared with which for duplicates, and what came of it, as a published cache.

They are of contents, by their hashes, and of no state of the library: a picture that moves keeps its pairs, and
those of one that leaves are dropped when the next are kept. Another version of the comparison, or another encoder,
by whose vectors pairs were chosen, does not use them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from mmsearch.records import Unusable
from mmsearch.store.publish import Kind, Sidecar, current, next_name

if TYPE_CHECKING:
    from mmsearch.store.folder import Store

PAIR: Final = np.dtype(
    [
        ("first", "<i4"), ("second", "<i4"), ("verdict", "u1"), ("turns", "u1"), ("parts", "u1", (2,)),
        ("score", "<f4"), ("shown", "<f4", (2,)),
    ]
)  # fmt: skip
"""Two contents by their places, the lower first, and what is known of them; see `mmsearch.duplicates.verdicts`."""
_VERSION = 1  # changes with anything that finds or decides pairs
_HASH = np.dtype("V32")
_PLACE = np.dtype("<i4")


class ComparisonsSidecar(Sidecar):
    """What is noted of comparisons: by which version and vectors they were made, and of how many contents."""

    version: int
    fingerprint: str
    contents: int


COMPARISONS: Final[Kind[ComparisonsSidecar]] = Kind("comparisons")


@dataclass(frozen=True, eq=False)
class Comparisons:
    """Contents all of which were compared with one another.

    `contents` are their sha256, V32 (n,); `equal` int32 (n,) is for each the place of the one that it is nearly
    equal to, itself if there is none before it; `pairs` (m,), see `PAIR`, are of those that are equal to none.
    """

    contents: NDArray[np.void] = field(default_factory=lambda: np.zeros(0, _HASH))
    equal: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, _PLACE))
    pairs: NDArray[Any] = field(default_factory=lambda: np.zeros(0, PAIR))

    def is_as(self, others: Comparisons) -> bool:
        """Return whether the same is known."""
        return (
            np.array_equal(self.contents, others.contents)
            and np.array_equal(self.equal, others.equal)
            and np.array_equal(self.pairs, others.pairs)
        )


class LibraryComparisons:
    """The comparisons of one open library folder; `keep` is the writer's."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def load(self) -> Comparisons:
        """Return what was kept, nothing where that cannot be used."""
        loaded = self._store.load_matching(COMPARISONS, self._made_by(), _loaded)
        return Comparisons() if isinstance(loaded, Unusable) else loaded

    def keep(self, comparisons: Comparisons) -> None:
        """Publish comparisons in the place of those before.

        Raises
        ------
        StorageError
            If the disk refuses; those before stay.
        """

        def save(path: Path) -> None:
            with path.open("wb") as file:
                for array in (comparisons.contents, comparisons.equal, comparisons.pairs):
                    file.write(np.ascontiguousarray(array).tobytes())

        facts = {**self._made_by(), "contents": len(comparisons.contents)}
        self._store.publish(COMPARISONS, next_name(self._store.files, COMPARISONS), save, facts)

    def problems(self) -> dict[str, str]:
        """Return why what was kept cannot be believed, by the kind of cache; all of it is read."""
        if current(self._store.files, COMPARISONS) is None:
            return {}
        loaded = self._store.load_matching(COMPARISONS, {}, _loaded)
        return {COMPARISONS: loaded.reason} if isinstance(loaded, Unusable) else {}

    def _made_by(self) -> dict[str, object]:
        return {"version": _VERSION, "fingerprint": self._store.fingerprint()}


def _loaded(file: BinaryIO, facts: ComparisonsSidecar) -> Comparisons:
    data, n = file.read(), facts["contents"]
    return Comparisons(
        np.frombuffer(data, _HASH, n),
        np.frombuffer(data, _PLACE, n, offset=n * _HASH.itemsize),
        np.frombuffer(data, PAIR, offset=n * (_HASH.itemsize + _PLACE.itemsize)),
    )
