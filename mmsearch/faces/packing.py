"""PACKING: the faces of a picture in bytes, as workers give them and a library keeps them, each a record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.records import BOX_STEPS, RelativeBox
from mmsearch.vectors import check_directions

if TYPE_CHECKING:
    from mmsearch.faces.describe import FacesOfPicture

WHAT = "faces in pictures"
"""What a library at an address has not, in a sentence."""
ALONE = -1
"""In place of the group of a face that is in none yet."""
DIM = 128
CHIP = 150
"""Pixels of a side of a face as the network was taught with it."""
FACE = np.dtype([
    ("vector", "<f4", (DIM,)), ("box", "<u2", (4,)), ("size", "<u4"), ("sharpness", "<f4"), ("frontality", "<f4"),
    ("score", "<f4"),
])  # fmt: skip
"""Of one face what `mmsearch.faces.describe.Face` says; the box is in steps, of which a side has `BOX_STEPS`."""
_HEAD = np.dtype("<u4")
_VERSION = 1  # of the way in which faces are found and described


def packed_faces(faces: FacesOfPicture) -> bytes:
    """Return how many faces are too small, and then a `FACE` of each.

    Raises
    ------
    VectorError
        If a vector is not finite, or zero.
    """
    records = np.zeros(len(faces.faces), FACE)
    for record, face in zip(records, faces.faces, strict=True):
        record["vector"], record["box"] = face.vector, np.rint(np.array(face.box) * BOX_STEPS)
        record["size"], record["sharpness"] = face.size, face.sharpness
        record["frontality"], record["score"] = face.frontality, face.score
    check_directions(records["vector"], "faces")
    return np.array(faces.n_too_small, _HEAD).tobytes() + records.tobytes()


def unpacked_faces(data: bytes) -> tuple[NDArray[Any], int]:
    """Return the `FACE` records of a picture, and how many faces in it are too small."""
    return np.frombuffer(data, FACE, offset=_HEAD.itemsize), int(np.frombuffer(data, _HEAD, 1)[0])


def relative_box(record: NDArray[Any]) -> RelativeBox:
    """Return where the face of a record is."""
    left, top, right, bottom = (record["box"] / BOX_STEPS).tolist()
    return left, top, right, bottom


def quality(sharpness: Any, frontality: Any, size: Any) -> Any:
    """Return how well faces can be seen, from 0 to 1: by it the best face of a person is chosen."""
    return sharpness * frontality * np.minimum(1.0, size / CHIP)


def qualities(records: NDArray[Any]) -> NDArray[np.float64]:
    """Return the `quality` of the faces of records."""
    seen = quality(records["sharpness"], records["frontality"], records["size"])
    return np.asarray(seen, dtype=np.float64)


def kind_of_faces() -> dict[str, Any]:
    """Return what tells faces that were found and described in the present way from others."""
    from mmsearch.faces.models import SHA256  # which looks into installed packages

    return {"version": _VERSION, "dim": DIM, "models": dict(sorted(SHA256.items()))}
