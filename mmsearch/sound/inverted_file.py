"""INVERTED FILE: where each hash occurs in many recordings, as flat arrays: 4 bytes an occurrence.

The recordings lie one after the other on one time line, with silence between them, so that an occurrence is one
number: the frame. A `Segment` is immutable: new recordings make a new segment, and segments merge.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mmsearch.array_file import arrays_in_pieces, open_arrays, open_columns, write_arrays
from mmsearch.errors import UnsupportedError
from mmsearch.file_array import FileArray
from mmsearch.sound.pairs import Prints

SILENCE = 2048
"""Frames between two recordings, 65 s: no question may be longer."""
_KIND = "sounds"
_BLOCK = 1 << 21  # occurrences merged at a time: 50 MB
_MOST_FRAMES = 1 << 32  # of the time line: 4 years


@dataclass(frozen=True)
class Segment:
    """The fingerprints of some recordings. Never modified; `times` may stay in their file.

    Parameters
    ----------
    hashes : uint32 array, shape (n_hashes,)
        Those that occur, ascending.
    offsets : int64 array, shape (n_hashes + 1,)
        Hash i occurs at `times[offsets[i]:offsets[i + 1]]`.
    times : uint32 array, shape (n_prints,)
        Frames of the time line, ascending under each hash.
    ids : int64 array, shape (n_tracks,)
        Stable keys of the recordings.
    checksums : int64 array, shape (n_tracks,)
        Of the peaks of each: the same key may come to mean others.
    starts, lengths : int64 arrays, shape (n_tracks,)
        Frames of the time line on which each begins, ascending, and how many it has.
    """

    hashes: NDArray[np.uint32]
    offsets: NDArray[np.int64]
    times: NDArray[np.uint32] | FileArray[np.uint32]
    ids: NDArray[np.int64]
    checksums: NDArray[np.int64]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]

    def save(self, path: Path) -> None:
        """Write all arrays into one file."""
        write_arrays(path, _KIND, {}, {field.name: getattr(self, field.name)[:] for field in fields(self)})

    @classmethod
    def open(cls, source: Path | BinaryIO) -> Segment:
        """Return the segment of a file that is known to be whole; the times are read when they are asked for.

        Raises
        ------
        VocabularyError
            If it is another kind of file, or cut short.
        OSError
            If it cannot be read.
        """
        names = [field.name for field in fields(cls)]
        return cls(**open_columns(source, _KIND, names, in_file=("times",), what="fingerprints"))

    def tracks_at(self, times: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        """Return the positions of the recordings that frames of the time line belong to.

        The silence before a recording is its own: a question may begin before it.
        """
        return np.searchsorted(self.starts, times.astype(np.int64) + SILENCE, side="right") - 1

    def occurrences(self, prints: Prints, *, most_of_mean: float) -> NDArray[np.uint32]:
        """Return, for every occurrence of every print, the frame of the time line where the question would begin.

        Hashes that occur more than `most_of_mean` times as often as the mean are passed over: they tell little, and
        take the longest.
        """
        if not len(self.hashes):
            return np.zeros(0, np.uint32)
        at = np.minimum(np.searchsorted(self.hashes, prints.hashes), len(self.hashes) - 1)
        lengths = np.diff(self.offsets)
        most = max(1.0, most_of_mean * len(self.times) / len(self.hashes))
        is_there = (self.hashes[at] == prints.hashes) & (lengths[at] <= most)
        at, frames = at[is_there], prints.frames[is_there]
        begins: NDArray[np.uint32] = _runs(self.times, self.offsets[at], lengths[at])
        begins -= np.repeat(frames, lengths[at])
        return begins


def tracks_of(source: Path | BinaryIO) -> set[tuple[int, int]]:
    """Return ids and checksums of the recordings in the file of a segment, of which nothing else is read."""
    arrays = open_arrays(source, _KIND)
    return set(zip(arrays["ids"][:].tolist(), arrays["checksums"][:].tolist(), strict=True))


def _runs(
    times: NDArray[np.uint32] | FileArray[np.uint32], starts: NDArray[np.int64], lengths: NDArray[np.int64]
) -> NDArray[np.uint32]:
    """Return runs of times one behind the other, wherever they are."""
    if isinstance(times, FileArray):
        return times.runs(starts, lengths)
    ends = np.cumsum(lengths)
    values: NDArray[np.uint32] = times[np.repeat(starts - ends + lengths, lengths) + np.arange(lengths.sum())]
    return values


def build_segment(tracks: Iterable[tuple[int, int, int, Prints]]) -> Segment:
    """Return the segment of recordings, given by id, checksum, number of frames and fingerprints, in memory."""
    known = list(tracks)
    ids, checksums, lengths = (np.array([track[i] for track in known], np.int64) for i in range(3))
    starts = _starts(lengths)
    parts = [
        prints.hashes.astype(np.uint64) << np.uint64(32) | (prints.frames.astype(np.uint64) + np.uint64(start))
        for (*_, prints), start in zip(known, starts.tolist(), strict=True)
    ]
    keys = np.sort(np.concatenate([np.zeros(0, np.uint64), *parts]))
    hashes, counts = np.unique((keys >> np.uint64(32)).astype(np.uint32), return_counts=True)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Segment(hashes, offsets, keys.astype(np.uint32), ids, checksums, starts, lengths)


def _starts(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where recordings begin on a time line that begins with silence."""
    ends = np.cumsum(lengths + SILENCE)
    if len(ends) and ends[-1] >= _MOST_FRAMES:
        raise UnsupportedError("a library holds at most four years of sound; put some of it into another --library")
    return ends - lengths


