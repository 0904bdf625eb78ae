"""READ APART: films that anybody may have made are read in a process with limits, never in this one."""

from __future__ import annotations

import os
from typing import NamedTuple

from mmsearch.errors import PictureError, QueryError
from mmsearch.film.facts import FilmFacts
from mmsearch.film.read import STRETCH_S, FilmFrame
from mmsearch.processes.asked import AskedProcess
from mmsearch.processes.messages import Fault, FilmAnswer, FilmRequest
from mmsearch.processes.process import Ending
from mmsearch.records import FileLook

COMPUTING_S = 60.0
"""A film of which `STRETCH_S` take longer to compute is given up; all cores that decode it count."""
WAITING_S = 120.0
"""The same by the clock, for a process that is stopped or gets no time."""
FRAME_COMPUTING_S, FRAME_WAITING_S = 20.0, 40.0
"""The same for one picture, which somebody waits for."""


class OpenFilm(NamedTuple):
    """A film that was opened: its look, the sha256 of its bytes, and its facts."""

    look: FileLook
    content_hash: bytes
    facts: FilmFacts


class ShownFrame(NamedTuple):
    """A picture of a film, with the facts of the film and the look of its file."""

    frame: FilmFrame
    facts: FilmFacts
    look: FileLook


class FilmReader(AskedProcess[FilmRequest, FilmAnswer | Fault]):
    """Reads one film at a time, in a process of its own, started when first needed; for one thread.

    All questions raise PictureError if the film cannot be used, and EncoderError if no process can be started.
    """

    program, task = "processes.film_worker", "read films"
    _is_one_asked = False
    problem: str = ""
    """What was wrong with the film that is open, as far as it was read, or nothing."""

    def open(self, path: bytes, *, start: float = 0.0) -> OpenFilm:
        """Open a film, of which `next` gives the pictures from a time on; one that was open is closed."""
        facts, _ = self._answered({"wanted": "open", "path": os.fsdecode(path), "at": start})
        return OpenFilm(FileLook(*facts["look"]), bytes.fromhex(facts["hash"]), FilmFacts(*facts["facts"]))

    def next(self) -> list[FilmFrame]:
        """Return the next pictures of the film that is open, a few at a time; none at its end.

        What is raised means that the film is not open any more, and that none of its pictures should be kept.
        """
        return _frames(*self._answered({"wanted": "next", "path": "", "at": 0.0}))

    def _require_in_time(self, computed_s: float, silent_s: float) -> None:
        computing_s, waiting_s = (
            (FRAME_COMPUTING_S, FRAME_WAITING_S) if self._is_one_asked else (COMPUTING_S, WAITING_S)
        )
        what = "one picture" if self._is_one_asked else f"{STRETCH_S} s"
        if computed_s > computing_s:
            raise PictureError("timeout", f"{what} of this film takes longer than {computing_s:g} s of computing")
        if silent_s > waiting_s:
            raise PictureError("timeout", f"nothing came of {what} of this film in {waiting_s:g} s")

    def frame(self, path: bytes, at: float) -> ShownFrame:
        """Return the picture that a film shows at a time; a film that is open stays so."""
        if not at >= 0:
            raise QueryError(f"a time in a film is 0 s or more, not {at:g}")
        problem, self._is_one_asked = self.problem, True
        try:
            facts, pictures = self._answered({"wanted": "picture", "path": os.fsdecode(path), "at": at})
        finally:
            self.problem, self._is_one_asked = problem, False
        return ShownFrame(_frames(facts, pictures)[0], FilmFacts(*facts["facts"]), FileLook(*facts["look"]))

    def _answered(self, request: FilmRequest) -> tuple[FilmAnswer, bytes]:
        answer = self._ask(request)
        if isinstance(answer, Ending):
            raise PictureError(answer.code, f"reading this film {answer.reason}")
        facts, pictures = answer
        if "code" in facts:
            raise PictureError(facts["code"], facts["message"])
        self.problem = facts["problem"]
        return facts, pictures


def _frames(facts: FilmAnswer, pictures: bytes) -> list[FilmFrame]:
    frames, end = [], 0
    for at, is_cut, n_bytes in facts["pictures"]:
        frames.append(FilmFrame(at, is_cut, pictures[end : end + n_bytes]))
        end += n_bytes
    return frames
