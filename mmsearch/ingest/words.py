"""Local features of committed pictures on their way to visual words: gathered, a vocabulary learned, quantised.

While the library has no vocabulary, features wait in a file without a name, which goes with this process however
that ends; pictures whose words are not published by then are described again by the next run.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO

import numpy as np

from mmsearch.bow.vocabulary import Vocabulary
from mmsearch.errors import QueryError, VocabularyError, advice, reason
from mmsearch.ingest.pool import Embedded
from mmsearch.ingest.worker import Job
from mmsearch.local.base import LocalExtractor
from mmsearch.local.extractors import DEFAULT
from mmsearch.local.packing import NOTHING, Packed, plain_descriptors
from mmsearch.records import Matrix, PathLike, WordsRun
from mmsearch.store.base import LibraryWriter, OnProgress, in_folder
from mmsearch.store.changes import BY_CHANCE, ENDED_WORKER, MAX_RUNS
from mmsearch.store.folder import Store
from mmsearch.store.publish import storage_errors

MIN_DESCRIPTORS = 4_096  # fewer teach no vocabulary
MAX_GATHERED_PICTURES = 4_000
MAX_GATHERED_BYTES = 300_000_000
MAX_TRAINING = 524_288  # descriptors a vocabulary is learned from: 256 MB, and 32,768 words
FLUSH_PICTURES = 20_000  # 180 MB of words
ITERATIONS = 20
_INSTALL = "pip install 'mmsearch[local]'"
_IS_LOCAL = "local"  # setting: whether runs look at local features
_TRIES = "words_tried"  # setting: how often the worker ended by chance, by id of the picture
_WAITING = "words_wait_for_more_than"  # setting: highest id when there were too few descriptors


class Gathered:
    """Features of pictures in a temporary file without a name, in the folder of the library."""

    def __init__(self, store: Store, extractor: LocalExtractor) -> None:
        self._path, self._extractor = store.folder / "gathered", extractor
        with storage_errors(self._path, "local features"):
            # Without a buffer: what could not be written must not be tried again when the file is closed.
            self._file: IO[bytes] = tempfile.TemporaryFile(dir=store.files, buffering=0)  # noqa: SIM115 - see `close`
        self._places: list[tuple[int, int, int]] = []  # image id, features, where they start
        self.n_bytes = 0
        self.n_descriptors = 0

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self._places)

    def append(self, image_id: int, packed: Packed) -> None:
        """Keep the features of one picture."""
        with storage_errors(self._path, "local features"):
            written = 0
            while written < len(packed.data):
                written += os.pwrite(self._file.fileno(), packed.data[written:], self.n_bytes + written)
        self._places.append((image_id, packed.n, self.n_bytes))
        self.n_bytes += len(packed.data)
        self.n_descriptors += packed.n

    def pictures(self) -> Iterator[tuple[int, Packed]]:
        """Yield ids and features, in the order they came."""
        ends = [start for _, _, start in self._places[1:]] + [self.n_bytes]
        for (image_id, n, start), end in zip(self._places, ends, strict=True):
            with storage_errors(self._path, "local features"):
                data = os.pread(self._file.fileno(), end - start, start)
            yield image_id, Packed("features", n, data)

    def sample(self, limit: int, *, seed: int = 0) -> Matrix:
        """Return at most `limit` descriptors float32 (n, dim), drawn evenly from all pictures."""
        share = min(1.0, limit / max(self.n_descriptors, 1))
        rng = np.random.default_rng(seed)
        parts = [np.zeros((0, self._extractor.dim), np.float32)]
        for _, packed in self.pictures():
            kept = rng.random(packed.n) < share if share < 1 else slice(None)
            parts.append(plain_descriptors(packed.descriptors(self._extractor.dim)[kept]))
        return np.concatenate(parts)

    def close(self) -> None:
        """Give the disk space back."""
        self._file.close()


@dataclass
class WordsReport:
    """What a run did for visual words, in pictures."""

    n_described: int = 0
    n_without_features: int = 0
    n_failed: int = 0
    problem: str = ""

    def to_json(self) -> WordsRun:
        """Return what is worth reporting."""
        worth: WordsRun = {"n_described": self.n_described}
        if self.n_without_features:
            worth["n_without_features"] = self.n_without_features
        if self.n_failed:
            worth["n_failed"] = self.n_failed
        if self.problem:
            worth["problem"] = self.problem
        return worth


class WordsIntake:
    """Takes what workers found in committed pictures; says what they are to look for next.

    Parameters
    ----------
    store : Store
        Opened as the writer.
    vocabulary : Vocabulary or None
        To be used instead of learning one.
    on_progress : callable
        Given (`vocabulary`, iterations, iterations at most).

    Raises
    ------
    VocabularyError
        If the library has another vocabulary already.
    """

    def __init__(
        self,
        store: Store,
        *,
        vocabulary: Vocabulary | None = None,
        on_progress: OnProgress = lambda stage, done, total: None,
    ) -> None:
        self._store, self._on_progress = store, on_progress
        self._writer = store.words.writer()
        self._gathered: Gathered | None = None
        self._gathered_ids: set[int] = set()
        self._put_off: set[int] = set()  # to the next run
        self._tries: dict[str, int] = store.setting(_TRIES) or {}
        self.report = WordsReport()
        if vocabulary is not None and self._writer.vocabulary is None:
            self._writer.publish_vocabulary(vocabulary)
        elif vocabulary is not None and not _are_equal(vocabulary, self._writer.vocabulary):
            raise VocabularyError(
                f"{store.folder} has words of another vocabulary already; words of two cannot be compared: "
                "leave --vocabulary out, or index into another --library"
            )

    def job(self, *, embeds: bool) -> Job:
        """Return what workers are to do now."""
        local = str(self._store.folder) if self._writer.vocabulary else "features"
        return Job(embeds, local, self._writer.extractor)

    def missing(self, image_ids: Iterator[int]) -> list[int]:
        """Return the pictures that need describing; none if there were too few for a vocabulary and still are."""
        waits = self._gathered_ids | self._put_off
        undescribed = [i for i in image_ids if i not in self._writer.covered and i not in waits]
        waiting = self._store.setting(_WAITING)
        is_new = self._gathered is not None or any(i > (waiting or 0) for i in undescribed)
        return undescribed if is_new or self._writer.vocabulary is not None else []

    def take(self, image_id: int, outcome: Embedded) -> None:
        """Take what a worker found in a picture of the catalog."""
        packed, error, facts = outcome.local, outcome.facts.get("local_error"), outcome.facts
        if "code" in facts and facts["code"] in ENDED_WORKER:
            error = {"code": facts["code"], "message": facts["message"]}
        if error is not None:
            self.report.n_failed += 1
            self.report.problem = error["message"]
            packed = None if self._may_succeed(image_id, error["code"]) else NOTHING
            if packed is None:
                self._put_off.add(image_id)
        if packed is None:
            return
        self.report.n_described += 1
        self.report.n_without_features += packed.n == 0
        if packed.kind == "words":
            self._writer.add(image_id, packed.words())
        else:
            self._take_features(image_id, packed)
        if self._writer.n_pending >= FLUSH_PICTURES:
            self._writer.flush()

    def _may_succeed(self, image_id: int, code: str) -> bool:
        """Return whether a picture whose local features could not be had is tried again at the next run."""
        if code not in BY_CHANCE:
            return code == "unavailable"
        self._tries[str(image_id)] = 1 + self._tries.get(str(image_id), 0)
        return self._tries[str(image_id)] < MAX_RUNS

    def _take_features(self, image_id: int, packed: Packed) -> None:
        if self._writer.vocabulary is not None:  # asked for before it was learned
            features = packed.features(self._writer.extractor.dim)
            self._writer.add(image_id, self._writer.vocabulary.quantise(features))
            return
        if self._gathered is None:
            self._gathered = Gathered(self._store, self._writer.extractor)
        self._gathered.append(image_id, packed)
        self._gathered_ids.add(image_id)
        is_full = len(self._gathered) >= MAX_GATHERED_PICTURES or self._gathered.n_bytes >= MAX_GATHERED_BYTES
        if is_full and self._gathered.n_descriptors >= MIN_DESCRIPTORS:
            self._learn(self._gathered)

    def finish(self) -> None:
        """Learn a vocabulary if there is none and enough to learn from."""
        if self._gathered is not None and self._gathered.n_descriptors >= MIN_DESCRIPTORS:
            self._learn(self._gathered)
        if self._tries != (self._store.setting(_TRIES) or {}):
            self._store.keep({_TRIES: self._tries})
        last_id = self._store.last_id()
        if self._gathered is not None and self._store.setting(_WAITING) != last_id:
            self._store.keep({_WAITING: last_id})

    def close(self) -> None:
        """Publish the words at hand, also after Ctrl-C, and forget what is gathered."""
        self._drop_gathered()
        self._writer.flush()

    def _drop_gathered(self) -> None:
        if self._gathered is not None:
            self._gathered.close()
        self._gathered = None
        self._gathered_ids.clear()

    def _learn(self, gathered: Gathered) -> None:
        """Learn the vocabulary, publish it, and quantise what is gathered."""

        def on_iteration(n: int, _inertia: float) -> None:
            self._on_progress("vocabulary", n, max(n, ITERATIONS))

        self._on_progress("vocabulary", 0, ITERATIONS)
        learned = Vocabulary.train(
            gathered.sample(MAX_TRAINING),
            extractor=self._writer.extractor.name,
            max_iterations=ITERATIONS,
            on_iteration=on_iteration,
        )
        vocabulary = self._writer.publish_vocabulary(learned)
        for n_done, (image_id, packed) in enumerate(gathered.pictures(), start=1):
            self._writer.add(image_id, vocabulary.quantise(packed.features(self._writer.extractor.dim)))
            self._on_progress("words", n_done, len(gathered))
        self._drop_gathered()
        self._writer.flush()


def given_vocabulary(path: PathLike | None, local: bool | None) -> Vocabulary | None:
    """Return the vocabulary of a file named by the user, if one is.

    Raises
    ------
    VocabularyError
        If it cannot be read, or is of another extractor.
    QueryError
        If local features are off.
    """
    if path is None:
        return None
    if local is False:
        raise QueryError("a vocabulary is given but local features are off; leave one of the two out")
    try:
        return Vocabulary.load(Path(os.fsdecode(path)), extractor=DEFAULT.name)
    except OSError as error:
        raise VocabularyError(f"{os.fsdecode(path)} cannot be read ({reason(error)}); {advice(error)}") from error
    except ValueError as error:  # a NUL
        raise VocabularyError(f"{os.fsdecode(path)!r} is the name of no file ({error}); correct it") from error


def require_local(wanted: bool | None) -> None:
    """Raise unless local features can be had and are not unwanted, for who can do nothing without them."""
    if wanted is False:
        raise QueryError(
            "a library without an encoder (--model none) has nothing but local features; leave --no-local out, "
            "or index into another --library with a model"
        )
    if find_spec("cv2") is None:
        raise VocabularyError(f"local features need OpenCV, which is not installed: {_INSTALL}")


def looks_at_local_features(store: LibraryWriter, wanted: bool | None, notify: Callable[[str], None]) -> bool:
    """Return whether this run looks at local features; what was `wanted` or the library began with is kept.

    Raises
    ------
    VocabularyError
        If they are wanted and OpenCV is missing.
    QueryError
        If they are not wanted and the library has nothing else.
    UnsupportedError
        If they are wanted and the library stands where there are none.
    """
    if store.as_folder is None and not wanted:
        return False
    in_folder(store, "local features")
    if not store.has_vectors:
        require_local(wanted)
        return True
    has_opencv, kept = find_spec("cv2") is not None, store.setting(_IS_LOCAL)
    chosen = kept if wanted is None else wanted
    is_local = has_opencv if chosen is None else bool(chosen)
    if is_local and not has_opencv:
        if wanted:
            require_local(wanted)
        notify(f"local features are left out, as OpenCV is not installed here: {_INSTALL}")
        return False
    if kept != is_local:
        store.keep({_IS_LOCAL: is_local})
    return is_local


def _are_equal(vocabulary: Vocabulary, other: Vocabulary | None) -> bool:
    return other is not None and all(
        np.array_equal(getattr(vocabulary, name), getattr(other, name))
        for name in ("centroids", "projection", "medians")
    )
