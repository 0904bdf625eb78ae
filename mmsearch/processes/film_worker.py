"""The program that reads films which anybody may have made: a path in, pictures with times out, within limits.

Run by `mmsearch.processes.start_worker`. Every request is a `FilmRequest`. The answer is a `FilmAnswer` or a
`Fault`, followed by the bytes of its pictures, one after the other. Before that comes a `Stretch` for each stretch
of film that decoding comes to, and again while the bytes of the file are hashed. The film stays open between
requests. One that needs more memory ends the process with `EXIT_OUT_OF_MEMORY`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from time import monotonic
from typing import BinaryIO

from mmsearch.errors import PictureError
from mmsearch.film.read import Film, FilmFrame, open_film
from mmsearch.images.read import file_digest_of, open_regular, require_unchanged
from mmsearch.processes.child import send
from mmsearch.processes.messages import Fault, FilmAnswer, FilmRequest, Ready, Stretch
from mmsearch.records import FileLook
from mmsearch.system import limit_memory, memory_in_use

MEMORY = 1 << 30
"""Bytes that a film may take beyond what the process needs itself."""
MOST_PICTURES, MANY_BYTES, SOON_S = 16, 8 << 20, 1.0
"""An answer has so many pictures, or those that had come when it became so large, or took so long."""


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until they end."""
    import av.stream
    import av.video.reformatter  # noqa: F401 - before memory is limited

    needed = memory_in_use()
    send(answers, Ready(ready=True))
    if needed is not None:
        limit_memory(needed + MEMORY)
    films = _Films(answers)
    try:
        for line in requests:
            send(answers, *films.answer(json.loads(line)))
    finally:
        films.close()


class _Films:
    """The film that is open, if one is, and what comes next of it."""

    def __init__(self, answers: BinaryIO) -> None:
        self._answers = answers
        self._open = ExitStack()
        self._handle: int | None = None

    def answer(self, request: FilmRequest) -> tuple[FilmAnswer | Fault, bytes]:
        """Return the answer to a request; after a fault no film is open."""
        path = os.fsencode(request["path"])
        try:
            if request["wanted"] == "open":
                return self._opened(path, request["at"])
            if request["wanted"] == "next":
                return self._next()
            return _picture(path, request["at"])
        except PictureError as error:
            self.close()
            return {"code": error.code, "message": str(error)}, b""

    def close(self) -> None:
        """Close the film that is open."""
        self._handle = None
        self._open.close()

    def _opened(self, path: bytes, start: float) -> tuple[FilmAnswer, bytes]:
        self.close()
        self._handle, self._status = self._open.enter_context(open_regular(path))
        with _unchanged(self._handle, self._status):
            self._film = self._open.enter_context(open_film(self._handle, on_stretch=self._tell))
            self._samples = self._film.samples(start)
        position = os.lseek(self._handle, 0, os.SEEK_CUR)  # where decoding goes on
        content_hash = file_digest_of(self._handle, self._status, on_block=lambda: self._tell(0))
        os.lseek(self._handle, position, os.SEEK_SET)
        answer, _ = _answer([], self._film, self._status)
        return {**answer, "hash": content_hash.hex()}, b""

    def _next(self) -> tuple[FilmAnswer, bytes]:
        if self._handle is None:
            raise PictureError("killed", "the process that had this film open was ended from outside")
        begin, pictures, n_bytes = monotonic(), list[FilmFrame](), 0
        with _unchanged(self._handle, self._status):
            for picture in self._samples:
                pictures.append(picture)
                n_bytes += len(picture.picture)
                if len(pictures) == MOST_PICTURES or n_bytes >= MANY_BYTES or monotonic() - begin > SOON_S:
                    break
        answer, payload = _answer(pictures, self._film)
        return answer, payload

    def _tell(self, stretch: int) -> None:
        send(self._answers, Stretch(at=stretch))


def _picture(path: bytes, at: float) -> tuple[FilmAnswer, bytes]:
    with open_regular(path) as (handle, status), _unchanged(handle, status), open_film(handle) as film:
        return _answer([film.frame_at(at)], film, status)


def _answer(
    pictures: list[FilmFrame], film: Film, status: os.stat_result | None = None
) -> tuple[FilmAnswer, bytes]:
    answer: FilmAnswer = {
        "pictures": [(at, is_cut, len(picture)) for at, is_cut, picture in pictures],
        "problem": film.problem,
    }
    if status is not None:
        answer |= {"facts": film.facts, "look": FileLook.of(status)}
    return answer, b"".join(picture for _, _, picture in pictures)


@contextmanager
def _unchanged(handle: int, before: os.stat_result) -> Iterator[None]:
    """Raise PictureError `changed` if a file changed meanwhile, which explains whatever was found wrong with it."""
    try:
        yield
    except PictureError:
        require_unchanged(handle, before)
        raise
    require_unchanged(handle, before)
