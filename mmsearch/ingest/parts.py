"""PARTS: pictures that the library had before it kept parts, read once more, so that these are found, too."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmsearch.arguments import Device, PartsMost
from mmsearch.ingest.plan import is_below
from mmsearch.ingest.session_pool import pool_for
from mmsearch.ingest.worker import FileFacts, Job
from mmsearch.names import quoted
from mmsearch.store.base import Notify, OnProgress
from mmsearch.system import is_gone

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
    lacking = _without_parts(store, roots)
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
    n = len(hash_of)
    pictures, were, are = ("1 picture", "was", "is") if n == 1 else (f"{n} pictures", "were", "are")
    notify(f"{pictures} {were} indexed without these parts, and {are} read again for them")
    job, pending, n_done, n_made = Job(parts=store.parts.most), {}, 0, 0
    problem = "the file of one is not there"
    on_progress("parts", 0, n)
    pool = pool_for(
        encoder_folder, device=device, cwd=store.working_folder, max_megapixels=store.accepted_megapixels()
    )
    with pool as workers:
        for outcomes in workers.run(list(hash_of), job=lambda: job):
            for outcome in outcomes:
                content_hash, parts = hash_of[outcome.path], parts_in(outcome.facts)
                if parts is not None and outcome.facts.get("hash") == content_hash.hex():
                    pending[content_hash] = parts
                else:
                    why = outcome.facts.get("message", "it is not as it was indexed")
                    problem = f"{quoted(os.fsdecode(outcome.path))}: {why}"
            n_done += len(outcomes)
            if len(pending) >= _TOGETHER or n_done == n:
                store.parts.keep(pending)
                n_made, pending = n_made + len(pending), {}
                on_progress("parts", n_done, n)
    return n_made, problem


def planned_parts_text(store: Store, asked: PartsMost | None, roots: Sequence[bytes]) -> str | None:
    """Return what a run with so many parts a picture, None as before, would do to pictures of before."""
    if asked is None or asked == store.parts.most:
        n = sum(path is not None for path in _without_parts(store, roots if asked is None else ()).values())
    elif asked:
        n = store.n_pictures
    else:
        facts = store.parts.facts()
        n = 0 if facts is None else facts.n_images
    pictures = "1 picture" if n == 1 else f"{n} pictures"
    if not n:
        return None
    if asked == 0:
        return f"the parts of {pictures} would be dropped"
    return f"{pictures} of before would be read again for up to {asked or store.parts.most} parts of each"


def _without_parts(store: Store, roots: Sequence[bytes]) -> dict[bytes, bytes | None]:
    """Return the contents without parts, each with the path of a file of them, None where none is there."""
    places = set(roots)
    path_of: dict[bytes, bytes | None] = {}
    for path, content_hash in store.parts.missing():
        if (not places or is_below(path, places)) and path_of.get(content_hash) is None:
            path_of[content_hash] = None if is_gone(path) else path
    return path_of
