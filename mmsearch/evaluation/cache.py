"""Files of the benchmark cache: written whole or not at all, also where two benchmarks write the same one."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np

from mmsearch.errors import write_errors


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
