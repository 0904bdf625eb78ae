"""What every benchmark writes: its figures as JSON, with the machine they were measured on."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TypedDict


class Machine(TypedDict):
    """What decides how fast something is."""

    processor: str
    cores: int
    avx512: bool
    memory_gb: int
    python: str
    versions: dict[str, str]


def machine() -> Machine:
    """Return the processor, memory and versions that decide the figures."""
    cpuinfo = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = next((line.split(":")[1].strip() for line in cpuinfo.splitlines() if "model name" in line), "")
    packages = ("mmsearch", "numpy", "hnswlib", "onnxruntime", "pillow", "torch", "open-clip-torch")
    return {
        "processor": model or platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "avx512": "avx512f" in cpuinfo,
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "python": sys.version.split()[0],
        "versions": {name: version(name) for name in packages},
    }


def report(name: str, figures: Mapping[str, object], out: str | None) -> None:
    """Print figures as JSON, and write them to a file if one is named."""
    text = json.dumps({"benchmark": name, "figures": figures, "machine": machine()}, indent=1)
    print(text)
    if out:
        Path(out).write_text(text + "\n", encoding="utf-8")
