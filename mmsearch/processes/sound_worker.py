"""The program that listens to files which anybody may have made: a path in, fingerprints out, within limits.

Run by `mmsearch.processes.start_worker`. Every request is a `SoundRequest`. The answer is a `Heard` or a `Fault`,
followed by the packed peaks of all of a file, or by the hashes, frames and packed peaks of an excerpt. Before that
comes a `Minute` for each minute of sound that is begun, and again while the bytes of the file are hashed. A file
that needs more memory ends the process with `EXIT_OUT_OF_MEMORY`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import numpy as np

from mmsearch.errors import PictureError, SoundError
from mmsearch.images.read import file_digest_of, open_regular
from mmsearch.processes.child import send
from mmsearch.processes.messages import Excerpt, Fault, Heard, Minute, Ready, SoundRequest
from mmsearch.records import FileLook
from mmsearch.sound.decode import Hearing, samples_of
from mmsearch.sound.pairs import pair_up, require_features
from mmsearch.sound.peaks import find_peaks
from mmsearch.sound.question import ask
from mmsearch.sound.spectrogram import RATE, Samples
from mmsearch.system import limit_memory, memory_in_use

MEMORY = 512 << 20
"""Bytes that a file may take beyond what the process needs itself."""


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until they end."""
    import av.audio.resampler  # noqa: F401 - before memory is limited
    import scipy.fft
    import scipy.ndimage  # noqa: F401

    needed = memory_in_use()
    send(answers, Ready(ready=True))
    if needed is not None:
        limit_memory(needed + MEMORY)
    for line in requests:
        send(answers, *_answer(json.loads(line), answers))


def _answer(request: SoundRequest, answers: BinaryIO) -> tuple[Heard | Fault, bytes]:
    try:
        with open_regular(os.fsencode(request["path"])) as (handle, status):
            if request["excerpt"] is not None:
                return _excerpt(handle, request["excerpt"], answers)
            heard, peaks = _whole(handle, answers)
            last = Minute(at=int(heard["seconds"]) // 60)  # which lasts on: gigabytes take long to read
            heard["hash"] = file_digest_of(handle, status, on_block=lambda: send(answers, last)).hex()
            heard["look"] = FileLook.of(status)
            return heard, peaks
    except (SoundError, PictureError) as error:
        return {"code": error.code, "message": str(error)}, b""


def _whole(handle: int, answers: BinaryIO) -> tuple[Heard, bytes]:
    """Return what is to be said of a file, and its peaks."""
    hearing = Hearing()
    peaks = find_peaks(_told(samples_of(handle, hearing), hearing, answers))
    require_features(pair_up(peaks))
    facts: Heard = {"seconds": hearing.n_samples / RATE, "problem": hearing.problem, "n_frames": peaks.n_frames}
    return facts, peaks.packed()


def _excerpt(handle: int, excerpt: Excerpt, answers: BinaryIO) -> tuple[Heard, bytes]:
    """Return what an excerpt is looked for by, in bytes."""
    hearing = Hearing()
    wanted = samples_of(handle, hearing, start=excerpt["start"], seconds=excerpt["seconds"], speed=excerpt["speed"])
    samples = np.concatenate(list(_told(wanted, hearing, answers)))
    prints, peaks = ask(samples, per_second=excerpt["per_second"], fan=excerpt["fan"])
    facts: Heard = {
        "seconds": hearing.n_samples / RATE, "problem": hearing.problem, "n_frames": peaks.n_frames,
        "n_prints": len(prints.hashes),
    }  # fmt: skip
    return facts, b"".join([*(array.astype("<u4").tobytes() for array in prints), peaks.packed()])


def _told(chunks: Iterable[Samples], hearing: Hearing, answers: BinaryIO) -> Iterator[Samples]:
    """Yield chunks, and say so when a minute begins: what takes long for a minute is given up."""
    n_minutes = 0
    for chunk in chunks:
        if hearing.n_samples // (60 * RATE) > n_minutes:
            n_minutes = hearing.n_samples // (60 * RATE)
            send(answers, Minute(at=n_minutes))
        yield chunk
