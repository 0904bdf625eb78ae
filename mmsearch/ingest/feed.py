"""FEED: pictures to a pool of workers, files and those inside bundles, and what became of each out.

What need not be embedded after a look at its bytes is told without a worker.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TypeAlias

from mmsearch.errors import PictureError
from mmsearch.images import FoundFile
from mmsearch.ingest.pool import Embedded, Loose, WorkerPool
from mmsearch.ingest.worker import FileFacts
from mmsearch.records import READING, FileLook
from mmsearch.shards.bundles import contents_of
from mmsearch.shards.members import Member
from mmsearch.store.changes import StoredFile


@dataclass(frozen=True)
class Passed:
    """A picture inside a bundle that is not embedded: shards hold its contents, or there is none in its row."""

    path: bytes
    is_held: bool


Outcome: TypeAlias = Embedded | Passed


def outcomes_of(
    files: Sequence[FoundFile], known: Mapping[bytes, bytes], column: str | None, workers: WorkerPool
) -> Iterator[list[Outcome]]:
    """Yield what became of pictures, some at a time; each comes once.

    Parameters
    ----------
    files : sequence of FoundFile
        Files, and members of bundles, those of one together and in its order.
    known : mapping of bytes to bytes
        Content hashes of members that shards hold, by path: with the same contents they are not embedded.
    column : str or None
        Of pictures in Parquet files; as for `mmsearch.shards.bundles.members_of`.
    workers : WorkerPool
        Takes the others.

    Raises
    ------
    EncoderError
        If the workers cannot be started, or cannot load the encoder.
    """
    settled: list[Outcome] = []
    for embedded in workers.run(_given(files, known, column, settled)):
        yield [*settled, *embedded]
        settled.clear()
    if settled:
        yield settled


def stored_file(file: FoundFile, outcome: Embedded) -> StoredFile:
    """Return a picture that was embedded as it is stored."""
    facts = outcome.facts
    return StoredFile(
        file.path, look_of(file, outcome), bytes.fromhex(facts["hash"]), facts["width"], facts["height"],
        facts["format"], facts["taken_at"], READING, vector=outcome.vector,
    )  # fmt: skip


def look_of(file: FoundFile, outcome: Embedded) -> FileLook:
    """Return what a file looked like when it was read."""
    facts = outcome.facts
    if "look" in facts:
        return FileLook(*facts["look"])
    return file.look._replace(size=facts["size"]) if "size" in facts else file.look


def _given(
    files: Sequence[FoundFile], known: Mapping[bytes, bytes], column: str | None, settled: list[Outcome]
) -> Iterator[bytes | Loose]:
    """Yield what workers are given; what became of the others is appended to `settled`."""
    yield from (file.path for file in files if not isinstance(file, Member))
    for member, contents in contents_of([file for file in files if isinstance(file, Member)], column):
        if contents is None:
            settled.append(Passed(member.path, is_held=False))
        elif isinstance(contents, PictureError):
            facts: FileFacts = {"code": contents.code, "message": str(contents)}
            settled.append(Embedded(member.path, facts, None))
        elif member.path in known and sha256(contents).digest() == known[member.path]:
            settled.append(Passed(member.path, is_held=True))
        else:
            yield Loose(member.path, contents)
