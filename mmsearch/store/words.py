"""The visual words of a library as published caches: a vocabulary, a base segment and a fresh one.

Words are kept under the id of their picture, whose contents never change: a picture that left, or whose file
changed, is dead in the segments until they are merged. The fresh segment is rewritten with every addition
while it is small, and merged into the base when it is larger than a fifth of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from mmsearch.bow.inverted_file import InvertedFile
from mmsearch.bow.postings import Postings, build_postings
from mmsearch.bow.vocabulary import ImageWords, Vocabulary
from mmsearch.local.base import LocalExtractor
from mmsearch.local.extractors import DEFAULT, EXTRACTORS
from mmsearch.records import Unusable, WordsFacts
from mmsearch.store.matrix import look_of
from mmsearch.store.publish import (
    Kind,
    Sidecar,
    current,
    manifest_state,
    next_name,
    storage_errors,
    withdraw,
)
from mmsearch.store.vocabulary import (
    CENTRES,
    VOCABULARY,
    VocabularySidecar,
    extractor_of,
    load_vocabulary,
    publish_centres,
    publish_vocabulary,
    vocabulary_problems,
)

if TYPE_CHECKING:
    from mmsearch.store.folder import Store


class SegmentSidecar(Sidecar):
    """What is noted of a segment beside it; `vocabulary` is the checksum of that of its words."""

    extractor: str
    vocabulary: str
    n_words: int
    n_images: int
    n_features: int


BASE: Final[Kind[SegmentSidecar]] = Kind("words")
FRESH: Final[Kind[SegmentSidecar]] = Kind("fresh")
_SEGMENTS = (BASE, FRESH)
W = TypeVar("W", VocabularySidecar, SegmentSidecar)
_MERGE_SHARE = 0.2  # of the base: more in the fresh segment, or dead, and all are merged


@dataclass
class PublishedWords:
    """What the visual words of a library are searched with; pictures no longer in the catalog are dead."""

    vocabulary: Vocabulary
    inverted: InvertedFile
    name: str


class LibraryWords:
    """The visual words of one open library, as `Store.words` gives them.

    Parameters
    ----------
    store : Store
        Opened for reading; by its writer for `writer`.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def load(self) -> PublishedWords | Unusable:
        """Open the visual words of the library, or say why there are none.

        Costs a hash of the vocabulary, and no reading of the postings unless their files were touched since they
        were published: then they are hashed first, 0.5 s a gigabyte.
        """
        while True:
            before = manifest_state(self._store.files)
            with self._store.reading():
                words = self._load_now()
            if manifest_state(self._store.files) == before:
                return words
            # A writer published meanwhile, so that segments of two states may have met.

    def _load_now(self) -> PublishedWords | Unusable:
        vocabulary = self.vocabulary()
        if isinstance(vocabulary, Unusable):
            return vocabulary
        kinds = [kind for kind in _SEGMENTS if current(self._store.files, kind) is not None]
        segments = []
        for kind in kinds:
            segment = self.segment(kind, is_stamp_enough=True)
            if isinstance(segment, Unusable):
                return segment
            segments.append(segment)
        if not segments:
            return Unusable("the library has no visual words yet; `mmsearch index` makes them")
        names = [
            str(current(self._store.files, VOCABULARY)),
            *(str(current(self._store.files, kind)) for kind in kinds),
        ]
        return PublishedWords(vocabulary, InvertedFile(segments, dead=self.dead(segments)), "+".join(names))

    def state(self) -> tuple[object, ...]:
        """Return what changes with the library, with every publication, and when posting lists are written over."""
        looks = (look_of(self._store.files / f"{current(self._store.files, kind)}.bin") for kind in _SEGMENTS)
        return self._store.revision, manifest_state(self._store.files), *looks

    def facts(self) -> WordsFacts | None:
        """Return extractor, sizes and counts of the published words, from the sidecars alone; None without words.

        Pictures count until they are merged away, those without features too.
        """
        vocabulary = self._known_facts(VOCABULARY)
        if vocabulary is None:
            return None
        segments = [facts for kind in _SEGMENTS if (facts := self._known_facts(kind)) is not None]
        files = [vocabulary, self._store.sidecar(CENTRES), *segments]
        return {
            "extractor": vocabulary["extractor"],
            "vocabulary": vocabulary["sha256"],
            "n_words": vocabulary["n_words"],
            "n_images": sum(facts["n_images"] for facts in segments),
            "n_features": sum(facts["n_features"] for facts in segments),
            "size_bytes": sum(facts["length"] for facts in files if not isinstance(facts, Unusable)),
        }

    def problems(self) -> dict[str, str]:
        """Return what is wrong with each kind of cache that there is, by reading all of it."""
        segments = {kind: self.segment(kind) for kind in _SEGMENTS if current(self._store.files, kind) is not None}
        foreign = self._vocabulary_problem()
        problems: dict[str, Unusable] = {VOCABULARY: foreign} if foreign else vocabulary_problems(self._store.files)
        problems.update({kind: segment for kind, segment in segments.items() if isinstance(segment, Unusable)})
        return {kind: problem.reason for kind, problem in problems.items()}

    def vocabulary(self) -> Vocabulary | Unusable:
        """Return the vocabulary of the library, or why there is none."""
        return self._vocabulary_problem() or load_vocabulary(self._store.files)

    def _vocabulary_problem(self) -> Unusable | None:
        """Return why the vocabulary is not that of this library; None if it is, or if there is none."""
        facts = self._store.sidecar(VOCABULARY) if current(self._store.files, VOCABULARY) is not None else None
        return facts if isinstance(facts, Unusable) else None

    def _known_facts(self, kind: Kind[W]) -> W | None:
        facts = self._store.sidecar(kind)
        known = extractor_of(self._store.files).name
        return None if isinstance(facts, Unusable) or facts.get("extractor") != known else facts

    def segment(self, kind: Kind[SegmentSidecar], *, is_stamp_enough: bool = False) -> Postings | Unusable:
        """Open a segment after comparing it with its sidecar and the vocabulary, or say why not."""
        vocabulary = self._store.sidecar(VOCABULARY)
        if isinstance(vocabulary, Unusable):
            return vocabulary
        expected = {"extractor": extractor_of(self._store.files).name, "vocabulary": vocabulary["sha256"]}
        return self._store.load_matching(
            kind, expected, lambda file, _: Postings.open(file), is_stamp_enough=is_stamp_enough
        )

    def dead(self, segments: Iterable[Postings]) -> NDArray[np.int64]:
        """Return the ids in segments that are no longer in the catalog."""
        known = np.concatenate([segment.image_ids for segment in segments])
        return np.setdiff1d(known, np.array(self._store.catalog.image_ids(), dtype=np.int64))

    def writer(self) -> WordsWriter:
        """Return what adds words to the library, which starts with those that are whole; the rest is withdrawn."""
        return WordsWriter(self._store)


