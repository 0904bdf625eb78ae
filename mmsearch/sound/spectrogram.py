"""SPECTROGRAM: samples in, the logarithm of the power in every frame and bin out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]
"""One channel at `RATE`, in [-1, 1], shape (n_samples,)."""

RATE = 8000
"""Samples a second: what is above 4 kHz, a telephone does not pass."""
N_FFT = 1024
"""Samples of a frame: 128 ms, and bins of 7.8 Hz."""
HOP = 256
"""Samples from one frame to the next: 32 ms."""
FIRST_BIN, LAST_BIN = 25, 450
"""The bins that count, 195 Hz to 3.5 kHz: the last is not among them."""
_LEAST = np.float32(1e-10)  # of power: that of digital silence


def n_frames(n_samples: int) -> int:
    """Return how many frames samples have; those that are shorter than one have one."""
    return max(0, n_samples - N_FFT) // HOP + 1


def frames_per(seconds: float) -> int:
    """Return how many frames begin in a time."""
    return round(seconds * RATE / HOP)


def log_power(samples: Samples) -> NDArray[np.float32]:
    """Return the spectrogram of samples, float32 (n_frames, LAST_BIN - FIRST_BIN); louder is higher.

    Frames are weighted by a Hann window; what is shorter than a frame is filled up with silence.
    """
    from scipy.fft import rfft

    if len(samples) < N_FFT:
        samples = np.pad(samples, (0, N_FFT - len(samples)))
    frames = np.lib.stride_tricks.sliding_window_view(samples, N_FFT)[::HOP]
    spectrum = rfft(frames * np.hanning(N_FFT).astype(np.float32), axis=1)[:, FIRST_BIN:LAST_BIN]
    power = spectrum.real**2 + spectrum.imag**2
    told: NDArray[np.float32] = np.log(np.maximum(power, _LEAST))
    return told
