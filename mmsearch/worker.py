"""One embedding worker: a process that reads, decodes and encodes pictures, and returns only vectors.

Run as `python -m mmsearch.worker ENCODER_FOLDER MAX_MEGAPIXELS`. Every line on standard input is a JSON
list of paths; on standard output go JSON lines, `{"at": i}` before file i and `{"at": null}` before the
image tower runs, so that the parent knows which file a crash or a hang belongs to, and at the end
`{"results": [...], "bytes": n}` followed by n bytes of float32 vectors, one for every file without "code".
The process ends when its input does. A decoder that crashes or eats memory takes only this process along.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mmsearch.encoders.base import ImageEncoder
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.errors import PictureError
from mmsearch.images import decode, read_file
from mmsearch.records import Matrix, Picture

MEMORY_HEADROOM = 1 << 30  # bytes a worker may take beyond what it needs with the encoder loaded


def embed_files(
    paths: list[bytes],
    encoder: ImageEncoder,
    *,
    max_megapixels: float = 64.0,
    on_file: Callable[[int | None], None] = lambda i: None,
) -> tuple[list[dict[str, Any]], Matrix]:
    """Read, decode and encode a batch of files.

    Parameters
    ----------
    paths : list of bytes
        Files, read once each.
    encoder : ImageEncoder
        Its image tower is run once, on all pictures that could be decoded.
    max_megapixels : float
        Larger pictures are rejected before their pixels are loaded.
    on_file : callable
        Given the position before each file, and None before the image tower runs.

    Returns
    -------
    results : list of dict
        One per path: `code` and `message`, or `hash`, `width`, `height`, `format`, `taken_at`; with
        `size` and `mtime_ns` as read where the file could be opened.
    vectors : float32 array, shape (n_good, dim)
        Unit rows of the files without `code`, in order.
    """
    results: list[dict[str, Any]] = []
    pixels = []
    for position, path in enumerate(paths):
        on_file(position)
        result: dict[str, Any] = {}
        results.append(result)
        try:
            data, status = read_file(path)
            result |= {"size": status.st_size, "mtime_ns": status.st_mtime_ns}
            picture = decode(data, encoder.preprocessing, max_megapixels=max_megapixels)
            result |= {"hash": sha256(data).hexdigest(), **_facts(picture)}
            pixels.append(picture.pixels)
        except PictureError as error:
            result |= {"code": error.code, "message": str(error)}
    on_file(None)
    vectors = encoder.encode_images(np.stack(pixels)) if pixels else np.zeros((0, encoder.dim), np.float32)
    return results, vectors


def _facts(picture: Picture) -> dict[str, Any]:
    return {
        "width": picture.width,
        "height": picture.height,
        "format": picture.format,
        "taken_at": picture.taken_at,
    }


def _limit_memory() -> None:
    """Let a picture that would eat the machine's memory fail in this process alone."""
    try:
        import resource

        status = Path("/proc/self/status").read_text()
        in_use = 1024 * int(status.split("VmData:")[1].split()[0])
        limit = in_use + MEMORY_HEADROOM
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    except (ImportError, OSError, ValueError, IndexError):
        return  # no such limit on this system; the pixel ceiling still holds


def _send(output: BinaryIO, message: dict[str, Any], payload: bytes = b"") -> None:
    output.write(json.dumps(message).encode() + b"\n" + payload)
    output.flush()


def main() -> None:
    """Serve batches until standard input ends."""
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not mix with the answers
    encoder = OnnxEncoder.open(Path(sys.argv[1]), threads=1)
    height, width = encoder.preprocessing.size
    encoder.encode_images(np.zeros((1, height, width, 3), dtype=np.uint8))  # loads the tower
    _limit_memory()
    _send(answers, {"ready": True})
    for line in requests:
        results, vectors = embed_files(
            [os.fsencode(path) for path in json.loads(line)],
            encoder,
            max_megapixels=float(sys.argv[2]),
            on_file=lambda position: _send(answers, {"at": position}),
        )
        payload = np.ascontiguousarray(vectors, dtype=np.float32).tobytes()
        _send(answers, {"results": results, "bytes": len(payload)}, payload)


if __name__ == "__main__":
    main()
