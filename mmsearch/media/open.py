"""Open a recording or a film that anybody may have made, and decode what is in it. FFmpeg does it, by PyAV.

A text can make FFmpeg open other files and addresses, so it is given an open file, a list of containers, and no
protocol to open anything else with. What is hostile beyond that costs the process in which this runs: nothing here
belongs into that of the user.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from mmsearch.errors import MmsearchError
from mmsearch.system import is_out_of_memory

if TYPE_CHECKING:
    from av.container import InputContainer

_CONTAINERS = (
    "mov", "mp4", "m4a", "3gp", "3g2", "mj2", "matroska", "webm", "avi", "ogg", "mpeg", "mpegts", "flv", "asf",
    "wav", "w64", "mp3", "flac", "aac", "aiff", "caf", "ac3", "eac3", "amr", "ape", "wv", "tta", "au", "rm",
)  # fmt: skip
_ENOMEM = 12
_UNKNOWN = 0x7F000000  # bytes: more in a RIFF are said by programs that cannot know
_SEGMENT = bytes.fromhex("18538067")  # what all of a Matroska file lies in, but its head


def open_container(file: Any, refusal: Callable[[str], MmsearchError]) -> InputContainer:
    """Return the container that an open binary file is, if it is one that holds sound or films.

    Parameters
    ----------
    file : binary file
        A regular one, at its beginning.
    refusal : callable
        Makes the error of a sentence that says why it is none.

    Raises
    ------
    MemoryError
        If opening it needs more memory than there is.
    """
    import av

    av.logging.set_level(None)
    if not os.fstat(file.fileno()).st_size:
        raise refusal("the file is empty")
    options = {"format_whitelist": ",".join(_CONTAINERS), "protocol_whitelist": "none"}
    try:
        container: InputContainer = av.open(file, metadata_errors="ignore", options=options)
    except (av.FFmpegError, OSError, ValueError) as error:
        refuse_lack_of_memory(error)
        raise refusal(
            "this is no recording and no film in a known format, or its beginning or end is missing"
        ) from error
    return container


def refuse_lack_of_memory(error: Exception) -> None:
    """Raise MemoryError if an error of FFmpeg means that."""
    if is_out_of_memory(error) or getattr(error, "errno", None) == _ENOMEM:
        raise MemoryError(str(error)) from error


def frames_of(container: InputContainer, stream: Any, on_damage: Callable[[], None]) -> Iterator[Any]:
    """Yield the decoded frames of a stream; packets that cannot be decoded are left out, after a call.

    Raises
    ------
    MemoryError
        If that needs more memory than there is.
    """
    import av

    packets = container.demux(stream)
    while True:
        try:
            frames = next(packets).decode()
        except (StopIteration, av.EOFError):
            return
        except av.InvalidDataError as error:
            refuse_lack_of_memory(error)
            on_damage()
            continue
        except (av.FFmpegError, OSError, ValueError) as error:
            refuse_lack_of_memory(error)
            on_damage()
            return
        yield from frames


def is_shorter_than_it_says(handle: int) -> bool:
    """Return whether an open file says itself that there is more in it, where FFmpeg does not notice that.

    WAV, AVI and Matroska do; programs that did not know the end said nothing, or very much.
    """
    head, n_bytes = os.pread(handle, 4096, 0), os.fstat(handle).st_size
    if head[:4] == b"RIFF":
        said = int.from_bytes(head[4:8], "little")
        return said < _UNKNOWN and n_bytes < 0.99 * said
    at = head.find(_SEGMENT) + len(_SEGMENT)
    if head[:4] != b"\x1a\x45\xdf\xa3" or at < len(_SEGMENT) or not head[at:]:
        return False
    length = 9 - head[at].bit_length()  # of the number, which begins with as many zeros
    bits = (1 << 7 * length) - 1
    said = int.from_bytes(head[at : at + length]) & bits
    return said != bits and n_bytes < at + length + said
