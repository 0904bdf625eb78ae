"""EMBED: folders, pictures and bundles of them in, shards out. A library is filled from shards later (`load`).

A bundle is a tar, or a Parquet file with the bytes of pictures (`mmsearch.shards.bundles`). Pictures are read,
decoded and embedded by the worker pool of `index`, so vectors are those of `index --no-local`, bit for bit: where
pictures are decoded for local features too, large ones may differ a little. What finished shards hold is not
embedded again, so a run that was ended goes on where it stopped.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeGuard

from mmsearch.arguments import (
    FP32,
    USUAL,
    AskedViews,
    Device,
    Precision,
    Variant,
    as_count,
    as_flag,
    as_path,
    as_positive,
    as_text,
    one_of,
)
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.encoders.prepare import AUTO, prepare_encoder
from mmsearch.encoders.runtime import device_for
from mmsearch.errors import QueryError, ShardError
from mmsearch.images import (
    Found,
    FoundFile,
    PassedOver,
    Unreachable,
    find_files,
    is_named_like_a_bundle,
    passed_over_text,
)
from mmsearch.ingest.admission import Trial
from mmsearch.ingest.feed import Outcome, Passed, look_of, outcomes_of, stored_file
from mmsearch.ingest.plan import ScanOptions, absolute_roots, contents_of, require_pictures
from mmsearch.ingest.pool import Embedded, WorkerPool
from mmsearch.ingest.session_pool import pool_for
from mmsearch.records import MAX_MEGAPIXELS, BadPicture, FileLook, IngestDetails, IngestReport, PathLike
from mmsearch.shards.bundles import members_of
from mmsearch.shards.errors import read_errors, write_errors
from mmsearch.shards.folder import Held, ShardFolder
from mmsearch.shards.format import EncoderFacts, ShardFacts
from mmsearch.shards.members import NO_PICTURE, NO_PICTURES, REPEATED, Member
from mmsearch.shards.read import ERRORS, Shard, shard_paths
from mmsearch.store.base import Notify, OnProgress
from mmsearch.store.changes import UNSEEN, KnownBad, RejectedFile
from mmsearch.store.encoder import NONE, default_cache

_TRY_AGAIN = ScanOptions(is_limit_raised=True)  # what the limit was before is not known


@dataclass(frozen=True)
class EmbedOptions:
    """How pictures are embedded into shards.

    Parameters
    ----------
    model : str, path or None
        The encoder, as for `index`; None goes on with that of the shards that are there, else `auto`.
    follow_links : bool
        Go through symbolic links.
    max_megapixels : float
        Pictures that take more memory than so many pixels are refused.
    n_workers : int or None
        Processes; None is one for each core this process may use.
    ray : str or None
        Address of a Ray cluster whose machines embed the pictures, `local` for one that is started here; None is
        this process. Folders must lie at the same paths on all of them.
    image_column : str or None
        Of the pictures in Parquet files; None takes the first that is called as usual (`image`, `jpg`, ...).
    cache : path or None
        Where exported encoders are kept; default the user's cache folder.
    precision : str or None
        In what the image tower computes, as for `index`; None goes on with that of the shards that are there.
    device : str
        Where pictures are embedded, as for `index`; on a cluster always `cpu`.
    views : int or str or None
        How often a picture is looked at, as for `index`; None goes on with that of the shards that are there.

    Raises
    ------
    ArgumentError
        If a value is of another type.
    QueryError
        If a number is not above 0, or the model is `none`, which makes no vectors.
    """

    model: PathLike | None = None
    follow_links: bool = False
    max_megapixels: float = MAX_MEGAPIXELS
    n_workers: int | None = None
    ray: str | None = None
    image_column: str | None = None
    cache: PathLike | None = None
    precision: Precision | None = None
    device: Device = "auto"
    views: AskedViews | None = None

    def __post_init__(self) -> None:
        as_flag(self.follow_links, "follow_links")
        as_positive(self.max_megapixels, "max_megapixels")
        if self.n_workers is not None:
            as_count(self.n_workers, "n_workers")
        if self.precision is not None:
            one_of(self.precision, "precision", Precision)
        if self.views is not None:
            object.__setattr__(self, "views", one_of(self.views, "views", AskedViews))
        one_of(self.device, "device", Device)
        if self.ray is not None and self.device == "cuda":
            raise QueryError("--ray embeds on the CPUs of its machines; leave --device cuda out, or --ray")
        for name in ("ray", "image_column"):
            if getattr(self, name) is not None:
                as_text(getattr(self, name), name)
        if self.model is not None and os.fsdecode(as_path(self.model, "model")) == NONE:
            raise QueryError(
                "shards hold vectors, which --model none does not make; give it the name of an encoder"
            )

    def require_cluster(self) -> None:
        """Raise ClusterError if a cluster is asked for, and Ray is missing or nothing answers at its address."""
        if self.ray is not None:
            from mmsearch.ingest.cluster import require_cluster

            require_cluster(self.ray)

    @property
    def cache_folder(self) -> Path:
        """Where exported encoders are kept."""
        return default_cache() if self.cache is None else Path(os.fsdecode(as_path(self.cache, "cache"))).absolute()


def embed_pictures(
    paths: PathLike | Iterable[PathLike],
    out: PathLike,
    options: EmbedOptions = EmbedOptions(),
    *,
    on_progress: OnProgress = lambda stage, done, total: None,
    notify: Callable[[str], None] = lambda sentence: None,
) -> IngestReport:
    """Embed the pictures at or below some paths, and write them with their vectors as shards.

    Parameters
    ----------
    paths : path, or several
        Folders, searched through, pictures, and bundles of them, which are read in folders too.
    out : path
        The folder of shards. What finished shards there hold of a file that is as it was is not embedded again; a
        changed file comes into a later shard, which counts.
    options : EmbedOptions
        How that is done.
    on_progress : callable
        Given (stage, done, total) with stage `scan` or `shards`; what is done is on disk some minutes later.
    notify : callable
        Given sentences worth showing.

    Returns
    -------
    IngestReport
        With all pictures in `bad` that could not be used in this run; those of all runs are in `errors.parquet`.

    Raises
    ------
    LibraryNotFoundError
        If there is no picture.
    FingerprintError, ShardError
        If there are shards of another encoder in the folder, or other Parquet files.
    LibraryLockedError
        If another process writes there.
    EncoderError
        If the model cannot be used, or its precision agrees too little with fp32.
    ClusterError
        If the Ray cluster cannot be reached or used.
    StorageError
        If the disk refuses.
    """
    start = time.perf_counter()
    roots, folder = absolute_roots(paths), Path(os.fsdecode(as_path(out, "out"))).absolute()
    options.require_cluster()
    source = _Source(roots, folder, options)
    require_pictures(source.entries(), roots, so="so nothing was embedded")
    encoder_folder, facts, details = _encoder_for(source, folder, notify)
    with ShardFolder.writer(folder, facts, notify) as shards:
        run = _Run(shards, read_errors(folder, notify), on_progress)
        try:
            run.look(source)
            run.embed_by(options, encoder_folder)
        finally:
            run.write_errors()
    return replace(run.report(), details=details, seconds=time.perf_counter() - start)


def _facts_in(folder: Path) -> EncoderFacts | None:
    """Return what made the shards in a folder; None if there are none."""
    for path in shard_paths(folder) if folder.is_dir() else ():
        try:
            return Shard.open(path).facts
        except ShardError:
            continue  # it is named when they are all looked at
    return None


def _encoder_for(source: _Source, folder: Path, notify: Notify) -> tuple[Path, ShardFacts, IngestDetails]:
    """Return the encoder that is asked for, and how a precision that is new in the folder agrees with fp32.

    What is not said is as in the shards that are there. Raises as `prepare_encoder` and `Trial.agreement`.
    """
    options, held = source.options, _facts_in(folder)
    model = (AUTO if held is None else held.model) if options.model is None else os.fsdecode(options.model)
    known = USUAL if held is None else held.variant
    precision = options.precision or known.precision or FP32
    device_for(options.device, precision)  # said before a folder is made
    details: IngestDetails = {}
    if precision != FP32 and held is None:  # shards of another encoder are refused when the folder is opened
        trial = Trial(options.cache_folder, options.image_column, options.max_megapixels)
        details = {"agreement": trial.agreement(model, precision, source.entries(), notify)}
    variant = Variant(precision, options.views or known.views)
    encoder = prepare_encoder(model, cache=options.cache_folder, notify=notify, variant=variant)
    return encoder, ShardFacts.of(OnnxEncoder.open(encoder)), details


class _Source:
    """What is given to a run: folders, searched through, and bundles in them, looked into."""

    def __init__(self, roots: Sequence[bytes], out: Path, options: EmbedOptions) -> None:
        self.roots, self.out, self.options = roots, os.fsencode(out), options

    def entries(self) -> Iterator[Found]:
        for entry in find_files(self.roots, follow_links=self.options.follow_links, with_bundles=True):
            if not isinstance(entry, FoundFile) or not is_named_like_a_bundle(entry.path):
                yield entry
            elif os.path.dirname(entry.path) != self.out:  # shards hold no pictures
                yield from members_of(entry, self.options.image_column, is_named=entry.path in self.roots)


class _Run:
    """One run: which files are embedded, and what became of them."""

    def __init__(self, shards: ShardFolder, rejected: dict[bytes, RejectedFile], on_progress: OnProgress) -> None:
        self.shards, self.on_progress = shards, on_progress
        self.rejected_before, self.rejected = rejected, dict(rejected)
        self.to_embed: dict[bytes, FoundFile] = {}
        self.bad: list[BadPicture] = []
        self.passed_over: Counter[str] = Counter()
        self.n_new = self.n_changed = self.n_unchanged = self.n_known_bad = self.n_done = 0

    def look(self, source: _Source) -> None:
        """Find the pictures that are to be embedded."""
        n_seen = 0
        for entry in source.entries():
            if isinstance(entry, PassedOver):
                self.passed_over[entry.kind] += 1
            elif isinstance(entry, Unreachable):
                self._reject(RejectedFile(entry.path, UNSEEN, entry.code, entry.message))
            else:
                n_seen += 1
                self._place(entry)
                if n_seen % 1000 == 0:
                    self.on_progress("scan", n_seen, 0)
        self.on_progress("scan", n_seen, n_seen)

    def _place(self, file: FoundFile) -> None:
        """Decide whether a file is embedded."""
        held, bad = self.shards.held.get(file.path), self.rejected.get(file.path)
        if held is not None and _is_as(file, held):
            self.n_unchanged += 1
            self.rejected.pop(file.path, None)  # it could not be looked at for a while
        elif bad is not None and _looks_as(file, bad.look) and not _TRY_AGAIN.tries_again(KnownBad(
            bad.path, bad.look, bad.code, bad.n_tries
        )):  # fmt: skip
            self.n_known_bad += 1
        else:
            self.to_embed[file.path] = file

    @property
    def known(self) -> dict[bytes, bytes]:
        """Content hashes that shards have of what is to be embedded."""
        return {path: self.shards.held[path].content_hash for path in self.to_embed if path in self.shards.held}

    def embed_by(self, options: EmbedOptions, encoder: Path) -> None:
        """Embed what is to be embedded, here or on a cluster."""
        out, max_megapixels, n_workers = self.shards.folder, options.max_megapixels, options.n_workers
        if options.ray is None:
            pool = pool_for(
                encoder, device=options.device, cwd=out, max_megapixels=max_megapixels, n_workers=n_workers
            )
            self._embed_here(pool, options.image_column)
            return
        from mmsearch.ingest.cluster import Setting, embed_on_cluster

        setting = Setting.of(encoder, out, options.image_column, max_megapixels)
        files = list(self.to_embed.values())
        results = embed_on_cluster(files, self.known, setting, address=options.ray, n_workers=n_workers)
        for part, outcomes in results:
            if part is not None:
                self.shards.adopt(part)
            for outcome in outcomes:
                self._is_embedded(outcome)
            self._has_done(len(outcomes))

    def _embed_here(self, pool: WorkerPool, column: str | None) -> None:
        with pool as workers:
            for outcomes in outcomes_of(list(self.to_embed.values()), self.known, column, workers):
                for outcome in outcomes:
                    if self._is_embedded(outcome):
                        self.shards.add([stored_file(self.to_embed[outcome.path], outcome)])
                self._has_done(len(outcomes))

    def _has_done(self, n: int) -> None:
        self.n_done += n
        self.on_progress("shards", self.n_done, len(self.to_embed))

    def _is_embedded(self, outcome: Outcome) -> TypeGuard[Embedded]:
        """Take note of what became of a picture, and return whether it has a vector now."""
        file = self.to_embed[outcome.path]
        if isinstance(outcome, Embedded) and "code" in outcome.facts:
            self._reject(self._rejected(file, outcome))
            return False
        self.rejected.pop(file.path, None)
        if isinstance(outcome, Passed):
            self.n_unchanged += outcome.is_held
            self.passed_over[NO_PICTURE] += not outcome.is_held
            return False
        self.n_changed += file.path in self.shards.held
        self.n_new += file.path not in self.shards.held
        return True

    def _rejected(self, file: FoundFile, outcome: Embedded) -> RejectedFile:
        """Return a picture that could not be used, with how often it was tried as it is."""
        look, before, code = look_of(file, outcome), self.rejected_before.get(file.path), outcome.facts["code"]
        n_tries = 1 + (before.n_tries if before is not None and look.is_as(before.look) else 0)
        seen = UNSEEN if code in ("changed", "vanished") else look
        return RejectedFile(file.path, seen, code, outcome.facts["message"], n_tries)

    def _reject(self, file: RejectedFile) -> None:
        self.rejected[file.path] = file
        self.bad.append(BadPicture(os.fsdecode(file.path), file.code, file.message))

    def write_errors(self) -> None:
        """Write the pictures that could not be used, unless they are those of before."""
        if self.rejected != self.rejected_before:
            write_errors(self.shards.folder, self.rejected.values())

    def report(self) -> IngestReport:
        notices = [text for text in (passed_over_text(self.passed_over), *_bundles_text(self.passed_over)) if text]
        if self.rejected:
            notices.append(
                f"{len(self.rejected)} pictures that could not be used are in {self.shards.folder / ERRORS}"
            )
        return IngestReport(
            new=self.n_new, changed=self.n_changed, unchanged=self.n_unchanged, bad=tuple(self.bad),
            known_bad=self.n_known_bad, notices=tuple(notices),
        )  # fmt: skip


def _is_as(file: FoundFile, held: Held) -> bool:
    """Return whether shards hold a file as it is now; its contents tell where its look does not."""
    if _looks_as(file, held.look):
        return True
    is_alone = not isinstance(file, Member)  # the bytes of others are compared when it is their turn
    return is_alone and file.look.size == held.look.size and contents_of(file.path) == held.content_hash


def _looks_as(file: FoundFile, noted: FileLook) -> bool:
    """Return whether a file, or a bundle and the picture in it, looks as noted."""
    look = file.look if file.look.size >= 0 else file.look._replace(size=noted.size)
    return look.is_as(noted)


def _bundles_text(counts: Counter[str]) -> Iterator[str]:
    """Yield sentences on what was passed over in bundles."""
    for kind, what, rest in (
        (NO_PICTURES, "tar or Parquet file", "without pictures"),
        (NO_PICTURE, "row", "of Parquet files without a picture"),
        (REPEATED, "member", "of tars with the name of another before, which counts"),
    ):
        if n := counts[kind]:
            yield f"passed over: {n} {what}{'s' * (n > 1)} {rest}"
