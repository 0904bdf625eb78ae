"""Libraries of as many pictures as are wanted, whose thumbnails are there and whose files are not."""

from __future__ import annotations

import io
import random
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image

from mmsearch.places import place_of
from mmsearch.records import READING, FileLook
from mmsearch.samples import sample_folder
from mmsearch.server.thumbnails import Side
from mmsearch.store.base import given_fingerprint
from mmsearch.store.changes import Changes, StoredFile
from mmsearch.store.folder import Store
from mmsearch.store.thumbnails import KeptThumbnails
from tests.server.conftest import running

DIM = 8
SAMPLES = sorted(sample_folder().glob("*.jpg"))
HASHES = [sha256(path.read_bytes()).digest() for path in SAMPLES]
_COMMITTED = 10_000


def made(numbers: range, *, first_year: int = 2005) -> list[StoredFile]:
    """Return pictures with these numbers, of which every tenth has no date; the same for the same number."""
    sizes, files = list(map(_size_of, SAMPLES)), []
    for n in numbers:
        chance, vector = random.Random(n), np.random.default_rng(n).normal(size=DIM).astype(np.float32)
        day = f"{first_year + chance.randrange(20)}-{chance.randint(1, 12):02}-{chance.randint(1, 28):02}"
        files.append(
            StoredFile(
                b"/photos/%02d/IMG_%06d.jpg" % (n % 100, n), FileLook(10_000 + n, n, n), HASHES[n % len(SAMPLES)],
                *sizes[n % len(SAMPLES)], "JPEG", f"{day}T12:00:00" if n % 10 else None, READING,
                vector=vector / np.linalg.norm(vector),
            )
        )  # fmt: skip
    return files


def _size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def make_library(folder: Path, n: int) -> None:
    """Write a library of n made pictures, and thumbnails of the samples that they show."""
    settings = {"dim": DIM, "fingerprint": given_fingerprint("made"), "model": "made"}
    with Store.writer(folder, create=settings) as store:
        for start in range(0, n, _COMMITTED):
            numbers = range(start, min(n, start + _COMMITTED))
            store.commit(Changes(stored=made(numbers), roots=[b"/photos"]))
    kept = KeptThumbnails(place_of(folder).kept / "thumbnails.sqlite")
    for path, content_hash in zip(SAMPLES, HASHES, strict=True):
        with Image.open(path) as image:
            for side in (Side.usual, Side.large, Side.view):
                small, jpeg = image.convert("RGB"), io.BytesIO()
                small.thumbnail((side, side))
                small.save(jpeg, "JPEG")
                kept.put(content_hash, side, jpeg.getvalue())


@contextmanager
def serving_many(folder: Path, n: int):
    """Serve a library of n made pictures until the end of the block."""
    make_library(folder, n)
    with running(folder, None) as server:
        yield server
