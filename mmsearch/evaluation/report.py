"""Reports: what was measured, with everything one needs to measure it again."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mmsearch.errors import write_errors
from mmsearch.evaluation.page import page_of
from mmsearch.evaluation.records import BenchmarkReport, Environment, Origin
from mmsearch.names import json_text
from mmsearch.output import PAGE, REPORT, OutputFile
from mmsearch.system import n_cores

_PACKAGES = ("mmsearch", "numpy", "onnxruntime", "hnswlib", "pillow", "torch", "open-clip-torch", "datasets")


def environment() -> Environment:
    """Return the versions and the machine that a report was made with."""
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": n_cores(),
        "versions": {name: installed for name in _PACKAGES if (installed := _version(name))},
    }


def origin_of(command: str | None) -> Origin:
    """Return how a report came to be: the command, the machine and the versions."""
    origin: Origin = {} if command is None else {"command": command}
    origin["environment"] = environment()
    return origin


@dataclass(frozen=True)
class Report:
    """A report in a folder: `report.json` and `report.html`.

    Parameters
    ----------
    folder : Path
        Made if it does not exist.
    is_forced : bool
        Also replace files that are not of an earlier report.
    """

    folder: Path
    is_forced: bool = False

    def check(self) -> None:
        """Make the folder and see that the report can be written, before hours of work go into it.

        Raises
        ------
        OutputError
            If one of its files is there and must not be replaced.
        StorageError
            If the folder cannot be made or written to.
        """
        self._make_folder()
        for file in self._files():
            file.check()

    def write(self, report: BenchmarkReport, *, command: str | None = None) -> tuple[Path, Path]:
        """Write the report of a benchmark, with the command that made it, as `write_files` does."""
        origin = origin_of(command)
        return self.write_files({**report, **origin}, page_of(report, origin))

    def write_files(self, data: Mapping[str, object], page: str) -> tuple[Path, Path]:
        """Write both files, and return their paths; errors are those of `check`.

        In the JSON a value that is not a finite number, such as the median rank where most queries find nothing, is
        null: JSON has no word for it. The page holds its plots and thumbnails itself.
        """
        self._make_folder()
        data_file, page_file = self._files()
        data_file.write_text(json_text(finite({"generator": "mmsearch", **data}), indent=1) + "\n")
        page_file.write_text(page)
        return data_file.path, page_file.path

    def _files(self) -> tuple[OutputFile, OutputFile]:
        return (
            OutputFile(self.folder / "report.json", REPORT, is_forced=self.is_forced),
            OutputFile(self.folder / "report.html", PAGE, is_forced=self.is_forced),
        )

    def _make_folder(self) -> None:
        with write_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)


def finite(value: Any) -> Any:
    """Return a JSON value with null for every number that is not finite.

    >>> finite({"a": [1.5, float("inf")]})
    {'a': [1.5, None]}
    """
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
