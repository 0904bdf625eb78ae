"""What only Linux has, or each system in its own way; the one place for such calls, each with a fallback."""

from __future__ import annotations

import os
from pathlib import Path


def n_cores() -> int:
    """Return how many cores this process may use; all of the machine where a system keeps no such set."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def limit_memory(headroom: int) -> None:
    """Let this process fail with MemoryError once it takes so many bytes beyond what it has now.

    Where a system has no such limit nothing happens: the ceiling on pixels still holds.
    """
    try:
        import resource

        status = Path("/proc/self/status").read_text()
        in_use = 1024 * int(status.split("VmData:")[1].split()[0])
        limit = in_use + headroom
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    except (ImportError, OSError, ValueError, IndexError):
        return


def path_through(handle: int, folder: Path) -> Path:
    """Return a path that leads through the descriptor of a folder, whatever lies under the folder's name by now.

    Where a system has no such paths it is the name itself.
    """
    through = Path(f"/proc/self/fd/{handle}")
    return through if through.is_dir() else folder


def shown_path(path: Path) -> Path:
    """Return a path as people know it: without the way through a descriptor of `path_through`."""
    first = Path(*path.parts[:5])
    if first.parent != Path("/proc/self/fd"):
        return path
    try:
        return Path(first.readlink(), *path.parts[5:])
    except OSError:
        return path
