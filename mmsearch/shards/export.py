"""EXPORT: a library in, shards of all its pictures and vectors out."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from mmsearch.errors import FingerprintError, NoEncoderError
from mmsearch.records import IngestReport
from mmsearch.shards.folder import ShardFolder
from mmsearch.shards.format import ShardFacts
from mmsearch.store.base import LibraryStore
from mmsearch.store.changes import StoredFile

_AT_ONCE = 2048  # pictures read from the library at a time


def require_vectors(store: LibraryStore) -> None:
    """Raise NoEncoderError unless the pictures of a library have vectors."""
    if not store.has_vectors:
        raise NoEncoderError(
            f"{store.address} has no vectors (--model none), and shards hold nothing else; give it an encoder with "
            "`mmsearch index --re-embed --model NAME`"
        )


def export_shards(
    store: LibraryStore,
    facts: ShardFacts,
    out: Path,
    *,
    on_progress: Callable[[str, int, int], None],
    notify: Callable[[str], None],
) -> IngestReport:
    """Write the pictures of a library as shards; those that finished shards in the folder hold are left out.

    Parameters
    ----------
    store : LibraryStore
        The library; others may write to it meanwhile.
    facts : ShardFacts
        Of its encoder.
    out : Path
        The folder of shards.
    on_progress : callable
        Given (`export`, pictures looked at, pictures).
    notify : callable
        Given sentences worth showing.

    Returns
    -------
    IngestReport
        Pictures written (`new`, `changed`), those that were there (`unchanged`), and those that shards hold and the
        library does not (`gone`).
    """
    start = time.perf_counter()
    n_new = n_changed = n_unchanged = n_done = 0
    with ShardFolder.writer(out, facts, notify) as shards:
        left = set(shards.held)
        after = 0
        while block := store.consistently(lambda: _block(store, facts, after)):  # noqa: B023 - asked at once
            after = block[-1][0]
            for _, file in block:
                held = shards.held.get(file.path)
                if held is not None and (held.look, held.content_hash) == (file.look, file.content_hash):
                    n_unchanged += 1
                else:
                    n_new += held is None
                    n_changed += held is not None
                    shards.add([file])
                left.discard(file.path)
            n_done += len(block)
            on_progress("export", n_done, store.n_pictures)
    notices = [_left_text(len(left), out)] if left else []
    n_films = 0 if store.as_folder is None else store.as_folder.films.n_films
    if n_films:
        notices.append(f"{n_films} film{'s are' if n_films > 1 else ' is'} left out: shards have pictures alone")
    seconds = time.perf_counter() - start
    return IngestReport(
        new=n_new, changed=n_changed, gone=len(left), unchanged=n_unchanged, notices=tuple(notices), seconds=seconds
    )


def _block(store: LibraryStore, facts: ShardFacts, after: int) -> list[tuple[int, StoredFile]]:
    """Return the next pictures with their vectors, of one state of the library, by id."""
    if store.fingerprint() != facts.fingerprint:
        raise FingerprintError(
            f"{store.address} was given vectors of another encoder meanwhile; export it again into another folder"
        )
    return store.stored_files(after, _AT_ONCE)


def _left_text(n: int, out: Path) -> str:
    pictures, them, are = ("picture", "it", "is") if n == 1 else ("pictures", "them", "are")
    return (
        f"{n} {pictures} of shards in {out} {are} not in the library any more; a finished shard is never changed: "
        f"export into an empty folder to leave {them} out"
    )
