"""RE-EMBED: a library and another encoder in, the same pictures with that encoder's vectors out.

The new vectors are gathered in a library of its own, `next` in the folder of the library, so that a run that was
ended goes on where it stopped. Searches answer from the old vectors until all new ones are there, were compared
with their checksums and are taken over in one transaction.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmsearch.arguments import FP32, USUAL, Device, Variant
from mmsearch.errors import EncoderError, LibraryDamagedError, LibraryIncompleteError, QueryError, StorageError
from mmsearch.frames import file_of, is_frame
from mmsearch.images import FoundFile
from mmsearch.ingest.labels import renewed
from mmsearch.ingest.plan import Plan
from mmsearch.ingest.run import execute
from mmsearch.ingest.session_pool import pool_for
from mmsearch.names import quoted, shell_word
from mmsearch.records import READING
from mmsearch.store.adopt import NEXT, Begun, adopt, pending_encoder, pending_model
from mmsearch.store.base import LibraryEncoder, Notify, OnProgress, variant_of
from mmsearch.store.changes import KnownFile
from mmsearch.store.encoder import NONE, InstalledEncoder, default_cache
from mmsearch.store.folder import Store
from mmsearch.store.place import is_library
from mmsearch.store.publish import storage_errors
from mmsearch.store.verify import damaged_rows
from mmsearch.system import shown_path

if TYPE_CHECKING:
    from mmsearch.encoders.onnx import OnnxEncoder
    from mmsearch.store.labels import Labelling

_NAMED = 5  # pictures named in an error
_EVERYWHERE = b"/"


def give_up(store: Store) -> None:
    """Delete the vectors that a run began to make; the caller is the writer.

    Raises
    ------
    StorageError
        If they cannot be deleted.
    """
    path = store.files / NEXT
    with storage_errors(path, "that it is given up"):
        if path.is_symlink() or path.is_file():
            path.unlink()
    shutil.rmtree(path, ignore_errors=True)
    if os.path.lexists(path):
        raise StorageError(f"{shown_path(path)} cannot be deleted; delete it, and run the same command again")


def forget_finished(store: Store) -> None:
    """Delete what a run left that was killed once its vectors counted; the caller is the writer."""
    if os.path.lexists(store.files / NEXT) and pending_model(store.folder) is None:
        give_up(store)


def encoder_for(store: Store, model: str | None, asked: Variant) -> tuple[str, Variant]:
    """Return the model and variant that a library is embedded anew by.

    They are what is asked for; else those that a run began with; else, where the other one is asked for, those of
    the library.

    Raises
    ------
    QueryError
        If nothing says what the vectors are to be of, or the model is `none`.
    """
    begun = pending_encoder(store.folder)
    known = variant_of(store)
    if begun is not None and model in (None, begun.model):
        model, known = begun.model, begun.variant
    if model is None and asked != USUAL:
        model = str(store.setting("model"))
    if model is None or model == NONE:
        raise QueryError(
            "--re-embed needs the encoder that the vectors are to be of; give it with --model, or another "
            "--precision or --views of the one that the library has"
        )
    return model, Variant(asked.precision or known.precision, asked.views or known.views)


def wanted_for(
    store: Store, installed: LibraryEncoder, model: str | None, asked: Variant, notify: Notify
) -> dict[str, Any]:
    """Return the settings of the encoder that a library is embedded anew by, once its precision is admitted.

    Raises
    ------
    QueryError
        As `encoder_for`.
    EncoderError
        If the encoder cannot be had, or the precision agrees too little with fp32 on pictures of the library.
    """
    from mmsearch.ingest.admission import Trial  # which imports encoders

    model, variant = encoder_for(store, model, asked)
    begun, measured, precision = pending_encoder(store.folder), {}, variant.precision or FP32
    if precision != FP32 and not _is_admitted(store, begun, installed, model, variant, notify):
        trial = Trial(installed.cache or default_cache(), max_megapixels=store.accepted_megapixels())
        known = (file for file in store.known_files(_EVERYWHERE) if not is_frame(file.path))
        pictures = (FoundFile(file.path, file.look) for file in known)
        measured["agreement"] = trial.agreement(model, precision, pictures, notify)
    return {**installed.settings_for(model, notify, variant), **measured}


def _is_admitted(
    store: Store, begun: Begun | None, installed: LibraryEncoder, model: str, variant: Variant, notify: Notify
) -> bool:
    """Return whether the library, or what a run began, has vectors of this very encoder, not only of its name."""
    known = [] if begun is None else [begun]
    known.append(Begun(str(store.setting("model")), variant_of(store), store.fingerprint()))
    fingerprints = [each.fingerprint for each in known if (each.model, each.variant) == (model, variant)]
    return bool(fingerprints) and (installed.settings_for(model, notify, variant)["fingerprint"] in fingerprints)


def re_embed(
    store: Store,
    installed: LibraryEncoder,
    wanted: dict[str, Any],
    *,
    device: Device,
    on_progress: OnProgress,
    notify: Notify,
) -> int:
    """Give a library the vectors of another encoder; returns the number of pictures that have new ones.

    Parameters
    ----------
    store : Store
        Opened as the writer. Until this returns, and if it raises, its vectors are those of before.
    installed : LibraryEncoder
        Of the library.
    wanted : dict
        What `wanted_for` says of that encoder.
    device : str
        Where pictures are embedded, as for `pool_for`.
    on_progress : callable
        Given (`embed`, pictures that have a new vector, pictures to be embedded).
    notify : callable
        Given sentences worth showing.

    Raises
    ------
    LibraryIncompleteError
        If a picture could not be embedded; the others keep their new vectors for the next run.
    EncoderError
        If the encoder cannot be installed, or knows no words and the library has label sets.
    """
    from mmsearch.ingest.features import embed_by_features  # which imports encoders

    folder, begun = store.folder / NEXT, pending_model(store.folder)
    if wanted["fingerprint"] == store.setting("fingerprint"):
        give_up(store)
        notify(f"{installed.held(store)} already, so none is made anew")
        return 0
    if begun is None or not _is_of(folder, wanted["fingerprint"]):
        if begun is not None:
            notify(f"the vectors of {begun} that a run before this began to make are given up")
        give_up(store)
    store.check()  # before a folder is made where the library no longer is
    with Store.writer(folder, create=None if is_library(folder) else wanted) as fresh:
        if fresh.setting("fingerprint") != wanted["fingerprint"]:
            raise LibraryDamagedError(f"{folder} was replaced meanwhile; run the same command again")
        encoder = InstalledEncoder(folder, installed.cache)
        encoder.for_writing(fresh, None, notify)
        cache, labellings = installed.cache or default_cache(), _renewed(store, fresh, encoder.for_reading(fresh))
        fresh.give_up_lost_rows()
        if damaged := damaged_rows(fresh):
            fresh.drop_rows(damaged)
        embed_by_features(store, fresh, cache, on_progress=_watched(store, on_progress), notify=notify)
        _embed_missing(store, fresh, encoder, device, on_progress)
        _require_all(store, fresh, str(wanted["model"]))
        adopt(store, fresh, labellings)
    give_up(store)
    return store.n_pictures


def _renewed(store: Store, fresh: Store, encoder: OnnxEncoder) -> dict[str, Labelling]:
    """Return what gives the labels of the library to the new vectors.

    Where nothing can, what was begun is given up if there are no vectors yet; those of a run before this stay.
    """
    try:
        return renewed(store, encoder)
    except (EncoderError, QueryError):
        if not fresh.n_pictures:
            give_up(store)
        raise


def _is_of(folder: Path, fingerprint: str) -> bool:
    """Return whether a library holds vectors of an encoder."""
    with closing(Store.open(folder)) as store:
        return bool(store.setting("fingerprint") == fingerprint)


def _embed_missing(
    store: Store, fresh: Store, encoder: InstalledEncoder, device: Device, on_progress: OnProgress
) -> None:
    """Embed the pictures that have no new vector yet; of copies one that can be read."""
    told = _watched(store, on_progress)
    n_try = 0
    while plan := _plan(store, fresh, n_try):
        pool = pool_for(
            encoder.folder_for_workers(fresh), device=device, cwd=fresh.folder,
            max_megapixels=store.accepted_megapixels(),
        )  # fmt: skip
        execute(fresh, plan, None, on_progress=told, pool=pool)
        fresh.settle(None, on_progress=told)
        n_try += 1


def _watched(store: Store, on_progress: OnProgress) -> OnProgress:
    """Return `on_progress`, such that it raises once the library is no longer this writer's."""

    def told(stage: str, done: int, total: int) -> None:
        store.check()
        on_progress(stage, done, total)

    return told


def _plan(store: Store, fresh: Store, n_try: int) -> Plan | None:
    """Return what embeds, of the pictures without a new vector, the copy of this number; None if there is none."""
    n_copies: dict[bytes, int] = {}
    files = []
    for file in _missing(store, fresh):
        if n_copies.get(file.content_hash, 0) == n_try:
            files.append(FoundFile(file.path, file.look))
        n_copies[file.content_hash] = n_copies.get(file.content_hash, 0) + 1
    return Plan(to_embed=files, films_of=store.films) if files else None


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
        f"{quoted(os.fsdecode(file_of(file.path)))} "
        f"({reasons.get(file.path, 'it holds another picture than was indexed')})"
        for file in list({file_of(file.path): file for file in missing}.values())[:_NAMED]
    ]
    more = f", and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    raise LibraryIncompleteError(
        f"{len(missing)} of {store.n_pictures} pictures could not be embedded anew: {', '.join(named)}{more}. "
        f"The library answers as before; bring its folders up to date with `mmsearch index`, or forget pictures "
        f"with `mmsearch rm`. Then `mmsearch index --re-embed --model {shell_word(model)}` goes on with the rest"
    )
