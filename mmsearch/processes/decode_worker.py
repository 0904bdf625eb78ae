"""The program that looks at pictures which anybody may have made: a file in, a few numbers out, within limits.

Run by `mmsearch.processes.start_worker`. Every request is a JSON object on a line, followed by as many bytes of a
picture file as its `bytes` says; or its `path` and `hash` name a file that was indexed, which is read here. `task`
says what is wanted:

- `pixels`: those of an image tower, for a `preprocessing`;
- `features`: local features, as the named `extractor` finds them;
- `thumbnail`: a JPEG of at most `side` pixels.

`box` is the part that is meant, or null. The limits are `max_megapixels` and `memory`, the bytes that the process
may take beyond what it needs itself. The answer is a JSON object followed by its `bytes`: what the task gives, or
`code` and `message`. A picture that needs more memory ends the process with `EXIT_OUT_OF_MEMORY`, as little may be
left for the next.
"""

from __future__ import annotations

import json
import os
from typing import Any, BinaryIO

import numpy as np

from mmsearch.errors import PictureError
from mmsearch.images import decode, decode_grey, part_of_picture, read_indexed
from mmsearch.images.copies import thumbnail
from mmsearch.local.extractors import EXTRACTORS
from mmsearch.processes.child import send
from mmsearch.records import Preprocessing
from mmsearch.system import limit_memory, memory_in_use

Answer = tuple[dict[str, Any], bytes]


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until they end."""
    needed = memory_in_use()
    send(answers, {"ready": True})
    for line in requests:
        request = json.loads(line)
        data = requests.read(request["bytes"])
        if needed is not None:
            limit_memory(needed + request["memory"])
        send(answers, *answer(request, data))


def answer(request: dict[str, Any], data: bytes) -> Answer:
    """Return the answer to one request.

    Raises
    ------
    MemoryError
        If the picture needs more than there is.
    """
    try:
        return _done(request, data)
    except PictureError as error:
        if error.code == "out_of_memory":
            raise MemoryError(str(error)) from error
        return {"code": error.code, "message": str(error)}, b""


def _done(request: dict[str, Any], data: bytes) -> Answer:
    if "path" in request:
        data = read_indexed(os.fsencode(request["path"]), bytes.fromhex(request["hash"]))
    limit, box = request["max_megapixels"], request["box"] and tuple(request["box"])
    if request["task"] == "thumbnail":
        copy = thumbnail(data, request["side"], box=box, max_megapixels=limit)
        return {"original_size": copy.original_size}, copy.jpeg
    if box is not None:
        data = part_of_picture(data, box, max_megapixels=limit)
    if request["task"] == "features":
        return _features(data, request["extractor"], limit)
    fields = request["preprocessing"]
    wanted = Preprocessing(**{**fields, "size": tuple(fields["size"])})
    return {}, decode(data, wanted, max_megapixels=limit).pixels.tobytes()


def _features(data: bytes, name: str, max_megapixels: float) -> Answer:
    extractor = EXTRACTORS[name]
    picture = decode_grey(data, longer_side=extractor.longer_side, max_megapixels=max_megapixels)
    features = extractor.extract(picture.pixels, original_size=(picture.width, picture.height))
    arrays = features.positions, features.scales, features.angles, features.descriptors
    facts = {"n": len(features), "size": features.size, "original_size": features.original_size}
    return facts, b"".join(np.ascontiguousarray(array, dtype=np.float32).tobytes() for array in arrays)
