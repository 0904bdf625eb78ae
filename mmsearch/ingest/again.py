"""AGAIN: pictures of before, read once more for what a library has come to keep since."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from mmsearch.frames import file_of
from mmsearch.images.find import is_below
from mmsearch.ingest.frames import outcomes_of
from mmsearch.ingest.pool import Embedded, WorkerPool
from mmsearch.ingest.worker import Job
from mmsearch.store.base import OnProgress
from mmsearch.store.films import LibraryFilms
from mmsearch.system import is_gone


def paths_of_contents(pictures: Iterable[tuple[bytes, bytes]], roots: Sequence[bytes]) -> dict[bytes, bytes | None]:
    """Return contents at or below some paths (all without any), each with a path that is there, None without one.

    `pictures` are the path of each, and the hash of what it was made of.
    """
    places = set(roots)
    path_of: dict[bytes, bytes | None] = {}
    for path, content_hash in pictures:
        if (not places or is_below(path, places)) and path_of.get(content_hash) is None:
            path_of[content_hash] = None if is_gone(file_of(path)) else path
    return path_of


def files_to_read(pictures: Iterable[tuple[bytes, bytes]], roots: Sequence[bytes]) -> dict[bytes, bytes]:
    """Return the contents that can be read of `paths_of_contents`, by the paths of their files."""
    path_of = paths_of_contents(pictures, roots)
    return {path: content_hash for content_hash, path in path_of.items() if path is not None}


def numbered(n: int) -> tuple[str, str, str]:
    """Return so many pictures in words, and the verbs `was` and `is` for them.

    >>> numbered(1), numbered(2)
    (('1 picture', 'was', 'is'), ('2 pictures', 'were', 'are'))
    """
    return ("1 picture", "was", "is") if n == 1 else (f"{n} pictures", "were", "are")


def is_as_indexed(outcome: Embedded, content_hash: bytes) -> bool:
    """Return whether a worker read the contents that a picture was indexed with."""
    return outcome.facts.get("hash") == content_hash.hex()


def read_again(
    pool: WorkerPool,
    hash_of: Mapping[bytes, bytes],
    job: Job,
    on_progress: OnProgress,
    stage: str,
    *,
    films: LibraryFilms,
    take: Callable[[Embedded, bytes], bytes | None],
    keep: Callable[[Mapping[bytes, bytes]], object],
    together: int,
) -> int:
    """Let workers read files, and keep what is made of their contents.

    Parameters
    ----------
    pool : WorkerPool
        Ended with this.
    hash_of : mapping of bytes to bytes
        The contents by their files.
    job : Job
        What is wanted of each.
    on_progress : callable
        Given (`stage`, files read, files to be read).
    stage : str
    films : LibraryFilms
        Those of the library, whose frames may be among the files.
    take : callable
        Given what became of a file, and the hash of the contents it had, returns what is kept of it, or None.
    keep : callable
        Given what is to be kept by the hashes of contents; in one transaction.
    together : int
        Contents of one transaction.

    Returns
    -------
    int
        Of how many contents something is kept.
    """
    pending: dict[bytes, bytes] = {}
    n_done = n_kept = 0
    on_progress(stage, 0, len(hash_of))
    with pool as workers:
        for outcomes in outcomes_of(list(hash_of), films, workers, job=lambda: job):
            for outcome in outcomes:
                content_hash = hash_of[outcome.path]
                made = take(outcome, content_hash)
                if made is not None:
                    pending[content_hash] = made
            n_done += len(outcomes)
            if len(pending) >= together or n_done == len(hash_of):
                keep(pending)
                n_kept, pending = n_kept + len(pending), {}
                on_progress(stage, n_done, len(hash_of))
    return n_kept
