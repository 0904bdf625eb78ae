"""FEATURES: what is kept of pictures by the base of a learned encoder in, their vectors by that encoder out.

A head or projection takes microseconds a picture, the towers below it a tenth of a second. Features are those of
the library itself, where its vectors are of the base, and those that a training left in the cache. They were kept
as float16, so that a vector made of them differs from one made of pixels by the rounding, about a thousandth of its
length.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path

import numpy as np

from mmsearch.encoders.learned import PROJECTION, Learned, read_learned, taught_image_vectors
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.encoders.prepare import features_model, learned_folders, prepare_encoder
from mmsearch.errors import EncoderError, LibraryError
from mmsearch.evaluation.cache import vectors_folder
from mmsearch.records import READING, Matrix
from mmsearch.store.base import Notify, OnProgress, views_of
from mmsearch.store.changes import Changes, KnownFile, StoredFile
from mmsearch.store.folder import Store
from mmsearch.store.place import is_library
from mmsearch.vectors import l2_normalize

_AT_ONCE = 1024  # pictures
_EVERYWHERE = b"/"


def embed_by_features(store: Store, fresh: Store, cache: Path, *, on_progress: OnProgress, notify: Notify) -> int:
    """Give pictures of a library whose features are known the vectors of a learned encoder; return how many.

    Parameters
    ----------
    store : Store
        The library.
    fresh : Store
        Opened as the writer: a library of that encoder, where the vectors are gathered.
    cache : Path
        Where trainings keep features.
    on_progress : callable
        Given (`embed`, pictures that have a new vector, pictures).
    notify : callable
        Given a sentence if there were any.
    """
    learned = _learned(str(fresh.setting("model")))
    if learned is None or views_of(fresh) != 1:  # features of windows are not kept
        return 0
    n_made = 0
    with closing(_Sources(store, cache, _fingerprint_of_features(learned, cache, notify))) as sources:
        files = store.known_files(_EVERYWHERE) if sources else iter(())
        while block := list(islice(files, _AT_ONCE)):
            known = list(_with_features(fresh, sources, block))
            if known:
                vectors = taught_image_vectors(learned, np.stack([features for _, features in known]))
                fresh.commit(Changes(stored=list(_stored(store, [file for file, _ in known], vectors))))
            n_made += len(known)
            on_progress("embed", n_made, store.n_pictures)
    if n_made:
        notify(f"{n_made} pictures got their vectors from features that were kept, without being read again")
    return n_made


class _Sources:
    """Libraries whose vectors are features; opened, and closed but for the one that is asked."""

    def __init__(self, store: Store, cache: Path, fingerprint: str | None) -> None:
        self._opened: list[Store] = []
        self._stores: list[Store] = []
        if fingerprint is None:
            return
        if store.fingerprint() == fingerprint:
            self._stores.append(store)
        folder = vectors_folder(cache, fingerprint)
        with suppress(LibraryError):  # a cache that cannot be used is none
            if is_library(folder):
                self._opened.append(Store.open(folder))
                if self._opened[0].fingerprint() == fingerprint:
                    self._stores.append(self._opened[0])

    def __bool__(self) -> bool:
        return bool(self._stores)

    def close(self) -> None:
        """Close what was opened."""
        for store in self._opened:
            store.close()

    def features_of(self, content_hash: bytes) -> Matrix | None:
        """Return the unit features float32 (n,) of a picture, read as pictures are now, or None."""
        for store in self._stores:
            with suppress(LibraryError):  # a vector that is damaged is made of the picture
                for image in store.images_with_hash(content_hash):
                    if store.reading_of(image.image_id) == READING:
                        unit: Matrix = l2_normalize(store.vectors_of([image]).astype(np.float32))[0]
                        return unit
        return None


def _with_features(
    fresh: Store, sources: _Sources, files: Sequence[KnownFile]
) -> Iterator[tuple[KnownFile, Matrix]]:
    """Yield the pictures that have no new vector and whose features are known, with those."""
    made = {file.path for file in fresh.files_at([file.path for file in files])}
    for file in files:
        if file.path in made or file.reading < READING:
            continue
        features = sources.features_of(file.content_hash)
        if features is not None:
            yield file, features


def _stored(store: Store, files: Sequence[KnownFile], vectors: Matrix) -> Iterator[StoredFile]:
    """Yield pictures of a library as they are stored in another, with new vectors (n, dim)."""
    images = {image.image_id: image for image in store.images_of_ids([file.image_id for file in files])}
    for file, vector in zip(files, vectors, strict=True):
        image = images[file.image_id]
        yield StoredFile(
            file.path, file.look, file.content_hash, image.width, image.height, image.format, image.taken_at,
            file.reading, vector=vector,
        )  # fmt: skip


def _learned(model: str) -> Learned | None:
    """Return what a model learned on top of its base; None if it is no such encoder."""
    try:
        folders = learned_folders(model)
        learned = read_learned(folders[0]) if folders else None
    except EncoderError:
        return None  # which whoever prepares it says
    return learned if learned is not None and learned.needs_base else None


def _fingerprint_of_features(learned: Learned, cache: Path, notify: Notify) -> str | None:
    """Return the fingerprint of the encoder whose vectors are what was learned sees."""
    features = features_model(learned.base)
    if learned.kind == PROJECTION or features == learned.base:
        return learned.base_fingerprint
    try:
        return OnnxEncoder.open(prepare_encoder(features, cache=cache, notify=notify)).fingerprint
    except EncoderError:
        return None
