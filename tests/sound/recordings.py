"""Music that nobody wrote: tones of a few hundred ms at random, the same for a number every time; and its files."""

from __future__ import annotations

import io
from functools import cache

import av
import numpy as np

RATE = 16_000


@cache
def music(number: int, seconds: float = 20.0) -> np.ndarray:
    """Return about ten tones a second over a little noise, float32 at `RATE`, in [-1, 1]; not to be changed."""
    rng = np.random.default_rng(number)
    samples = rng.normal(scale=2e-3, size=round(seconds * RATE))
    for _ in range(round(10 * seconds)):
        n, pitch = round(rng.uniform(0.1, 0.6) * RATE), rng.uniform(220, 3300)
        at = int(rng.integers(0, len(samples)))
        tone = np.sin(2 * np.pi * pitch * np.arange(n) / RATE) * np.hanning(n) * rng.uniform(0.05, 0.2)
        samples[at : at + n] += tone[: len(samples) - at]
    samples.setflags(write=False)
    return samples.astype(np.float32)


def encoded(
    samples: np.ndarray,
    container: str = "flac",
    codec: str | None = None,
    *,
    rate: int = RATE,
    layout: str = "mono",
) -> bytes:
    """Return a file of samples (n,), or (channels, n)."""
    channels = np.atleast_2d(samples).astype(np.float32)
    written = io.BytesIO()
    with av.open(written, "w", format=container) as file:
        stream = file.add_stream(codec or container, rate=rate, layout=layout)
        context = stream.codec_context
        context.thread_count = 1
        resampler = av.AudioResampler(context.format or "fltp", layout, rate, frame_size=context.frame_size or 1024)
        interleaved = np.ascontiguousarray(channels.T.reshape(1, -1))
        whole = av.AudioFrame.from_ndarray(interleaved, format="flt", layout=layout)
        whole.sample_rate, whole.pts = rate, 0
        for frame in [*resampler.resample(whole), *resampler.resample(None)]:
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return written.getvalue()
