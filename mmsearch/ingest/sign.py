"""SIGN: the light of pictures that the library had before it kept that, so that copies of them are found, too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmsearch.ingest.plan import is_below
from mmsearch.ingest.pool import WorkerPool
from mmsearch.ingest.worker import FileFacts, Job
from mmsearch.records import SIGNATURE_SIDE
from mmsearch.store.base import Notify, OnProgress, Place, in_folder
from mmsearch.system import is_gone

if TYPE_CHECKING:
    from mmsearch.store.folder import Store

_TOGETHER = 256  # pictures of one transaction


def signature_in(facts: FileFacts) -> bytes | None:
    """Return the signature that a worker made of a picture, or None if it was not asked for one."""
    return bytes.fromhex(facts["luminances"]) if "luminances" in facts else None


def sign_missing(
    place: Place, store: Store, roots: Sequence[bytes], on_progress: OnProgress, notify: Notify
) -> None:
    """Make the signatures that pictures of a library lack, those at or below some paths, or all without any."""
    n = len(_to_sign(store, roots))
    if n == 0:
        return
    pictures, were, are = ("1 picture", "was", "is") if n == 1 else (f"{n} pictures", "were", "are")
    notify(f"{pictures} {were} indexed before copies were looked for, and {are} read once now")
    with place.writer() as writer, writer.shown_progress(on_progress) as on_progress:
        sign(in_folder(writer, "duplicates"), roots, on_progress=on_progress)


def _to_sign(store: Store, roots: Sequence[bytes]) -> dict[bytes, bytes]:
    """Return the contents that have no signature, each by the path of a file of them that is there."""
    places = set(roots)
    paths_of = {
        content_hash: path
        for path, content_hash in store.signatures.unsigned()
        if (not places or is_below(path, places)) and not is_gone(path)
    }
    return {path: content_hash for content_hash, path in paths_of.items()}


def sign(store: Store, roots: Sequence[bytes], *, on_progress: OnProgress) -> int:
    """Make the signatures that pictures at or below some paths (all without any) lack; the caller is the writer.

    What is not as it was indexed is left out: the next `index` sees to it.

    Returns
    -------
    int
        How many contents have one now.
    """
    hash_of = _to_sign(store, roots)
    if not hash_of:
        return 0
    job = Job(embeds=False, luminance_side=SIGNATURE_SIDE)
    pending: dict[bytes, bytes] = {}
    n_done = n_signed = 0
    on_progress("sign", 0, len(hash_of))
    with WorkerPool.for_encoder(
        None, cwd=store.working_folder, max_megapixels=store.accepted_megapixels()
    ) as workers:
        for outcomes in workers.run(list(hash_of), job=lambda: job):
            for outcome in outcomes:
                content_hash, signature = hash_of[outcome.path], signature_in(outcome.facts)
                if signature is not None and outcome.facts.get("hash") == content_hash.hex():
                    pending[content_hash] = signature
            n_done += len(outcomes)
            if len(pending) >= _TOGETHER or n_done == len(hash_of):
                store.signatures.keep(pending)
                n_signed += len(pending)
                pending = {}
                on_progress("sign", n_done, len(hash_of))
    return n_signed
