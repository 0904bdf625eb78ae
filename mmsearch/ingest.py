"""WRITE PATH: folders in, committed vectors out. Scan, compare with the catalog, embed what is new, commit.

A run is a plan (what is new, changed, moved, gone) and its execution in small transactions; a kill at any
instruction loses at most the pictures that were not committed yet, and the next run plans anew.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from mmsearch.errors import PictureError, QueryError
from mmsearch.gather import WordsIntake
from mmsearch.images import FoundFile, Unreachable, find_files, read_file
from mmsearch.records import BadPicture, ImageRecord, IngestReport
from mmsearch.store.folder import Changes, RejectedFile, Store, StoredFile
from mmsearch.worker import Job
from mmsearch.workers import Embedded, WorkerPool

COMMIT_PICTURES = 256
COMMIT_SECONDS = 1.0
_COMPACT_SHARE = 0.2  # dead rows tolerated before the vectors are rewritten

OnProgress = Callable[[str, int, int], None]


@dataclass
class Plan:
    """What a run will do, found by comparing the folders with the catalog."""

    to_embed: list[FoundFile] = field(default_factory=list)
    changed: set[bytes] = field(default_factory=set)  # those of to_embed that are known with other contents
    copies: list[StoredFile] = field(default_factory=list)  # contents known, another path
    moved: list[tuple[int, bytes, int]] = field(default_factory=list)
    touched: list[tuple[int, int]] = field(default_factory=list)
    gone: list[int] = field(default_factory=list)
    forgotten: list[bytes] = field(default_factory=list)
    rejected: list[RejectedFile] = field(default_factory=list)
    n_unchanged: int = 0
    n_known_bad: int = 0
    roots: Sequence[bytes] = ()


class _Known:
    """What the catalog knows of the roots; an empty one for a library that does not exist yet."""

    def __init__(self, store: Store | None, roots: Sequence[bytes]) -> None:
        self.store = store
        self.files: dict[bytes, tuple[int, int, int, bytes]] = {}
        self.bad: dict[bytes, tuple[int, int]] = {}
        for root in roots if store else ():
            assert store is not None
            for path, size, mtime_ns, image_id, content_hash in store.catalog.known_files(root):
                self.files[path] = (size, mtime_ns, image_id, content_hash)
            for path, size, mtime_ns in store.catalog.bad_files(root):
                self.bad[path] = (size, mtime_ns)
        self.sizes = {size for size, *_ in self.files.values()}

    def with_hash(self, content_hash: bytes) -> ImageRecord | None:
        return self.store.catalog.image_with_hash(content_hash) if self.store else None


def absolute_roots(paths: Sequence[str | bytes | os.PathLike[str] | os.PathLike[bytes]]) -> list[bytes]:
    """Return absolute paths as bytes; links stay as they are."""
    if not paths:
        raise QueryError("no folder was given; name at least one folder or picture to index")
    return [os.path.abspath(os.fsencode(path)) for path in paths]


def refuse_mixing(library: Path, roots: Sequence[bytes]) -> None:
    """Raise QueryError if the library would lie among the pictures, or the pictures in the library."""
    own = os.fsencode(library)
    for root in roots:
        below = own[len(root.rstrip(b"/")) :] if (own + b"/").startswith(root.rstrip(b"/") + b"/") else None
        # A hidden folder is never scanned, so the default library may lie below a home folder.
        is_scanned = below is not None and b"/." not in below
        if is_scanned or (root + b"/").startswith(own + b"/"):
            raise QueryError(
                f"the library {library} and the pictures {os.fsdecode(root)} lie in one another; "
                "choose a library outside the picture folders with --library"
            )


def make_plan(
    store: Store | None,
    roots: Sequence[bytes],
    *,
    follow_links: bool = False,
    on_progress: OnProgress = lambda stage, done, total: None,
) -> Plan:
    """Compare what is on disk below the roots with the catalog; reads files only where sizes coincide.

    Parameters
    ----------
    store : Store or None
        The library, or None if it does not exist yet.
    roots : sequence of bytes
        Absolute paths of folders and files.
    follow_links : bool
        Go through symbolic links.
    on_progress : callable
        Given (`scan`, files seen, 0).
    """
    known, plan = _Known(store, roots), Plan(roots=roots)
    seen: set[bytes] = set()
    protected: list[bytes] = []  # what could not be looked at is not gone
    candidates: list[FoundFile] = []
    for found in find_files(roots, follow_links=follow_links):
        if isinstance(found, Unreachable):
            protected.append(found.path)
            plan.rejected.append(RejectedFile(found.path, -1, -1, found.code, found.message))
            continue
        seen.add(found.path)
        if len(seen) % 1000 == 0:
            on_progress("scan", len(seen), 0)
        known_file = known.files.get(found.path)
        if known_file is not None and known_file[:2] == (found.size, found.mtime_ns):
            plan.n_unchanged += 1
            if found.path in known.bad:  # it could not be looked at for a while
                plan.forgotten.append(found.path)
        elif known.bad.get(found.path) == (found.size, found.mtime_ns):
            plan.n_known_bad += 1
        else:
            candidates.append(found)
    on_progress("scan", len(seen), len(seen))
    gone = {path for path in known.files if path not in seen and not _is_below(path, protected)}
    plan.forgotten += [path for path in known.bad if path not in seen and not _is_below(path, protected)]
    for found in candidates:
        _place(found, known, plan, gone)
    plan.gone = [known.files[path][2] for path in sorted(gone)]
    return plan


def _place(found: FoundFile, known: _Known, plan: Plan, gone: set[bytes]) -> None:
    """Decide what one new or altered file is: the same, moved, a copy, changed or new."""
    content_hash = _hash(found.path) if found.size in known.sizes else None
    known_file = known.files.get(found.path)
    if known_file is not None and content_hash == known_file[3]:
        plan.touched.append((known_file[2], found.mtime_ns))
        plan.n_unchanged += 1
        return
    twin = known.with_hash(content_hash) if content_hash is not None else None
    twin_path = os.fsencode(twin.path) if twin else b""
    if twin is not None and known_file is None and twin_path in gone:
        gone.discard(twin_path)
        plan.moved.append((twin.image_id, found.path, found.mtime_ns))
    elif twin is not None and content_hash is not None:
        plan.copies.append(
            StoredFile(
                found.path, found.size, found.mtime_ns, content_hash,
                twin.width, twin.height, twin.format, twin.taken_at, row=twin.row,
            )
        )  # fmt: skip
        if known_file is not None:
            plan.changed.add(found.path)
    else:
        plan.to_embed.append(found)
        if known_file is not None:
            plan.changed.add(found.path)


def _hash(path: bytes) -> bytes | None:
    try:
        return sha256(read_file(path)[0]).digest()
    except PictureError:
        return None  # the worker will say why


def _is_below(path: bytes, folders: Iterable[bytes]) -> bool:
    return any(path == folder or path.startswith(folder.rstrip(b"/") + b"/") for folder in folders)


class _Run:
    """The execution of a plan: gathers outcomes and commits them in time."""

    def __init__(self, store: Store, plan: Plan, words: WordsIntake | None, on_progress: OnProgress) -> None:
        self.store, self.plan, self.words, self.on_progress = store, plan, words, on_progress
        self.pending = Changes()
        self.described: list[Embedded] = []  # of pending, whose ids are not known yet
        self.found = {file.path: file for file in plan.to_embed}
        self.n_new = sum(file.path not in plan.changed for file in plan.copies)
        self.n_changed = len(plan.copies) - self.n_new
        self.bad: list[BadPicture] = []
        self.n_done = 0
        self.committed = time.monotonic()

    def start(self) -> None:
        """Commit all that needs no embedding."""
        plan = self.plan
        self.store.commit(
            Changes(
                stored=plan.copies,
                moved=plan.moved,
                touched=plan.touched,
                gone=plan.gone,
                forgotten=plan.forgotten,
                rejected=plan.rejected,
            )
        )
        self.bad += [BadPicture(os.fsdecode(bad.path), bad.code, bad.message) for bad in plan.rejected]

    def job(self) -> Job:
        """Return what workers are to do with new pictures now."""
        return Job() if self.words is None else self.words.job(embeds=self.store.has_vectors)

    def add(self, outcomes: Sequence[Embedded]) -> None:
        for outcome in outcomes:
            self._add_one(outcome)
        self.n_done += len(outcomes)
        n_pending = len(self.pending)
        if n_pending >= COMMIT_PICTURES or time.monotonic() - self.committed >= COMMIT_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Commit what is pending, and hand on its local features."""
        self.commit()
        described, self.described = self.described, []
        for outcome in described:
            image = self.store.catalog.image_at(outcome.path)
            if image is not None and self.words is not None:
                self.words.take(image.image_id, outcome)
        self.committed = time.monotonic()  # learning a vocabulary takes longer than COMMIT_SECONDS

    def commit(self) -> None:
        """Commit what is pending and say so."""
        self.store.commit(self.pending)
        self.pending = Changes()
        self.on_progress("embed", self.n_done, len(self.found))

    def describe_known(self, pool: WorkerPool, words: WordsIntake) -> None:
        """Describe the unchanged pictures below the roots that have no words: lost, or never made."""
        known = {image_id: (path, content_hash) for root in self.plan.roots
                 for path, _, _, image_id, content_hash in self.store.catalog.known_files(root)}  # fmt: skip
        missing = words.missing(iter(known))
        ids = {known[image_id][0]: image_id for image_id in missing}
        n_done = 0
        for outcomes in pool.run(list(ids), job=lambda: words.job(embeds=False)):
            for outcome in outcomes:
                image_id = ids[outcome.path]
                is_same = outcome.facts.get("hash") == known[image_id][1].hex()
                if is_same or outcome.facts.get("code") == "quarantined":
                    words.take(image_id, outcome)
            n_done += len(outcomes)
            self.on_progress("words", n_done, len(ids))

    def _add_one(self, outcome: Embedded) -> None:
        file, facts = self.found[outcome.path], outcome.facts
        size, mtime_ns = facts.get("size", file.size), facts.get("mtime_ns", file.mtime_ns)
        if "code" in facts:
            code, message = facts["code"], facts["message"]
            if code in ("changed", "vanished"):
                size, mtime_ns = -1, -1  # to be tried at the next run, whatever it looks like then
            self.pending.rejected.append(RejectedFile(outcome.path, size, mtime_ns, code, message))
            self.bad.append(BadPicture(os.fsdecode(outcome.path), code, message))
            return
        if self.words is not None:
            self.described.append(outcome)
        self.pending.stored.append(
            StoredFile(
                outcome.path, size, mtime_ns, bytes.fromhex(facts["hash"]), facts["width"], facts["height"],
                facts["format"], facts["taken_at"], vector=outcome.vector,
            )
        )  # fmt: skip
        if outcome.path in self.plan.changed:
            self.n_changed += 1
        else:
            self.n_new += 1


