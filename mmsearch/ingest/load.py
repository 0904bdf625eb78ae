"""LOAD: shards in, a library that holds their pictures out; vectors go the way that those of `index` go.

What the library has already is left as it is, so that a load that was ended is run again, and one that was not
changes nothing. Where several rows are of one path, the last counts.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from mmsearch.errors import EncoderError, FingerprintError, ShardError
from mmsearch.records import BadPicture, IngestReport
from mmsearch.shards.clip_retrieval import Embeddings, is_clip_retrieval, parts_in
from mmsearch.shards.folder import require_encoder
from mmsearch.shards.format import EncoderFacts
from mmsearch.shards.read import BadRow, PictureRows, Row, Shard, shard_paths
from mmsearch.store.base import LibraryEncoder, LibraryStore, LibraryWriter, Notify, OnProgress, Place
from mmsearch.store.changes import Changes, KnownFile, StoredFile
from mmsearch.store.indexes import GraphSettings

Whole = tuple[PictureRows, list[bytes | None]]
"""A shard, and the paths of its rows."""


def load_shards(
    place: Place,
    installed: LibraryEncoder,
    shards: Path,
    *,
    model: str | None,
    images: Path | None,
    on_progress: OnProgress,
    notify: Notify,
) -> IngestReport:
    """Bring the pictures of shards into a library; see `Library.load`.

    Parameters
    ----------
    place : Place
        Of the library, which need not exist yet.
    installed : LibraryEncoder
        Its encoder.
    shards, model, images, on_progress, notify
        As for `Library.load`.
    """
    start = time.perf_counter()
    bad: list[BadPicture] = []
    whole, create = list(_whole(_opened_in(shards, installed, model, images, notify), bad)), None
    if not whole:
        _refuse_all(shards, bad)
    if not place.holds_pictures():
        create = _settings_for(whole[0][0].facts, installed, model, notify)
    with place.writer(create=create) as store, store.shown_progress(on_progress) as on_progress:
        given_up = store.give_up_lost(notify)
        usable = list(_of_encoder(whole, store, bad))
        encoder = installed.for_writing(store, model, notify)
        load = Load(store, usable, bad, on_progress)
        load.run()
        store.settle(None if encoder is None else encoder.text_probes(), on_progress=on_progress)
    seconds = time.perf_counter() - start
    return replace(load.report(), given_up=given_up, seconds=seconds)


def _opened_in(
    shards: Path, installed: LibraryEncoder, model: str | None, images: Path | None, notify: Notify
) -> tuple[Sequence[Path], Callable[[Path], PictureRows]]:
    """Return the files in a folder that may be shards, or what clip-retrieval wrote, and how one is opened.

    Raises
    ------
    ShardError
        If the folder cannot be looked at, or nobody says which model made the vectors.
    """
    if not is_clip_retrieval(shards):
        return shard_paths(shards), Shard.open
    if model is None:
        raise ShardError(
            "unsupported",
            f"{shards} holds vectors that clip-retrieval wrote, which do not say what made them; name the model "
            "with --model, such as ViT-B-32/openai",
        )
    settings = installed.settings_for(model, notify)
    facts = EncoderFacts(str(settings["fingerprint"]), str(settings["model"]), int(settings["dim"]))
    return parts_in(shards), lambda path: Embeddings.open(path, facts, images or shards)


def _whole(opened: tuple[Sequence[Path], Callable[[Path], PictureRows]], bad: list[BadPicture]) -> Iterator[Whole]:
    """Yield the files that are shards, each read once before anything is taken of it, and name the others."""
    paths, open_one = opened
    for path in paths:
        try:
            shard = open_one(path)
            yield shard, shard.paths()
        except ShardError as error:
            bad.append(_bad_shard(path, error))


def _bad_shard(path: Path, error: ShardError) -> BadPicture:
    return BadPicture(str(path), error.code, str(error))


def _refuse_all(shards: Path, bad: Sequence[BadPicture]) -> None:
    """Raise, as nothing in a folder can be used."""
    if bad:
        more = f", and so with {len(bad) - 1} more" if len(bad) > 1 else ""
        raise ShardError(bad[0].code, f"{bad[0].message}{more}; nothing was loaded")
    raise ShardError(
        "not_a_file",
        f"{shards} holds no shards; expected files such as shard-00000.parquet, which `mmsearch export` and "
        "`mmsearch embed` write",
    )


def _settings_for(
    facts: EncoderFacts, installed: LibraryEncoder, model: str | None, notify: Notify
) -> dict[str, object]:
    """Return what a library of the encoder of shards is created with; the encoder is in the cache then.

    Raises
    ------
    EncoderError
        If it cannot be had on this machine.
    FingerprintError
        If the model of that name is another one here.
    """
    name = model or facts.model
    try:
        settings = installed.settings_for(name, notify, facts.variant)
    except EncoderError as error:
        hint = "" if model else "; if it has another name on this machine, give that with --model"
        raise type(error)(f"the shards hold vectors of {facts.model}: {error}{hint}") from error
    if settings["fingerprint"] != facts.fingerprint:
        raise FingerprintError(
            f"{name} gives an encoder with fingerprint {settings['fingerprint'][:12]} on this machine, the shards "
            f"hold vectors of {facts.model} with fingerprint {facts.fingerprint[:12]}; name the model that made "
            "them with --model"
        )
    return {**settings, "graph": vars(GraphSettings())}


def _of_encoder(whole: Sequence[Whole], store: LibraryStore, bad: list[BadPicture]) -> Iterator[Whole]:
    """Yield the shards whose vectors the library can take, and name the others.

    Raises
    ------
    FingerprintError
        If there is none.
    """
    refused: FingerprintError | None = None
    n_usable = 0
    for shard, paths in whole:
        try:
            require_encoder(shard, store.fingerprint(), store.dim, store.address)
        except FingerprintError as error:
            refused = refused or error
            bad.append(BadPicture(str(shard.path), "unsupported", str(error)))
        else:
            n_usable += 1
            yield shard, paths
    if refused is not None and not n_usable:
        raise refused


class Load:
    """One load: which rows count, and what became of them.

    Parameters
    ----------
    store : LibraryWriter
        The library.
    whole : sequence of Whole
        What is loaded.
    bad : list of BadPicture
        Grows by the rows that cannot be used.
    on_progress : callable
        Given (`load`, rows, rows of all).
    """

    def __init__(
        self, store: LibraryWriter, whole: Sequence[Whole], bad: list[BadPicture], on_progress: OnProgress
    ) -> None:
        self.store, self.bad, self.on_progress = store, bad, on_progress
        self.shards = [shard for shard, _ in whole]
        self.last: dict[bytes, tuple[int, int]] = {}  # of each path, the shard and row that count
        self.n_new = self.n_changed = self.n_unchanged = self.n_done = self.n_unknown = 0
        for number, (_, paths) in enumerate(whole):
            self.last.update({path: (number, row) for row, path in enumerate(paths) if path is not None})
        self.total = sum(shard.n_rows for shard in self.shards)

    def run(self) -> None:
        """Bring the pictures into the library."""
        for number, shard in enumerate(self.shards):
            try:
                self._take(number, shard)
            except ShardError as error:
                self.bad.append(_bad_shard(shard.path, error))

    def _take(self, number: int, shard: PictureRows) -> None:
        lengths: deque[int] = deque()  # of the parts that are not kept yet
        for _ in self.store.committing(self._changes_in(number, shard, lengths)):
            self.n_done += lengths.popleft()
            self.on_progress("load", self.n_done, self.total)

    def _changes_in(self, number: int, shard: PictureRows, lengths: deque[int]) -> Iterator[Changes]:
        """Yield what is to be stored of a shard, part by part, with the number of rows that it is about."""
        at = 0
        for rows in _ahead(shard.rows()):
            lengths.append(len(rows))
            yield self._changes(list(self._counting(number, at, rows, shard)))
            at += len(rows)

    def _counting(self, number: int, at: int, rows: Sequence[Row], shard: PictureRows) -> Iterator[StoredFile]:
        """Yield the pictures of rows that count, and name those that cannot be used."""
        for row, file in enumerate(rows, start=at):
            if isinstance(file, BadRow):
                message = f"row {row + 1} of {shard.path} cannot be used: {file.message}"
                self.bad.append(BadPicture(os.fsdecode(file.path), "corrupt", message))
            elif self.last[file.path] == (number, row):
                yield file

    def _changes(self, files: Sequence[StoredFile]) -> Changes:
        """Return what the library does not have of some pictures, or has in another state."""
        known = {file.path: file for file in self.store.files_at([file.path for file in files])}
        stored = []
        for file in files:
            before = known.get(file.path)
            if before is not None and self.holds(before, file):
                self.n_unchanged += 1
                continue
            stored.append(file)
            self.n_unknown += file.look.size == 0
            self.n_new += before is None
            self.n_changed += before is not None
        return Changes(stored=stored)

    def holds(self, known: KnownFile, file: StoredFile) -> bool:
        """Return whether the library has a picture as it is to be loaded."""
        return known.content_hash == file.content_hash and known.reading >= file.reading

    def report(self) -> IngestReport:
        """Return what became of them."""
        return IngestReport(
            new=self.n_new, changed=self.n_changed, unchanged=self.n_unchanged, bad=tuple(self.bad),
            notices=(_unknown_text(self.n_unknown),) if self.n_unknown else (),
        )  # fmt: skip


def _ahead(parts: Iterator[list[Row]]) -> Iterator[list[Row]]:
    """Yield parts, each of which another thread reads while the one before is stored."""
    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(next, parts, None)
        while (rows := following.result()) is not None:
            following = thread.submit(next, parts, None)
            yield rows


def _unknown_text(n: int) -> str:
    pictures, them = ("picture", "it") if n == 1 else ("pictures", "them")
    return (
        f"the contents of {n} {pictures} are not known, as no file is at the path: search finds {them}, and an "
        f"`index` of the folder where the files are embeds {them} again"
    )
