"""Reports: what was measured, with everything one needs to measure it again."""

from __future__ import annotations

import json
import math
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mmsearch.errors import StorageError

_PACKAGES = ("mmsearch", "numpy", "onnxruntime", "hnswlib", "pillow", "torch", "open-clip-torch")


def environment() -> dict[str, Any]:
    """Return the versions and the machine that a report was made with."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": len(os.sched_getaffinity(0)),
        "versions": {name: found for name in _PACKAGES if (found := _version(name))},
    }


def write_report(found: dict[str, Any], folder: Path) -> Path:
    """Write `report.json` into a folder, and return its path.

    A value that is not a finite number, such as the median rank where most queries find nothing, is written as
    null: JSON has no word for it.

    Raises
    ------
    StorageError
        If the folder cannot be written to.
    """
    file = folder / "report.json"
    text = json.dumps(_finite({**found, "environment": environment()}), indent=1, allow_nan=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{file}: could not be written ({error.strerror}); name another folder") from error
    return file


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(own) for key, own in value.items()}
    if isinstance(value, list):
        return [_finite(own) for own in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
