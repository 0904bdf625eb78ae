"""Constellations: the strongest of each second, the same however the recording comes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import resample_poly

from mmsearch.sound.pairs import pair_up
from mmsearch.sound.peaks import PER_SECOND, Peaks, find_peaks
from mmsearch.sound.spectrogram import FIRST_BIN, HOP, N_FFT, RATE, log_power, n_frames
from tests.sound.recordings import music


def samples(number, seconds=20.0):
    return resample_poly(music(number, seconds), 1, 2).astype(np.float32)


def test_a_tone_is_loudest_in_the_bin_of_its_pitch():
    tone = np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE).astype(np.float32)
    spectrogram = log_power(tone)
    assert spectrogram.shape == (n_frames(RATE), 425)
    assert set(spectrogram.argmax(axis=1) + FIRST_BIN) == {round(1000 * N_FFT / RATE)}


def test_peaks_are_at_most_so_many_a_second_and_the_strongest_of_each_bin_around():
    peaks, spectrogram = find_peaks([samples(1)]), log_power(samples(1))
    assert np.bincount(peaks.frames * HOP // RATE).max() == PER_SECOND
    for frame, column in zip(peaks.frames[:50], peaks.bins[:50], strict=True):
        around = spectrogram[max(0, frame - 4) : frame + 5, max(0, column - 8) : column + 9]
        assert spectrogram[frame, column] == around.max()


@pytest.mark.parametrize("length", [1000, 70_001])
def test_peaks_are_the_same_however_a_recording_is_cut_into_chunks_and_blocks(length, monkeypatch):
    whole = samples(3)
    peaks = find_peaks([whole])
    monkeypatch.setattr("mmsearch.sound.peaks._BLOCK", 250)  # 8 s
    cut = find_peaks(whole[start : start + length] for start in range(0, len(whole), length))
    np.testing.assert_array_equal(cut.frames, peaks.frames)
    np.testing.assert_array_equal(cut.bins, peaks.bins)
    assert cut.n_frames == peaks.n_frames == n_frames(len(whole))


@pytest.mark.parametrize("chunks", [[], [np.zeros(0, np.float32)], [np.zeros(3 * RATE, np.float32)]])
def test_silence_has_no_peaks(chunks):
    assert len(find_peaks([*chunks, np.zeros(0, np.float32)])) == 0


def test_packed_peaks_are_four_bytes_each_and_come_back():
    peaks = find_peaks([samples(2)])
    back = Peaks.of_packed(peaks.packed(), peaks.n_frames)
    assert len(peaks.packed()) == 4 * len(peaks)
    np.testing.assert_array_equal([back.frames, back.bins], [peaks.frames, peaks.bins])


def test_a_hash_is_bin_step_and_gap_of_two_peaks_and_begins_where_the_first_is():
    peaks = Peaks(np.array([10, 12, 80]), np.array([100, 90, 100]), 100)  # the last is too far behind the first
    prints = pair_up(peaks)
    assert prints.hashes.tolist() == [100 << 14 | (128 - 10) << 6 | 2]
    assert prints.frames.tolist() == [10]


def test_a_peak_begins_as_many_pairs_as_its_fan():
    peaks = Peaks(np.arange(0, 60, 3), np.full(20, 7), 60)
    counts = np.bincount(pair_up(peaks, fan=5).frames, minlength=60)[::3]
    assert counts.tolist() == [5] * 15 + [4, 3, 2, 1, 0]