def merge_segments(segments: Sequence[Segment], alive: Sequence[NDArray[np.bool_]], path: Path) -> None:
    """Write one segment with the recordings of several that are alive: a mask (n_tracks,) for each.

    Notes
    -----
    Needs memory for some hashes at a time, and for all that is known of hashes and recordings.
    """
    ids, checksums, lengths = (
        np.concatenate([getattr(segment, name)[mask] for segment, mask in zip(segments, alive, strict=True)])
        for name in ("ids", "checksums", "lengths")
    )
    starts = _starts(lengths)
    moves = [np.zeros(len(mask), np.int64) for mask in alive]
    firsts = np.cumsum([0, *(mask.sum() for mask in alive)])
    for segment, mask, move, first in zip(segments, alive, moves, firsts, strict=False):
        move[mask] = starts[first : first + mask.sum()] - segment.starts[mask]
    hashes = np.unique(np.concatenate([segment.hashes for segment in segments]))
    counts = np.zeros(len(hashes), np.int64)
    for segment, mask in zip(segments, alive, strict=True):
        counts[np.searchsorted(hashes, segment.hashes)] += _counts(segment, mask)
    occurs = counts > 0  # others would make the mean smaller, by which hashes are passed over
    offsets = np.concatenate([[0], np.cumsum(counts[occurs])]).astype(np.int64)
    wholes = {"hashes": hashes[occurs], "offsets": offsets, "ids": ids, "checksums": checksums, "starts": starts,
              "lengths": lengths}  # fmt: skip
    described = {name: (array.dtype, array.shape) for name, array in wholes.items()}
    described["times"] = (np.dtype(np.uint32), (int(offsets[-1]),))
    with arrays_in_pieces(path, _KIND, {}, described) as put:
        n_put = 0
        for first, last in _ranges(segments, hashes):
            times = _merged(segments, alive, moves, hashes[first:last])
            put("times", n_put, times)
            n_put += len(times)
        for name, array in wholes.items():
            put(name, 0, array)


def _counts(segment: Segment, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return how often each hash of a segment occurs in the recordings that are alive."""
    if mask.all():
        return np.diff(segment.offsets)
    counts = np.zeros(len(segment.hashes), np.int64)
    for start in range(0, len(segment.times), _BLOCK):
        at = start + np.flatnonzero(mask[segment.tracks_at(segment.times[start : start + _BLOCK])])
        owners, n = np.unique(np.searchsorted(segment.offsets, at, side="right") - 1, return_counts=True)
        counts[owners] += n
    return counts


def _ranges(segments: Sequence[Segment], hashes: NDArray[np.uint32]) -> Iterator[tuple[int, int]]:
    """Yield ranges of hashes that occur about `_BLOCK` times together."""
    counts = np.zeros(len(hashes), np.int64)
    for segment in segments:
        counts[np.searchsorted(hashes, segment.hashes)] += np.diff(segment.offsets)
    ends = np.cumsum(counts)
    cuts = np.searchsorted(ends, np.arange(_BLOCK, ends[-1] if len(ends) else 0, _BLOCK)) + 1
    return pairwise(np.unique([0, *cuts, len(ends)]).tolist())


def _merged(
    segments: Sequence[Segment],
    alive: Sequence[NDArray[np.bool_]],
    moves: Sequence[NDArray[np.int64]],
    hashes: NDArray[np.uint32],
) -> NDArray[np.uint32]:
    """Return where neighbouring hashes occur by their new times, hash by hash."""
    owners, times = [], []
    for segment, mask, move in zip(segments, alive, moves, strict=True):
        first, last = np.searchsorted(segment.hashes, [hashes[0], hashes[-1] + 1]).tolist()
        old = segment.times[int(segment.offsets[first]) : int(segment.offsets[last])]
        tracks = segment.tracks_at(old)
        positions = np.searchsorted(hashes, segment.hashes[first:last])
        owner = np.repeat(positions, np.diff(segment.offsets[first : last + 1]))
        owners.append(owner[mask[tracks]])
        times.append((old + move[tracks])[mask[tracks]].astype(np.uint32))
    return np.concatenate(times)[np.argsort(np.concatenate(owners), kind="stable")]
