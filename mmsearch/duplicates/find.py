"""FIND: the pictures of a library in, its groups of duplicates out.

Files of equal bytes are told by their hashes, and the one of them that is kept goes on. What goes on is compared by
light and vectors (`same_picture`), and what is left of that by moments. Files are read once more where pairs are
looked at closely. No file is ever deleted.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.arguments import SAME, Duplicates, Keep, one_of, several
from mmsearch.duplicates.changes import changes
from mmsearch.duplicates.groups import Groups
from mmsearch.duplicates.keepers import Candidate, preference, reason
from mmsearch.duplicates.moments import moments
from mmsearch.duplicates.same_picture import Compared, same_pictures
from mmsearch.duplicates.verdicts import FINE_SIDE
from mmsearch.errors import LibraryError
from mmsearch.images.find import is_below
from mmsearch.ingest.plan import absolute_roots
from mmsearch.ingest.pool import Embedded, WorkerPool
from mmsearch.ingest.worker import Job
from mmsearch.local.extractors import DEFAULT
from mmsearch.records import (
    Duplicate,
    DuplicateGroup,
    DuplicateReport,
    FileLook,
    ImageRecord,
    LocalFeatures,
    PathLike,
    luminance_layout,
)
from mmsearch.store.base import Notify, OnProgress, Place, in_folder
from mmsearch.store.changes import StoredFile
from mmsearch.store.comparisons import Comparisons

if TYPE_CHECKING:
    from mmsearch.store.folder import Store

_FINE = luminance_layout(FINE_SIDE)
_BLOCK = 5_000  # pictures that are read from the catalog at a time


@dataclass(frozen=True)
class DuplicateOptions:
    """What is looked for: at or below some paths (everywhere without any), of which kinds, and what is kept."""

    roots: tuple[bytes, ...] = ()
    kinds: tuple[Duplicates, ...] = SAME
    keep: Keep = "largest"

    @classmethod
    def of(cls, paths: PathLike | Iterable[PathLike], kinds: object, keep: Keep) -> DuplicateOptions:
        """Return what callers ask for, once it makes sense; see `Library.duplicates`."""
        wanted = several(kinds, "kinds", lambda kind, name: one_of(kind, name, Duplicates), has_order=False)
        one_of(keep, "keep", Keep)
        return cls(tuple(absolute_roots(paths, is_none_enough=True)), wanted, keep)


@dataclass
class _Pictures:
    """The pictures that are compared, with their vectors float16 (dim,) by id where they have any."""

    candidates: list[Candidate] = field(default_factory=list)
    vectors: dict[int, NDArray[np.float16]] = field(default_factory=dict)
    n_unsigned: int = 0
    n_missing: int = 0


def find_duplicates(
    store: Store,
    options: DuplicateOptions,
    keep: Callable[[Comparisons], object],
    *,
    on_progress: OnProgress,
    check: Callable[[], None] = lambda: None,
) -> DuplicateReport:
    """Return the groups of duplicates of a library; see `Library.duplicates`.

    What was compared before is used; where all of the library is looked at, `keep` is given what is known now if
    that is more. `on_progress` is given (`compare` or `align`, done, total); `check` is called as often, and
    what it raises ends the search.
    """

    def progress(stage: str, done: int, total: int) -> None:
        check()
        on_progress(stage, done, total)

    start = time.perf_counter()
    pictures = store.consistently(lambda: _read(store, options.roots))
    search = _Search(store, pictures, options, progress)
    wanted = sorted(
        (group for group in search.groups() if group.kind in options.kinds),
        key=lambda group: (-group.size_bytes, group.keeper.path),
    )
    seconds = time.perf_counter() - start
    if search.to_keep is not None:
        keep(search.to_keep)
    return DuplicateReport(
        tuple(wanted), len(pictures.candidates), pictures.n_unsigned, pictures.n_missing, seconds
    )


def keep_comparisons(place: Place, notify: Notify, comparisons: Comparisons) -> None:
    """Keep what was compared, as the writer; where that cannot be, the next search compares again."""
    try:
        with place.writer() as writer:
            in_folder(writer, "duplicates").comparisons.keep(comparisons)
    except LibraryError as error:
        notify(f"what was compared is not kept, and is compared again the next time: {error}")


def _read(store: Store, roots: Sequence[bytes]) -> _Pictures:
    """Return the pictures whose files are what was indexed, each file once by whichever path."""
    pictures, signatures, seen = _Pictures(), store.signatures.load(), set[tuple[int, int]]()
    unsigned = {path for path, _ in store.signatures.unsigned()}
    places, after = set(roots), -1
    while listed := store.stored_files(after, _BLOCK):
        after = listed[-1][0]
        for image_id, file in listed:
            if places and not is_below(file.path, places):
                continue
            inode = _inode(file)
            if inode is None:
                pictures.n_missing += 1
            elif inode not in seen:
                seen.add(inode)
                pictures.n_unsigned += file.path in unsigned
                image = _record(image_id, file)
                pictures.candidates.append(Candidate(image, file.content_hash, signatures.get(image_id)))
                if file.vector is not None:
                    pictures.vectors[image_id] = file.vector.astype(np.float16)
    return pictures


def _inode(file: StoredFile) -> tuple[int, int] | None:
    """Return what tells a file from all others, if it looks as it did when it was indexed."""
    try:
        status = os.stat(file.path)
    except (OSError, ValueError):
        return None
    return (status.st_dev, status.st_ino) if FileLook.of(status).is_as(file.look) else None


def _record(image_id: int, file: StoredFile) -> ImageRecord:
    return ImageRecord(
        image_id, os.fsdecode(file.path), file.row, file.look.size, file.look.mtime_ns, file.width, file.height,
        file.format, file.taken_at,
    )  # fmt: skip


class _Search:
    """A search among some pictures; `to_keep` is there when it is done, if more is known then than was kept."""

    def __init__(
        self, store: Store, pictures: _Pictures, options: DuplicateOptions, on_progress: OnProgress
    ) -> None:
        self._store, self._pictures, self._options = store, pictures, options
        self._on_progress = on_progress
        self.to_keep: Comparisons | None = None

    def groups(self) -> Iterator[DuplicateGroup]:
        """Yield all groups, of the kinds that are wanted and of those before, whose others take no further part."""
        keep, kinds = self._options.keep, self._options.kinds
        by_hash: dict[bytes, list[Candidate]] = defaultdict(list)
        for picture in self._pictures.candidates:
            by_hash[picture.content_hash].append(picture)
        left = []
        for equal in by_hash.values():
            equal.sort(key=lambda picture: preference(picture, keep))
            left.append(equal[0])
            if len(equal) > 1:
                others = tuple(Duplicate(other.image, (), "bytes", 1.0) for other in equal[1:])
                yield DuplicateGroup("same-file", equal[0].image, reason(equal[0], equal[1:], keep), others)
        if not {"same-picture", "look-alike"}.intersection(kinds):
            return
        left.sort(key=lambda picture: preference(picture, keep))
        same, compared = self._same_pictures([picture for picture in left if picture.signature is not None])
        yield from _described("same-picture", same, compared, keep)
        if "look-alike" in kinds:
            gone = {compared[other].image.image_id for other in np.flatnonzero(~same.is_open).tolist()}
            left = [picture for picture in left if picture.image.image_id not in gone]
            vectors = _vectors(self._pictures, left)
            if vectors is not None:
                yield from _described("look-alike", moments(left, vectors), left, keep)

    def _same_pictures(self, signed: list[Candidate]) -> tuple[Groups, list[Candidate]]:
        """Return the groups of one picture among candidates in the order in which they are kept.

        And the candidates as they are numbered in the groups.
        """
        hashes = [picture.content_hash for picture in signed]
        kept = self._store.comparisons.load()
        compared = Compared.of(kept, hashes)
        candidates = [signed[number] for number in compared.order]
        with _Looks(self._store, candidates) as looks:
            vectors = _vectors(self._pictures, candidates)
            same = same_pictures(candidates, compared, vectors, looks, self._on_progress)
        comparisons = compared.comparisons(hashes)
        if not self._options.roots and not comparisons.is_as(kept):
            self.to_keep = comparisons
        return same, candidates


def _vectors(pictures: _Pictures, candidates: Sequence[Candidate]) -> NDArray[np.float16] | None:
    """Return the vectors of candidates (n, dim), or None where the library has none."""
    if not (pictures.vectors and candidates):
        return None
    return np.stack([pictures.vectors[picture.image.image_id] for picture in candidates])


def _described(
    kind: Duplicates, groups: Groups, candidates: Sequence[Candidate], keep: Keep
) -> Iterator[DuplicateGroup]:
    """Yield groups of numbered candidates as they are told."""
    for number, verdicts in groups.verdicts.items():
        keeper = candidates[number]
        others = [
            Duplicate(
                candidates[other].image,
                changes(keeper, candidates[other], verdict) if kind == "same-picture" else (),
                verdict.evidence,
                verdict.score,
            )
            for other, verdict in verdicts.items()
        ]
        if others:
            why = reason(keeper, [candidates[other] for other in verdicts], keep)
            yield DuplicateGroup(kind, keeper.image, why, tuple(others))


class _Looks:
    """What is seen of candidates when their files are decoded, once each; workers start when first needed."""

    def __init__(self, store: Store, candidates: Sequence[Candidate]) -> None:
        self._store, self._candidates = store, candidates
        self._lights: dict[int, NDArray[Any]] = {}
        self._features: dict[int, LocalFeatures] = {}
        self._looked_at: set[tuple[Job, int]] = set()
        self._workers: WorkerPool | None = None

    def __enter__(self) -> _Looks:
        return self

    def __exit__(self, *error: object) -> None:
        if self._workers is not None:
            self._workers.__exit__(None, None, None)

    def fine_lights(self, places: Sequence[int]) -> Mapping[int, NDArray[Any]]:
        """Return the light of candidates in fine cells, whose files are still what was indexed."""
        for place, outcome in self._seen(places, Job(embeds=False, luminance_side=FINE_SIDE)):
            if outcome.facts["luminances"]:
                self._lights[place] = np.frombuffer(bytes.fromhex(outcome.facts["luminances"]), _FINE)
        return self._lights

    def local_features(self, places: Sequence[int]) -> Mapping[int, LocalFeatures]:
        """Return the local features of candidates, whose files are still what was indexed."""
        for place, outcome in self._seen(places, Job(embeds=False, local="features")):
            if outcome.local is not None:
                size = outcome.facts["width"], outcome.facts["height"]
                features = outcome.local.features(DEFAULT.dim)
                self._features[place] = replace(features, size=DEFAULT.frame(size), original_size=size)
        return self._features

    def _seen(self, places: Sequence[int], job: Job) -> Iterator[tuple[int, Embedded]]:
        """Yield those of candidates that were not looked at for this and whose files are still what was indexed."""
        place_of = {
            os.fsencode(self._candidates[place].image.path): place
            for place in places
            if (job, place) not in self._looked_at
        }
        self._looked_at.update((job, place) for place in place_of.values())
        if not place_of:
            return
        if self._workers is None:
            self._workers = WorkerPool.for_encoder(
                None, cwd=self._store.working_folder, max_megapixels=self._store.accepted_megapixels()
            )
        for outcomes in self._workers.run(list(place_of), job=lambda: job):
            for outcome in outcomes:
                place = place_of[outcome.path]
                if outcome.facts.get("hash") == self._candidates[place].content_hash.hex():
                    yield place, outcome
