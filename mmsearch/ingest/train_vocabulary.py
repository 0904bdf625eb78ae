"""A vocabulary of visual words from folders of pictures, without a library."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from mmsearch.bow.vocabulary import Vocabulary, suggested_n_words
from mmsearch.errors import PictureError, VocabularyError
from mmsearch.images import FoundFile, decode_grey, find_files, read_file
from mmsearch.ingest.plan import absolute_roots
from mmsearch.ingest.words import ITERATIONS, MAX_GATHERED_PICTURES, MAX_TRAINING, MIN_DESCRIPTORS
from mmsearch.local.extractors import DEFAULT
from mmsearch.records import BadPicture, Matrix, PathLike
from mmsearch.system import n_cores


def train_vocabulary(
    paths: PathLike | Iterable[PathLike],
    *,
    n_words: int | None = None,
    on_progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> tuple[Vocabulary, list[BadPicture]]:
    """Learn visual words from at most 4,000 pictures, spread evenly over those found.

    Parameters
    ----------
    paths : path, or several
        Folders, searched through, and pictures.
    n_words : int or None
        Default: as suggested for the number of descriptors.
    on_progress : callable
        Given (stage, done, total) with stage `words` and `vocabulary`.

    Returns
    -------
    vocabulary : Vocabulary
    bad : list of BadPicture
        Pictures that could not be used.

    Raises
    ------
    VocabularyError
        If the pictures have too few features.
    """
    pictures = [file.path for file in find_files(absolute_roots(paths)) if isinstance(file, FoundFile)]
    step = -(-len(pictures) // MAX_GATHERED_PICTURES) or 1
    chosen = pictures[::step]
    bad: list[BadPicture] = []
    parts = []
    for done, (path, result) in enumerate(zip(chosen, _described(chosen), strict=True), start=1):
        if isinstance(result, PictureError):
            bad.append(BadPicture(os.fsdecode(path), result.code, str(result)))
        else:
            parts.append(result)
        on_progress("words", done, len(chosen))
    descriptors = np.concatenate(parts) if parts else np.zeros((0, DEFAULT.dim), np.float32)
    needed = max(MIN_DESCRIPTORS, n_words or 0)
    if len(descriptors) < needed:
        raise VocabularyError(
            f"{len(chosen)} pictures have {len(descriptors)} local features, expected at least {needed}; "
            "name more pictures or fewer words"
        )
    vocabulary = Vocabulary.train(
        descriptors,
        n_words or suggested_n_words(len(descriptors)),
        extractor=DEFAULT.name,
        max_iterations=ITERATIONS,
        on_iteration=lambda n, _: on_progress("vocabulary", n, max(n, ITERATIONS)),
    )
    return vocabulary, bad


def _described(paths: Sequence[bytes]) -> Iterator[Matrix | PictureError]:
    """Yield the descriptors of every picture, or what is wrong with it; at most MAX_TRAINING in all."""
    limit = max(1, MAX_TRAINING // max(len(paths), 1))
    with ThreadPoolExecutor(n_cores()) as threads:
        yield from threads.map(lambda path: _descriptors(path, limit), paths)


def _descriptors(path: bytes, limit: int) -> Matrix | PictureError:
    try:
        grey = decode_grey(read_file(path)[0], longer_side=DEFAULT.longer_side).pixels
    except PictureError as error:
        return error
    descriptors = DEFAULT.extract(grey).descriptors
    # Strongest first: every n-th is of all strengths.
    return descriptors[:: -(-len(descriptors) // limit) or 1]
