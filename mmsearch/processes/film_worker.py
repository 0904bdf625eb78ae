"""The program that reads films which anybody may have made: a path in, pictures with times out, within limits.

Run by `mmsearch.processes.start_worker`. Every request is a `FilmRequest`. The answer is a `FilmAnswer` or a
`Fault`, followed by the bytes of its pictures, one after the other. Before that comes a `Stretch` for each stretch
of film that decoding comes to, and again while the bytes of the file are hashed. The film stays open between
requests, and is decoded a little ahead of them, so that this process computes while the other uses what it has.
One that needs more memory ends the process with `EXIT_OUT_OF_MEMORY`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Condition, Lock, Thread
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
MOST_PICTURES, MANY_BYTES = 16, 8 << 20
"""So many pictures, or those until they were so large, are decoded ahead, and are the most of an answer."""


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
            films.reply(json.loads(line))
    finally:
        films.close()


class _Ahead(Thread):
    """Decodes the pictures of a film in a thread, as far ahead as `MOST_PICTURES` and `MANY_BYTES` say."""

    def __init__(self, samples: Iterator[FilmFrame]) -> None:
        super().__init__(name="decode ahead", daemon=True)
        self._samples = samples
        self._changed = Condition()
        self._pictures: list[FilmFrame] = []
        self._is_wanted, self._is_over = True, False
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            for picture in self._samples:
                with self._changed:
                    self._pictures.append(picture)
                    self._changed.notify()
                    self._changed.wait_for(self._has_room)
                    if not self._is_wanted:
                        return
        except BaseException as error:  # noqa: BLE001 - raised where the pictures are asked for
            self._error = error
        finally:
            with self._changed:
                self._is_over = True
                self._changed.notify()

    def _has_room(self) -> bool:
        n_bytes = sum(len(picture.picture) for picture in self._pictures)
        return not self._is_wanted or (len(self._pictures) < MOST_PICTURES and n_bytes < MANY_BYTES)

    def next(self) -> list[FilmFrame]:
        """Return the pictures that are there, at least one unless none comes any more; raise what ended them.

        The first call begins it: a film may be opened for its hash alone.
        """
        if self.ident is None:
            try:
                self.start()
            except RuntimeError as error:
                raise MemoryError(str(error)) from error
        with self._changed:
            self._changed.wait_for(lambda: self._pictures or self._is_over)
            pictures, self._pictures = self._pictures, []
            self._changed.notify()
        if not pictures and self._error is not None:
            raise self._error
        return pictures

    def close(self) -> None:
        """End it."""
        with self._changed:
            self._is_wanted = False
            self._changed.notify()
        if self.ident is not None:
            self.join()


class _Films:
    """The film that is open, if one is, and what comes next of it."""

    def __init__(self, answers: BinaryIO) -> None:
        self._answers, self._answering = answers, Lock()
        self._open = ExitStack()
        self._handle: int | None = None

    def reply(self, request: FilmRequest) -> None:
        """Answer a request."""
        answer, payload = self.answer(request)
        with self._answering:
            send(self._answers, answer, payload)

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
        position = os.lseek(self._handle, 0, os.SEEK_CUR)  # where decoding goes on
        content_hash = file_digest_of(self._handle, self._status, on_block=lambda: self._tell(0))
        os.lseek(self._handle, position, os.SEEK_SET)
        answer, _ = _answer([], self._film, self._status)
        self._ahead = _Ahead(self._film.samples(start))
        self._open.callback(self._ahead.close)
        return {**answer, "hash": content_hash.hex()}, b""

    def _next(self) -> tuple[FilmAnswer, bytes]:
        if self._handle is None:
            raise PictureError("killed", "the process that had this film open was ended from outside")
        with _unchanged(self._handle, self._status):
            pictures = self._ahead.next()
        return _answer(pictures, self._film)

    def _tell(self, stretch: int) -> None:
        with self._answering:  # decoding ahead tells it, too
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
