"""Reports: what was measured, with everything one needs to measure it again."""

from __future__ import annotations

import math
import platform
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mmsearch.errors import StorageError, advice, reason
from mmsearch.evaluation.page import page_of
from mmsearch.names import json_text
from mmsearch.system import n_cores

_PACKAGES = ("mmsearch", "numpy", "onnxruntime", "hnswlib", "pillow", "torch", "open-clip-torch", "datasets")


def environment() -> dict[str, Any]:
    """Return the versions and the machine that a report was made with."""
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": n_cores(),
        "versions": {name: found for name in _PACKAGES if (found := _version(name))},
    }


def prepare_folder(folder: Path) -> None:
    """Make the folder of a report, before hours of work go into it.

    Raises
    ------
    StorageError
        If it cannot be made or written to.
    """
    with _storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass


def write_report(found: dict[str, Any], folder: Path) -> tuple[Path, Path]:
    """Write `report.json` and `report.html` into a folder, and return their paths.

    In the JSON a value that is not a finite number, such as the median rank where most queries find nothing, is
    null: JSON has no word for it. The page holds its plots and thumbnails itself.

    Raises
    ------
    StorageError
        If the folder cannot be written to.
    """
    found = {**found, "environment": environment()}
    data, page = folder / "report.json", folder / "report.html"
    with _storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        data.write_text(json_text(finite(found), indent=1) + "\n", encoding="utf-8")
        page.write_text(page_of(found), encoding="utf-8")
    return data, page


@contextmanager
def _storage_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"{folder}: could not be written ({reason(error)}); {advice(error)}") from error


def finite(value: Any) -> Any:
    """Return a JSON value with null for every number that is not finite.

    >>> finite({"a": [1.5, float("inf")]})
    {'a': [1.5, None]}
    """
    if isinstance(value, dict):
        return {key: finite(own) for key, own in value.items()}
    if isinstance(value, list):
        return [finite(own) for own in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
