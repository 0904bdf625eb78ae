"""LISTEN APART: files that anybody may have made are listened to in a process with limits, never in this one."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np

from mmsearch.errors import SoundError, UnsupportedError
from mmsearch.processes.asked import AskedProcess
from mmsearch.processes.messages import Excerpt, Fault, Heard, SoundRequest
from mmsearch.processes.process import Ending
from mmsearch.records import FileLook
from mmsearch.sound.attempts import Attempt
from mmsearch.sound.pairs import Prints
from mmsearch.sound.peaks import Peaks
from mmsearch.sound.question import Question

COMPUTING_S = 20.0
"""A file of which a minute takes longer to compute is given up."""
WAITING_S = 60.0
"""The same by the clock, for a process that is stopped or gets no time."""


class HeardFile(NamedTuple):
    """What was heard of a file: its look, the sha256 of its bytes, seconds, frames and packed peaks, and faults."""

    look: FileLook
    content_hash: bytes
    seconds: float
    n_frames: int
    peaks: bytes
    problem: str


def require_media(task: str = "listening to files") -> None:
    """Raise UnsupportedError unless sound and films can be decoded here; `task` begins its sentence."""
    if any(find_spec(name) is None for name in ("av", "scipy")):
        raise UnsupportedError(
            f"{task} needs PyAV and SciPy, which are not installed: pip install 'mmsearch[media]'"
        )


class Listener(AskedProcess[SoundRequest, Heard | Fault]):
    """Listens to one file at a time, in a process of its own, started when first needed; for one thread.

    All questions raise SoundError if the file cannot be used, and EncoderError if no process can be started.
    """

    program, task = "processes.sound_worker", "listen to files"

    def recording(self, path: bytes) -> HeardFile:
        """Return the constellation of all that is to be heard in a file."""
        facts, peaks = self._heard({"path": os.fsdecode(path), "excerpt": None})
        look, content_hash = FileLook(*facts["look"]), bytes.fromhex(facts["hash"])
        return HeardFile(look, content_hash, facts["seconds"], facts["n_frames"], peaks, facts["problem"])

    def question(self, path: bytes, start: float, seconds: float, attempt: Attempt) -> tuple[Question, float]:
        """Return what an attempt looks for an excerpt by, and how long it is in the file."""
        excerpt: Excerpt = {
            "start": start, "seconds": seconds, "speed": attempt.speed, "per_second": attempt.per_second,
            "fan": attempt.fan,
        }  # fmt: skip
        facts, values = self._heard({"path": os.fsdecode(path), "excerpt": excerpt})
        n = facts["n_prints"]
        prints = Prints(*np.frombuffer(values, "<u4", count=2 * n).reshape(2, n))
        return Question(prints, Peaks.of_packed(values[8 * n :], facts["n_frames"])), facts["seconds"]

    def _heard(self, request: SoundRequest) -> tuple[Heard, bytes]:
        answer = self._ask(request)
        if isinstance(answer, Ending):
            raise SoundError(answer.code, f"listening to this file {answer.reason}")
        facts, values = answer
        if "code" in facts:
            raise SoundError(facts["code"], facts["message"])
        return facts, values

    def _require_in_time(self, computed_s: float, silent_s: float) -> None:
        if computed_s > COMPUTING_S:
            raise SoundError("timeout", f"a minute of this file takes longer than {COMPUTING_S:g} s of computing")
        if silent_s > WAITING_S:
            raise SoundError("timeout", f"nothing came of a minute of this file in {WAITING_S:g} s")
