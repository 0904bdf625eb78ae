"""Files as they were indexed, to be sent: those of pictures, and films. Only what was indexed is given, ever.

The bytes of a file are compared with the hash that was stored when it was indexed; a film that is too large to be
read for every request is known by its size, its time and both of its ends. Whatever has come in its place since, a
link to a file elsewhere included, is not given, and a file that changes while it is sent is not sent any further.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from io import FileIO

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from mmsearch.errors import PictureError
from mmsearch.images import CHANGED
from mmsearch.images.read import ends_of_open
from mmsearch.library import Library
from mmsearch.records import FileLook, ImageRecord
from mmsearch.server.connections import connection_of
from mmsearch.store.base import in_folder
from mmsearch.store.films import KnownFilm

_BLOCK = 1 << 16
_MOST_HASHED = 32 << 20  # bytes of a film: a player asks for one many times
_MEDIA_TYPES = {
    "HEIF": "image/heic", "MP4": "video/mp4", "WEBM": "video/webm", "MATROSKA": "video/x-matroska",
    "MOV": "video/quicktime", "AVI": "video/x-msvideo", "3GP": "video/3gpp", "3G2": "video/3gpp2",
    "MPEG": "video/mpeg", "MPEGTS": "video/mp2t", "FLV": "video/x-flv", "WMV": "video/x-ms-wmv",
    "OGG": "video/ogg",
}  # fmt: skip


@dataclass(frozen=True)
class Original:
    """The file that a picture lies in: its own, or the film of which it is a frame.

    `content_hash` is the sha256 of its bytes, and `film` what the catalog knows of it, None where it is a picture.
    """

    image: ImageRecord
    content_hash: bytes
    film: KnownFilm | None = None

    @property
    def media_type(self) -> str:
        """The type that it is sent as."""
        name = self.image.format
        kind = "image" if self.film is None else "video"
        return _MEDIA_TYPES.get(name, f"{kind}/{name.lower()}" if self.film is None else f"{kind}/x-{name.lower()}")


def original_of(library: Library, image_id: int) -> Original | None:
    """Return the file that a picture of a library lies in; None if there is no such picture."""
    store = library.reader()
    known = store.original(image_id)
    if known is None or known[0].moment is None:
        return None if known is None else Original(*known)
    folder = in_folder(store, "films")
    with folder.reading():
        film = folder.films.at(os.fsencode(known[0].path))
    return None if film is None else Original(known[0], film.content_hash, film)


class OpenOriginal:
    """A file that still is what was indexed, open; `open` gives one."""

    def __init__(self, file: FileIO) -> None:
        self._file, self._status = file, os.fstat(file.fileno())

    @classmethod
    def open(cls, original: Original) -> OpenOriginal:
        """Open a file and compare it with what was indexed.

        Raises
        ------
        PictureError
            If the file has gone, changed or cannot be read.
        """
        try:
            file = cls(FileIO(original.image.path, opener=_opened))
        except FileNotFoundError as error:
            raise PictureError("vanished", "the file is not there any more; index its folder again") from error
        except OSError as error:
            raise PictureError("permission", f"the file cannot be read ({error.strerror})") from error
        try:
            if not file._is(original):
                raise PictureError("changed", CHANGED)
        except OSError as error:
            file.close()
            raise PictureError("changed", CHANGED) from error
        except PictureError:
            file.close()
            raise
        return file

    def blocks(self, start: int, end: int) -> Iterator[bytes]:
        """Yield its bytes from `start` to before `end`, and close it.

        Raises
        ------
        PictureError
            `changed` if it is another by now, before any byte of the other.
        """
        try:
            while start < end:
                block = self._read(start, end)
                if not block or not self._is_unchanged():
                    raise PictureError("changed", CHANGED)
                yield block
                start += len(block)
        except OSError as error:
            raise PictureError("unreadable", f"the file cannot be read on ({error.strerror})") from error
        finally:
            self.close()

    def close(self) -> None:
        """Close it, if it is open."""
        self._file.close()

    def _is(self, original: Original) -> bool:
        size, film = self._status.st_size, original.film
        if not stat.S_ISREG(self._status.st_mode) or size != original.image.size_bytes:
            return False
        if film is not None and size > _MOST_HASHED:
            look = FileLook.of(self._status)
            is_alike = (look.size, look.mtime_ns) == (film.look.size, film.look.mtime_ns)
            return is_alike and ends_of_open(self._file.fileno(), size) == film.ends
        digest, start = sha256(), 0
        while block := self._read(start, size):
            digest.update(block)
            start += len(block)
        return digest.digest() == original.content_hash and self._is_unchanged()

    def _read(self, start: int, end: int) -> bytes:
        return os.pread(self._file.fileno(), min(_BLOCK, end - start), start)

    def _is_unchanged(self) -> bool:
        now = os.fstat(self._file.fileno())
        return (now.st_size, now.st_mtime_ns) == (self._status.st_size, self._status.st_mtime_ns)


def _opened(path: str, _: int) -> int:
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)


class Stream(StreamingResponse):
    """An answer that is made while it is sent; `end` is called after it, also where the client has left before.

    Where a file turns out to be another meanwhile the connection ends before the answer does: clients notice that.
    """

    def __init__(
        self, pieces: Iterator[bytes], end: Callable[[], None], *, status_code: int = 200, headers: dict[str, str]
    ) -> None:
        super().__init__(pieces, status_code, headers)
        self._end = end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            await super().__call__(scope, receive, send)
        except PictureError:
            await connection_of(scope).break_off()
        finally:
            self._end()
