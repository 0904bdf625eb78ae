"""FIND: the pictures of a library in, its groups of duplicates out.

Files of equal bytes are told by their hashes, and the one of them that is kept goes on. What goes on is compared by
light and vectors (`same_picture`), and what is left of that by moments. Files are read once more where pairs are
looked at closely; nothing is written, and no file is ever deleted.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.arguments import SAME, Duplicates, Keep, one_of, several
from mmsearch.duplicates.changes import changes
from mmsearch.duplicates.groups import Groups
from mmsearch.duplicates.keepers import Candidate, preference, reason
from mmsearch.duplicates.moments import moments
from mmsearch.duplicates.same_picture import FINE_SIDE, same_pictures
from mmsearch.ingest.plan import absolute_roots, is_below
from mmsearch.ingest.pool import WorkerPool
from mmsearch.ingest.worker import Job
from mmsearch.records import (
    Duplicate,
    DuplicateGroup,
    DuplicateReport,
    FileLook,
    ImageRecord,
    PathLike,
    luminance_layout,
)
from mmsearch.store.base import OnProgress
from mmsearch.store.changes import StoredFile

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
    store: Store, options: DuplicateOptions, *, on_progress: OnProgress, check: Callable[[], None] = lambda: None
) -> DuplicateReport:
    """Return the groups of duplicates of a library; see `Library.duplicates`.

    `on_progress` is given (`compare` or `align`, done, total); `check` is called as often, and what it raises ends
    the search.
    """

    def progress(stage: str, done: int, total: int) -> None:
        check()
        on_progress(stage, done, total)

    start = time.perf_counter()
    pictures = store.consistently(lambda: _read(store, options.roots))
    groups = _groups(store, pictures, options, progress)
    wanted = sorted(
        (group for group in groups if group.kind in options.kinds),
        key=lambda group: (-group.size_bytes, group.keeper.path),
    )
    seconds = time.perf_counter() - start
    return DuplicateReport(
        tuple(wanted), len(pictures.candidates), pictures.n_unsigned, pictures.n_missing, seconds
    )


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


def _groups(
    store: Store, pictures: _Pictures, options: DuplicateOptions, on_progress: OnProgress
) -> Iterator[DuplicateGroup]:
    """Yield all groups, of the kinds that are wanted and of those before, whose others take no further part."""
    by_hash: dict[bytes, list[Candidate]] = defaultdict(list)
    for picture in pictures.candidates:
        by_hash[picture.content_hash].append(picture)
    left = []
    for equal in by_hash.values():
        equal.sort(key=lambda picture: preference(picture, options.keep))
        left.append(equal[0])
        if len(equal) > 1:
            others = tuple(Duplicate(other.image, (), "bytes", 1.0) for other in equal[1:])
            yield DuplicateGroup("same-file", equal[0].image, reason(equal[0], equal[1:], options.keep), others)
    if not {"same-picture", "look-alike"}.intersection(options.kinds):
        return
    left.sort(key=lambda picture: preference(picture, options.keep))
    signed = [picture for picture in left if picture.signature is not None]
    with _FineGrids(store, signed) as fine_grids:
        same = same_pictures(signed, _vectors(pictures, signed), fine_grids.of, on_progress)
    yield from _described("same-picture", same, signed, options.keep)
    if "look-alike" in options.kinds:
        gone = {signed[other].image.image_id for other in np.flatnonzero(~same.is_open).tolist()}
        left = [picture for picture in left if picture.image.image_id not in gone]
        vectors = _vectors(pictures, left)
        if vectors is not None:
            yield from _described("look-alike", moments(left, vectors), left, options.keep)


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
            for other, verdict in sorted(verdicts.items())
        ]
        if others:
            why = reason(keeper, [candidates[other] for other in verdicts], keep)
            yield DuplicateGroup(kind, keeper.image, why, tuple(others))


class _FineGrids:
    """The light of candidates in fine cells, of which each is decoded once; workers start when first needed."""

    def __init__(self, store: Store, candidates: Sequence[Candidate]) -> None:
        self._store, self._candidates = store, candidates
        self._lights: dict[int, NDArray[Any]] = {}
        self._looked_at: set[int] = set()
        self._workers: WorkerPool | None = None

    def __enter__(self) -> _FineGrids:
        return self

    def __exit__(self, *error: object) -> None:
        if self._workers is not None:
            self._workers.__exit__(None, None, None)

    def of(self, numbers: Sequence[int]) -> Mapping[int, NDArray[Any]]:
        """Return the light of those numbers, and of others, whose files are still what was indexed."""
        numbers_of = {
            os.fsencode(self._candidates[number].image.path): number
            for number in numbers
            if number not in self._looked_at
        }
        self._looked_at.update(numbers_of.values())
        if not numbers_of:
            return self._lights
        if self._workers is None:
            self._workers = WorkerPool.for_encoder(
                None, cwd=self._store.working_folder, max_megapixels=self._store.accepted_megapixels()
            )
        job = Job(embeds=False, luminance_side=FINE_SIDE)
        for outcomes in self._workers.run(list(numbers_of), job=lambda: job):
            for outcome in outcomes:
                number, facts = numbers_of[outcome.path], outcome.facts
                is_same = facts.get("hash") == self._candidates[number].content_hash.hex()
                if is_same and facts.get("luminances"):
                    self._lights[number] = np.frombuffer(bytes.fromhex(facts["luminances"]), _FINE)
        return self._lights
