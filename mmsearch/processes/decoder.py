"""DECODE APART: pictures that anybody may have made are looked at in a process with limits, never in this one.

A picture of a few bytes can ask a decoder for gigabytes, keep it busy for minutes, or crash it. That costs one
process, which the next picture gets anew.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from mmsearch.errors import PictureError
from mmsearch.images import PhotoFacts
from mmsearch.images.copies import Thumbnail
from mmsearch.images.limits import memory_for
from mmsearch.local.base import LocalExtractor
from mmsearch.processes.asked import AskedProcess
from mmsearch.processes.messages import Decoded, DecodeRequest, Fault, FileOfLibrary, Task
from mmsearch.processes.process import Ending
from mmsearch.records import MAX_MEGAPIXELS, Box, LocalFeatures, Pixels, Preprocessing

COMPUTING_S = 10.0
"""A picture on which the process computes longer is given up."""
WAITING_S = 60.0
"""The same by the clock, for a process that is stopped or gets no time."""
FACES_COMPUTING_S, FACES_WAITING_S = 60.0, 360.0
"""The same for faces, once the picture is decoded: the 150 for which a frame has room take 20 s."""
STRANGERS_MEMORY = 448 << 20  # 512 MB with what the process needs itself


@dataclass(frozen=True)
class Limits:
    """What decoding a picture may take: millions of decoded pixels, and bytes of memory."""

    max_megapixels: float = MAX_MEGAPIXELS
    memory: int = STRANGERS_MEMORY

    @classmethod
    def of_own(cls, max_megapixels: float) -> Limits:
        """Return the limits for a picture of the user, which are those of indexing it."""
        return cls(max_megapixels, memory_for(max_megapixels))


@dataclass(frozen=True)
class IndexedFile:
    """A picture of a library, which the process reads itself: a path, and the sha256 of what was indexed there."""

    path: bytes
    content_hash: bytes

    def to_json(self) -> FileOfLibrary:
        """Return how the process is told of it."""
        return {"path": os.fsdecode(self.path), "hash": self.content_hash.hex()}


Source: TypeAlias = bytes | IndexedFile
"""A picture file, in memory or on the disk."""


class UndescribedFacesError(PictureError):
    """A picture was decoded, and faces in it cannot be described: it may be compared as a whole."""


class PictureDecoder(AskedProcess[DecodeRequest, Decoded | Fault]):
    """Decodes one picture at a time in a process of its own, started when first needed; for one thread.

    Parameters
    ----------
    check : callable
        Called again and again while a picture is decoded; what it raises ends that.
    """

    program, task = "processes.decode_worker", "decode pictures"

    # -- what can be asked ---------------------------------------------------------------------------

    def pixels(
        self,
        source: Source,
        preprocessing: Preprocessing,
        *,
        box: Box | None = None,
        limits: Limits = Limits(),
        with_parts: bool = False,
    ) -> Pixels:
        """Return a picture, or a part of it, for an image tower: uint8 of `preprocessing.shape`.

        With parts it is (1 + windows, height, width, 3), see `mmsearch.images.decode`.

        Raises
        ------
        PictureError
            As from `mmsearch.images.decode`; `out_of_memory` or `timeout` beyond the limits, `quarantined` if it
            crashes the decoder.
        EncoderError
            If no process can be started.
        """
        task: Task = {"wanted": "pixels", "preprocessing": preprocessing.to_json(), "with_parts": with_parts}
        _, values = self._answer(source, task, box, limits)
        shape = (-1, *preprocessing.size, 3) if with_parts else preprocessing.shape
        return np.frombuffer(values, np.uint8).reshape(shape)

    def local_features(
        self, source: Source, extractor: LocalExtractor, *, box: Box | None = None, limits: Limits = Limits()
    ) -> LocalFeatures:
        """Return the local features of a picture, or of a part of it; errors as for `pixels`."""
        facts, values = self._answer(source, {"wanted": "features", "extractor": extractor.name}, box, limits)
        n = facts["n"]
        columns = np.frombuffer(values, np.float32)
        positions, scales, angles, descriptors = np.split(columns, [2 * n, 3 * n, 4 * n])
        sizes = (*facts["size"],), (*facts["original_size"],)
        return LocalFeatures(positions.reshape(n, 2), scales, angles, descriptors.reshape(n, extractor.dim), *sizes)

    def thumbnail(
        self, source: Source, side: int, *, box: Box | None = None, limits: Limits = Limits()
    ) -> Thumbnail:
        """Return a JPEG of a picture, or of a part of it, whose longer side has at most `side` pixels.

        Errors are those of `pixels`.
        """
        facts, jpeg = self._answer(source, {"wanted": "thumbnail", "side": side}, box, limits)
        return Thumbnail(jpeg, (*facts["original_size"],))

    def faces(self, source: Source, *, box: Box | None = None, limits: Limits = Limits()) -> bytes:
        """Return the faces in a picture, or in a part of it, packed; errors as for `pixels`.

        Whether they can be found and described here is to be asked before (`mmsearch.faces.models`).

        Raises
        ------
        UndescribedFacesError
            If the picture can be decoded, but faces in it cannot be described.
        """
        facts, packed = self._answer(source, {"wanted": "faces"}, box, limits)
        if "problem" in facts:
            raise UndescribedFacesError("unsupported", facts["problem"])
        return packed

    def photo_facts(self, source: Source, *, limits: Limits = Limits()) -> PhotoFacts:
        """Return what the file says of how and where a picture was taken; errors as for `pixels`."""
        facts, _ = self._answer(source, {"wanted": "facts"}, None, limits)
        return facts["photo"]

    # -- asking it -----------------------------------------------------------------------------------

    def _answer(self, source: Source, task: Task, box: Box | None, limits: Limits) -> tuple[Decoded, bytes]:
        """Return what the process says of a picture; one that was killed from outside is not held against it."""
        data = b"" if isinstance(source, IndexedFile) else source
        request: DecodeRequest = {
            "task": task,
            "file": source.to_json() if isinstance(source, IndexedFile) else None,
            "box": box,
            "max_megapixels": limits.max_megapixels,
            "memory": limits.memory,
            "bytes": len(data),
        }
        answer = self._ask(request, data)
        if isinstance(answer, Ending):
            raise _given_up(answer, limits)
        facts, values = answer
        if "code" in facts:
            raise PictureError(facts["code"], facts["message"])
        return facts, values

    def _require_in_time(self, computed_s: float, silent_s: float) -> None:
        is_looking = "looking" in self._on_the_way
        computing_s, waiting_s = (FACES_COMPUTING_S, FACES_WAITING_S) if is_looking else (COMPUTING_S, WAITING_S)
        if computed_s > computing_s:
            raise PictureError("timeout", f"decoding this picture took longer than {computing_s:g} s of computing")
        if silent_s > waiting_s:
            raise PictureError("timeout", f"decoding this picture took longer than {waiting_s:g} s")


def _given_up(ending: Ending, limits: Limits) -> PictureError:
    """Return the error for a picture over which the process ended."""
    if ending.code == "out_of_memory":
        allowed = f"{limits.memory >> 20} MB"
        return PictureError(ending.code, f"decoding this picture needs more memory than it may take ({allowed})")
    return PictureError(ending.code, f"decoding this picture {ending.reason}")
