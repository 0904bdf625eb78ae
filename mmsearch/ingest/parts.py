"""PARTS: pictures that the library had before it kept parts, read once more, so that these are found, too."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmsearch.arguments import Device, PartsMost
from mmsearch.ingest.again import files_to_read, is_as_indexed, numbered, paths_of_contents, read_again
from mmsearch.ingest.pool import Embedded
from mmsearch.ingest.session_pool import pool_for
from mmsearch.ingest.worker import FileFacts, Job
from mmsearch.names import quoted
from mmsearch.store.base import Notify, OnProgress

if TYPE_CHECKING:
    from mmsearch.store.folder import Store

_TOGETHER = 64  # pictures of one transaction: they take a dozen times as long as others


def parts_in(facts: FileFacts) -> bytes | None:
    """Return the parts that a worker made of a picture, or None if it was not asked for any."""
    return bytes.fromhex(facts["parts"]) if "parts" in facts else None


def make_missing_parts(
    store: Store,
    encoder_folder: Path,
    roots: Sequence[bytes],
    *,
    device: Device,
    on_progress: OnProgress,
    notify: Notify,
) -> int:
    """Make the parts of pictures at or below some paths (all without any) that have none; the caller is the writer.

    What is not there, or not as it was indexed, is left out and counted in a sentence, as is what ends its worker:
    the next `index` sees to it.

    Returns
    -------
    int
        How many contents have them now.

    Raises
    ------
    EncoderError
        If the workers cannot be started, or cannot load the encoder.
    """
    lacking = paths_of_contents(store.parts.missing(), roots)
    hash_of = {path: content_hash for content_hash, path in lacking.items() if path is not None}
    n_made, problem = 0, "no file of theirs is there"
    if hash_of:
        n_made, problem = _made(
            store, encoder_folder, hash_of, device=device, on_progress=on_progress, notify=notify
        )
    if n_left := len(lacking) - n_made:
        have = "1 picture has" if n_left == 1 else f"{n_left} pictures have"
        notify(f"{have} no parts yet ({problem}); `mmsearch index --parts {store.parts.most}` tries again")
    return n_made


def _made(
    store: Store,
    encoder_folder: Path,
    hash_of: Mapping[bytes, bytes],
    *,
    device: Device,
    on_progress: OnProgress,
    notify: Notify,
) -> tuple[int, str]:
    """Make the parts of contents, given by their files; return how many have them now, and what kept others."""
    pictures, were, are = numbered(len(hash_of))
    notify(f"{pictures} {were} indexed without these parts, and {are} read again for them")
    problems = ["the file of one is not there"]

    def take(outcome: Embedded, content_hash: bytes) -> bytes | None:
        parts = parts_in(outcome.facts)
        if parts is not None and is_as_indexed(outcome, content_hash):
            return parts
        why = outcome.facts.get("message", "it is not as it was indexed")
        problems.append(f"{quoted(os.fsdecode(outcome.path))}: {why}")
        return None

    pool = pool_for(
        encoder_folder, device=device, cwd=store.working_folder, max_megapixels=store.accepted_megapixels()
    )
    job = Job(parts=store.parts.most)
    n_made = read_again(
        pool, hash_of, job, on_progress, "parts", films=store.films, take=take, keep=store.parts.keep,
        together=_TOGETHER,
    )  # fmt: skip
    return n_made, problems[-1]


def planned_parts_text(store: Store, asked: PartsMost | None, roots: Sequence[bytes]) -> str | None:
    """Return what a run with so many parts a picture, None as before, would do to pictures of before."""
    if asked is None or asked == store.parts.most:
        n = len(files_to_read(store.parts.missing(), roots if asked is None else ()))
    elif asked:
        n = store.n_pictures
    else:
        facts = store.parts.facts()
        n = 0 if facts is None else facts.n_images
    pictures, _, _ = numbered(n)
    if not n:
        return None
    if asked == 0:
        return f"the parts of {pictures} would be dropped"
    return f"{pictures} of before would be read again for up to {asked or store.parts.most} parts of each"
