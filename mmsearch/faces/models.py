"""MODELS: where pip put the networks for faces, which are these files and no others.

Their package is found by its metadata and never imported: it wants what Python has no longer. The landmarks are the
five that are free for any use; the file of 68 beside them is not for commercial use, and is never opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import file_digest
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from threading import Lock

from mmsearch.errors import EncoderError, ModelNotFoundError, reason, refuse_shortage

DISTRIBUTION = "face-recognition-models"
LANDMARKS = "shape_predictor_5_face_landmarks.dat"
DESCRIPTOR = "dlib_face_recognition_resnet_model_v1.dat"
SHA256: Mapping[str, str] = {
    LANDMARKS: "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888",
    DESCRIPTOR: "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
}
"""Of the only files that are loaded, whatever the installed package brings."""
ALONE = Lock()
"""Held while dlib works: what it loads may not be used by two threads at once, and it lets others run meanwhile."""
INSTALL = "pip install 'mmsearch[faces]'"


def has_faces() -> bool:
    """Return whether what finds and describes faces is installed; nothing is loaded."""
    try:
        distribution(DISTRIBUTION)
    except PackageNotFoundError:
        return False
    return find_spec("dlib") is not None


def require_faces() -> None:
    """Raise ModelNotFoundError if what finds and describes faces is not installed."""
    if not has_faces():
        raise ModelNotFoundError(f"faces need dlib and its networks; install them with `{INSTALL}`")


def model_file(name: str) -> Path:
    """Return where one of the files of `SHA256` is, whose contents were looked at.

    Raises
    ------
    ModelNotFoundError
        If it is not installed.
    EncoderError
        If its contents are others, or it cannot be read.
    """
    require_faces()
    listed = [Path(str(file.locate())) for file in distribution(DISTRIBUTION).files or () if file.name == name]
    if not listed or not listed[0].is_file():
        raise ModelNotFoundError(f"{name} is not in {DISTRIBUTION}; get it with `{INSTALL} --force-reinstall`")
    path = listed[0]
    try:
        with path.open("rb") as file:
            digest = file_digest(file, "sha256").hexdigest()
    except OSError as error:
        refuse_shortage(path, error)
        raise EncoderError(f"{path} cannot be read ({reason(error)}); make it readable, or reinstall it") from error
    if digest != SHA256[name]:
        raise EncoderError(
            f"{path} has sha256 {digest[:12]}, expected {SHA256[name][:12]}: it is damaged, or its package was "
            f"published anew with other contents; get the known version with `{INSTALL} --force-reinstall`"
        )
    return path


def require_models() -> None:
    """Raise ModelNotFoundError or EncoderError if faces cannot be found and described here."""
    for name in SHA256:
        model_file(name)