def execute(
    store: Store,
    plan: Plan,
    encoder_folder: Path | None,
    *,
    max_megapixels: float = 64.0,
    on_progress: OnProgress = lambda stage, done, total: None,
    pool: WorkerPool | None = None,
    words: WordsIntake | None = None,
) -> IngestReport:
    """Carry out a plan; every picture reported by `on_progress` is on disk.

    Parameters
    ----------
    store : Store
        Opened as the writer.
    plan : Plan
        Made with the same store.
    encoder_folder : Path or None
        The exported encoder whose fingerprint the library has; None if it has none, and local features alone.
    max_megapixels : float
        Larger pictures are rejected.
    on_progress : callable
        Given (`embed`, pictures committed, pictures to embed), and `words` where pictures are described only.
    pool : WorkerPool or None
        Default: one worker a core.
    words : WordsIntake or None
        Takes local features; None leaves them alone.
    """
    run = _Run(store, plan, words, on_progress)
    run.start()
    pool = pool or WorkerPool.for_encoder(encoder_folder, cwd=store.folder, max_megapixels=max_megapixels)
    with pool as workers:
        try:
            _embed(run, workers)
            if words is not None:
                run.describe_known(workers, words)
                words.finish()
        finally:
            if words is not None:
                words.close()
    n_rows, n_dead = store.n_rows, store.catalog.count("dead")
    if n_dead > _COMPACT_SHARE * n_rows:
        store.compact()
    return IngestReport(
        new=run.n_new,
        changed=run.n_changed,
        moved=len(plan.moved),
        gone=len(plan.gone),
        unchanged=plan.n_unchanged,
        bad=tuple(run.bad),
        known_bad=plan.n_known_bad,
        details={"words": words.report.to_json()} if words is not None else {},
    )


def _embed(run: _Run, workers: WorkerPool) -> None:
    """Embed and commit what the plan says."""
    if not run.plan.to_embed:
        return
    try:
        for outcomes in workers.run((file.path for file in run.plan.to_embed), job=run.job):
            run.add(outcomes)
    finally:
        run.commit()  # Ctrl-C keeps what is embedded
    run.flush()


def dry_run(plan: Plan) -> IngestReport:
    """Return what `execute` would do as far as it is known without decoding."""
    candidates = [file.path for file in plan.to_embed] + [file.path for file in plan.copies]
    n_changed = sum(path in plan.changed for path in candidates)
    return IngestReport(
        new=len(candidates) - n_changed,
        changed=n_changed,
        moved=len(plan.moved),
        gone=len(plan.gone),
        unchanged=plan.n_unchanged,
        bad=tuple(BadPicture(os.fsdecode(bad.path), bad.code, bad.message) for bad in plan.rejected),
        known_bad=plan.n_known_bad,
        dry_run=True,
    )
