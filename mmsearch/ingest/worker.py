"""One embedding worker: a process that reads, decodes and encodes pictures, and returns only numbers.

Run by `mmsearch.processes.start_worker` with ENCODER_FOLDER MAX_MEGAPIXELS and, if it is not to give vectors,
`pixels`; an empty folder is no encoder, for local features alone. Every request is a `BatchRequest`, JSON on a
line, followed by the bytes of pictures that are no files of their own. The answers are JSON lines: `Begun` before
each file and before the image tower runs, so that the parent knows which file a crash or a hang belongs to, and at
the end `BatchResults`, followed by as many bytes as its `bytes` says: float32 vectors or uint8 pixels, of every
file without "code" if `embeds`, and then the local features of every file with "local", in order
(`mmsearch.local.packing`). A decoder that crashes or eats memory takes only this process along.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol, TypeAlias, TypedDict, final

import numpy as np

from mmsearch.annotations.base import AnnotationFields
from mmsearch.annotations.embedded import embedded
from mmsearch.bow.vocabulary import Vocabulary
from mmsearch.encoders.parts import packed_parts
from mmsearch.errors import PictureError, VocabularyError
from mmsearch.faces.describe import find_faces
from mmsearch.faces.detect import frame_size
from mmsearch.faces.packing import packed_faces
from mmsearch.images import decode, decode_for_both, decode_grey, memory_for, read_file
from mmsearch.images.luminances import LONGER_SIDE
from mmsearch.images.windows import PART_WINDOWS
from mmsearch.local.base import LocalExtractor
from mmsearch.local.extractors import DEFAULT, EXTRACTORS
from mmsearch.local.packing import Packed, PackedFacts, packed_features, packed_words
from mmsearch.processes.child import send
from mmsearch.processes.messages import Fault, Ready
from mmsearch.records import MAX_MEGAPIXELS, FileLook, Matrix, Picture, Pixels, Preprocessing, Unusable
from mmsearch.store.vocabulary import load_vocabulary
from mmsearch.system import is_out_of_memory, limit_memory, memory_in_use


class FileFacts(TypedDict, total=False):
    """What a worker says of one file: `code` and `message`, or `hash` and what follows it.

    `look`, what the file looked like when it was read, is there where it could be opened, and `size` where its
    bytes came along. Where local features were wanted, `local` is what their bytes are, or `local_error` why there
    are none. Where annotations were wanted, they are those inside the file; if nothing else was, it is not decoded,
    and there is no `width` and what follows it. `luminances` are hexadecimal, and empty for one colour; so are
    `parts`, of a picture whose windows say nothing that the whole does not. Where faces were wanted, `faces` are
    they (`mmsearch.faces.packing`), hexadecimal, or `faces_error` is why there are none.
    """

    look: FileLook
    size: int
    code: str
    message: str
    hash: str
    width: int
    height: int
    format: str
    taken_at: str | None
    local: PackedFacts
    local_error: Fault
    annotations: AnnotationFields
    luminances: str
    parts: str
    faces: str
    faces_error: Fault


class BatchRequest(TypedDict):
    """Files to look at, and what is wanted of them: the fields of a `Job`, with the extractor by its name.

    `lengths` says how many bytes of each follow, -1 for one that is read from the disk. `hashes` are what tells the
    contents of some, in hex, where it is not the sha256 of these bytes.
    """

    paths: list[str]
    lengths: list[int]
    hashes: list[str | None]
    embeds: bool
    local: str
    extractor: str
    annotates: bool
    luminance_side: int
    parts: int
    faces: bool


@final
class Begun(TypedDict):
    """The file that the worker begins with now, by its place in the batch; None for the image tower."""

    at: int | None


@final
class BatchResults(TypedDict):
    """The end of a batch: what there is to say of every file. Vectors and local features follow as bytes."""

    results: list[FileFacts]


Answer: TypeAlias = Ready | Begun | BatchResults


VECTORS, PIXELS = "vectors", "pixels"
"""What a worker makes of pictures: with its own image tower, or for one elsewhere that many workers feed."""


class Tower(Protocol):
    """What becomes of decoded pictures."""

    @property
    def preprocessing(self) -> Preprocessing:
        """How pictures must be decoded."""

    def encode_images(self, pixels: Pixels) -> Matrix | Pixels:
        """Return a row for each picture of pixels uint8 (n, *preprocessing.shape)."""

    def encode_windows(self, pixels: Pixels) -> tuple[Matrix | Pixels, Matrix]:
        """Return a row for each picture, and the vectors of the whole and of all its windows, none where not made.

        `pixels` are uint8 (n, 1 + windows, height, width, 3).
        """


@dataclass(frozen=True)
class _NoTower:
    """What leaves decoded pictures as they are."""

    preprocessing: Preprocessing

    def encode_images(self, pixels: Pixels) -> Pixels:
        return pixels

    def encode_windows(self, pixels: Pixels) -> tuple[Pixels, Matrix]:
        return pixels, np.zeros((0, 0, 0), np.float32)


@dataclass(frozen=True)
class Job:
    """What is wanted of pictures: their vectors, local features `off`, as `features` or as words, and annotations.

    For words `local` is the folder of a library that has a vocabulary. `luminance_side` are the cells of a side of
    `mmsearch.images.luminances`, 0 for none; `parts` is how many parts of a picture at most get a vector, too;
    `faces` says whether faces are found and described.
    """

    embeds: bool = True
    local: str = "off"
    extractor: LocalExtractor = DEFAULT
    annotates: bool = False
    luminance_side: int = 0
    parts: int = 0
    faces: bool = False

    @property
    def decodes(self) -> bool:
        """Whether pixels are looked at."""
        return self.embeds or self.local != "off" or self.luminance_side > 0 or self.faces


class Sent(NamedTuple):
    """A picture that came along: its bytes, and what tells them, in hex, where it is not their sha256."""

    contents: bytes
    content_hash: str | None


def embed_files(
    paths: list[bytes],
    encoder: Tower | None,
    *,
    job: Job = Job(),
    max_megapixels: float = MAX_MEGAPIXELS,
    on_file: Callable[[int | None], None] = lambda i: None,
    sent: Callable[[int], Sent | None] = lambda i: None,
) -> tuple[list[FileFacts], Matrix | Pixels, list[Packed]]:
    """Read, decode and encode a batch of files; one decode serves the tower and the local features.

    Parameters
    ----------
    paths : list of bytes
        Files, read once each.
    encoder : Tower or None
        It is run once, on all pictures that could be decoded; None for jobs that do not embed.
    job : Job
        Whether vectors and local features are wanted.
    max_megapixels : float
        Pictures that would be decoded to more are rejected before their pixels are loaded.
    on_file : callable
        Given the position before each file, and None before the image tower runs.
    sent : callable
        Given the position of a file, returns what came along of it, or None for one that is read from the disk.

    Returns
    -------
    results : list of FileFacts
        One per path.
    vectors : float32 array, shape (n_good, dim)
        Unit rows of the files without `code`, in order, or what else the tower makes of them; none if the job does
        not embed.
    local : list of Packed
        Local features of the files with `local`, in order.

    Raises
    ------
    MemoryError
        If a picture needs more memory than there is. Little may be left for the next: the process should end.
    """
    results: list[FileFacts] = []
    tower = encoder if job.embeds else None
    pixels: list[Pixels] = []
    local: list[Packed] = []
    for position, path in enumerate(paths):
        on_file(position)
        result, picture, grey = _read(path, sent(position), tower, job, max_megapixels)
        results.append(result)
        if picture is not None and tower is not None:
            pixels.append(picture.pixels)
        if grey is not None:
            result.update(_described(grey, job, local))
        if picture is not None and picture.copy is not None:
            result.update(_faces_of(picture.copy, (picture.width, picture.height)))
    on_file(None)
    if tower is None or not pixels:
        return results, np.zeros((0, 0), np.float32), local
    good = [result for result in results if "code" not in result]
    return results, _encoded(np.stack(pixels), tower, job, good), local


def _encoded(pixels: Pixels, tower: Tower, job: Job, results: list[FileFacts]) -> Matrix | Pixels:
    """Return what a tower makes of pictures, and add their parts to what is said of each, if they are wanted."""
    if not job.parts:
        return tower.encode_images(pixels)
    vectors, views = tower.encode_windows(pixels)
    for result, of_picture in zip(results, views, strict=False):  # there are none where another process makes them
        result["parts"] = parts_of(of_picture, job.parts)
    return vectors


def parts_of(views: Matrix, most: int) -> str:
    """Return the parts of a picture, hexadecimal, by the vectors (1 + windows, dim) of whole and windows."""
    return packed_parts(views[0], views[1:], PART_WINDOWS, most).hex()


def _read(
    path: bytes, sent: Sent | None, tower: Tower | None, job: Job, max_megapixels: float
) -> tuple[FileFacts, Picture | None, Pixels | None]:
    """Return what is to be said of a file, its picture, and grey pixels if local features are wanted."""
    result: FileFacts = {}
    try:
        if sent is None:
            data, status = read_file(path)
            result["look"] = FileLook.of(status)
        else:
            data = sent.contents
            result["size"] = len(data)
        picture, grey = _decoded(data, tower, job, max_megapixels) if job.decodes else (None, None)
        content_hash = (sent and sent.content_hash) or sha256(data).hexdigest()
        said = _said(data, content_hash, picture, job, max_megapixels)
    except PictureError as error:
        if error.code == "out_of_memory":
            raise MemoryError(str(error)) from error
        result.update({"code": error.code, "message": str(error)})
        return result, None, None
    result.update(said)
    return result, picture, grey


def _said(data: bytes, content_hash: str, picture: Picture | None, job: Job, max_megapixels: float) -> FileFacts:
    """Return what is to be said of the bytes of a file, given the picture if it was decoded."""
    said: FileFacts = {"hash": content_hash}
    if picture is not None:
        said.update({
            "width": picture.width, "height": picture.height, "format": picture.format,
            "taken_at": picture.taken_at,
        })  # fmt: skip
        if job.luminance_side:
            said["luminances"] = picture.luminances.hex()
    if job.annotates:
        exif = None if picture is None else picture.exif
        said["annotations"] = embedded(data, exif=exif, max_megapixels=max_megapixels).to_json()
    return said


def _decoded(data: bytes, tower: Tower | None, job: Job, max_megapixels: float) -> tuple[Picture, Pixels | None]:
    """Return the picture for the tower, and grey pixels if local features are wanted; without a tower these."""
    is_local = job.local != "off"
    side = job.extractor.longer_side if is_local else LONGER_SIDE
    wanted: dict[str, Any] = {
        "max_megapixels": max_megapixels, "luminance_side": job.luminance_side,
        "copy_size": frame_size if job.faces else None,
    }  # fmt: skip
    if tower is None:
        picture = decode_grey(data, longer_side=side, **wanted)
        return picture, picture.pixels if is_local else None
    wanted["with_parts"] = job.parts > 0
    if not is_local:
        return decode(data, tower.preprocessing, **wanted), None
    return decode_for_both(data, tower.preprocessing, longer_side=side, **wanted)


def _described(grey: Pixels, job: Job, described: list[Packed]) -> FileFacts:
    """Append the local features of a picture to `described` and say what they are, or why there are none."""
    extractor = job.extractor
    try:
        packed = packed_features(extractor.extract(grey))
        if job.local != "features":  # of the rounded ones, as where features wait for a vocabulary
            packed = packed_words(_vocabulary(job.local).quantise(packed.features(extractor.dim)))
    except (ImportError, VocabularyError) as error:
        return {"local_error": {"code": "unavailable", "message": str(error)}}
    except Exception as error:  # noqa: BLE001 - whatever it is, the picture keeps its embedding
        if is_out_of_memory(error):
            message = "describing a picture needs more memory than a worker may take"
            return {"local_error": {"code": "out_of_memory", "message": message}}
        return {"local_error": {"code": "failed", "message": f"{type(error).__name__}: {error}"}}
    described.append(packed)
    return {"local": packed.facts()}


def _faces_of(copy: Pixels, original_size: tuple[int, int]) -> FileFacts:
    """Say which faces are in a picture, or why that cannot be said."""
    try:
        return {"faces": packed_faces(find_faces(copy, original_size=original_size)).hex()}
    except Exception as error:  # noqa: BLE001 - whatever it is, the picture keeps its embedding
        if is_out_of_memory(error):
            message = "looking for faces needs more memory than a worker may take"
            return {"faces_error": {"code": "out_of_memory", "message": message}}
        return {"faces_error": {"code": "failed", "message": f"{type(error).__name__}: {error}"}}


@lru_cache(maxsize=1)
def _vocabulary(folder: str) -> Vocabulary:
    vocabulary = load_vocabulary(Path(folder), n_threads=1)
    if isinstance(vocabulary, Unusable):
        raise VocabularyError(vocabulary.reason)
    return vocabulary


def _loaded_encoder(folder: str, gives: str) -> Tower | None:
    """Return the encoder with its image tower loaded, what gives pixels alone, or None without a folder."""
    if not folder:
        return None
    from mmsearch.encoders.onnx import OnnxEncoder

    encoder = OnnxEncoder.open(Path(folder), threads=1, is_indexing=True)
    if gives == PIXELS:
        return _NoTower(encoder.preprocessing)
    encoder.encode_images(np.zeros((1, *encoder.preprocessing.shape), dtype=np.uint8))
    return encoder


def _sent(requests: BinaryIO, request: BatchRequest, position: int) -> Sent | None:
    """Return the bytes of a picture that came along with a request; those of a batch are read in their order."""
    if request["lengths"][position] < 0:
        return None
    return Sent(requests.read(request["lengths"][position]), request["hashes"][position])


def serve(
    requests: BinaryIO, answers: BinaryIO, encoder_folder: str, max_megapixels: str, gives: str = VECTORS
) -> None:
    """Answer batches until they end."""
    encoder, limit = _loaded_encoder(encoder_folder, gives), float(max_megapixels)
    in_use = memory_in_use()
    if in_use is not None:  # a picture that eats memory fails in this process alone
        limit_memory(in_use + memory_for(limit))
    send(answers, Ready(ready=True))
    for line in requests:
        request: BatchRequest = json.loads(line)
        results, vectors, local = embed_files(
            [os.fsencode(path) for path in request["paths"]],
            encoder,
            job=Job(
                request["embeds"],
                request["local"],
                EXTRACTORS[request["extractor"]],
                request["annotates"],
                request["luminance_side"],
                request["parts"],
                request["faces"],
            ),
            max_megapixels=limit,
            on_file=lambda position: send(answers, Begun(at=position)),
            sent=partial(_sent, requests, request),
        )
        payload = np.ascontiguousarray(vectors).tobytes() + b"".join(packed.data for packed in local)
        send(answers, BatchResults(results=results), payload)
