"""Who may look into a library: its user alone. Vectors, questions and thumbnails tell what the pictures show.

Files are made so whatever the umask. Those of before, or in a folder that was there already, are closed by the next
writer, and named until then.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

_OTHERS = 0o077
_ENTRY = re.compile(
    r"(catalog|queries|thumbnails)\.sqlite.*|vectors-\d+\.f16|parts-\d+\.i8|[a-z]+-\d+\.(bin|json)(\.tmp)?|"
    r"(manifest|history)\.json(\.tmp)?|lock|progress|encoder(-\d+)?(\..+)?|next|restoring"
)


def close_to_others(folder: Path) -> None:
    """Let nobody but the user of a library read it; a folder that holds other things, too, stays as it is."""
    names = os.listdir(folder)
    paths = [folder / name for name in names if _ENTRY.fullmatch(name) and not (folder / name).is_symlink()]
    for path in [*paths, *([folder] if len(paths) == len(names) else [])]:
        with suppress(OSError):  # it is another user's
            if _is_open(path):
                path.chmod(path.stat().st_mode & 0o777 & ~_OTHERS)


def open_to_others(folder: Path) -> str | None:
    """Return a sentence on what others may read of this user's library; None if nothing, or if it is not his."""
    try:
        if not _is_open(folder) or folder.stat().st_uid != getattr(os, "geteuid", lambda: -1)():
            return None
        names = sorted(name for name in os.listdir(folder) if _ENTRY.fullmatch(name) and _is_open(folder / name))
    except OSError:
        return None
    if not names:
        return None
    return (
        f"other users of this machine may read {', '.join(names)} in {folder}; the next `mmsearch index` closes "
        "them to all but you"
    )


def _is_open(path: Path) -> bool:
    """Return whether others have any right to a file or folder."""
    return bool(path.stat().st_mode & _OTHERS)
