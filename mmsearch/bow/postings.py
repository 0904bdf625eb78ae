"""Posting lists of the visual words of many pictures, as flat arrays: 18 bytes a feature.

Features are sorted by word, then by picture; `offsets` says where the list of each word starts. A `Postings` is
one immutable segment of an inverted file: new pictures make a new segment, and segments merge.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mmsearch.array_file import arrays_in_pieces, open_columns, write_arrays
from mmsearch.bow.vocabulary import ImageWords
from mmsearch.errors import VocabularyError
from mmsearch.file_array import FileArray
from mmsearch.records import Matrix, Pixels

_KIND = "postings"
_COLUMNS = ("signatures", "positions", "scales", "angles")
_OF_FEATURES = ("rows", *_COLUMNS)
_BLOCK = 1 << 19  # features merged at a time: 40 MB
_STEPS_A_PIXEL = 64
_STEPS_AN_OCTAVE = 16
_DEGREES_A_STEP = 360 / 256


@dataclass(frozen=True)
class Postings:
    """The features of `image_ids` under their words. Never modified; columns of features may stay in their file.

    Parameters
    ----------
    offsets : int64 array, shape (n_words + 1,)
        The list of word w is `offsets[w]:offsets[w + 1]` of the following arrays.
    rows : int32 array, shape (n_features,)
        Picture of each feature, as a position in `image_ids`; ascending within a list.
    signatures : uint64 array, shape (n_features,)
        Hamming embedding.
    positions : uint16 array, shape (n_features, 2)
        x and y in 1/64 pixel of the frame.
    scales, angles : uint8 arrays, shape (n_features,)
        1/16 octaves above one pixel; 1/256 turns.
    image_ids : int64 array, shape (n_images,)
        Stable keys of the pictures, also of those without features.
    feature_counts : int32 array, shape (n_images,)
        Features of every picture.
    document_counts : int32 array, shape (n_words,)
        Pictures that have the word.
    """

    offsets: NDArray[np.int64]
    rows: NDArray[np.int32] | FileArray[np.int32]
    signatures: NDArray[np.uint64] | FileArray[np.uint64]
    positions: NDArray[np.uint16] | FileArray[np.uint16]
    scales: Pixels | FileArray[np.uint8]
    angles: Pixels | FileArray[np.uint8]
    image_ids: NDArray[np.int64]
    feature_counts: NDArray[np.int32]
    document_counts: NDArray[np.int32]

    @property
    def n_words(self) -> int:
        """Number of lists."""
        return len(self.offsets) - 1

    def save(self, path: Path) -> None:
        """Write all arrays into one file."""
        write_arrays(path, _KIND, {}, {field.name: getattr(self, field.name)[:] for field in fields(self)})

    @classmethod
    def open(cls, source: Path | BinaryIO) -> Postings:
        """Return the postings of a file that is known to be whole: only its header and its lengths are checked.

        What is known of words and pictures is read, and what is known of features when it is asked for.

        Raises
        ------
        VocabularyError
            If it is another kind of file, or cut short.
        OSError
            If it cannot be read.
        """
        names = [field.name for field in fields(cls)]
        return cls(**open_columns(source, _KIND, names, in_file=_OF_FEATURES, what="posting lists"))


def build_postings(images: Iterable[tuple[int, ImageWords]], n_words: int) -> Postings:
    """Return the posting lists of pictures.

    Parameters
    ----------
    images : iterable of (image_id, ImageWords)
        One word a feature; ids differ. Not modified.
    n_words : int
        Size of the vocabulary.

    Raises
    ------
    VocabularyError
        If a word is outside the vocabulary, or a feature lies beyond what 16 bits hold (a frame of 1,023 px).
    """
    pairs = list(images)
    counts = np.array([len(words.words) for _, words in pairs], dtype=np.int32)
    words = _joined([words.words for _, words in pairs], np.int32)
    if len(words) and not (words.min() >= 0 and words.max() < n_words):
        raise VocabularyError(
            f"found words from {words.min()} to {words.max()}, expected 0 to {n_words - 1}; "
            "they are of another vocabulary"
        )
    rows = np.repeat(np.arange(len(pairs), dtype=np.int32), counts)
    return _sorted(
        words, rows, n_words,
        {
            "signatures": _joined([words.signatures for _, words in pairs], np.uint64),
            "positions": quantised_positions(_joined([words.positions for _, words in pairs], np.float32, (2,))),
            "scales": quantised_scales(_joined([words.scales for _, words in pairs], np.float32)),
            "angles": quantised_angles(_joined([words.angles for _, words in pairs], np.float32)),
        },
        np.array([image_id for image_id, _ in pairs], dtype=np.int64),
    )  # fmt: skip


def merge_postings(segments: Sequence[Postings], alive: Sequence[NDArray[np.bool_]], path: Path) -> None:
    """Write one segment with the pictures of several that are alive: a mask (n_images,) for each segment.

    Raises
    ------
    VocabularyError
        If the segments have different numbers of words.

    Notes
    -----
    Merges some words at a time: needs memory for 524,288 features, or those of the longest list, and for what is
    known of pictures and words.
    """
    n_words = one_vocabulary(segments)
    image_ids, feature_counts = (
        np.concatenate([getattr(segment, name)[mask] for segment, mask in zip(segments, alive, strict=True)])
        for name in ("image_ids", "feature_counts")
    )
    firsts = np.cumsum([0, *(mask.sum() for mask in alive)])
    new_rows = [np.cumsum(mask) - 1 + first for mask, first in zip(alive, firsts, strict=False)]
    n_features = int(feature_counts.sum(dtype=np.int64))
    offsets, document_counts = np.zeros(n_words + 1, np.int64), np.zeros(n_words, np.int32)
    wholes = {"offsets": offsets, "image_ids": image_ids, "feature_counts": feature_counts,
              "document_counts": document_counts}  # fmt: skip
    described = {name: (array.dtype, (n_features, *array.shape[1:])) for name, array in vars(segments[0]).items()}
    described |= {name: (array.dtype, array.shape) for name, array in wholes.items()}
    with arrays_in_pieces(path, _KIND, {}, described) as put:
        for first, last in _word_ranges(segments):
            part = _merged_part(segments, alive, new_rows, (first, last), image_ids)
            start = int(offsets[first])
            for name in _OF_FEATURES:
                put(name, start, getattr(part, name))
            offsets[first : last + 1] = part.offsets + start
            document_counts[first:last] = part.document_counts
        for name, array in wholes.items():
            put(name, 0, array)


def _word_ranges(segments: Sequence[Postings]) -> Iterator[tuple[int, int]]:
    """Yield ranges of words, from the first to before the last, whose lists have about `_BLOCK` features."""
    n_features = sum(np.diff(segment.offsets) for segment in segments)
    ends = np.cumsum(n_features)
    cuts = np.searchsorted(ends, np.arange(_BLOCK, ends[-1], _BLOCK)) + 1
    return pairwise(np.unique([0, *cuts, len(ends)]).tolist())


def _merged_part(
    segments: Sequence[Postings],
    alive: Sequence[NDArray[np.bool_]],
    new_rows: Sequence[NDArray[np.int64]],
    words: tuple[int, int],
    image_ids: NDArray[np.int64],
) -> Postings:
    """Return the lists of a range of words, merged, as those of a vocabulary of these words."""
    first, last = words
    owners, rows = [], []
    columns: dict[str, list[NDArray[Any]]] = {name: [] for name in _COLUMNS}
    for segment, is_alive, new in zip(segments, alive, new_rows, strict=True):
        span = slice(int(segment.offsets[first]), int(segment.offsets[last]))
        old = segment.rows[span]
        keep = is_alive[old]
        lengths = np.diff(segment.offsets[first : last + 1])
        owners.append(np.repeat(np.arange(last - first, dtype=np.int32), lengths)[keep])
        rows.append(new[old[keep]].astype(np.int32))
        for name, parts in columns.items():
            parts.append(getattr(segment, name)[span][keep])
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    return _sorted(np.concatenate(owners), np.concatenate(rows), last - first, joined, image_ids)


def one_vocabulary(segments: Sequence[Postings]) -> int:
    """Return the number of words of all segments, or raise VocabularyError if it differs."""
    sizes = {segment.n_words for segment in segments}
    if len(sizes) != 1:
        raise VocabularyError(f"segments have {sorted(sizes)} words, expected segments of one vocabulary")
    return sizes.pop()


def quantised_positions(positions: Matrix) -> NDArray[np.uint16]:
    """Return positions in pixels as multiples of 1/64 pixel."""
    steps = np.rint(positions * _STEPS_A_PIXEL)
    if len(steps) and steps.max() > np.iinfo(np.uint16).max:
        raise VocabularyError(
            f"a feature lies at {positions.max():.0f} px, expected a frame of at most 1023 px; "
            "extract at a smaller size"
        )
    return np.maximum(steps, 0).astype(np.uint16)


def quantised_scales(scales: NDArray[np.float32]) -> Pixels:
    """Return scales in pixels as sixteenths of octaves above one pixel."""
    steps = np.rint(np.log2(np.maximum(scales, 1)) * _STEPS_AN_OCTAVE)
    quantised: Pixels = np.minimum(steps, 255).astype(np.uint8)
    return quantised


def quantised_angles(angles: NDArray[np.float32]) -> Pixels:
    """Return angles in degrees as 1/256 turns."""
    quantised: Pixels = (np.rint(angles / _DEGREES_A_STEP).astype(np.int64) % 256).astype(np.uint8)
    return quantised


def plain_positions(steps: NDArray[np.uint16]) -> Matrix:
    """Return quantised positions in pixels again."""
    return steps.astype(np.float32) / np.float32(_STEPS_A_PIXEL)


def plain_scales(steps: Pixels) -> NDArray[np.float32]:
    """Return quantised scales in pixels again."""
    scales: NDArray[np.float32] = np.exp2(steps.astype(np.float32) / np.float32(_STEPS_AN_OCTAVE))
    return scales


def plain_angles(steps: Pixels) -> NDArray[np.float32]:
    """Return quantised angles in degrees again."""
    return steps.astype(np.float32) * np.float32(_DEGREES_A_STEP)


def _sorted(
    words: NDArray[np.int32],
    rows: NDArray[np.int32],
    n_words: int,
    columns: dict[str, NDArray[Any]],
    image_ids: NDArray[np.int64],
) -> Postings:
    """Return features, given by columns in the order of their pictures, as posting lists."""
    order = np.argsort(words, kind="stable")
    words, rows = words[order], rows[order]
    lengths = np.bincount(words, minlength=n_words)
    is_first = np.ones(len(words), dtype=bool)
    is_first[1:] = (np.diff(words) != 0) | (np.diff(rows) != 0)
    return Postings(
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        rows=rows,
        image_ids=image_ids,
        feature_counts=np.bincount(rows, minlength=len(image_ids)).astype(np.int32),
        document_counts=np.bincount(words[is_first], minlength=n_words).astype(np.int32),
        **{name: column[order] for name, column in columns.items()},
    )


def _joined(arrays: Sequence[NDArray[Any]], dtype: type, shape: tuple[int, ...] = ()) -> NDArray[Any]:
    """Concatenate, also nothing."""
    return np.concatenate([np.zeros((0, *shape), dtype), *arrays])
