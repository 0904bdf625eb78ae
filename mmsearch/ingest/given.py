"""GIVEN: vectors that somebody made elsewhere in, a library that holds their pictures out; as shards are loaded."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmsearch.arguments import as_path, as_text, several, unfit
from mmsearch.errors import DimensionError, FingerprintError, QueryError
from mmsearch.ingest.load import Load
from mmsearch.records import READING, BadPicture, IngestReport
from mmsearch.shards.foreign import READ_BY_OTHERS, foreign_row, whole_path
from mmsearch.shards.format import MAX_DIM, EncoderFacts
from mmsearch.shards.read import Row
from mmsearch.store.base import (
    GIVEN,
    LibraryEncoder,
    LibraryStore,
    LibraryWriter,
    Notify,
    OnProgress,
    Place,
    folder_of,
    given_fingerprint,
    is_given,
)
from mmsearch.store.changes import Changes, KnownFile, StoredFile
from mmsearch.store.indexes import GraphSettings
from mmsearch.store.matrix import Half
from mmsearch.vectors import unit_vectors

_WHAT = "vectors of your own"
_ROWS = 2048  # rows that are made ready at a time


@dataclass(frozen=True)
class GivenVectors:
    """Pictures with a vector each, in memory; rows like those of a shard.

    Parameters
    ----------
    facts : EncoderFacts
        What made the vectors, as somebody says.
    names : sequence of bytes or None
        Where the pictures are; None for what no file can be called.
    vectors : array of real numbers, shape (n, dim)
        In the same order; of any length.
    reading : int
        The number of the way in which the pictures count as read.
    """

    facts: EncoderFacts
    names: Sequence[bytes | None]
    vectors: NDArray[Any]
    reading: int = READING

    @classmethod
    def of(cls, paths: object, vectors: ArrayLike, *, model: str, fingerprint: str | None) -> GivenVectors:
        """Return what was given, once it makes sense; see `Library.add_vectors`."""
        base = os.fsencode(os.getcwd())
        names = [whole_path(base, path) for path in several(paths, "paths", as_path)]
        try:
            matrix = np.asarray(vectors)
        except (ValueError, TypeError):  # rows of different lengths
            matrix = np.empty(0, dtype=object)
        if matrix.dtype.kind not in "fiu" or matrix.ndim != 2 or not 0 < matrix.shape[1] <= MAX_DIM:
            shown = None if matrix.dtype.kind == "O" else f"an array of {matrix.dtype} {matrix.shape}"
            expected = f"a matrix (n, dim) of real numbers, a row for each path, dim at most {MAX_DIM}"
            raise unfit("vectors", vectors, expected, shown=shown)
        if len(names) != len(matrix):
            raise QueryError(f"there are {len(names)} paths and {len(matrix)} vectors; give a vector for each path")
        for name, text in (("model", model), ("fingerprint", model if fingerprint is None else fingerprint)):
            if not as_text(text, name).strip():
                raise QueryError(f"{name} is empty; name what made the vectors, such as dinov2-vitb14")
        return cls(EncoderFacts(given_fingerprint(fingerprint or model), model, matrix.shape[1]), names, matrix)

    @property
    def path(self) -> Path:
        """What they are called in messages."""
        return Path("the vectors")

    @property
    def n_rows(self) -> int:
        """Pictures."""
        return len(self.names)

    def paths(self) -> list[bytes | None]:
        """Return the paths of all pictures."""
        return list(self.names)

    def rows(self) -> Iterator[list[Row]]:
        """Yield the pictures with their vectors float32 (dim,) at unit length, some at a time."""
        for start in range(0, self.n_rows, _ROWS):
            units = unit_vectors(self.vectors[start : start + _ROWS])
            names = self.names[start : start + _ROWS]
            yield [foreign_row(name, {}, unit, self.reading) for name, unit in zip(names, units, strict=True)]

    def in_library(self, store: LibraryStore) -> GivenVectors:
        """Return them as they count in a library.

        Those that its encoder could have made are read by others: `index --recheck` may read the pictures anew.

        Raises
        ------
        FingerprintError, DimensionError
            If they cannot stand beside those of the library.
        """
        held = f"{store.address} holds vectors of {store.setting('model')}"
        if not store.has_vectors:
            raise FingerprintError(
                f"{store.address} holds no vectors (--model none), and none can be added; choose another library"
            )
        fingerprint, name = store.fingerprint(), self.facts.fingerprint.removeprefix(GIVEN)
        if fingerprint not in (name, self.facts.fingerprint):
            raise FingerprintError(
                f"{held} (fingerprint {fingerprint}), these are of {self.facts.model} (fingerprint {name}); "
                "vectors of two models cannot be compared: add them to another library"
            )
        if self.facts.dim != store.dim:
            raise DimensionError(
                f"{held} with {store.dim} dimensions, these have {self.facts.dim}; were they made by another model?"
            )
        return self if is_given(store) else replace(self, reading=READ_BY_OTHERS)


def add_vectors(
    place: Place, installed: LibraryEncoder, given: GivenVectors, *, on_progress: OnProgress, notify: Notify
) -> IngestReport:
    """Bring pictures with given vectors into a library, which need not exist yet; see `Library.add_vectors`."""
    start = time.perf_counter()
    folder_of(place, _WHAT)
    bad: list[BadPicture] = []
    create = None if place.holds_pictures() else _settings_for(given.facts)
    with place.writer(create=create) as store, store.shown_progress(on_progress) as on_progress:
        counted = given.in_library(store)
        given_up = store.give_up_lost(notify)
        load = _Addition(store, [(counted, counted.paths())], bad, on_progress)
        load.run()
        if is_given(store):
            probes = np.zeros((0, store.dim), dtype=np.float32)
        else:
            encoder = installed.for_writing(store, None, notify)
            probes = np.zeros((0, store.dim), np.float32) if encoder is None else encoder.text_probes()
        store.settle(probes, on_progress=on_progress)
    return replace(load.report(), given_up=given_up, seconds=time.perf_counter() - start)


def _settings_for(facts: EncoderFacts) -> dict[str, object]:
    """Return what a library of given vectors is created with."""
    return {
        "fingerprint": facts.fingerprint, "dim": facts.dim, "model": facts.model, "graph": vars(GraphSettings()),
    }  # fmt: skip


class _Addition(Load):
    """A load whose vectors count, also where the contents of a picture are those that the library has."""

    def __init__(self, store: LibraryWriter, *others: Any) -> None:
        super().__init__(store, *others)
        self._has_encoder = not is_given(store)
        self._stored: dict[bytes, Half] = {}  # the vectors of pictures that the library has, by path

    def report(self) -> IngestReport:
        """Return what became of them; that a file is not here matters to nobody who could not embed it."""
        report = super().report()
        if self._has_encoder or not report.notices:
            return report
        n = self.n_unknown
        notice = f"no file is at the {'path of 1 picture' if n == 1 else f'paths of {n} pictures'}"
        return replace(report, notices=(f"{notice}: search finds what cannot be shown",))

    def _changes(self, files: Sequence[StoredFile]) -> Changes:
        ids = {file.image_id: file.path for file in self.store.files_at([file.path for file in files])}
        images = self.store.images_of_ids(list(ids))
        vectors = self.store.vectors_of(images)
        self._stored = {ids[image.image_id]: vector for image, vector in zip(images, vectors, strict=True)}
        return super()._changes(files)

    def holds(self, known: KnownFile, file: StoredFile) -> bool:
        """Return whether the library has a picture with its contents and its vector."""
        is_same = super().holds(known, file) and file.vector is not None
        return is_same and np.array_equal(self._stored[file.path], np.asarray(file.vector, dtype=np.float16))
