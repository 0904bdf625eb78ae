"""SIGN: the light of pictures that the library had before it kept that, so that copies of them are found, too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmsearch.ingest.again import files_to_read, is_as_indexed, numbered, read_again
from mmsearch.ingest.pool import Embedded, WorkerPool
from mmsearch.ingest.worker import FileFacts, Job
from mmsearch.records import SIGNATURE_SIDE
from mmsearch.store.base import Notify, OnProgress, Place, in_folder

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
    hash_of = files_to_read(store.signatures.unsigned(), roots)
    if not hash_of:
        return
    pictures, were, are = numbered(len(hash_of))
    notify(f"{pictures} {were} indexed before copies were looked for, and {are} read once now")
    with place.writer() as writer, writer.shown_progress(on_progress) as on_progress:
        sign(in_folder(writer, "duplicates"), roots, on_progress=on_progress)


def sign(store: Store, roots: Sequence[bytes], *, on_progress: OnProgress) -> int:
    """Make the signatures that pictures at or below some paths (all without any) lack; the caller is the writer.

    What is not as it was indexed is left out: the next `index` sees to it.

    Returns
    -------
    int
        How many contents have one now.
    """
    hash_of = files_to_read(store.signatures.unsigned(), roots)
    if not hash_of:
        return 0
    pool = WorkerPool.for_encoder(None, cwd=store.working_folder, max_megapixels=store.accepted_megapixels())
    job = Job(embeds=False, luminance_side=SIGNATURE_SIDE)
    return read_again(
        pool, hash_of, job, on_progress, "sign", films=store.films, take=_signature_of, keep=store.signatures.keep,
        together=_TOGETHER,
    )  # fmt: skip


def _signature_of(outcome: Embedded, content_hash: bytes) -> bytes | None:
    """Return the signature of a picture, None where it is not as it was indexed."""
    return signature_in(outcome.facts) if is_as_indexed(outcome, content_hash) else None
