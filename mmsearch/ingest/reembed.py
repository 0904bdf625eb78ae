"""RE-EMBED: a library and another encoder in, the same pictures with that encoder's vectors out.

The new vectors are gathered in a library of its own, `next` in the folder of the library, so that a run that was
ended goes on where it stopped. Searches answer from the old vectors until all new ones are there, were compared
with their checksums and are taken over in one transaction.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from mmsearch.errors import LibraryIncompleteError, QueryError
from mmsearch.images import FoundFile
from mmsearch.ingest.plan import OnProgress, Plan
from mmsearch.ingest.pool import WorkerPool
from mmsearch.ingest.run import execute
from mmsearch.names import quoted, shell_word
from mmsearch.records import READING
from mmsearch.store.adopt import NEXT, adopt, pending_model
from mmsearch.store.changes import KnownFile
from mmsearch.store.encoder import NONE, InstalledEncoder
from mmsearch.store.folder import Store
from mmsearch.store.place import is_library
from mmsearch.store.verify import damaged_rows

_NAMED = 5  # pictures named in an error
_EVERYWHERE = b"/"

Notify = Callable[[str], None]


def give_up(store: Store) -> None:
    """Delete the vectors that a run began to make; the caller is the writer."""
    shutil.rmtree(store.files / NEXT, ignore_errors=True)


def re_embed(
    store: Store, installed: InstalledEncoder, model: str | None, *, on_progress: OnProgress, notify: Notify
) -> int:
    """Give a library the vectors of another encoder; returns the number of pictures that have new ones.

    Parameters
    ----------
    store : Store
        Opened as the writer. Until this returns, and if it raises, its vectors are those of before.
    installed : InstalledEncoder
        Of the library.
    model : str or None
        As for `prepare_encoder`; None goes on with the one that a run before this began with.
    on_progress : callable
        Given (`embed`, pictures that have a new vector, pictures to be embedded).
    notify : callable
        Given sentences worth showing.

    Raises
    ------
    QueryError
        If there is no model, or it is `none`.
    LibraryIncompleteError
        If a picture could not be embedded; the others keep their new vectors for the next run.
    EncoderError
        If the model cannot be used.
    """
    folder, begun = store.folder / NEXT, pending_model(store.folder)
    model = model or begun
    if model in (None, NONE):
        raise QueryError("--re-embed needs the encoder that the vectors are to be of; give it with --model")
    wanted = installed.settings_for(str(model), notify)
    if wanted["fingerprint"] == store.setting("fingerprint"):
        give_up(store)
        notify(f"{installed.held(store)} already, so none is made anew")
        return 0
    if begun is not None and not _is_of(folder, wanted["fingerprint"]):
        notify(f"the vectors of {begun} that a run before this began to make are given up")
    if begun is None or not _is_of(folder, wanted["fingerprint"]):
        give_up(store)
    with Store.writer(folder, create=None if is_library(folder) else wanted) as fresh:
        encoder = InstalledEncoder(folder, installed.cache)
        encoder.for_writing(fresh, None, notify)
        fresh.give_up_lost()
        if damaged := damaged_rows(fresh):
            fresh.drop_rows(damaged)
        _embed_missing(store, fresh, on_progress)
        _require_all(store, fresh, str(model))
        adopt(store, fresh)
    give_up(store)
    return store.n_pictures


def _is_of(folder: Path, fingerprint: str) -> bool:
    """Return whether a library holds vectors of an encoder."""
    with closing(Store.open(folder)) as store:
        return bool(store.setting("fingerprint") == fingerprint)


def _embed_missing(store: Store, fresh: Store, on_progress: OnProgress) -> None:
    """Embed the pictures that have no new vector yet; of copies one that can be read."""
    n_try = 0
    while plan := _plan(store, fresh, n_try):
        pool = WorkerPool.for_encoder(
            fresh.folder / fresh.encoder_path.name, cwd=fresh.folder, max_megapixels=store.accepted_megapixels()
        )

        def told(stage: str, done: int, total: int) -> None:
            store.check()
            on_progress(stage, done, total)

        execute(fresh, plan, None, on_progress=told, pool=pool)
        n_try += 1


def _plan(store: Store, fresh: Store, n_try: int) -> Plan | None:
    """Return what embeds, of the pictures without a new vector, the copy of this number; None if there is none."""
    n_copies: dict[bytes, int] = {}
    files = []
    for file in _missing(store, fresh):
        if n_copies.get(file.content_hash, 0) == n_try:
            files.append(FoundFile(file.path, file.look))
        n_copies[file.content_hash] = n_copies.get(file.content_hash, 0) + 1
    return Plan(to_embed=files) if files else None


def _missing(store: Store, fresh: Store) -> Iterator[KnownFile]:
    """Yield the pictures whose contents have no new vector."""
    embedded = {file.content_hash for file in fresh.known_files(_EVERYWHERE) if file.reading == READING}
    for file in store.known_files(_EVERYWHERE):
        if file.content_hash not in embedded:
            yield file


def _require_all(store: Store, fresh: Store, model: str) -> None:
    """Raise unless every picture has a new vector."""
    missing = list(_missing(store, fresh))
    if not missing:
        return
    reasons = {os.fsencode(bad.path): bad.message for bad in fresh.bad_pictures()}
    named = [
        f"{quoted(os.fsdecode(file.path))} ({reasons.get(file.path, 'it holds another picture than was indexed')})"
        for file in missing[:_NAMED]
    ]
    more = f", and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    raise LibraryIncompleteError(
        f"{len(missing)} of {store.n_pictures} pictures could not be embedded anew: {', '.join(named)}{more}. "
        f"The library answers as before; bring its folders up to date with `mmsearch index`, or forget pictures "
        f"with `mmsearch rm`. Then `mmsearch index --re-embed --model {shell_word(model)}` goes on with the rest"
    )
