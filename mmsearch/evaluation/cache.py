"""The benchmark cache: where things are in it, and how files are written: whole, also where two write the same."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np

from mmsearch.errors import write_errors


def vectors_folder(cache: Path, fingerprint: str) -> Path:
    """Return the library in which benchmarks and trainings keep the vectors that an encoder gave pictures."""
    return cache / "benchmarks" / fingerprint[:24] / "library"


def write_kept(file: Path, data: bytes) -> None:
    """Write a file, with its folder, or raise StorageError."""
    temporary = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    with write_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        temporary.replace(file)


def write_array(file: Path, array: np.ndarray[Any, Any]) -> None:
    """Write an array as NumPy does, whole, or raise StorageError."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    write_kept(file, buffer.getvalue())
