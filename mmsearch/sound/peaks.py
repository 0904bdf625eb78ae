"""PEAKS: a stream of samples in, the places out that are louder than all around them: a constellation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsearch.sound.spectrogram import HOP, N_FFT, RATE, Samples, log_power

PER_SECOND = 20
"""Peaks that are kept of each second, the strongest."""
_AROUND = (4, 8)  # frames and bins before and behind, none of which is louder than a peak
_FLOOR = np.float32(-9.0)  # a peak is louder: digital silence has none
_BIN_BITS = 9  # 512 bins, more than there are; the others hold three times the frames of `MOST_SECONDS`
_BLOCK = 2000  # frames looked at together, 64 s: a multiple of the 125 that begin with a whole second


@dataclass(frozen=True)
class Peaks:
    """The constellation of a recording, by frame and then by bin.

    Parameters
    ----------
    frames : int64 array, shape (n_peaks,)
        In which frame each is.
    bins : int64 array, shape (n_peaks,)
        In which bin, from 0 for the first that counts.
    n_frames : int
        Frames of the recording.
    """

    frames: NDArray[np.int64]
    bins: NDArray[np.int64]
    n_frames: int

    def __len__(self) -> int:
        """Return the number of peaks."""
        return len(self.frames)

    def packed(self) -> bytes:
        """Return the peaks in 4 bytes each."""
        return (self.frames << _BIN_BITS | self.bins).astype("<u4").tobytes()

    @classmethod
    def of_packed(cls, data: bytes, n_frames: int) -> Peaks:
        """Return what `packed` wrote of a recording of so many frames."""
        values = np.frombuffer(data, "<u4").astype(np.int64)
        return cls(values >> _BIN_BITS, values & ((1 << _BIN_BITS) - 1), n_frames)


def find_peaks(chunks: Iterable[Samples], *, per_second: int = PER_SECOND) -> Peaks:
    """Return the strongest peaks of each second of a recording, however it is cut into chunks.

    Parameters
    ----------
    chunks : iterable of float32 arrays (n,)
        The samples, one after another; read once, and never in memory as a whole.
    per_second : int
        The most that are kept of a second.
    """
    return find_constellations(chunks, [per_second])[0]


def find_constellations(chunks: Iterable[Samples], densities: Sequence[int]) -> list[Peaks]:
    """Return `find_peaks` for several densities, looking at the samples once."""
    frames: list[list[NDArray[np.int64]]] = [[] for _ in densities]
    bins: list[list[NDArray[np.int64]]] = [[] for _ in densities]
    n_frames = 0
    for first, spectrogram, before, after in _blocks(chunks):
        n_frames = first + len(spectrogram) - before - after
        in_block, found_bins, strengths = _local_maxima(spectrogram)
        inside = (in_block >= before) & (in_block < len(spectrogram) - after)
        at = in_block[inside] - before + first
        for number, per_second in enumerate(densities):
            kept = _strongest(at, strengths[inside], per_second)
            frames[number].append(at[kept])
            bins[number].append(found_bins[inside][kept])
    return [Peaks(np.concatenate(at), np.concatenate(of), n_frames) for at, of in zip(frames, bins, strict=True)]


def _blocks(chunks: Iterable[Samples]) -> Iterator[tuple[int, NDArray[np.float32], int, int]]:
    """Yield spectrograms of blocks: the first frame, the frames with those around, and how many these are."""
    around = _AROUND[0]
    n_wanted = (_BLOCK + around - 1) * HOP + N_FFT
    held, first, before = np.zeros(0, np.float32), 0, 0
    for chunk in chunks:
        held = np.concatenate([held, chunk])
        while len(held) >= before * HOP + n_wanted + HOP:  # so that there is a frame to end with
            yield first, log_power(held[: before * HOP + n_wanted]), before, around
            n_used, first = _BLOCK + before - around, first + _BLOCK
            held, before = held[n_used * HOP :], around
    yield first, log_power(held), before, 0


def _local_maxima(
    spectrogram: NDArray[np.float32],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Return frames, bins and strengths of what is louder than silence and than all around it, by frame."""
    from scipy.ndimage import maximum_filter

    size = tuple(2 * n + 1 for n in _AROUND)
    loudest = maximum_filter(spectrogram, size=size, mode="nearest")
    frames, bins = np.nonzero((spectrogram == loudest) & (spectrogram > _FLOOR))
    return frames.astype(np.int64), bins.astype(np.int64), spectrogram[frames, bins]


def _strongest(frames: NDArray[np.int64], strengths: NDArray[np.float32], per_second: int) -> NDArray[np.int64]:
    """Return the positions of the strongest of each second, in order; of equally strong ones the first."""
    seconds = frames * HOP // RATE
    order = np.lexsort((-strengths, seconds))
    ranks = np.arange(len(order)) - np.searchsorted(seconds[order], seconds[order])
    return np.sort(order[ranks < per_second])
