"""Instance sets searched as a user searches: a library with visual words, asked one example after the other."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from mmsearch.arguments import Mode
from mmsearch.evaluation.encode import NO_GRAPH, SetEncoder
from mmsearch.library import Library
from mmsearch.records import Matrix, Query, SearchOptions
from mmsearch.store.base import OnProgress


@dataclass(frozen=True)
class LocalOptions:
    """How local features are measured: with a vocabulary from a file, or with one learned on the gallery."""

    vocabulary: Path | None = None


def words_library(encoder: SetEncoder, gallery: Sequence[Path], options: LocalOptions) -> Library:
    """Return a library of the gallery and nothing else, with visual words; kept for the next run."""
    key = sha256("\0".join(map(os.fspath, gallery)).encode("utf-8", "surrogateescape"))
    key.update(options.vocabulary.read_bytes() if options.vocabulary is not None else b"")
    library = Library.open(encoder.folder / "words" / key.hexdigest()[:24], cache=encoder.cache, use_graph=False)
    encoder.when_free(
        lambda: library.index(
            gallery, model=encoder.encoder.name, settings=NO_GRAPH, local=True, vocabulary=options.vocabulary,
            on_progress=encoder.on_progress,
        )
    )  # fmt: skip
    return library


def scores_by_search(
    library: Library, queries: Sequence[Path], gallery: Sequence[Path], *, mode: Mode, on_progress: OnProgress
) -> Matrix:
    """Return scores float32 (n_queries, n_gallery) that rank the gallery as searches do.

    1 for the first hit, falling by one part of the gallery a place; 0 for pictures that are not among the hits.
    Examples with too few local features rank as without them, or find nothing.
    """
    place_of = {os.fspath(path.absolute()): place for place, path in enumerate(gallery)}
    scores = np.zeros((len(queries), len(gallery)), dtype=np.float32)
    options = SearchOptions(k=len(gallery), mode=mode, rerank="local", collapse="none")
    falling = 1 - np.arange(len(gallery), dtype=np.float32) / len(gallery)
    for row, query in enumerate(queries):
        (result,) = library.search_many(Query(images=[query]), options)
        places = [place_of[hit.path] for hit in result.hits]
        scores[row, places] = falling[: len(places)]
        on_progress("search", row + 1, len(queries))
    return scores
