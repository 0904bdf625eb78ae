"""FRAMES: how a catalog names the frames of a film, each of which is a picture with a time.

The name of a frame is the path of its film, a NUL, which no path of a system has, and its time: so it lies below
whatever the film lies below, and goes wherever the film goes.
"""

from __future__ import annotations

from hashlib import sha256

_SEPARATOR = b"\0"
_DIGITS = 12  # of milliseconds: names sort as times do


def frame_name(film: bytes, at: float) -> bytes:
    r"""Return the name of the frame of a film that is shown from a time on, in seconds, to the millisecond.

    >>> frame_name(b"/films/a.mp4", 72.48)
    b'/films/a.mp4\x00000000072480'
    """
    return film + _SEPARATOR + b"%0*d" % (_DIGITS, round(1000 * at))


def is_frame(path: bytes) -> bool:
    """Return whether what a catalog has of a path is a frame of a film."""
    return _SEPARATOR in path


def file_of(path: bytes) -> bytes:
    r"""Return the file that a picture lies in: its own, or the film of which it is a frame.

    >>> file_of(b"/films/a.mp4\x00000000072480"), file_of(b"/photos/a.jpg")
    (b'/films/a.mp4', b'/photos/a.jpg')
    """
    return path.partition(_SEPARATOR)[0]


def time_of(path: bytes) -> float:
    r"""Return the time of a frame in seconds.

    >>> time_of(b"/films/a.mp4\x00000000072480")
    72.48
    """
    return int(path.partition(_SEPARATOR)[2]) / 1000


def frame_hash(film_hash: bytes, at: float) -> bytes:
    """Return what tells a frame from other pictures, as the sha256 of its file tells one from another: 32 bytes.

    It is that of the sha256 of the film and the time, not of pixels: these differ by a bit from one version of a
    decoder to the next.
    """
    return sha256(film_hash + b"%d" % round(1000 * at)).digest()
