"""Memory while indexing: the peak for 2,000 pictures against that for 500.

python benchmarks/memory.py WORK [--out FILE]
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

from machine import report
from synthetic import write_photographs


def family(root: int) -> set[int]:
    """Return a process and its descendants."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    members = {root}
    for _ in range(3):
        members |= {child for child, parent in parents.items() if parent in members}
    return members


def resident_mb(processes: set[int]) -> float:
    """Proportional memory of processes in MB; shared pages count once."""
    total = 0
    for process in processes:
        try:
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def peak_mb(process: int) -> float:
    """Return the most memory in MB that a process has had resident at once."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM:"))) / 1024


def peak_of_index_mb(folder: Path, library: Path) -> float:
    """Peak memory of one `mmsearch index` with all its workers."""
    shutil.rmtree(library, ignore_errors=True)
    command = [sys.executable, "-m", "mmsearch", "index", str(folder), "--library", str(library)]
    peak = 0.0
    with subprocess.Popen([*command, "--model", "offline"], stdout=subprocess.DEVNULL) as process:
        waiter = threading.Thread(target=process.wait)
        waiter.start()
        while waiter.is_alive():
            peak = max(peak, resident_mb(family(process.pid)))
            time.sleep(0.2)
    return peak


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--out")
    arguments = parser.parse_args()
    peaks = {}
    for n in (500, 2000):
        folder = arguments.work / f"memory-{n}"
        if not folder.exists():
            write_photographs(folder, n, (1280, 960))
        peaks[n] = round(peak_of_index_mb(folder, arguments.work / "library"), 1)
    report("memory", {"peak MB": peaks, "ratio": round(peaks[2000] / peaks[500], 3)}, arguments.out)


if __name__ == "__main__":
    main()
