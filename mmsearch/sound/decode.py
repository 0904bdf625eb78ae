"""DECODE: the sound of a file that anybody may have made, as samples.

What is hostile costs the process in which this runs: nothing here belongs into that of the user.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.arguments import MOST_SECONDS
from mmsearch.errors import SoundError
from mmsearch.media.open import frames_of, is_shorter_than_it_says, open_container, refuse_lack_of_memory
from mmsearch.sound.spectrogram import RATE, Samples

if TYPE_CHECKING:
    from av.container import InputContainer

_EXTENSIONS = frozenset(
    b".3g2 .3gp .aac .ac3 .aif .aifc .aiff .amr .ape .asf .au .avi .caf .divx .eac3 .flac .flv .insv .m2ts .m4a "
    b".m4b .m4v .mka .mkv .mov .mp2 .mp3 .mp4 .mpeg .mpg .mts .oga .ogg .ogv .opus .rmvb .snd .spx .tta .vob .w64 "
    b".wav .weba .webm .wma .wmv .wv".split()
)
_PROTECTED = ("enca", "drms")  # what an MP4 calls sound that is encrypted
_CHUNK = 1 << 16  # samples, 8 s
_TOGETHER = 1 << 13  # samples that the resampler gives at once: Python takes its time for each piece
_COUNTED = ("aiff", "au")  # containers that say how long they are, which FFmpeg takes for true
_MOST_CHANNELS, _MOST_RATE = 64, 1_000_000


@dataclass
class Hearing:
    """What was heard of a file so far: how many samples, and what was wrong with it, or nothing."""

    n_samples: int = 0
    problem: str = ""


def is_named_like_a_sound(name: bytes) -> bool:
    """Return whether the extension of a file name is that of a recording, or of a film, which may have one.

    >>> is_named_like_a_sound(b"a.OGG"), is_named_like_a_sound(b"a.txt")
    (True, False)
    """
    return os.path.splitext(name)[1].lower() in _EXTENSIONS


def samples_of(
    handle: int, hearing: Hearing, *, start: float = 0.0, seconds: float | None = None, speed: float = 1.0
) -> Iterator[Samples]:
    """Yield the samples of an open file in chunks, its channels mixed.

    What is damaged in the middle or at the end is left out, and `hearing.problem` says so.

    Parameters
    ----------
    handle : int
        Descriptor of a regular file; its position moves.
    hearing : Hearing
        Takes note of what comes.
    start, seconds : float
        From where on, and how much at most; the file's own time is corrected by its first.
    speed : float
        How many times as fast as it should be it was played: what is slower than that comes out.

    Raises
    ------
    SoundError
        If there is no sound in it, or none that can be had.
    MemoryError
        If it needs more memory than there is.
    """
    most = round(min(MOST_SECONDS, MOST_SECONDS if seconds is None else seconds) * RATE)
    with os.fdopen(os.dup(handle), "rb") as file:
        file.seek(0)
        with closing(open_container(file, partial(SoundError, "not_a_sound"))) as container:
            decoded = _decoded(container, hearing, start, round(RATE * speed))
            pending: list[Samples] = []
            n_pending = 0
            for samples in decoded:
                kept = samples[: most - hearing.n_samples]
                hearing.n_samples += len(kept)
                pending.append(kept)
                n_pending += len(kept)
                if n_pending >= _CHUNK:
                    yield _joined(pending)
                    pending.clear()
                    n_pending = 0
                if hearing.n_samples >= most:
                    break
            yield _joined(pending)
            if seconds is None and hearing.n_samples >= most:
                hearing.problem = f"only its first {MOST_SECONDS // 3600} hours are kept"
            elif seconds is None and not hearing.problem and _is_cut(handle, container, hearing.n_samples / RATE):
                hearing.problem = "it is cut short: by what it says of itself it was longer"


def _is_cut(handle: int, container: InputContainer, seconds: float) -> bool:
    """Return whether a file says itself that it is longer, where FFmpeg does not notice that."""
    if container.format.name in _COUNTED:
        stream: Any = container.streams.audio[0]
        return seconds < 0.99 * float((stream.duration or 0) * stream.time_base) - 0.1
    return is_shorter_than_it_says(handle)


def _joined(pending: list[Samples]) -> Samples:
    """Return samples as one array, none of them absurd: decoders of floats may give anything."""
    joined = np.concatenate([np.zeros(0, np.float32), *pending])
    return np.clip(np.nan_to_num(joined, copy=False), -16.0, 16.0, out=joined)


def _decoded(container: InputContainer, hearing: Hearing, start: float, rate: int) -> Iterator[Samples]:
    """Yield samples at a rate as they are decoded, from a time on."""
    import av

    stream, resampler = _sound_of(container), _Resampler(rate)
    began = float((stream.start_time or 0) * stream.time_base)
    n_frames, is_sought = 0, False
    if start > 0:
        with suppress(av.FFmpegError):  # what cannot be sought is read from its beginning
            container.seek(int((start + began) / stream.time_base), stream=stream)
            is_sought = True
    to_skip = None if start > 0 else 0
    for frame in _frames(container, stream, hearing):
        n_frames += 1
        if to_skip is None:
            at = frame.time if is_sought and frame.time is not None else began
            to_skip = max(0, round((start + began - at) * rate))
        for samples in resampler.samples(frame):
            yield samples[to_skip:]
            to_skip = max(0, to_skip - len(samples))
    for samples in resampler.rest():
        yield samples[to_skip or 0 :]
    if n_frames or start > 0:  # behind the end there is nothing
        return
    if hearing.problem:
        raise SoundError("corrupt", "the sound in this file is damaged from its beginning to its end")
    raise SoundError("no_sound", "there is a sound track in this file, and nothing on it")


def _frames(container: InputContainer, stream: Any, hearing: Hearing) -> Iterator[Any]:
    """Yield decoded frames; packets that cannot be decoded are left out."""
    n_damaged = 0

    def count() -> None:
        nonlocal n_damaged
        n_damaged += 1

    yield from frames_of(container, stream, count)
    if n_damaged:
        hearing.problem = "parts of it are damaged, or it is cut short; what could be heard of it is kept"


def _sound_of(container: InputContainer) -> Any:
    """Return the first sound track that can be decoded."""
    tracks = container.streams.audio
    if not tracks:
        raise SoundError("no_sound", "there is no sound in this file")
    for track in tracks:
        context = track.codec_context
        if context is not None and context.codec_tag not in _PROTECTED:
            if not (0 < context.channels <= _MOST_CHANNELS and 0 < context.sample_rate <= _MOST_RATE):
                raise SoundError("unsupported", "this sound has no channels or rate that could be heard")
            context.thread_count = 1
            return track
    if any(track.codec_context is not None for track in tracks):
        raise SoundError("protected", "this sound is encrypted (DRM); only its seller's programs can play it")
    raise SoundError("unsupported", "the sound in this file is of a kind that FFmpeg cannot decode here")


class _Resampler:
    """What mixes channels and brings sound to a rate, also where a file changes its own in the middle."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._resampler: Any = None
        self._given: tuple[Any, ...] = ()

    def samples(self, frame: Any) -> Iterator[Samples]:
        """Yield what is ready after a frame."""
        import av

        given = frame.format.name, frame.layout.name, frame.sample_rate
        if given != self._given:
            yield from self.rest()
            self._resampler = av.AudioResampler("fltp", "mono", self._rate, frame_size=_TOGETHER)
            self._given = given
        frame.pts = None  # gaps and leaps of time stamps are not filled
        yield from self._resampled(frame)

    def rest(self) -> Iterator[Samples]:
        """Yield what is left at the end."""
        if self._resampler is not None:
            yield from self._resampled(None)

    def _resampled(self, frame: Any) -> Iterator[Samples]:
        import av

        try:
            for each in self._resampler.resample(frame):
                yield each.to_ndarray()[0]
        except av.FFmpegError as error:
            refuse_lack_of_memory(error)
            raise SoundError("unsupported", f"{self._given[1]} of sound cannot be mixed to one channel") from error
