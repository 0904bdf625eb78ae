"""LABELS: which labels the pictures of a library are given, from their stored vectors.

Labels belong to pictures, not to vectors. Ids of pictures grow and are never used twice, and other contents have
another id: so all that is to be known of a set is up to which id it has looked, new pictures are those beyond, and
what leaves takes its labels along by a trigger. Counts and filters go by one index, and neither a vector file that
is rewritten nor rows that are numbered anew concern them. Copies cost a second look at one vector, no more.

A set keeps its names, the vectors of their prompts and the numbers that make probabilities of cosines, so that
new pictures need no text tower. It looks at pictures some thousands at a time; each time is one transaction, so
that a run that is ended goes on where it was.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.arguments import as_flag, as_number, one_of
from mmsearch.errors import LibraryDamagedError, MmsearchError, QueryError
from mmsearch.records import LabelSet
from mmsearch.store.base import OnProgress
from mmsearch.store.label_sets import facts_of, label_sets, n_left, unfinished
from mmsearch.store.matrix import Half, row_checksum
from mmsearch.vectors import l2_normalize, widen_f16

if TYPE_CHECKING:
    from mmsearch.encoders.zeroshot import ZeroShotClassifier
    from mmsearch.store.folder import Store

_CHUNK = 16_384  # pictures of one transaction
_SCORES = 1 << 21  # probabilities that are held at a time
_NAME = re.compile(r"\w[\w.-]{0,63}")
_ORPHANS = (
    "label NOT IN (SELECT label.id FROM label JOIN label_set ON label_set.id = label.label_set) "
    "OR image NOT IN (SELECT id FROM image)"
)


@dataclass(frozen=True)
class LabelOptions:
    """How labels are wanted.

    Parameters
    ----------
    templates : tuple of str
        Prompts with {} for the label.
    closed, multi : bool
        Whether one of the labels must be right, and whether each is judged by itself; see `Library.classify`.
    min_probability : float
        In (0, 1]; labels that are less probable are not given.

    Raises
    ------
    QueryError, ArgumentError
        If one of them means nothing.
    """

    templates: tuple[str, ...]
    closed: bool = False
    multi: bool = False
    min_probability: float = 0.5

    def __post_init__(self) -> None:
        as_flag(self.closed, "closed")
        as_flag(self.multi, "multi")
        if not 0 < as_number(self.min_probability, "min_probability") <= 1:
            raise QueryError(
                f"the least probability is {self.min_probability}; expected a number above 0 and at most 1"
            )


@dataclass(frozen=True)
class Labelling:
    """How a set gives labels: by what classifier, made as was wanted for the encoder of a fingerprint."""

    classifier: ZeroShotClassifier
    options: LabelOptions
    fingerprint: str

    def facts(self) -> dict[str, Any]:
        """Return what is kept beside the labels and their vectors, fit for JSON."""
        how = self.classifier
        numbers = {"logit_scale": how.logit_scale, "constant": how.constant, "mode": how.mode}
        return {**asdict(self.options), **numbers, "fingerprint": self.fingerprint}

    @classmethod
    def of(cls, facts: Mapping[str, Any], labels: Sequence[str], vectors: NDArray[np.float32]) -> Labelling:
        """Return what `facts` were kept of."""
        from mmsearch.encoders.zeroshot import LabelMode, ZeroShotClassifier

        mode = one_of(facts["mode"], "mode", LabelMode)
        classifier = ZeroShotClassifier(tuple(labels), vectors, facts["logit_scale"], facts["constant"], mode)
        return cls(classifier, options_of(facts), facts["fingerprint"])


def options_of(facts: Mapping[str, Any]) -> LabelOptions:
    """Return how labels were wanted, of what is kept of a set."""
    return LabelOptions(tuple(facts["templates"]), facts["closed"], facts["multi"], facts["min_probability"])


def require_name(name: str) -> str:
    """Return the name of a label set, or raise QueryError if it cannot be one."""
    if _NAME.fullmatch(name):
        return name
    raise QueryError(
        f"a label set cannot be called {name!r}; expected letters or digits, with - _ or . among them: in filters "
        "it stands in front of a label, as in animals/dog"
    )


class LibraryLabels:
    """The label sets of a library folder.

    Parameters
    ----------
    store : Store
        Opened by its writer for all that changes something.
    """

    def __init__(self, store: Store) -> None:
        self._store, self._catalog = store, store.catalog

    # -- reading -------------------------------------------------------------------------------------

    def set_called(self, name: str) -> LabelSet:
        """Return a set by its name, whose case does not count.

        Raises
        ------
        QueryError
            If there is none.
        """
        with self._catalog.reading():
            sets = label_sets(self._catalog)
        for known in sets:
            if known.name.casefold() == name.casefold():
                return known
        names = ", ".join(known.name for known in sets) or "none"
        raise QueryError(f"the library has no label set {name!r}; expected one of those that it has: {names}")

    def kept(self) -> dict[str, tuple[tuple[str, ...], LabelOptions]]:
        """Return the labels of every set and how they were wanted, if that is still known."""
        wanted = {}
        for set_id, name, facts, _ in self._sets():
            with suppress(KeyError, MmsearchError):
                wanted[name] = self._labels(set_id), options_of(facts_of(facts))
        return {name: kept for name, kept in wanted.items() if kept[0]}

    def unusable(self) -> dict[str, str]:
        """Return why sets cannot label new pictures: for another encoder, or damaged."""
        reasons = {}
        for set_id, name, facts, _ in self._sets():
            try:
                self._labelling(set_id, name, facts)
            except LibraryDamagedError as error:
                reasons[name] = str(error)
        return reasons

    def problems(self, *, is_at_work: bool) -> list[str]:
        """Return what of the labels does not belong together: sentences. A run that `is_at_work` is not done."""
        (n,) = self._catalog.db.execute(f"SELECT count(*) FROM given WHERE {_ORPHANS}").fetchone()
        orphans = [f"{n} labels were given to pictures, or by sets, that are not there"] if n else []
        return [*orphans, *self.unusable().values(), *([] if is_at_work else unfinished(self._catalog))]

    def _sets(self) -> list[tuple[int, str, str, int]]:
        return self._catalog.db.execute("SELECT id, name, facts, done FROM label_set ORDER BY name").fetchall()

    def _labels(self, set_id: int) -> tuple[str, ...]:
        sql = "SELECT name FROM label WHERE label_set = ? ORDER BY id"
        return tuple(name for (name,) in self._catalog.db.execute(sql, (set_id,)))

    def _labelling(self, set_id: int, name: str, kept: str) -> Labelling:
        """Return how a set gives labels, or raise LibraryDamagedError."""
        again = f"`mmsearch verify --repair` or `mmsearch labels set {name}` makes it anew"
        facts, dim = facts_of(kept), self._store.dim
        if facts and facts.get("fingerprint") != self._store.setting("fingerprint"):
            raise LibraryDamagedError(f"the label set {name!r} is for another encoder than the library's; {again}")
        sql = "SELECT vector FROM label WHERE label_set = ? ORDER BY id"
        data = [vector for (vector,) in self._catalog.db.execute(sql, (set_id,))]
        try:
            vectors = np.frombuffer(b"".join(data), dtype="<f4").reshape(-1, dim)
            if np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3) and len(vectors):  # NaN is near nothing
                return Labelling.of(facts, self._labels(set_id), vectors)
        except (KeyError, ValueError, MmsearchError):
            pass
        raise LibraryDamagedError(f"what is kept of the label set {name!r} is damaged; {again}")

    # -- writing -------------------------------------------------------------------------------------

    def define(self, name: str, labelling: Labelling) -> None:
        """Keep how a set gives labels, in place of one of that name; `update` gives them.

        One that is there already stays with all that it gave.
        """
        facts, db = json.dumps(labelling.facts()), self._catalog.db
        known = {kept.casefold(): (set_id, told) for set_id, kept, told, _ in self._sets()}.get(name.casefold())
        if known is not None and known[1] == facts and self._is_of(known[0], labelling.classifier):
            return
        with self._catalog.writing():
            if known is not None:
                self._forget(known[0])
            set_id = db.execute(
                "INSERT INTO label_set (name, facts, done) VALUES (?, ?, 0)", (name, facts)
            ).lastrowid
            db.executemany(
                "INSERT INTO label (label_set, name, vector) VALUES (?, ?, ?)",
                ((set_id, label, vector) for label, vector in _with_bytes(labelling.classifier)),
            )

    def _is_of(self, set_id: int, classifier: ZeroShotClassifier) -> bool:
        sql = "SELECT name, vector FROM label WHERE label_set = ? ORDER BY id"
        return self._catalog.db.execute(sql, (set_id,)).fetchall() == list(_with_bytes(classifier))

    def remove(self, name: str) -> LabelSet:
        """Forget a set and all that it gave, and return what it was.

        Raises
        ------
        QueryError
            If there is none of that name.
        """
        known = self.set_called(name)
        with self._catalog.writing():
            sql = "SELECT id FROM label_set WHERE name = ?"
            self._forget(self._catalog.db.execute(sql, (known.name,)).fetchone()[0])
        return known

    def _forget(self, set_id: int) -> None:
        db = self._catalog.db
        if db.execute("SELECT count(*) FROM label_set").fetchone()[0] == 1:
            db.execute("DELETE FROM given")  # without conditions all at once, in no time
        db.execute("DELETE FROM given WHERE label IN (SELECT id FROM label WHERE label_set = ?)", (set_id,))
        db.execute("DELETE FROM label WHERE label_set = ?", (set_id,))
        db.execute("DELETE FROM label_set WHERE id = ?", (set_id,))

    def renew(self, labellings: Mapping[str, Labelling]) -> None:
        """Give sets the prompts of another encoder, and forget what all of them gave; inside a transaction.

        Those without, of which is not known any more how they were wanted, are kept for `unusable` to name.
        """
        db = self._catalog.db
        db.execute("DELETE FROM given")
        db.execute("UPDATE label_set SET done = 0")
        for set_id, name, _, _ in self._sets():
            if name not in labellings:
                continue
            facts = json.dumps(labellings[name].facts())
            db.execute("UPDATE label_set SET facts = ? WHERE id = ?", (facts, set_id))
            db.executemany(
                "UPDATE label SET vector = ? WHERE label_set = ? AND name = ?",
                ((vector, set_id, label) for label, vector in _with_bytes(labellings[name].classifier)),
            )

    def drop_orphans(self) -> None:
        """Forget labels that were given to pictures, or by sets, that are not there."""
        with self._catalog.writing():
            self._catalog.db.execute(f"DELETE FROM given WHERE {_ORPHANS}")

    def update(self, on_progress: OnProgress) -> None:
        """Look at the pictures that sets have not looked at yet; what is reported as done is on disk.

        Sets that cannot be used are left as they are, for `problems` to say, and pictures whose vectors are damaged
        without labels, until `verify --repair` has them made anew.

        Parameters
        ----------
        on_progress : callable
            Given (`labels`, pictures looked at, pictures to be looked at), those of several sets together.
        """
        unusable = self.unusable()
        sets = [kept for kept in self._sets() if kept[1] not in unusable]
        total = sum(n_left(self._catalog, done) for *_, done in sets)
        n_done = 0
        for set_id, name, facts, done in sets:
            labelling = self._labelling(set_id, name, facts)
            while pictures := self._next_pictures(done):
                done = pictures[-1][0]
                self._give(set_id, labelling, pictures)
                n_done += len(pictures)
                on_progress("labels", n_done, total)

    def _next_pictures(self, done: int) -> list[tuple[int, int]]:
        """Return the ids and rows of the pictures that come after an id, some thousands."""
        sql = "SELECT id, row FROM image WHERE id > ? AND row >= 0 ORDER BY id LIMIT ?"
        return self._catalog.db.execute(sql, (done, _CHUNK)).fetchall()

    def _give(self, set_id: int, labelling: Labelling, pictures: Sequence[tuple[int, int]]) -> None:
        """Give pictures, which are all from the first id to the last, their labels by one set."""
        db, of_set = self._catalog.db, "SELECT id FROM label WHERE label_set = ?"
        label_ids = [label_id for (label_id,) in db.execute(f"{of_set} ORDER BY id", (set_id,))]
        ids, vectors = self._whole_vectors(pictures)
        given = [
            (label_ids[label], ids[place], probability)
            for place, label, probability in _probable(labelling, vectors)
        ]
        first, last = pictures[0][0], pictures[-1][0]
        with self._catalog.writing():
            db.execute(
                f"DELETE FROM given WHERE image BETWEEN ? AND ? AND label IN ({of_set})",
                (first, last, set_id),
            )
            db.executemany("INSERT INTO given (label, image, probability) VALUES (?, ?, ?)", given)
            db.execute("UPDATE label_set SET done = ? WHERE id = ?", (last, set_id))

    def _whole_vectors(self, pictures: Sequence[tuple[int, int]]) -> tuple[list[int], Half]:
        """Return the ids and vectors (n, dim) of the pictures whose vectors are what was stored."""
        rows = [row for _, row in pictures]
        matrix, expected = self._store.matrix(), self._catalog.checksums(rows)
        if rows and max(rows) >= len(matrix):
            raise LibraryDamagedError("; ".join(self._store.problems()))
        vectors = matrix[np.asarray(rows, dtype=np.int64)]
        checksums = map(row_checksum, vectors)
        whole = [
            place for place, (row, crc) in enumerate(zip(rows, checksums, strict=True)) if expected.get(row) == crc
        ]
        return [pictures[place][0] for place in whole], vectors if len(whole) == len(rows) else vectors[whole]


def _with_bytes(classifier: ZeroShotClassifier) -> Iterator[tuple[str, bytes]]:
    """Yield each label with its vector as it is kept."""
    for label, vector in zip(classifier.labels, classifier.vectors, strict=True):
        yield label, vector.astype("<f4").tobytes()


def _probable(labelling: Labelling, vectors: Half) -> Iterator[tuple[int, int, float]]:
    """Yield what is probable enough, as place of the picture, place of the label, and probability."""
    at_once = max(1, _SCORES // len(labelling.classifier.labels))
    for start in range(0, len(vectors), at_once):
        block = vectors[start : start + at_once]
        unit = l2_normalize(widen_f16(block, np.empty(block.shape, dtype=np.float32)))
        shares = labelling.classifier.probabilities(unit).labels
        places, labels = np.nonzero(shares >= labelling.options.min_probability)
        probabilities = shares[places, labels].tolist()
        yield from zip((places + start).tolist(), labels.tolist(), probabilities, strict=True)
