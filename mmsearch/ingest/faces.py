"""FACES: looked for in pictures that the library had before it looked for any, and all put into groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmsearch.faces.describe import FacesOfPicture
from mmsearch.faces.models import require_models
from mmsearch.faces.packing import WHAT, packed_faces
from mmsearch.ingest.again import files_to_read, is_as_indexed, numbered, read_again
from mmsearch.ingest.pool import Embedded, WorkerPool
from mmsearch.ingest.worker import FileFacts, Job
from mmsearch.store.base import LibraryWriter, Notify, OnProgress, in_folder
from mmsearch.store.changes import BY_CHANCE, ENDED_WORKER

if TYPE_CHECKING:
    from mmsearch.store.folder import Store

_TOGETHER = 256  # pictures of one transaction
_NONE = packed_faces(FacesOfPicture((), 0))


def faces_in(facts: FileFacts) -> bytes | None:
    """Return the faces that a worker found in a picture, or None if it was not asked for any, or failed."""
    return bytes.fromhex(facts["faces"]) if "faces" in facts else None


def keep_wanted(store: LibraryWriter, asked: bool | None, notify: Notify) -> None:
    """Keep whether faces are looked for, if that is said, and erase those that are not wanted any more.

    Raises
    ------
    ModelNotFoundError, EncoderError
        If they are to be, and what finds and describes them is not installed, or is another.
    UnsupportedError
        If they are to be, and the library stands at an address.
    """
    if store.as_folder is None and not asked:
        return
    faces = in_folder(store, WHAT).faces
    are_wanted = faces.are_wanted if asked is None else asked
    if are_wanted:
        require_models()
    n = faces.want(are_wanted)
    if n:
        what = (
            "1 face is erased, with its group and name"
            if n == 1
            else f"{n} faces are erased, with groups and names"
        )
        notify(f"{what}: they were described in another way" if are_wanted else what)


def planned_faces(store: Store, are_wanted: bool) -> str | None:
    """Say what a run would do with the faces in pictures of before; None if nothing."""
    if are_wanted:
        n = len(store.faces.missing())
        return f"{n} pictures of the library would be looked at for faces" if n else None
    facts = store.faces.facts()
    return f"{facts.n_faces} faces would be erased, with groups and names" if facts else None


@dataclass(frozen=True)
class FacesRun:
    """How many contents of before were looked at for faces, and sentences on those that could not be."""

    n: int = 0
    problems: tuple[str, ...] = ()


def update_faces(
    store: LibraryWriter, roots: Sequence[bytes], *, on_progress: OnProgress, notify: Notify
) -> FacesRun:
    """Look for faces in pictures at or below some paths (all without any) that were not looked at, and group all.

    The caller is the writer. What is not as it was indexed is left out: the next `index` sees to it.
    """
    folder = store.as_folder
    if folder is None or not folder.faces.are_wanted:
        return FacesRun()
    run = _look(folder, roots, on_progress, notify)
    folder.people.group(on_progress)
    return run


def _look(store: Store, roots: Sequence[bytes], on_progress: OnProgress, notify: Notify) -> FacesRun:
    hash_of = files_to_read(store.faces.missing(), roots)
    if not hash_of:
        return FacesRun()
    pictures, were, are = numbered(len(hash_of))
    notify(f"{pictures} {were} not looked at for faces yet, and {are} read again for them")
    problems: list[str] = []

    def take(outcome: Embedded, content_hash: bytes) -> bytes | None:
        packed, problem = _faces_of(outcome, content_hash)
        if problem is not None:
            problems.append(problem)
        return packed

    pool = WorkerPool.for_encoder(None, cwd=store.working_folder, max_megapixels=store.accepted_megapixels())
    job = Job(embeds=False, faces=True)
    n = read_again(
        pool, hash_of, job, on_progress, "faces", films=store.films, take=take, keep=store.faces.keep,
        together=_TOGETHER,
    )  # fmt: skip
    return FacesRun(n, (_problem_text(problems),) if problems else ())


def _faces_of(outcome: Embedded, content_hash: bytes) -> tuple[bytes | None, str | None]:
    """Return the faces of a picture, None where it is to be looked at again, and what went wrong.

    One over which workers crash is not tried for ever: it has no faces until it changes.
    """
    facts = outcome.facts
    if facts.get("code") in ENDED_WORKER:
        return None if facts["code"] in BY_CHANCE else _NONE, facts["message"]
    if not is_as_indexed(outcome, content_hash):
        return None, None
    if "faces_error" in facts:
        return None, facts["faces_error"]["message"]
    return faces_in(facts), None


def _problem_text(problems: Sequence[str]) -> str:
    pictures, _, _ = numbered(len(problems))
    return f"faces in {pictures} could not be looked for: {problems[0]}"