class WordsWriter:
    """The visual words of a library while its writer adds to them; starts with those that are whole."""

    def __init__(self, store: Store) -> None:
        self._store, self._words = store, store.words
        known = self._words.vocabulary()
        self.vocabulary: Vocabulary | None = None
        if isinstance(known, Unusable):
            withdraw(store.files, VOCABULARY)
            withdraw(store.files, CENTRES)
        else:
            self.vocabulary = publish_centres(store, known)  # again, where its graph was lost
        self._segments: dict[str, Postings] = {}
        for kind in _SEGMENTS:
            segment = self._words.segment(kind)
            if isinstance(segment, Unusable):
                withdraw(store.files, kind)
            else:
                self._segments[kind] = segment
        self._pending: list[tuple[int, ImageWords]] = []
        self.covered = {int(i) for segment in self._segments.values() for i in segment.image_ids}

    @property
    def extractor(self) -> LocalExtractor:
        """What the words are made of, and those of a vocabulary yet to be learned."""
        return DEFAULT if self.vocabulary is None else EXTRACTORS[self.vocabulary.extractor]

    @property
    def n_pending(self) -> int:
        """Pictures added since the last flush."""
        return len(self._pending)

    def publish_vocabulary(self, vocabulary: Vocabulary) -> Vocabulary:
        """Publish and return the vocabulary that all words from now on are of; the library must have none yet."""
        self.vocabulary = publish_vocabulary(self._store, vocabulary)
        return self.vocabulary

    def add(self, image_id: int, words: ImageWords) -> None:
        """Take the words of a picture of the catalog; on disk after the next `flush`."""
        self._pending.append((image_id, words))
        self.covered.add(image_id)

    def flush(self) -> None:
        """Publish what was added, and merge the segments where it is time to.

        Raises
        ------
        StorageError
            If the disk refuses; what was published before stays, and the pictures get words at the next run.
        """
        self._store.check()
        if self._pending and self.vocabulary is not None:
            before = [self._segments[FRESH]] if FRESH in self._segments else []
            added = build_postings(self._pending, self.vocabulary.n_words)
            self._publish(FRESH, InvertedFile([*before, added]))
            self._pending.clear()
        if self._segments and self._is_time_to_merge():
            everything = InvertedFile(self._in_order(), dead=self._words.dead(self._in_order()))
            self._publish(BASE, everything, replaces=[FRESH])
            self._segments.pop(FRESH, None)

    def _in_order(self) -> list[Postings]:
        return [self._segments[kind] for kind in _SEGMENTS if kind in self._segments]

    def _is_time_to_merge(self) -> bool:
        n_base = len(self._segments[BASE].image_ids) if BASE in self._segments else 0
        n_fresh = len(self._segments[FRESH].image_ids) if FRESH in self._segments else 0
        return n_fresh > _MERGE_SHARE * n_base or len(self._words.dead(self._in_order())) > _MERGE_SHARE * n_base

    def _publish(self, kind: str, words: InvertedFile, *, replaces: Sequence[str] = ()) -> None:
        """Publish what counts of some segments as one."""
        vocabulary = self._store.sidecar(VOCABULARY)
        assert not isinstance(vocabulary, Unusable)
        facts = {
            "extractor": vocabulary["extractor"], "vocabulary": vocabulary["sha256"], "n_words": words.n_words,
            "n_images": len(words.image_ids), "n_features": int(words.feature_counts.sum(dtype=np.int64)),
        }  # fmt: skip
        name = next_name(self._store.files, kind)
        self._store.publish(kind, name, words.save_merged, facts, replaces=replaces)
        path = self._store.files / f"{name}.bin"
        with storage_errors(path, "the visual words"):
            self._segments[kind] = Postings.open(path)  # which needs no memory
