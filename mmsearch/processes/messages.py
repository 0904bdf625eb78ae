"""What this process and the one that decodes strangers' pictures say to each other: JSON, and the bytes after it.

A message is a JSON object on a line. Its `bytes` says how many bytes follow: of a picture file in a request, of
what was wanted in an answer. Nothing follows where it is 0 or not there. Tuples arrive as lists.
"""

from __future__ import annotations

from typing import Literal, NotRequired, TypeAlias, TypedDict, final

from mmsearch.film.facts import FilmFacts
from mmsearch.images import PhotoFacts
from mmsearch.records import Box, FileLook, PreprocessingFields


@final
class Fault(TypedDict):
    """Why there is nothing to say of a picture, or no local features of it: a reason code, and a sentence."""

    code: str
    message: str


@final
class Ready(TypedDict):
    """The first message of every worker, which has loaded all it needs."""

    ready: Literal[True]


@final
class Looking(TypedDict):
    """That a picture is decoded, and that faces are looked for in it now, which may take longer."""

    looking: Literal[True]


class PixelsTask(TypedDict):
    """Those of an image tower: uint8, of the shape that the preprocessing has, or of the whole and all windows."""

    wanted: Literal["pixels"]
    preprocessing: PreprocessingFields
    with_parts: bool


class FeaturesTask(TypedDict):
    """Local features: positions, scales, angles and descriptors as float32, one after the other."""

    wanted: Literal["features"]
    extractor: str


class ThumbnailTask(TypedDict):
    """A JPEG, of at most so many pixels a side."""

    wanted: Literal["thumbnail"]
    side: int


class FactsTask(TypedDict):
    """What the file says of how and where the picture was taken."""

    wanted: Literal["facts"]


class FacesTask(TypedDict):
    """The faces in it, as `mmsearch.faces.packing` has them."""

    wanted: Literal["faces"]


Task: TypeAlias = PixelsTask | FeaturesTask | ThumbnailTask | FactsTask | FacesTask


class FileOfLibrary(TypedDict):
    """A file that was indexed, which the process reads itself; `hash` is the sha256 of what was indexed, in hex."""

    path: str
    hash: str


class DecodeRequest(TypedDict):
    """What is wanted of one picture, of `file` or of the bytes that follow, and what it may take.

    `box` is the part that is meant. `memory` is what the process may take beyond what it needs itself, in bytes.
    """

    task: Task
    file: FileOfLibrary | None
    box: Box | None
    max_megapixels: float
    memory: int
    bytes: int


@final
class Decoded(TypedDict):
    """That the picture could be decoded. `n` counts its local features, `size` is that of their frame.

    `problem` says why its faces cannot be told.
    """

    n: NotRequired[int]
    size: NotRequired[tuple[int, int]]
    original_size: NotRequired[tuple[int, int]]
    photo: NotRequired[PhotoFacts]
    problem: NotRequired[str]


class Excerpt(TypedDict):
    """A part of a recording, in seconds; how dense its fingerprints are to be, and how fast it is played."""

    start: float
    seconds: float
    speed: float
    per_second: int
    fan: int


class SoundRequest(TypedDict):
    """A file to listen to, which the process reads itself: all of it, or an excerpt."""

    path: str
    excerpt: Excerpt | None


@final
class Minute(TypedDict):
    """The minute of sound that begins now, or the last one while the bytes of the file are hashed."""

    at: int


@final
class Heard(TypedDict):
    """What was heard, how long it is, and what is wrong with it, or nothing.

    Of a whole file also how many frames it has, the sha256 of its bytes in hex, and what it looked like; of an
    excerpt the frames of its peaks, half as long, and how many fingerprints come.
    """

    seconds: float
    problem: str
    n_frames: NotRequired[int]
    n_prints: NotRequired[int]
    hash: NotRequired[str]
    look: NotRequired[FileLook]


class FilmRequest(TypedDict):
    """What is wanted of a film, which the process reads itself.

    To open it, for its pictures from a time on; the next of these, of the film that is open; or the one picture at
    a time, whatever film is open.
    """

    wanted: Literal["open", "next", "picture"]
    path: str
    at: float


@final
class Stretch(TypedDict):
    """The stretch of a film that begins now, or the first one while the bytes of the file are hashed."""

    at: int


@final
class FilmAnswer(TypedDict):
    """Pictures of a film: the time of each, whether a shot begins with it, and how many of the bytes are its.

    `problem` is what was wrong so far, or nothing. Of a film that is opened, or asked for one picture, also its
    facts and what it looked like; of one that is opened the sha256 of its bytes in hex.
    """

    pictures: list[tuple[float, bool, int]]
    problem: str
    facts: NotRequired[FilmFacts]
    look: NotRequired[FileLook]
    hash: NotRequired[str]
