"""WRITE PATH: a plan in, committed vectors out. Embed what is new, commit it in small transactions.

A kill at any instruction loses at most the pictures that were not committed yet, and the next run plans anew.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from mmsearch.annotations.base import Annotations
from mmsearch.arguments import Device
from mmsearch.errors import LibraryError
from mmsearch.frames import file_of
from mmsearch.ingest.annotate import annotate
from mmsearch.ingest.faces import faces_in
from mmsearch.ingest.parts import parts_in
from mmsearch.ingest.plan import Plan
from mmsearch.ingest.pool import Embedded, WorkerPool
from mmsearch.ingest.session_pool import pool_for
from mmsearch.ingest.sign import sign, signature_in
from mmsearch.ingest.words import WordsIntake
from mmsearch.ingest.worker import Job
from mmsearch.records import (
    READING,
    SIGNATURE_SIDE,
    BadPicture,
    FileLook,
    FilmsReport,
    IngestDetails,
    IngestReport,
)
from mmsearch.store.base import LibraryWriter, OnProgress
from mmsearch.store.changes import ENDED_WORKER, UNSEEN, Changes, FilmProgress, RejectedFile, StoredFile, then_what

COMMIT_PICTURES = 256
COMMIT_SECONDS = 1.0
_NOTHING_INSIDE = Annotations()


class Run:
    """The execution of a plan: gathers outcomes and commits them in time."""

    def __init__(
        self, store: LibraryWriter, plan: Plan, words: WordsIntake | None, on_progress: OnProgress
    ) -> None:
        self.store, self.plan, self.words, self.on_progress = store, plan, words, on_progress
        self.pending = Changes()
        self.described: list[Embedded] = []  # of pending, whose ids are not known yet
        self.to_embed = {file.path: file for file in plan.to_embed}
        self.n_new = sum(file.path not in plan.changed for file in plan.copies)
        self.n_changed = len(plan.copies) - self.n_new
        self.bad: list[BadPicture] = []
        self.n_done = 0
        self.committed = time.monotonic()

    def start(self) -> None:
        """Commit all that needs no embedding."""
        plan, known_roots = self.plan, self.store.roots()
        self.store.commit(
            Changes(
                stored=plan.copies,
                touched=[*plan.moved, *plan.touched],
                gone=plan.gone,
                forgotten=plan.forgotten,
                rejected=[bad for bad in plan.rejected if bad.code != "vanished"],  # there is nothing to keep
                roots=[root for root in plan.roots if os.path.isdir(root) and root not in known_roots],
            )
        )
        self.bad += [BadPicture(os.fsdecode(bad.path), bad.code, bad.message) for bad in plan.rejected]

    def job(self) -> Job:
        """Return what workers are to do with new pictures now."""
        job = Job() if self.words is None else self.words.job(embeds=self.store.has_vectors)
        job = replace(job, annotates=self.plan.beside is not None)
        folder = self.store.as_folder
        if folder is None:
            return job
        return replace(job, luminance_side=SIGNATURE_SIDE, parts=folder.parts.most, faces=folder.faces.are_wanted)

    def add(self, outcomes: Sequence[Embedded]) -> None:
        """Take what workers say of pictures, and commit when it is time to."""
        for outcome in outcomes:
            self._add_one(outcome)
        self.n_done += len(outcomes)
        if self.is_time_to_commit:
            self.flush()

    @property
    def is_time_to_commit(self) -> bool:
        """Whether much is pending, or for long."""
        return len(self.pending) >= COMMIT_PICTURES or time.monotonic() - self.committed >= COMMIT_SECONDS

    def flush(self, films: Iterable[FilmProgress] = ()) -> None:
        """Commit what is pending, and hand on its local features."""
        self.commit(films)
        described, self.described = self.described, []
        for outcome in described:
            image = self.store.image_at(outcome.path)
            if image is not None and self.words is not None:
                self.words.take(image.image_id, outcome)
        self.committed = time.monotonic()  # learning a vocabulary takes longer than COMMIT_SECONDS

    def commit(self, films: Iterable[FilmProgress] = ()) -> None:
        """Commit what is pending, with how far films are read, and say so."""
        self.pending.films = list(films)
        try:
            self.store.commit(self.pending)
        except LibraryError:
            self.pending = Changes()  # what is refused is not tried again at the end
            raise
        self.pending = Changes()
        if self.to_embed:
            self.on_progress("embed", self.n_done, len(self.to_embed))

    def describe_known(self, pool: WorkerPool, words: WordsIntake) -> None:
        """Describe the unchanged pictures below the roots that have no words: lost, or never made."""
        known = {
            file.image_id: (file.path, file.content_hash)
            for root in self.plan.roots
            for file in self.store.known_files(root)
        }
        missing = words.missing(iter(known))
        ids = {known[image_id][0]: image_id for image_id in missing}
        n_done = 0
        for outcomes in self.outcomes_of(pool, list(ids), lambda: words.job(embeds=False)):
            for outcome in outcomes:
                image_id = ids[outcome.path]
                is_same = outcome.facts.get("hash") == known[image_id][1].hex()
                if is_same or outcome.facts.get("code") in ENDED_WORKER:
                    words.take(image_id, outcome)
            n_done += len(outcomes)
            self.on_progress("words", n_done, len(ids))

    def outcomes_of(
        self, pool: WorkerPool, paths: Iterable[bytes], job: Callable[[], Job]
    ) -> Iterator[list[Embedded]]:
        """Yield what becomes of pictures, some at a time; frames of films may be among them where there are any."""
        folder = self.store.as_folder
        films = self.plan.films_of or (None if folder is None else folder.films)
        if films is None or not films.are_any:
            return pool.run(paths, job=job)
        from mmsearch.ingest.frames import outcomes_of

        return outcomes_of(paths, films, pool, job=job)

    def report(self) -> IngestReport:
        """Return what became of the pictures."""
        plan = self.plan
        return IngestReport(
            new=self.n_new, changed=self.n_changed, moved=len(plan.moved), gone=len(plan.gone),
            unchanged=plan.n_unchanged, bad=tuple(self.bad), known_bad=plan.n_known_bad, notices=plan.all_notices(),
        )  # fmt: skip

    def _add_one(self, outcome: Embedded) -> None:
        file, facts = self.to_embed[outcome.path], outcome.facts
        look = FileLook(*facts["look"]) if "look" in facts else file.look
        if "code" in facts:
            code, message = facts["code"], facts["message"]
            seen = UNSEEN if code in ("changed", "vanished") else look
            n_tries = 1 + self.plan.tries.get(outcome.path, 0)
            then = then_what(code, n_tries)
            message = f"{message}; {then}" if then else message
            self.pending.rejected.append(RejectedFile(outcome.path, seen, code, message, n_tries))
            self.bad.append(BadPicture(os.fsdecode(file_of(outcome.path)), code, message))
            return
        stored = self.stored(outcome, look)
        if self.plan.beside is not None:
            stored = self.annotated(stored, outcome.path, Annotations.of_json(facts["annotations"]))
        self.take(stored, outcome)
        if outcome.path in self.plan.changed:
            self.n_changed += 1
        else:
            self.n_new += 1

    def stored(self, outcome: Embedded, look: FileLook) -> StoredFile:
        """Return a picture that was read as it is stored, without what is written about it."""
        facts = outcome.facts
        return StoredFile(
            outcome.path, look, bytes.fromhex(facts["hash"]), facts["width"], facts["height"], facts["format"],
            facts["taken_at"], READING, vector=outcome.vector, signature=signature_in(facts),
            parts=parts_in(facts), faces=faces_in(facts),
        )  # fmt: skip

    def annotated(self, stored: StoredFile, path: bytes, inside: Annotations = _NOTHING_INSIDE) -> StoredFile:
        """Return a picture with what is written about its file, for a library that keeps that."""
        beside = self.plan.beside
        if beside is None:
            return stored
        return replace(stored, annotations=beside.annotations(path, inside), beside=beside.look(path))

    def take(self, stored: StoredFile, outcome: Embedded) -> None:
        """Let a picture be committed, and its local features be handed on then."""
        self.pending.stored.append(stored)
        if self.words is not None:
            self.described.append(outcome)


def execute(
    store: LibraryWriter,
    plan: Plan,
    encoder_folder: Path | None,
    *,
    on_progress: OnProgress = lambda stage, done, total: None,
    pool: WorkerPool | None = None,
    device: Device = "auto",
    words: WordsIntake | None = None,
) -> IngestReport:
    """Carry out a plan; every picture reported by `on_progress` is on disk.

    Parameters
    ----------
    store : LibraryWriter
        Opened as the writer.
    plan : Plan
        Made with the same store.
    encoder_folder : Path or None
        The exported encoder whose fingerprint the library has; None if it has none, and local features alone.
    on_progress : callable
        Given (`embed`, pictures committed, pictures to embed), and `words` where pictures are described only.
    pool : WorkerPool or None
        Default: one worker a core.
    device : str
        Where the default pool embeds, as for `pool_for`.
    words : WordsIntake or None
        Takes local features; None leaves them alone.
    """
    run = Run(store, plan, words, on_progress)
    run.start()
    pool = pool or pool_for(
        encoder_folder, device=device, cwd=store.working_folder, max_megapixels=store.max_megapixels
    )
    with pool as workers:
        try:
            _embed(run, workers)
            films = _read_films(run, workers)
            if words is not None:
                run.describe_known(workers, words)
                words.finish()
        finally:
            if words is not None:
                words.close()
    details: IngestDetails = {"words": words.report.to_json()} if words is not None else {}
    if plan.beside is not None and plan.to_annotate:
        details["annotated"] = annotate(store, plan.to_annotate, plan.beside, on_progress=on_progress)
    if store.as_folder is not None and plan.roots:
        n_signed = sign(store.as_folder, plan.roots, on_progress=on_progress)
        details |= {"signed": n_signed} if n_signed else {}
    return replace(run.report(), details=details, films=films)


def _embed(run: Run, workers: WorkerPool) -> None:
    """Embed and commit what the plan says."""
    if not run.plan.to_embed:
        return
    try:
        for outcomes in run.outcomes_of(workers, (file.path for file in run.plan.to_embed), run.job):
            run.add(outcomes)
    finally:
        run.commit()  # Ctrl-C keeps what is embedded
    run.flush()


def _read_films(run: Run, workers: WorkerPool) -> FilmsReport | None:
    """Read and commit what the plan says of films; None where there are none."""
    store, plan = run.store.as_folder, run.plan.films
    if store is None or plan.is_empty:
        return None
    from mmsearch.ingest.films import FilmIntake

    intake = FilmIntake(run, store, plan, run.on_progress)
    intake.settle()
    intake.read(workers)
    run.bad += intake.bad
    return intake.report
