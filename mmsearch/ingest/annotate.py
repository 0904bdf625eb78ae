"""ANNOTATE: what is written about pictures of the library, read anew where it changed without their pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmsearch.annotations.base import Annotations
from mmsearch.ingest.beside import Beside
from mmsearch.ingest.pool import WorkerPool
from mmsearch.ingest.worker import Job
from mmsearch.store.base import LibraryWriter, OnProgress
from mmsearch.store.changes import AnnotatedFile, Changes
from mmsearch.vectors import leading

if TYPE_CHECKING:
    from mmsearch.encoders.onnx import OnnxEncoder

_TOGETHER = 256  # pictures of one transaction


def annotate(store: LibraryWriter, paths: Sequence[bytes], beside: Beside, *, on_progress: OnProgress) -> int:
    """Read the annotations of pictures of the library anew; their vectors stay.

    What cannot be read now is read by the next run.

    Parameters
    ----------
    store : LibraryWriter
    paths : sequence of bytes
        Under which they are stored.
    beside : Beside
        What stands beside them.
    on_progress : callable
        Given (`annotate`, pictures, pictures of all).

    Returns
    -------
    int
        How many were read.
    """
    n_done = n_read = 0
    with WorkerPool.for_encoder(None, cwd=store.working_folder, max_megapixels=store.max_megapixels) as workers:
        known = {file.path: file for file in store.files_at(paths)}
        pending: list[AnnotatedFile] = []
        for outcomes in workers.run(list(known), job=lambda: Job(embeds=False, annotates=True)):
            for outcome in outcomes:
                file = known[outcome.path]
                if outcome.facts.get("hash") != file.content_hash.hex():
                    continue  # it is another by now, and the next run will see
                inside = Annotations.of_json(outcome.facts["annotations"])
                look = beside.look(file.path)
                pending.append(AnnotatedFile(file.image_id, beside.annotations(file.path, inside), look))
            n_done += len(outcomes)
            if len(pending) >= _TOGETHER or n_done == len(known):
                store.commit(Changes(annotated=pending))
                n_read += len(pending)
                pending = []
                on_progress("annotate", n_done, len(known))
    return n_read


def embed_captions(store: LibraryWriter, encoder: OnnxEncoder | None, on_progress: OnProgress) -> None:
    """Give captions that have none their vectors; they have none without a text tower, or at an address."""
    if encoder is not None and encoder.has_words and store.as_folder is not None:
        annotations, join = store.as_folder.annotations, encoder.calibration and encoder.calibration.join
        annotations.embed_captions(encoder.encode_texts, on_progress)
        annotations.index_captions(lambda: leading(encoder.text_probes(), int(join.n_leading) if join else 0))
