"""The program that looks at pictures which anybody may have made: a file in, a few numbers out, within limits.

Run by `mmsearch.processes.start_worker`. Every request is a `DecodeRequest`, followed by the bytes of a picture
file, unless it names one that was indexed, which is read here. The answer is a `Decoded` or a `Fault`, followed by
what was wanted. A picture that needs more memory ends the process with `EXIT_OUT_OF_MEMORY`, as little may be left
for the next.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import BinaryIO

import numpy as np

from mmsearch.errors import PictureError
from mmsearch.faces.describe import find_faces
from mmsearch.faces.detect import frame_size
from mmsearch.faces.packing import packed_faces
from mmsearch.images import decode, decode_grey, part_of_picture, photo_facts, read_indexed
from mmsearch.images.copies import thumbnail
from mmsearch.images.luminances import LONGER_SIDE
from mmsearch.local.extractors import EXTRACTORS
from mmsearch.processes.child import send
from mmsearch.processes.messages import Decoded, DecodeRequest, Fault, Looking, Ready
from mmsearch.records import Preprocessing
from mmsearch.system import limit_memory, memory_in_use

Answer = tuple[Decoded | Fault, bytes]


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until they end."""
    needed = memory_in_use()
    send(answers, Ready(ready=True))
    for line in requests:
        request: DecodeRequest = json.loads(line)
        data = requests.read(request["bytes"])
        if needed is not None:
            limit_memory(needed + request["memory"])
        send(answers, *answer(request, data, lambda: send(answers, Looking(looking=True))))


def answer(request: DecodeRequest, data: bytes, on_decoded: Callable[[], None] = lambda: None) -> Answer:
    """Return the answer to one request; `on_decoded` is called before faces are looked for.

    Raises
    ------
    MemoryError
        If the picture needs more than there is.
    """
    try:
        return _done(request, data, on_decoded)
    except PictureError as error:
        if error.code == "out_of_memory":
            raise MemoryError(str(error)) from error
        return {"code": error.code, "message": str(error)}, b""


def _done(request: DecodeRequest, data: bytes, on_decoded: Callable[[], None]) -> Answer:
    file, task, limit = request["file"], request["task"], request["max_megapixels"]
    box = request["box"] and (*request["box"],)
    if file is not None:
        data = read_indexed(os.fsencode(file["path"]), bytes.fromhex(file["hash"]))
    if task["wanted"] == "facts":
        return {"photo": photo_facts(data, max_megapixels=limit)}, b""
    if task["wanted"] == "thumbnail":
        copy = thumbnail(data, task["side"], box=box, max_megapixels=limit)
        return {"original_size": copy.original_size}, copy.jpeg
    if box is not None:
        data = part_of_picture(data, box, max_megapixels=limit)
    if task["wanted"] == "features":
        return _features(data, task["extractor"], limit)
    if task["wanted"] == "faces":
        return _faces(data, limit, on_decoded)
    preprocessing = Preprocessing.of_json(task["preprocessing"])
    picture = decode(data, preprocessing, max_megapixels=limit, with_parts=task["with_parts"])
    return {}, picture.pixels.tobytes()


def _faces(data: bytes, max_megapixels: float, on_decoded: Callable[[], None]) -> Answer:
    picture = decode_grey(data, longer_side=LONGER_SIDE, max_megapixels=max_megapixels, copy_size=frame_size)
    assert picture.copy is not None, "a copy was asked for"
    on_decoded()
    try:
        return {}, packed_faces(find_faces(picture.copy, original_size=(picture.width, picture.height)))
    except (RuntimeError, ValueError) as error:  # of dlib or its networks; or a vector is not finite
        return {"problem": f"its faces cannot be described: {error}"}, b""


def _features(data: bytes, name: str, max_megapixels: float) -> Answer:
    extractor = EXTRACTORS[name]
    picture = decode_grey(data, longer_side=extractor.longer_side, max_megapixels=max_megapixels)
    features = extractor.extract(picture.pixels, original_size=(picture.width, picture.height))
    arrays = features.positions, features.scales, features.angles, features.descriptors
    facts: Decoded = {"n": len(features), "size": features.size, "original_size": features.original_size}
    return facts, b"".join(np.ascontiguousarray(array, dtype=np.float32).tobytes() for array in arrays)
